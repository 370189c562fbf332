//! `CONNECT`, extended `CONNECT`, bytes that arrive before a tunnel is established, and the ends of tunnels.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http2::SendRequest, ext::Protocol};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nexthop::{Body, ExactProxy, ProxyApp, ext::ConnectTo, serve::Drain, tunnel::Upgraded};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep, timeout},
};

use crate::support::{Front, InMemory, Memory, RawUpstream, read, send, within};

const ESTABLISHED: &str = "HTTP/1.1 200 Connection Established\r\ncontent-length: 5\r\nx-proxy: 1\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: foo\r\nx-extra: 1\r\n\r\n";

fn connect(authority: &str, proxy: &RawUpstream) -> Request<Body> {
    let mut request = Request::builder().method(Method::CONNECT).uri(authority).body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectTo::Authority(proxy.addr().to_string().parse().unwrap()));
    request
}

fn to_memory(upstream: InMemory) -> ProxyApp {
    let exact = ExactProxy::builder().connector(upstream).build().unwrap();
    ProxyApp::builder("http://up.test").client(exact).build().unwrap()
}

/// Opens an HTTP/2 connection and waits for the server's SETTINGS.
async fn http_2(memory: &Memory) -> SendRequest<Empty<Bytes>> {
    let io = TokioIo::new(memory.stream().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let first = Request::builder().uri("http://h/").method("OPTIONS").header("max-forwards", "0");
    sender.send_request(first.body(Empty::new()).unwrap()).await.unwrap();
    sender
}

async fn extended(sender: &mut SendRequest<Empty<Bytes>>, protocol: &str) -> Response<Incoming> {
    let request = Request::builder().method(Method::CONNECT).uri("http://h/x?y").extension(Protocol::from(protocol));
    sender.send_request(request.body(Empty::new()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn connect_asks_a_proxy_and_2xx_is_a_tunnel_whatever_its_fields_say() {
    let proxy = RawUpstream::tcp(|mut conn| async move {
        let seen = conn.request().await;
        assert_eq!(seen.head, "CONNECT target.test:443 HTTP/1.1\r\nhost: target.test:443\r\n\r\n");
        conn.write(format!("{ESTABLISHED}hello, longer than five")).await;
        let rest = conn.read_to_end().await;
        conn.write(rest).await;
    });
    let mut response = send(&ExactProxy::new(), connect("target.test:443", &proxy)).await.unwrap();
    assert_eq!((response.status(), &response.headers()["x-proxy"]), (StatusCode::OK, &"1".parse().unwrap()));
    assert!(!response.headers().contains_key("content-length"));
    let mut io = Upgraded::take(&mut response).expect("a connection");
    io.write_all(b" and back").await.unwrap();
    io.shutdown().await.unwrap();
    let mut all = String::new();
    within("the end", io.read_to_string(&mut all)).await.unwrap();
    assert_eq!(all, "hello, longer than five and back");
    assert_eq!(read(response).await.0, b"");
}

#[tokio::test]
async fn connect_that_is_refused_is_an_answer_with_a_body_and_the_connection_is_kept() {
    let refused = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 2\r\n\r\nno";
    let proxy = RawUpstream::answering([refused]);
    let exact = ExactProxy::new();
    for _ in 0..2 {
        let mut response = send(&exact, connect("target.test:443", &proxy)).await.unwrap();
        assert_eq!(response.status(), 407);
        assert!(Upgraded::take(&mut response).is_none());
        assert_eq!(read(response).await.0, b"no");
    }
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn connect_without_a_port_a_proxy_or_with_a_body_is_not_sent() {
    let proxy = RawUpstream::answering([ESTABLISHED]);
    let with_body = connect("target.test:443", &proxy).map(|_| Body::from("body"));
    let mut nobody = connect("target.test:443", &proxy);
    nobody.extensions_mut().clear();
    let mut absolute = connect("target.test:443", &proxy);
    *absolute.uri_mut() = "http://target.test:443/".parse().unwrap();
    for (request, status) in [(with_body, 400), (nobody, 501), (absolute, 400), (connect("target.test", &proxy), 400)] {
        assert_eq!(send(&ExactProxy::new(), request).await.unwrap_err().status(), status);
    }
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
async fn connect_of_a_client_is_joined_with_the_proxy_behind_with_what_it_sent_too_early() {
    let proxy = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.write(format!("{ESTABLISHED}first ")).await;
        let rest = conn.read_to_end().await;
        conn.write(rest).await;
    });
    let (exact, to) = (ExactProxy::new(), ConnectTo::Authority(proxy.addr().to_string().parse().unwrap()));
    let front = Front::serve(tower::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(to.clone());
        tower::ServiceExt::oneshot(exact.clone(), request)
    }))
    .await;
    let mut client = front.client().await;
    client.send("CONNECT target.test:443 HTTP/1.1\r\nHost: target.test:443\r\n\r\nearly ").await;
    let response = client.head_response().await;
    assert_eq!((response.status(), response.header("content-length")), (200, None));
    client.send("late").await;
    client.finish_writing().await;
    assert_eq!(client.read_to_end().await, (b"first early late".to_vec(), true));
    assert_eq!(proxy.only_request().line(), "CONNECT target.test:443 HTTP/1.1");
}

/// Bytes that the client sends early belong to the protocol that the response selects; until then, the upstream must
/// not receive them.
#[tokio::test(start_paused = true)]
async fn the_upstream_gets_no_byte_of_a_client_before_it_switched() {
    let upstream = InMemory::new(|mut conn| async move {
        conn.request().await;
        assert!(timeout(Duration::from_secs(30), conn.read(1)).await.is_err(), "a byte came before the answer");
        conn.write(SWITCH).await;
        assert_eq!(conn.read(25).await, b"GET /smuggled HTTP/1.1\r\n\r\n"[..25]);
    });
    let (memory, _end) = Memory::serve(to_memory(upstream.clone()), |serve| serve);
    let mut client = memory.client().await;
    let handshake = "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n";
    client.send(format!("{handshake}GET /smuggled HTTP/1.1\r\n\r\n")).await;
    assert_eq!(client.head_response().await.status(), 101);
    client.closed().await;
    upstream.finish();
}

#[tokio::test]
async fn after_a_refusal_what_came_ahead_is_a_request_to_the_proxy_and_rewritten_like_any_other() {
    for refusal in ["403 Forbidden", "200 OK", "426 Upgrade Required", "500 Oops"] {
        let upstream = RawUpstream::answering([format!("HTTP/1.1 {refusal}\r\ncontent-length: 2\r\n\r\nno")]);
        let app = ProxyApp::builder(upstream.url("/base")).build().unwrap();
        let front = Front::serve(app).await;
        let mut client = front.client().await;
        let ahead = "GET /ahead HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
        client.send(format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n{ahead}")).await;
        assert_eq!(client.response().await.status().to_string(), refusal[..3]);
        client.response().await;
        let seen = upstream.requests();
        assert_eq!((seen.len(), seen[1].target()), (2, "/base/ahead"));
        assert_ne!(seen[1].header("x-forwarded-for"), Some("6.6.6.6"));
    }
}

#[tokio::test]
async fn a_101_to_websocket_with_another_accept_is_a_502() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
    for (accept, status) in [("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 101), ("s3pPLMBiTxaQ9kYGzzhZRbK+xOp=", 502)] {
        let upstream = RawUpstream::answering([format!("{switch}sec-websocket-accept: {accept}\r\n\r\n")]);
        let app = ProxyApp::builder(upstream.url("")).build().unwrap();
        let front = Front::serve(app).await;
        let mut client = front.client().await;
        client
            .send(
                "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .await;
        assert_eq!(client.head_response().await.status(), status, "{accept}");
    }
}

#[tokio::test]
async fn a_protocol_that_would_hide_requests_is_not_asked_for_and_its_101_is_a_502() {
    for (answer, status) in [("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200), (SWITCH, 502)] {
        let upstream = RawUpstream::answering([answer]);
        let app = ProxyApp::builder(upstream.url("")).build().unwrap();
        let head = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n\r\n";
        assert_eq!(Front::serve(app).await.exchange(head).await.status(), status);
        let seen = upstream.only_request();
        assert_eq!((seen.header("upgrade"), seen.header("http2-settings")), (None, None));
    }
}

#[tokio::test(start_paused = true)]
async fn any_protocol_of_an_extended_connect_is_asked_for_in_http_1() {
    let upstream = InMemory::new(|mut conn| async move {
        let seen = conn.request().await;
        assert_eq!(seen.line(), "GET /x?y HTTP/1.1");
        assert_eq!((seen.header("connection"), seen.header("upgrade")), (Some("upgrade"), Some("foo")));
        assert_eq!((seen.header("sec-websocket-key"), seen.header("content-length")), (None, None));
        assert_eq!(seen.header("host"), Some("up.test"));
        conn.write(format!("{SWITCH}glued ")).await;
        let rest = conn.read_to_end().await;
        conn.write(rest).await;
    });
    let (memory, _end) = Memory::serve(to_memory(upstream.clone()), |serve| serve);
    let mut sender = http_2(&memory).await;
    let response = extended(&mut sender, "foo").await;
    assert_eq!(response.status(), 200);
    let names: Vec<_> = response.headers().keys().map(|name| name.as_str()).filter(|name| *name != "date").collect();
    assert_eq!(names, ["x-extra"]);
    let mut io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    io.write_all(b"and more").await.unwrap();
    io.shutdown().await.unwrap();
    let mut all = String::new();
    io.read_to_string(&mut all).await.unwrap();
    assert_eq!(all, "glued and more");
    upstream.finish();
}

#[tokio::test(start_paused = true)]
async fn an_extended_connect_that_is_refused_gets_the_answer_but_never_a_2xx_of_http() {
    let answers = [("404 Not Found", 404), ("302 Found", 302), ("200 OK", 502), ("204 No Content", 502)];
    for (answer, status) in answers {
        let upstream = InMemory::new(move |mut conn| async move {
            conn.request().await;
            let body = if answer.starts_with("204") { "" } else { "content-length: 2\r\n\r\nno" };
            conn.write(format!("HTTP/1.1 {answer}\r\n{body}\r\n\r\n")).await;
        });
        let (memory, _end) = Memory::serve(to_memory(upstream), |serve| serve);
        let response = extended(&mut http_2(&memory).await, "websocket").await;
        assert_eq!(response.status(), status, "{answer}");
        if status == 404 {
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "no");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_extended_connect_to_websocket_is_checked_though_its_client_cannot() {
    let upstream = InMemory::new(|mut conn| async move {
        let seen = conn.request().await;
        assert_eq!(seen.header("sec-websocket-key").map(str::len), Some(24));
        let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
        conn.write(format!("{switch}sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")).await;
    });
    let (memory, _end) = Memory::serve(to_memory(upstream.clone()), |serve| serve);
    assert_eq!(extended(&mut http_2(&memory).await, "websocket").await.status(), 502);
    upstream.finish();
}

#[tokio::test(start_paused = true)]
async fn connect_and_protocols_that_are_not_carried_are_501_in_http_2_too() {
    let upstream = InMemory::new(|_| async {});
    let (memory, _end) = Memory::serve(to_memory(upstream.clone()), |serve| serve);
    let mut sender = http_2(&memory).await;
    for refused in ["h2c", "TLS/1.2", "a,b"] {
        assert_eq!(extended(&mut sender, refused).await.status(), 501, "{refused}");
    }
    let plain = Request::builder().method(Method::CONNECT).uri("h:443").body(Empty::new()).unwrap();
    assert_eq!(sender.send_request(plain).await.unwrap().status(), 501);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn tunnels_are_counted_go_on_while_the_server_drains_and_are_cut_at_both_ends_at_its_deadline() {
    let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let upstream = InMemory::new(move |mut conn| {
        let ended = ended.clone();
        async move {
            conn.request().await;
            conn.write(SWITCH).await;
            for _ in 0..2 {
                let byte = conn.read(1).await;
                conn.write(byte).await;
            }
            ended.send(conn.read_to_end().await).unwrap();
        }
    });
    let drain = Drain::new();
    let (memory, end) = Memory::serve(to_memory(upstream.clone()), |serve| {
        serve.drain(drain.clone()).drain_timeout(Duration::from_secs(60))
    });
    let mut client = memory.client().await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\nx").await;
    assert_eq!(client.head_response().await.status(), 101);
    assert_eq!(client.read(1).await, b"x");
    let mut sender = http_2(&memory).await;
    let response = extended(&mut sender, "foo").await;
    let mut io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    io.write_all(b"y").await.unwrap();
    assert_eq!(io.read_u8().await.unwrap(), b'y');
    assert_eq!((drain.open(), drain.tunnels()), (2, 2));

    let began = Instant::now();
    drain.begin();
    sleep(Duration::from_secs(59)).await;
    assert_eq!(drain.tunnels(), 2);
    client.send("x").await;
    assert_eq!(client.read(1).await, b"x");
    io.write_all(b"y").await.unwrap();
    assert_eq!(io.read_u8().await.unwrap(), b'y');
    client.closed().await;
    assert!(io.read_u8().await.is_err());
    assert_eq!(began.elapsed().as_secs(), 60);
    for _ in 0..2 {
        assert_eq!(ends.recv().await.unwrap(), b"");
    }
    assert_eq!(end.await.unwrap().cut(), 2);
    assert_eq!((drain.open(), drain.tunnels()), (0, 0));
    upstream.finish();
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_whose_upstream_takes_nothing_is_cut_at_the_deadline_like_any_other() {
    let upstream = InMemory::new(|mut conn| async move {
        conn.request().await;
        conn.write(SWITCH).await;
        std::future::pending().await
    });
    let drain = Drain::new();
    let (memory, end) = Memory::serve(to_memory(upstream.clone()), |serve| {
        serve.drain(drain.clone()).drain_timeout(Duration::from_secs(60)).write_timeout(None)
    });
    let mut client = memory.stream().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n").await.unwrap();
    assert!(client.read(&mut [0; 1024]).await.unwrap() > 0);
    let mut sender = http_2(&memory).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let response = extended(&mut sender, "foo").await;
        streams.push(TokioIo::new(hyper::upgrade::on(response).await.unwrap()));
    }
    // Fills all buffers, so that only the upstream could make progress possible.
    while timeout(Duration::from_secs(1), client.write_all(&[0; 64 * 1024])).await.is_ok() {}
    for stream in &mut streams {
        while timeout(Duration::from_secs(1), stream.write_all(&[0; 64 * 1024])).await.is_ok() {}
    }
    assert_eq!((drain.open(), drain.tunnels()), (2, 3));
    let began = Instant::now();
    drain.begin();
    assert_eq!(timeout(Duration::from_secs(120), end).await.expect("the end").unwrap().cut(), 2);
    while drain.tunnels() > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(began.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_client_of_http_2_that_does_not_read_its_tunnel_stalls_the_upstream() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let upstream = InMemory::new(move |mut conn| {
        let count = count.clone();
        async move {
            conn.request().await;
            conn.write(SWITCH).await;
            loop {
                conn.write(vec![7; 16 * 1024]).await;
                count.fetch_add(16 * 1024, SeqCst);
            }
        }
    });
    let (memory, _end) = Memory::serve(to_memory(upstream), |serve| serve.write_timeout(None));
    let mut client = http_2(&memory).await;
    let tunnel = hyper::upgrade::on(extended(&mut client, "foo").await).await.unwrap();
    let stalled = async {
        let mut before = usize::MAX;
        while std::mem::replace(&mut before, sent.load(SeqCst)) != sent.load(SeqCst) {
            assert!(
                before == usize::MAX || before < 8 << 20,
                "{before} bytes are held for a client that does not read"
            );
            sleep(Duration::from_secs(1)).await;
        }
        before
    };
    let held = stalled.await;
    // Once the client reads again, all buffered bytes arrive, and more.
    let mut tunnel = TokioIo::new(tunnel);
    let mut read = vec![0; held + (1 << 20)];
    tunnel.read_exact(&mut read).await.unwrap();
    assert!(read.iter().all(|byte| *byte == 7));
}
