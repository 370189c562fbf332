//! Attacks on forward proxies. Each test is named after its entry in the list of known attacks.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use nexthop::{
    Body, ExactProxy, ForwardProxy,
    ca::CertificateAuthority,
    ext::DialPolicy,
    forward::{Access, ConnectAction, Resolver},
    net::{DnsLookup, DnsResolver},
};
use tower::Layer;

use super::tools::{Proxy, WAYS, Way, client_hello, page, says};
use crate::support::{Memory, RawClient, RawUpstream, tls::TestCa};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Resolves to the next address on each call (DNS rebinding).
struct Rebinding(Vec<SocketAddr>, Arc<AtomicUsize>);

impl DnsResolver for Rebinding {
    fn resolve(&self, _: &str, _: u16) -> DnsLookup {
        let turn = self.1.fetch_add(1, Ordering::SeqCst);
        let found = self.0[turn % self.0.len()];
        Box::pin(async move { Ok(vec![found]) })
    }
}

#[tokio::test]
async fn d2_a_proxy_of_default_settings_is_open_to_nobody_else() {
    let layer = ForwardProxy::builder().resolver(Resolver::fixed("/")).build().unwrap();
    let (memory, _) = Memory::serve(layer.layer(tower::service_fn(page)), |serve| serve);
    for request in ["GET http://h.test/ HTTP/1.1\r\nHost: h\r\n\r\n", "CONNECT h.test:443 HTTP/1.1\r\nHost: h\r\n\r\n"]
    {
        assert_eq!(memory.client().await.exchange(request).await.status(), 403);
    }
}

#[tokio::test]
async fn d3_no_spelling_of_a_private_address_is_dialled() {
    let upstream = RawUpstream::answering([OK]);
    let port = upstream.addr().port();
    let exact = ExactProxy::new();
    let proxy = Proxy::over(exact.clone(), |builder| builder.client(exact)).await;
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "0",
        "2130706433",
        "0x7f.1",
        "[::1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
    ] {
        let response = proxy.get(Way::Absolute, host, port, "/").await;
        assert!([400, 403, 502].contains(&response.status()), "{host}: {}", response.status());
        let response = proxy.get(Way::Plain, host, port, "/").await;
        assert!([400, 403, 502].contains(&response.status()), "{host} inside a tunnel");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn d3_the_address_that_was_looked_at_is_the_one_that_is_dialled() {
    let (good, evil) = (RawUpstream::answering([OK]), RawUpstream::answering([OK]));
    let asked = Arc::<AtomicUsize>::default();
    let names = Rebinding(vec![good.addr(), evil.addr()], asked.clone());
    let exact = ExactProxy::builder().dns_resolver(names).pool_max_idle(0).build().unwrap();
    let evil_port = evil.addr().port();
    let policy = DialPolicy::new(move |address| address.port() != evil_port);
    let proxy = Proxy::over(exact.clone(), |builder| {
        builder.client(exact).dial_policy(policy).on_connect(|_| ConnectAction::Tunnel)
    })
    .await;
    assert_eq!(proxy.get(Way::Absolute, "rebinding.test", 80, "/").await.text(), "ok");
    assert_eq!(proxy.get(Way::Absolute, "rebinding.test", 80, "/").await.status(), 403);
    proxy.tunnel("rebinding.test:80").await;
    assert_eq!((asked.load(Ordering::SeqCst), evil.connections()), (3, 0));
}

#[tokio::test]
async fn d6_fields_for_the_proxy_leak_nowhere() {
    let proxy = Proxy::page(|builder| builder).await;
    let fields = "Proxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: close\r\nProxy: http://evil.test\r\n";
    for way in WAYS {
        let response = proxy.open(way, "h.test", way.port()).await.exchange("GET", "/", fields, "").await;
        says(&response, &[&format!("url: {}://h.test/", way.scheme())]);
        assert!(!response.text().contains("left:"), "{}", response.text());
    }
}

#[tokio::test]
async fn d9_two_lengths_are_never_two_requests() {
    let upstream = RawUpstream::answering([OK]);
    let exact = ExactProxy::new();
    let proxy = Proxy::over(exact.clone(), |builder| builder.client(exact).dangerous_dial_anywhere()).await;
    let (host, port) = ("127.0.0.1", upstream.addr().port());
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    for way in [Way::Absolute, Way::Plain] {
        for fields in [
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        ] {
            let mut channel = proxy.open(way, host, port).await;
            let request = channel.request("POST", "/", fields) + "0\r\n\r\n" + smuggled;
            channel.raw.send(request).await;
            channel.raw.read_to_end().await;
        }
        for fields in
            ["Content-Length: 4\r\nContent-Length: 5\r\n", "Content-Length: +4\r\n", "Content-Length: 4, 5\r\n"]
        {
            let mut channel = proxy.open(way, host, port).await;
            let request = channel.request("POST", "/", fields) + "body" + smuggled;
            channel.raw.send(request).await;
            let (answer, _) = channel.raw.read_to_end().await;
            assert!(answer.starts_with(b"HTTP/1.1 400 "), "{fields}");
        }
        let folded = proxy.open(way, host, port).await.exchange("GET", "/", "X: a\r\n b: c\r\n", "").await;
        assert_eq!(folded.status(), 400);
    }
    for seen in upstream.requests() {
        assert_eq!(seen.headers("content-length").len() + seen.headers("transfer-encoding").len(), 1, "{}", seen.head);
        assert!(!seen.target().contains("smuggled"), "{}", seen.head);
    }
}

#[tokio::test(start_paused = true)]
async fn d11_a_client_hello_that_does_not_end_holds_a_tunnel_no_longer_than_a_handshake_may_take() {
    let authority = CertificateAuthority::builder().build().unwrap();
    let layer =
        ForwardProxy::builder().access(Access::dangerous_any_client()).certificate_authority(authority).max_tunnels(1);
    let (memory, _) = Memory::serve(layer.build().unwrap().layer(tower::service_fn(page)), |serve| serve);
    for sent in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET"] {
        let mut client = memory.client().await;
        client.send("CONNECT h.test:443 HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert_eq!(client.head_response().await.status(), 200);
        client.send(sent).await;
        let start = tokio::time::Instant::now();
        client.closed().await;
        assert_eq!(start.elapsed(), Duration::from_secs(10), "{sent:?}");
    }
}

#[tokio::test]
async fn d12_no_tunnel_is_left_half_open() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.write("x").await;
        conn.read_to_end().await;
    });
    let proxy = Proxy::over(ExactProxy::new(), |builder| {
        builder.dangerous_dial_anywhere().on_connect(|_| ConnectAction::Tunnel)
    })
    .await;
    for reset in [true, false] {
        let mut client = RawClient::over(proxy.tunnel(&upstream.addr().to_string()).await);
        client.read(1).await;
        if reset {
            client.reset()
        } else {
            drop(client)
        }
        upstream.wait_closed().await;
    }
}

