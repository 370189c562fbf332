//! Destinations of requests: TCP, unix sockets, TLS, and overrides of the URI's authority.

use std::sync::Arc;

use http::Request;
use nexthop::{
    Body, ErrorKind, ExactProxy, Phase,
    ext::ConnectTo,
    net::{Connect, Connecting, Destination, Tls},
};
use tokio_rustls::TlsAcceptor;

use crate::support::{RawConn, RawUpstream, fetch, get, read, send, tls::TestCa};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn at(place: ConnectTo, uri: &str) -> Request<Body> {
    let mut request = get(uri);
    request.extensions_mut().insert(place);
    request
}

fn https(ca: &TestCa) -> RawUpstream {
    RawUpstream::tls(ca, &["http/1.1"], |mut conn| async move {
        loop {
            conn.request().await;
            conn.write(OK).await;
        }
    })
}

fn trusting(ca: &TestCa) -> ExactProxy {
    ExactProxy::builder().tls(Tls::roots_pem(ca.root_pem().as_bytes()).unwrap()).build().unwrap()
}

#[tokio::test]
async fn connects_elsewhere_and_sends_the_target_and_host_as_they_are() {
    let upstream = RawUpstream::answering([OK]);
    let proxy = ExactProxy::new();
    let place = || ConnectTo::Authority(upstream.addr().to_string().parse().unwrap());
    assert_eq!(fetch(&proxy, at(place(), "http://www.example.test:81/a?b")).await.0, 200);
    assert_eq!(upstream.requests()[0].head, "GET /a?b HTTP/1.1\r\nhost: www.example.test:81\r\n\r\n");
    assert_eq!(fetch(&proxy, at(place(), "/a%2F")).await.0, 200);
    assert_eq!(upstream.requests()[1].head, "GET /a%2F HTTP/1.1\r\nhost: \r\n\r\n");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn connects_to_a_unix_socket() {
    let upstream = RawUpstream::unix(|mut conn| async move {
        loop {
            conn.request().await;
            conn.write(OK).await;
        }
    });
    let proxy = ExactProxy::new();
    for uri in ["http://www.example.test/a", "/b"] {
        assert_eq!(fetch(&proxy, at(ConnectTo::Unix(upstream.path().into()), uri)).await.1, "ok");
    }
    assert_eq!(upstream.requests()[0].head, "GET /a HTTP/1.1\r\nhost: www.example.test\r\n\r\n");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn speaks_tls_to_an_upstream_that_proves_its_name() {
    let ca = TestCa::new();
    let upstream = https(&ca);
    let port = upstream.addr().port();
    let config = Tls::rustls_config(ca.client_config(&["h2"]));
    for proxy in [trusting(&ca), ExactProxy::builder().tls(config).build().unwrap()] {
        for host in ["localhost", "127.0.0.1"] {
            for path in ["/a", "/b"] {
                assert_eq!(fetch(&proxy, get(format!("https://{host}:{port}{path}"))).await.1, "ok");
            }
        }
    }
    assert_eq!(upstream.requests()[0].head, format!("GET /a HTTP/1.1\r\nhost: localhost:{port}\r\n\r\n"));
    assert_eq!(upstream.connections(), 4);
}

/// TLS over in-memory streams with a tiny buffer, so that rustls always buffers the last bytes of a write.
struct Narrow(TlsAcceptor);

impl Connect for Narrow {
    fn connect(&self, _: &Destination) -> Connecting {
        let (ours, theirs) = tokio::io::duplex(100);
        let accepting = self.0.accept(theirs);
        tokio::spawn(async move {
            let mut conn = RawConn::over(accepting.await.unwrap());
            loop {
                let body = conn.request().await.body;
                conn.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len())).await;
                conn.write(body).await;
            }
        });
        Box::pin(async move { Ok(Box::new(ours) as _) })
    }
}

#[tokio::test]
async fn what_tls_holds_back_is_sent_too() {
    let ca = TestCa::new();
    let tls = Tls::roots_pem(ca.root_pem().as_bytes()).unwrap();
    let narrow = Narrow(TlsAcceptor::from(Arc::new(ca.server_config(&[]))));
    let proxy = ExactProxy::builder().tls(tls).connector(narrow).build().unwrap();
    for size in [0, 1, 5000, 100_000, 1_000_000] {
        let body: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let request = Request::put("https://localhost/").body(Body::from(body.clone())).unwrap();
        let (echoed, end) = read(send(&proxy, request).await.unwrap()).await;
        assert!(end.is_ok() && echoed == body, "the bytes differ");
    }
}

