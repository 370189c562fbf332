//! The scripts of the testkit, each with the resulting behavior of a proxy.

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use nexthop::{
    Body, ErrorKind, ExactProxy, ProxyApp, TransparentProxy,
    exact::HttpVersions,
    testkit::{
        http2,
        scripts::{self, Playing},
    },
    tunnel::Upgraded,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};
use tower::ServiceExt;

use crate::support::{
    InMemory, Memory, RawClient, RawConn, RawUpstream, Scripted, body::pieces, fetch, get, post, read, send,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";

fn to(script: impl Fn(RawConn) -> Playing + Send + Sync + 'static) -> (InMemory, ExactProxy) {
    let upstream = InMemory::new(script);
    let proxy = ExactProxy::builder().connector(upstream.clone()).build().unwrap();
    (upstream, proxy)
}

#[tokio::test]
async fn answers_come_in_turn_and_the_last_one_again_and_again() {
    let (upstream, proxy) = to(scripts::answers([OK, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlast"]));
    for body in ["ok", "last", "last"] {
        assert_eq!(fetch(&proxy, get("http://a/")).await, (200, body.to_owned()));
    }
    assert_eq!(upstream.connections(), 1);
    upstream.finish();
}

#[tokio::test]
async fn a_stale_close_loses_a_post_and_no_get() {
    let upstream = RawUpstream::tcp(scripts::closes_stale(OK));
    let proxy = ExactProxy::new();
    assert_eq!(fetch(&proxy, get(upstream.url("/1"))).await.0, 200);
    assert_eq!(fetch(&proxy, get(upstream.url("/2"))).await.0, 200);
    assert_eq!(upstream.connections(), 2);
    let error = send(&proxy, post(upstream.url("/3"), "x")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Upstream && !error.is_retryable(), "{error:?}");
    let targets: Vec<_> = upstream.requests().iter().map(|seen| seen.target().to_owned()).collect();
    assert_eq!(targets, ["/1", "/2", "/2", "/3"]);
}

#[tokio::test]
async fn a_response_that_is_reset_or_cut_anywhere_is_never_whole() {
    for response in [OK, CHUNKED] {
        let body = response.find("\r\n\r\n").unwrap() + 4;
        for count in [0, 1, body - 1, body, response.len() - 1] {
            for (reset, end) in [(true, "reset"), (false, "cut")] {
                let (upstream, proxy) = match reset {
                    true => to(scripts::reset_at(response, count)),
                    false => to(scripts::cut_at(response, count)),
                };
                match send(&proxy, get("http://a/")).await {
                    Err(error) => assert!(count < body && error.status() == 502, "{end} at {count}: {error:?}"),
                    Ok(response) => {
                        assert!(count >= body, "{end} at {count}");
                        assert!(read(response).await.1.is_err(), "{end} at {count}");
                    }
                }
                upstream.finish();
            }
        }
    }
}

#[tokio::test]
async fn a_reset_in_memory_is_one_to_who_reads_and_to_who_writes() {
    let reset = RawUpstream::tcp(scripts::reset_at(OK, 3));
    let mut over_tcp = RawClient::tcp(reset.addr()).await;
    over_tcp.send("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(over_tcp.read_to_end().await, (b"HTT".to_vec(), false));

    let (upstream, proxy) = to(scripts::reset_at(OK, OK.len() - 1));
    let response = send(&proxy, get("http://a/")).await.unwrap();
    let (bytes, end) = read(response).await;
    let error = format!("{:?}", end.unwrap_err());
    assert!(bytes == b"o" && error.contains("ConnectionReset"), "{error}");
    upstream.finish();
}

#[tokio::test]
async fn a_truncated_chunk_gives_what_came_and_an_error() {
    let (upstream, proxy) = to(scripts::truncated_chunk());
    let (bytes, end) = read(send(&proxy, get("http://a/")).await.unwrap()).await;
    assert!(bytes.starts_with(b"hello") && end.is_err(), "{bytes:?} {end:?}");
    upstream.finish();
}

#[tokio::test]
async fn what_is_glued_to_a_101_is_read_from_the_tunnel_first() {
    let (upstream, proxy) = to(scripts::glued_101("welcome"));
    let fields = [("connection", "upgrade"), ("sec-websocket-version", "13")];
    for (protocol, key) in [("foo", None), ("websocket", Some("dGhlIHNhbXBsZSBub25jZQ=="))] {
        let mut request = Request::get("http://a/").header("upgrade", protocol);
        for (name, value) in fields {
            request = request.header(name, value);
        }
        if let Some(key) = key {
            request = request.header("sec-websocket-key", key);
        }
        let mut response = send(&proxy, request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 101, "{protocol}");
        let mut tunnel = Upgraded::take(&mut response).unwrap();
        tunnel.write_all(b"+echo").await.unwrap();
        let mut bytes = [0; 12];
        tunnel.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"welcome+echo");
    }
    let error = send(&proxy, get("http://a/")).await.expect_err("the request has no upgrade");
    assert_eq!(error.status(), 502);
    upstream.finish();
}

#[tokio::test]
async fn an_early_413_is_the_answer_to_a_body_that_nobody_read() {
    let upstream = InMemory::new(scripts::early_413()).holding(1024);
    let exact = ExactProxy::builder().connector(upstream.clone()).build().unwrap();
    let proxy = TransparentProxy::builder().client(exact).build().unwrap();
    let (server, _) = Memory::serve(proxy, |serve| serve);
    let mut client = server.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n").await;
    client.send(vec![b'x'; 500_000]).await;
    assert_eq!(client.response().await.status(), 413);
    upstream.finish();
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_takes_its_time_and_holds_the_body_back() {
    // At 1 KiB every 10 s, 16 KiB take more than the timeout of 60 s; it does not expire, because bytes move within it.
    let script = scripts::slow_reader(1024, Duration::from_secs(10), OK);
    let upstream = InMemory::new(script).holding(1024);
    let proxy = ExactProxy::builder().connector(upstream.clone()).build().unwrap();
    let started = Instant::now();
    let response = proxy.oneshot(post("http://a/", vec![b'x'; 16 * 1024])).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(started.elapsed().as_secs() >= 160);
    upstream.finish();
}

#[tokio::test(start_paused = true)]
async fn a_client_may_read_slowly_too() {
    let body = "x".repeat(10_000);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n{body}");
    let exact = ExactProxy::builder().connector(InMemory::new(scripts::answers([answer]))).build().unwrap();
    let (server, _) = Memory::serve(TransparentProxy::builder().client(exact).build().unwrap(), |serve| serve);
    let mut client = server.client().await;
    client.read_slowly(100, Duration::from_secs(1));
    let started = Instant::now();
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.text(), body);
    assert!((100..120).contains(&started.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_slow_writer_is_passed_on_piece_by_piece() {
    let head = OK.len() - 2;
    let (upstream, proxy) = to(scripts::slow_writer(OK, head, Duration::from_secs(50)));
    let started = Instant::now();
    let response = proxy.oneshot(get("http://a/")).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 50);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    assert_eq!(started.elapsed().as_secs(), 100);
    upstream.finish();
}

#[tokio::test(start_paused = true)]
async fn a_silent_upstream_is_given_up_after_a_minute() {
    let (upstream, proxy) = to(scripts::silent());
    let started = Instant::now();
    let error = proxy.oneshot(get("http://a/")).await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(started.elapsed().as_secs(), 60);
    upstream.finish();
}

#[tokio::test]
async fn garbage_is_a_502_that_says_nothing_of_it() {
    let (upstream, exact) = to(scripts::garbage());
    let app = ProxyApp::builder("http://a").client(exact).build().unwrap();
    let request = Request::get("/").header("host", "b").body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    let (bytes, _) = read(response).await;
    assert!(!String::from_utf8(bytes).unwrap().contains("mail.example"));
    upstream.finish();
}

#[tokio::test(start_paused = true)]
async fn a_goaway_sends_what_was_not_processed_to_another_connection_and_no_more_there() {
    let upstream = Scripted::frames(http2::goes_away(2));
    let exact = ExactProxy::builder().connector(upstream.clone()).http_versions(HttpVersions::Http2Only);
    let proxy = exact.build().unwrap();
    for (turn, connections) in [(0, 1), (1, 1), (2, 2), (3, 2)] {
        let request = Request::post("http://a/").body(pieces(&["not", " idempotent"])).unwrap();
        assert_eq!(send(&proxy, request).await.unwrap().status(), 200, "{turn}");
        assert_eq!(upstream.connections(), connections, "{turn}");
    }
    upstream.finish();
}

#[tokio::test]
#[should_panic(expected = "panic of the script")]
async fn a_panic_of_a_script_in_memory_is_raised_when_it_is_finished() {
    let upstream = InMemory::new(|mut conn| async move {
        conn.request().await;
        panic!("panic of the script");
    });
    let proxy = ExactProxy::builder().connector(upstream.clone()).build().unwrap();
    send(&proxy, get("http://a/")).await.unwrap_err();
    tokio::task::yield_now().await;
    upstream.finish();
}