#[tokio::test]
async fn d16_cookies_that_http_2_split_are_one_line_for_an_http_1_origin() {
    use http_body_util::Empty;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let ca = TestCa::new();
    let origin = RawUpstream::tls(&ca, &["http/1.1"], |mut conn| async move {
        conn.request().await;
        conn.write(OK).await;
    });
    let tls = nexthop::net::Tls::roots_pem(ca.root_pem().as_bytes()).unwrap();
    let exact = ExactProxy::builder().tls(tls).build().unwrap();
    let proxy = Proxy::over(exact.clone(), |builder| builder.client(exact).dangerous_dial_anywhere()).await;
    let to = format!("localhost:{}", origin.addr().port());
    let io = proxy.tls_offering(proxy.tunnel(&to).await, "localhost", &["h2"]).await;
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(format!("https://{to}/")).header("cookie", "a=1").header("cookie", "b=2");
    let response = client.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        (origin.only_request().header("cookie"), origin.only_request().header("host")),
        (Some("a=1; b=2"), Some(to.as_str()))
    );
}

#[tokio::test]
async fn d17_what_is_compressed_stays_so() {
    let bomb = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x0b\x08\x01";
    let upstream = RawUpstream::answering([bomb]);
    let exact = ExactProxy::new();
    let proxy = Proxy::over(exact.clone(), |builder| builder.client(exact).dangerous_dial_anywhere()).await;
    let response = proxy.get(Way::Plain, "127.0.0.1", upstream.addr().port(), "/").await;
    assert_eq!(
        (response.header("content-encoding"), response.body.as_slice()),
        (Some("gzip"), &b"\x1f\x0b\x08\x01"[..])
    );
}

#[tokio::test]
async fn file_names_are_not_made_of_hosts_and_bad_ones_get_no_certificate() {
    let proxy = Proxy::page(|builder| builder).await;
    for host in ["..%2f..%2fetc", "../../etc", "a b", "*.test"] {
        let request = format!("CONNECT {host}:443 HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(proxy.front.exchange(request).await.status(), 400, "{host}");
    }
    let mut tunnel = RawClient::over(proxy.tunnel("..:443").await);
    tunnel.send(client_hello(&proxy.authority, "127.0.0.1", &[])).await;
    assert_eq!(tunnel.read_to_end().await.0, [21, 3, 3, 0, 2, 2, 112], "unrecognized_name");
    assert_eq!(proxy.authority.stats().size, 0, "no certificate was issued");
}

#[tokio::test]
async fn an_application_that_is_asked_for_a_body_of_a_connect_never_sees_it() {
    let seen = Arc::<AtomicUsize>::default();
    let count = seen.clone();
    let app = tower::service_fn(move |request: http::Request<Body>| {
        count.fetch_add(1, Ordering::SeqCst);
        page(request)
    });
    let proxy = Proxy::over(app, |builder| builder.resolver(Resolver::fixed("/"))).await;
    let request =
        "CONNECT h.test:80 HTTP/1.1\r\nHost: h\r\nContent-Length: 33\r\n\r\nGET / HTTP/1.1\r\nHost: h.test\r\n\r\n";
    assert_eq!(proxy.front.exchange(request).await.status(), 400);
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}
