//! HTTP inside a tunnel that the proxy terminates.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nexthop::{
    Body, ErrorKind, ExactProxy, ForwardProxy,
    ca::CertificateAuthority,
    forward::{Access, ConnectAction, ForwardProxyBuilder, Resolver},
    net::Tls,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{CipherSuite, ClientConfig, RootCertStore, SupportedCipherSuite},
};
use tower::Layer;

use super::tools::{Proxy, Way, client_hello, connect, connect_on, says, trusting};
use crate::support::{
    Front, Memory, RawClient, RawUpstream,
    tls::{TestCa, provider},
    within,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

type Http2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

/// Opens an HTTP/2 connection, negotiated by ALPN, inside a tunnel to `host`.
async fn http2(proxy: &Proxy, host: &str) -> Http2 {
    let io = proxy.tunnel(&format!("{host}:443")).await;
    let io = proxy.tls_offering(io, host, &["h2", "http/1.1"]).await;
    assert_eq!(io.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    client
}

fn get(url: &str) -> Request<Full<Bytes>> {
    Request::get(url).body(Full::default()).unwrap()
}

async fn text(client: &mut Http2, request: Request<Full<Bytes>>) -> (u16, String) {
    let response = within("a response", client.send_request(request)).await.unwrap();
    let status = response.status().as_u16();
    let body = within("a body", response.into_body().collect()).await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn http_2_is_spoken_where_both_ends_want_it() {
    let proxy = Proxy::page(|builder| builder).await;
    let mut client = http2(&proxy, "example.com").await;
    for path in ["/a", "/b?c"] {
        let mut request = get(&format!("https://example.com{path}"));
        request.headers_mut().insert("proxy-authorization", "Basic c2VjcmV0".parse().unwrap());
        let (status, text) = text(&mut client, request).await;
        assert!(!text.contains("left: "), "{text}");
        let line = format!("GET /prefix/https://example.com{path}");
        assert_eq!((status, text.lines().next().unwrap()), (200, line.as_str()));
        for line in ["host: example.com", "version: HTTP/2.0", "tls: true", "connect: example.com Some(443)"] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
    }
    // Browsers reuse an HTTP/2 connection for other hosts; the proxy answers 421.
    assert_eq!(text(&mut client, get("https://other.test/")).await.0, 421);
}

#[tokio::test]
async fn http_2_can_be_turned_off() {
    let authority = CertificateAuthority::builder().http1_only(true).build().unwrap();
    let with = authority.clone();
    let mut proxy = Proxy::page(move |builder| builder.certificate_authority(with)).await;
    proxy.authority = authority;
    let io = proxy.tls_offering(proxy.tunnel("a.test:443").await, "a.test", &["h2", "http/1.1"]).await;
    assert_eq!(io.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn a_client_that_offers_http_1_0_alone_is_served() {
    let proxy = Proxy::page(|builder| builder).await;
    let io = proxy.tls_offering(proxy.tunnel("a.test:443").await, "a.test", &["http/1.0"]).await;
    assert_eq!(io.get_ref().1.alpn_protocol(), Some(&b"http/1.0"[..]));
    let answer = RawClient::over(io).exchange("GET /x HTTP/1.0\r\nHost: a.test\r\n\r\n").await;
    says(&answer, &["url: https://a.test/x", "version: HTTP/1.0"]);
}

#[tokio::test]
async fn aes_is_spoken_with_128_bits_unless_a_client_has_reasons_for_another_cipher() {
    const LONG: CipherSuite = CipherSuite::TLS13_AES_256_GCM_SHA384;
    const SHORT: CipherSuite = CipherSuite::TLS13_AES_128_GCM_SHA256;
    const CHACHA: CipherSuite = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
    let proxy = Proxy::page(|builder| builder).await;
    for (offered, agreed) in [
        (&[LONG, SHORT, CHACHA][..], SHORT),
        (&[LONG, CHACHA, SHORT], SHORT),
        (&[CHACHA, SHORT, LONG], CHACHA),
        (&[LONG, CHACHA], LONG),
        (&[LONG], LONG),
    ] {
        let mut only = (*provider()).clone();
        let suite =
            |name| only.cipher_suites.iter().copied().find(|suite: &SupportedCipherSuite| suite.suite() == name);
        let suites = offered.iter().map(|name| suite(*name).unwrap()).collect();
        only.cipher_suites = suites;
        let mut roots = RootCertStore::empty();
        roots.add(proxy.authority.certificate_der().to_vec().into()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(only)).with_safe_default_protocol_versions();
        let config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
        let io = proxy.tunnel("a.test:443").await;
        let connecting = TlsConnector::from(Arc::new(config)).connect("a.test".try_into().unwrap(), io);
        let io = within("a handshake", connecting).await.unwrap();
        assert_eq!(io.get_ref().1.negotiated_cipher_suite().unwrap().suite(), agreed, "of {offered:?}");
    }
}

#[tokio::test]
async fn http_2_by_prior_knowledge_is_spoken_without_tls() {
    let proxy = Proxy::page(|builder| builder).await;
    let io = TokioIo::new(proxy.tunnel("example.com:80").await);
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let (status, text) = text(&mut client, get("http://example.com/a")).await;
    assert_eq!((status, text.lines().next().unwrap()), (200, "GET /prefix/http://example.com/a"));
}

/// The initial window of an HTTP/2 stream is 64 KiB.
#[tokio::test]
async fn bodies_beyond_the_window_cross_a_tunnel_with_http_2_both_ways() {
    let proxy = Proxy::page(|builder| builder).await;
    let mut client = http2(&proxy, "example.com").await;
    let body = "x".repeat(1024 * 1024);
    let request = Request::post("https://example.com/").body(Full::from(body.clone())).unwrap();
    let (status, text) = text(&mut client, request).await;
    assert_eq!(status, 200);
    assert!(text.ends_with(&format!("body: {body}")));
}

#[tokio::test]
async fn an_intercepted_request_reaches_its_origin_which_is_verified() {
    let ca = TestCa::new();
    let origin = RawUpstream::tls(&ca, &[], |mut conn| async move {
        loop {
            conn.request().await;
            conn.write(OK).await;
        }
    });
    let host = format!("localhost:{}", origin.addr().port());
    let trusted = Tls::roots_pem(ca.root_pem().as_bytes()).unwrap();
    let stranger = Tls::roots_pem(TestCa::new().root_pem().as_bytes()).unwrap();
    for (tls, status) in [(trusted, 200), (stranger, 502)] {
        let exact = ExactProxy::builder().tls(tls).build().unwrap();
        let proxy = Proxy::over(exact.clone(), |builder| builder.client(exact).dangerous_dial_anywhere()).await;
        let mut channel = proxy.open(Way::Tls, "localhost", origin.addr().port()).await;
        for _ in 0..2 {
            let response = channel.exchange("GET", "/a%2Fb?c", "Proxy-Authorization: x\r\nX-Kept: 1\r\n", "").await;
            assert_eq!(response.status(), status);
            if status == 502 {
                let expected = "(TLS handshake: the certificate's signature is not valid)\n";
                assert!(response.text().ends_with(expected), "{}", response.text());
            }
        }
    }
    let seen = origin.requests();
    assert_eq!((seen.len(), seen[0].line()), (2, "GET /a%2Fb?c HTTP/1.1"));
    assert_eq!((seen[0].header("host"), seen[0].header("x-kept")), (Some(host.as_str()), Some("1")));
    assert_eq!(seen[0].header("proxy-authorization"), None);
    assert_eq!(seen[0].connection, seen[1].connection, "one connection for both");
}

/// Applications such as a web archive serve hosts that do not exist.
#[tokio::test]
async fn what_is_intercepted_is_not_dialled() {
    let proxy = Proxy::page(|builder| builder).await;
    let response = proxy.get(Way::Tls, "long-gone.invalid", 443, "/1996").await;
    says(&response, &["url: https://long-gone.invalid/1996"]);
}

#[tokio::test]
async fn trailers_cross_a_tunnel() {
    let origin = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.write(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n1\r\na\r\n0\r\nx-sum: 7\r\n\r\n",
        )
        .await;
    });
    let exact = ExactProxy::new();
    let proxy = Proxy::over(exact.clone(), |builder| builder.client(exact).dangerous_dial_anywhere()).await;
    let mut channel = proxy.open(Way::Plain, "127.0.0.1", origin.addr().port()).await;
    let response = channel.exchange("GET", "/", "TE: trailers\r\nConnection: TE\r\n", "").await;
    assert_eq!(response.text(), "a");
    assert!(String::from_utf8_lossy(&response.wire_body).contains("x-sum: 7"));
}

#[tokio::test]
async fn there_are_no_tunnels_inside_a_tunnel() {
    let proxy = Proxy::page(|builder| builder).await;
    let mut io = proxy.tls(proxy.tunnel("a.test:443").await, "a.test").await;
    let head = connect_on(&mut io, "b.test:443", "").await;
    assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_authority_is_told_of() {
    let (failed, mut failures) = tokio::sync::mpsc::unbounded_channel();
    let proxy = Proxy::page(|builder| {
        builder.on_handshake_failure(move |connect, error| {
            let source = std::error::Error::source(error).unwrap().to_string();
            failed.send((connect.host().to_owned(), error.kind(), source)).unwrap();
        })
    })
    .await;
    let stranger = Arc::new(trusting(&CertificateAuthority::builder().build().unwrap(), &[]));
    let io = proxy.tunnel("a.test:443").await;
    let connecting = TlsConnector::from(stranger).connect("a.test".try_into().unwrap(), io);
    assert!(within("a handshake", connecting).await.is_err());
    let (host, kind, source) = within("the hook", failures.recv()).await.unwrap();
    assert_eq!((host.as_str(), kind), ("a.test", ErrorKind::Connect));
    assert!(source.contains("UnknownCA"), "{source}");
}

#[tokio::test]
async fn a_host_is_minted_for_once_whoever_asks() {
    let proxy = Proxy::page(|builder| builder).await;
    for _ in 0..3 {
        assert_eq!(proxy.get(Way::Tls, "a.test", 443, "/").await.status(), 200);
    }
    let stats = proxy.authority.stats();
    assert_eq!((stats.misses, stats.hits), (1, 2));
}

#[tokio::test]
async fn a_client_hello_may_come_byte_by_byte_and_right_behind_the_connect() {
    let proxy = Proxy::page(|builder| builder).await;
    let config = Arc::new(trusting(&proxy.authority, &["http/1.1"]));
    let (_, plain) = connect(proxy.addr(), "a.test:443", "").await;
    let connector = TlsConnector::from(config);
    // This stream accepts one byte per write.
    let (near, far) = tokio::io::duplex(1);
    let relaying = tokio::spawn(async move {
        let (mut plain, mut far) = (plain, far);
        tokio::io::copy_bidirectional(&mut plain, &mut far).await
    });
    let mut io = within("a handshake", connector.connect("a.test".try_into().unwrap(), near)).await.unwrap();
    io.write_all(b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n").await.unwrap();
    io.flush().await.unwrap();
    let mut answer = String::new();
    let _ = within("an answer", io.read_to_string(&mut answer)).await;
    assert!(answer.contains("sni: a.test"), "{answer}");
    relaying.abort();
}

#[tokio::test]
async fn a_shutdown_ends_what_is_idle_in_a_tunnel_and_waits_for_what_is_not() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let app = tower::service_fn(move |_: Request<Body>| {
        let mut gone = gone.clone();
        async move {
            gone.wait_for(|gone| *gone).await.unwrap();
            Ok::<_, Infallible>(Response::new(Body::from("late")))
        }
    });
    let authority = CertificateAuthority::builder().build().unwrap();
    // The shutdown does not wait for handshakes that may never complete.
    let layer =
        ForwardProxy::builder().certificate_authority(authority.clone()).handshake_timeout(Duration::from_secs(600));
    let layer = layer.build().unwrap();
    let drain = nexthop::serve::Drain::new();
    let on = drain.clone();
    let front =
        Front::serve_with(layer.layer(app), |serve| serve.drain(on).drain_timeout(Duration::from_secs(600))).await;
    let proxy = Proxy { front, authority };
    let mut silent = RawClient::over(proxy.tunnel("a.test:443").await);
    let mut idle = proxy.open(Way::Tls, "a.test", 443).await;
    let mut busy = proxy.open(Way::Tls, "a.test", 443).await;
    let request = busy.request("GET", "/", "");
    busy.raw.send(request).await;
    assert_eq!(drain.tunnels(), 3);
    drain.begin();
    silent.closed().await;
    idle.raw.read_to_end().await;
    go.send(true).unwrap();
    assert_eq!(busy.raw.response().await.text(), "late");
    busy.raw.read_to_end().await;
    within("the end", drain.drained()).await;
    assert_eq!(drain.tunnels(), 0);
}

/// Opens a tunnel in memory for a paused clock, with plain HTTP inside.
async fn tunnel_in_memory(
    settings: impl FnOnce(ForwardProxyBuilder) -> ForwardProxyBuilder,
    body: &'static str,
) -> RawClient {
    let builder =
        ForwardProxy::builder().access(Access::dangerous_any_client()).on_connect(|_| ConnectAction::Intercept);
    let layer = settings(builder.resolver(Resolver::fixed("/"))).build().unwrap();
    let answer = move |_: Request<Body>| std::future::ready(Ok::<_, Infallible>(Response::new(Body::from(body))));
    let (memory, _) =
        Memory::serve(layer.layer(tower::service_fn(answer)), |serve| serve.header_timeout(Duration::from_secs(1)));
    let mut client = memory.client().await;
    client.send("CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n").await;
    assert_eq!(client.head_response().await.status(), 200);
    client
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_request_inside_counts_from_the_end_of_the_last_and_is_the_tunnels_own() {
    for (limit, seconds) in [(None, 30), (Some(Duration::from_secs(200)), 200)] {
        let settings = |builder: ForwardProxyBuilder| match limit {
            Some(limit) => builder.header_timeout(limit),
            None => builder,
        };
        let mut client = tunnel_in_memory(settings, "ok").await.patient();
        for _ in 0..3 {
            assert_eq!(client.exchange(REQUEST).await.text(), "ok");
            sleep(Duration::from_secs(seconds - 1)).await;
        }
        client.exchange(REQUEST).await;
        let start = Instant::now();
        client.send("GET / HTTP/1.1\r\n").await;
        client.closed().await;
        assert_eq!(start.elapsed().as_secs(), seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_the_inside_of_a_tunnel_may_be_silent() {
    let mut client = tunnel_in_memory(|builder| builder.header_timeout(None), "ok").await;
    assert_eq!(client.exchange(REQUEST).await.text(), "ok");
    sleep(Duration::from_secs(100_000)).await;
    assert_eq!(client.exchange(REQUEST).await.text(), "ok");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_inside_is_cut() {
    let much = "x".repeat(1024 * 1024).leak();
    let mut client = tunnel_in_memory(|builder| builder.write_timeout(Duration::from_secs(5)), much).await;
    client.send(REQUEST).await;
    sleep(Duration::from_secs(6)).await;
    let (read, _) = client.read_to_end().await;
    assert!(read.len() < much.len(), "the client read the whole response, {} bytes", read.len());
}

#[tokio::test]
async fn a_head_inside_may_be_as_long_as_one_outside_unless_told_otherwise() {
    let long = |bytes: usize| format!("GET / HTTP/1.1\r\nHost: a.test\r\nX: {}\r\n\r\n", "x".repeat(bytes));
    for (limit, fits, is_too_long) in
        [(None, 60_000, 70_000), (Some(1_000), 900, 1_000), (Some(900_000), 800_000, 900_000)]
    {
        let proxy = Proxy::page(|builder| match limit {
            Some(limit) => builder.max_head_bytes(limit),
            None => builder,
        })
        .await;
        for way in [Way::Plain, Way::Tls] {
            for (bytes, status) in [(fits, 200), (is_too_long, 431)] {
                let mut channel = proxy.open(way, "a.test", way.port()).await;
                assert_eq!(channel.raw.exchange(long(bytes)).await.status(), status, "{limit:?} {way:?} {bytes}");
            }
        }
        if limit == Some(1_000) {
            let mut client = http2(&proxy, "a.test").await;
            let request = |bytes: usize| Request::get("https://a.test/").header("x", "x".repeat(bytes));
            for (bytes, status) in [(500, 200), (2_000, 431)] {
                let response = client.send_request(request(bytes).body(Full::default()).unwrap()).await.unwrap();
                assert_eq!(response.status(), status);
            }
            // Outside of tunnels, the limit of the server applies.
            let request = format!("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nX: {}\r\n\r\n", "x".repeat(2_000));
            assert_eq!(proxy.front.exchange(request).await.status(), 200);
        }
    }
}

/// A handshake message may span any number of records (RFC 8446 §4, §5.1). Many ALPN protocols make a ClientHello long.
#[tokio::test]
async fn a_client_hello_may_be_long_and_in_many_records() {
    let proxy = Proxy::page(|builder| builder).await;
    for protocols in [10, 200] {
        let long: Vec<String> = (0..protocols).map(|n| format!("{n:0>200}")).collect();
        let alpn: Vec<&str> = long.iter().map(String::as_str).chain(["http/1.1"]).collect();
        let hello = client_hello(&proxy.authority, "a.test", &alpn);
        let message: Vec<u8> = records(&hello).into_iter().flatten().copied().collect();
        for length in [64, 1_000, 16_384] {
            let mut said = Vec::new();
            for piece in message.chunks(length) {
                said.extend([22, 3, 1]);
                said.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
                said.extend(piece);
            }
            let mut client = RawClient::over(proxy.tunnel("a.test:443").await);
            client.send(said).await;
            assert_eq!(client.read(1).await, [22], "{} bytes in records of {length}", message.len());
        }
    }
}

/// Returns the contents of TLS records.
fn records(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while let [_, _, _, high, low, rest @ ..] = bytes {
        let (record, behind) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        records.push(record);
        bytes = behind;
    }
    records
}

#[tokio::test]
async fn what_is_asked_of_a_whole_server_names_no_path() {
    let proxy = Proxy::page(|builder| builder).await;
    for way in [Way::Plain, Way::Tls] {
        let mut channel = proxy.open(way, "a.test", way.port()).await;
        let response = channel.exchange("OPTIONS", "*", "", "").await;
        let url = format!("{}://a.test/", way.scheme());
        says(&response, &[&format!("OPTIONS /prefix/{url}"), &format!("url: {url}")]);
    }
    let upstream = RawUpstream::answering([OK]);
    let exact = ExactProxy::new();
    let proxy = Proxy::over(exact.clone(), |builder| builder.client(exact).dangerous_dial_anywhere()).await;
    let mut channel = proxy.open(Way::Plain, "127.0.0.1", upstream.addr().port()).await;
    assert_eq!(channel.exchange("OPTIONS", "*", "", "").await.text(), "ok");
    assert_eq!(upstream.only_request().line(), "OPTIONS * HTTP/1.1");
}