#[tokio::test]
async fn a_body_that_ends_with_its_tls_connection_is_whole_only_if_tls_says_so() {
    let ca = TestCa::new();
    for said in [true, false] {
        let upstream = RawUpstream::tls(&ca, &[], move |mut conn| async move {
            conn.request().await;
            conn.write("HTTP/1.1 200 OK\r\n\r\nall of it").await;
            if said {
                conn.finish_writing().await;
            }
        });
        let url = format!("https://localhost:{}/", upstream.addr().port());
        let (bytes, end) = read(send(&trusting(&ca), get(url)).await.unwrap()).await;
        assert_eq!((bytes.as_slice(), end.is_ok()), (&b"all of it"[..], said));
    }
}

#[tokio::test]
async fn nothing_is_sent_to_an_upstream_that_cannot_prove_its_name() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let upstream = https(&ca);
    let port = upstream.addr().port();
    let elsewhere = ConnectTo::Authority(upstream.addr().to_string().parse().unwrap());
    for (proxy, request) in [
        (trusting(&other), get(format!("https://localhost:{port}/"))),
        (trusting(&ca), at(elsewhere, "https://www.example.test/")),
        (trusting(&ca), get(format!("https://[::1]:{port}/"))),
    ] {
        let error = send(&proxy, request).await.unwrap_err();
        assert_eq!((error.kind(), error.status().as_u16(), error.is_retryable()), (ErrorKind::Connect, 502, true));
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn connections_are_shared_only_by_the_same_scheme_place_and_name() {
    let ca = TestCa::new();
    let upstream = https(&ca);
    let place = || ConnectTo::Authority(upstream.addr().to_string().parse().unwrap());
    let proxy = trusting(&ca);
    for (uri, connections) in [
        ("https://localhost/", 1),
        ("https://LOCALHOST/", 1),
        ("https://localhost:1/", 1), // the name is what is verified, the port is not connected to
        ("https://127.0.0.1/", 2),
        ("https://localhost/", 2),
    ] {
        assert_eq!(fetch(&proxy, at(place(), uri)).await.1, "ok");
        assert_eq!(upstream.connections(), connections, "{uri}");
    }
    // A client with other root certificates does not share connections.
    let error = send(&trusting(&TestCa::new()), at(place(), "https://localhost/")).await.unwrap_err();
    assert_eq!(error.phase(), Phase::Tls);
    // Clones share connections; plain HTTP to the same destination has its own.
    assert_eq!(fetch(&proxy.clone(), at(place(), "https://localhost/")).await.1, "ok");
    assert_eq!((upstream.requests().len(), upstream.connections()), (6, 2));
    let plain = RawUpstream::answering([OK]);
    let place = ConnectTo::Authority(plain.addr().to_string().parse().unwrap());
    assert_eq!(fetch(&proxy, at(place.clone(), "http://a.test/")).await.1, "ok");
    assert_eq!(fetch(&proxy, at(place, "http://b.test/")).await.1, "ok");
    assert_eq!(plain.connections(), 1);
}

#[tokio::test]
async fn what_cannot_be_connected_to_is_said_to_be_so() {
    let proxy = ExactProxy::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (request, kind, phase) in [
        (get(format!("http://{closed}/")), ErrorKind::Connect, Phase::Connect),
        (get("http://name.invalid/"), ErrorKind::Connect, Phase::Resolve),
        (at(ConnectTo::Unix(std::path::Path::new("/nowhere/s").into()), "/"), ErrorKind::Connect, Phase::Connect),
        (get("/"), ErrorKind::InvalidTarget, Phase::Validate),
        (get("ftp://h/"), ErrorKind::InvalidTarget, Phase::Validate),
        (get("http://u:p@h/"), ErrorKind::InvalidTarget, Phase::Validate),
    ] {
        let error = send(&proxy, request).await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (kind, phase), "{error:?}");
        assert_eq!(error.is_retryable(), kind == ErrorKind::Connect);
        assert!(!error.to_string().contains("127.0.0.1"), "{error}");
    }
    let connect = Request::connect("h:443").body(Body::empty()).unwrap();
    assert_eq!(send(&proxy, connect).await.unwrap_err().kind(), ErrorKind::Unsupported);
}
