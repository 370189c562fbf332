//! The span of each kind of exchange.

use std::{future::pending, time::Duration};

use http::{Request, Response};
use http_body_util::BodyExt;
use nexthop::{
    Body, ExactProxy, ProxyApp,
    exact::HttpVersions,
    net::{Connect, Connecting, Destination},
    tunnel::Upgraded,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Service, ServiceExt};
use tracing_subscriber::layer::SubscriberExt;

use super::{Capture, OK};
use crate::support::{Front, InMemory, RawUpstream, body::fed, fetch, get, post, read, send, within};

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n";

#[tokio::test]
async fn a_fresh_connection_and_then_the_same_again() {
    let upstream = RawUpstream::answering([OK]);
    let (capture, _guard) = Capture::start();
    let proxy = ExactProxy::new();
    let localhost = format!("http://localhost:{}/", upstream.addr().port());
    assert_eq!(fetch(&proxy, post(&localhost, "four")).await.0, 200);
    assert_eq!(fetch(&proxy, get(&localhost)).await.0, 200);
    let spans = capture.spans(2).await;
    let port = upstream.addr().port().to_string();
    for span in &spans {
        span.has(&[
            ("otel.kind", "client"),
            ("url.scheme", "http"),
            ("server.address", "localhost"),
            ("server.port", &port),
            ("http.response.status_code", "200"),
            ("network.protocol.version", "1.1"),
            ("http.response.body.size", "2"),
            ("outcome", "complete"),
            ("tunnel", "false"),
        ]);
        span.lacks(&["error.type", "phase", "http.request.resend_count", "queue_ms", "tls_ms"]);
        span.in_order(&["sent_ms", "head_ms", "total_ms"]);
    }
    spans[0].has(&[("http.request.method", "POST"), ("connection.reused", "false"), ("http.request.body.size", "4")]);
    assert!(spans[0].time("resolve_ms") + spans[0].time("connect_ms") <= spans[0].time("sent_ms"));
    spans[1].has(&[("http.request.method", "GET"), ("connection.reused", "true"), ("http.request.body.size", "0")]);
    spans[1].lacks(&["resolve_ms", "connect_ms"]);
}

#[tokio::test]
async fn a_connection_that_is_refused() {
    let (capture, _guard) = Capture::start();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    send(&ExactProxy::new(), get(format!("http://{gone}/"))).await.unwrap_err();
    let span = capture.only().await;
    span.has(&[
        ("outcome", "failed"),
        ("error.type", "connect"),
        ("phase", "connect"),
        ("server.address", "127.0.0.1"),
    ]);
    span.lacks(&["http.response.status_code", "network.protocol.version", "sent_ms", "head_ms", "tls_ms"]);
    span.in_order(&["connect_ms", "total_ms"]);
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_that_runs_out_in_the_tls_handshake() {
    let (capture, _guard) = Capture::start();
    let silent = InMemory::new(|conn| async move {
        let _conn = conn;
        pending().await
    });
    let limit = Duration::from_secs(3);
    let proxy = ExactProxy::builder().connector(silent).connect_timeout(limit).build().unwrap();
    send(&proxy, get("https://up.test/")).await.unwrap_err();
    let span = capture.only().await;
    span.has(&[("outcome", "failed"), ("error.type", "timeout"), ("phase", "tls"), ("url.scheme", "https")]);
    assert_eq!((span.time("connect_ms"), span.time("tls_ms"), span.time("total_ms")), (0.0, 3000.0, 3000.0));
    span.lacks(&["http.response.status_code", "sent_ms"]);
}

#[tokio::test]
async fn a_request_that_is_sent_again() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.write(OK).await;
        conn.request().await;
        if conn.index > 0 {
            conn.write(OK).await;
            conn.request().await;
        }
    });
    let (capture, _guard) = Capture::start();
    let proxy = ExactProxy::new();
    fetch(&proxy, get(upstream.url("/"))).await;
    fetch(&proxy, get(upstream.url("/")).map(|_| Body::from("six so"))).await;
    let span = &capture.spans(2).await[1];
    span.has(&[
        ("outcome", "complete"),
        ("http.request.resend_count", "1"),
        ("connection.reused", "false"),
        ("http.request.body.size", "12"),
    ]);
    span.in_order(&["connect_ms", "sent_ms", "head_ms", "total_ms"]);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.request().await;
    });
    let (capture, _guard) = Capture::start();
    let proxy = ExactProxy::new();
    tokio::select! {
        _ = proxy.clone().oneshot(get(upstream.url("/"))) => panic!("the upstream never answers"),
        () = upstream.wait_requests(1) => {}
    }
    let span = capture.only().await;
    span.has(&[("outcome", "cancelled"), ("phase", "response_head"), ("connection.reused", "false")]);
    span.in_order(&["connect_ms", "sent_ms", "total_ms"]);
    span.lacks(&["http.response.status_code", "error.type", "head_ms"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_a_connection_is_opened() {
    struct Never;
    impl Connect for Never {
        fn connect(&self, _: &Destination) -> Connecting {
            Box::pin(pending())
        }
    }
    let (capture, _guard) = Capture::start();
    let proxy = ExactProxy::builder().connector(Never).build().unwrap();
    let left = tokio::time::timeout(Duration::from_secs(2), proxy.oneshot(get("http://up.test/"))).await;
    assert!(left.is_err());
    let span = capture.only().await;
    span.has(&[("outcome", "cancelled"), ("phase", "connect"), ("total_ms", "2000.0")]);
    span.lacks(&["network.protocol.version", "error.type"]);
}

#[tokio::test]
async fn a_body_that_is_dropped_and_one_that_is_cut() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
    let upstream = RawUpstream::tcp(move |mut conn| async move {
        conn.request().await;
        conn.write(half).await;
        if conn.index == 0 {
            conn.request().await;
        }
    });
    let (capture, _guard) = Capture::start();
    let proxy = ExactProxy::new();
    let mut dropped = send(&proxy, get(upstream.url("/"))).await.unwrap().into_body();
    within("a frame", dropped.frame()).await.unwrap().unwrap();
    drop(dropped);
    let cut = send(&proxy, get(upstream.url("/"))).await.unwrap();
    read(cut).await.1.unwrap_err();
    let spans = capture.spans(2).await;
    for span in &spans {
        span.has(&[("http.response.status_code", "200"), ("http.response.body.size", "4"), ("phase", "response_body")]);
        span.in_order(&["sent_ms", "head_ms", "total_ms"]);
    }
    spans[0].has(&[("outcome", "cancelled")]);
    spans[0].lacks(&["error.type"]);
    spans[1].has(&[("outcome", "failed"), ("error.type", "upstream")]);
}

#[tokio::test]
async fn a_response_that_comes_before_the_request_was_sent() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        conn.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nyes\r\n").await;
        conn.read_to_end().await;
    });
    let (capture, _guard) = Capture::start();
    let (feed, body) = fed();
    let mut response = send(&ExactProxy::new(), Request::post(upstream.url("/")).body(body).unwrap()).await.unwrap();
    within("a frame", response.body_mut().frame()).await.unwrap().unwrap();
    assert!(within("a place", feed.data("later")).await && within("that it is taken", feed.data("!")).await);
    drop(response);
    let span = capture.only().await;
    span.has(&[("outcome", "cancelled"), ("http.response.body.size", "3"), ("http.request.body.size", "5")]);
    span.lacks(&["sent_ms"]);
}

#[tokio::test]
async fn streams_of_http_2() {
    let app = axum::Router::new().route("/", axum::routing::post(async |body: String| body));
    let front = Front::hyper(app).await;
    let (capture, _guard) = Capture::start();
    let proxy = ExactProxy::builder().http_versions(HttpVersions::Http2Only).build().unwrap();
    for _ in 0..2 {
        assert_eq!(fetch(&proxy, post(front.url("/"), "some")).await, (200, "some".to_owned()));
    }
    let spans = capture.spans(2).await;
    for span in &spans {
        span.has(&[
            ("network.protocol.version", "2"),
            ("outcome", "complete"),
            ("http.request.body.size", "4"),
            ("http.response.body.size", "4"),
        ]);
        span.in_order(&["sent_ms", "head_ms", "total_ms"]);
        span.lacks(&["queue_ms"]);
    }
    spans[0].has(&[("connection.reused", "false")]);
    assert!(spans[0].time("connect_ms") >= 0.0);
    spans[1].has(&[("connection.reused", "true")]);
    spans[1].lacks(&["connect_ms"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_a_connection() {
    let upstream = InMemory::new(|mut conn| async move {
        loop {
            conn.request().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            conn.write(OK).await;
        }
    });
    let (capture, _guard) = Capture::start();
    let proxy = ExactProxy::builder().connector(upstream).pool_max_connections(1).build().unwrap();
    tokio::join!(fetch(&proxy, get("http://up.test/")), fetch(&proxy, get("http://up.test/")));
    let spans = capture.spans(2).await;
    spans[0].lacks(&["queue_ms"]);
    spans[1].has(&[("queue_ms", "1000.0"), ("connection.reused", "true"), ("total_ms", "2000.0")]);
}

fn switching() -> RawUpstream {
    RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.write(format!("{SWITCH}hello")).await;
        let four = conn.read(4).await;
        conn.write(four).await;
    })
}

#[tokio::test]
async fn a_tunnel_in_the_callers_hands() {
    let upstream = switching();
    let (capture, _guard) = Capture::start();
    let request = Request::get(upstream.url("/")).header("connection", "upgrade").header("upgrade", "foo");
    let mut response = send(&ExactProxy::new(), request.body(Body::empty()).unwrap()).await.unwrap();
    let mut io = Upgraded::take(&mut response).unwrap();
    io.write_all(b"ping").await.unwrap();
    let mut all = String::new();
    within("the end", io.read_to_string(&mut all)).await.unwrap();
    drop(io);
    assert_tunnel(&capture).await;
}

#[tokio::test]
async fn a_tunnel_that_is_joined_with_its_client() {
    let upstream = switching();
    let (capture, _guard) = Capture::start();
    let front = Front::serve(ProxyApp::builder(upstream.url("")).build().unwrap()).await;
    let mut client = front.client().await;
    client.send("GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n").await;
    client.head_response().await;
    client.send("ping").await;
    assert_eq!(client.read_to_end().await.0, b"helloping");
    client.finish_writing().await;
    assert_tunnel(&capture).await;
}

async fn assert_tunnel(capture: &Capture) {
    let span = capture.only().await;
    span.has(&[
        ("tunnel", "true"),
        ("outcome", "complete"),
        ("http.response.status_code", "101"),
        ("http.request.body.size", "4"),
        ("http.response.body.size", "9"),
    ]);
    span.in_order(&["sent_ms", "head_ms", "total_ms"]);
}

#[tokio::test]
async fn nothing_that_is_told_holds_a_path_a_query_or_a_field() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.write("HTTP/1.1 200 OK\r\nset-cookie: hush\r\nx-hush: hush\r\ncontent-length: 4\r\n\r\nhush").await;
        conn.request().await;
    });
    let (capture, _guard) = Capture::start();
    let front = Front::serve(ProxyApp::builder(upstream.url("")).build().unwrap()).await;
    let secret = "/hush?hush=hush HTTP/1.1\r\nhost: h\r\nauthorization: Basic hush\r\ncookie: hush=hush\r\nhush: hush";
    let mut client = front.client().await;
    // The second request fails with its connection, and is retried on another one.
    for method in ["GET", "GET", "HUSH"] {
        client.send(format!("{method} {secret}\r\n\r\n")).await;
        client.response().await;
    }
    let spans = capture.spans(3).await;
    spans[1].has(&[("http.request.resend_count", "1")]);
    spans[2].has(&[("http.request.method", "_OTHER")]);
    let text = capture.text();
    assert!(text.contains("retrying on") && !text.to_lowercase().contains("hush"), "{text}");
}

#[tokio::test]
async fn no_span_is_made_for_who_takes_other_things() {
    let (capture, _guard) = Capture::start();
    let _stricter = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default());
    let upstream = RawUpstream::answering([OK]);
    assert_eq!(fetch(&ExactProxy::new(), get(upstream.url("/"))).await.0, 200);
    assert_eq!(capture.text(), "");
}

#[tokio::test]
async fn a_span_is_below_the_one_that_was_current_at_the_call() {
    let upstream = RawUpstream::answering([OK]);
    drop(Capture::start());
    let (writer, text) = buffer();
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::CLOSE)
        .with_writer(writer);
    let filtered = tracing_subscriber::filter::Targets::new()
        .with_target("nexthop::exchange", tracing::Level::DEBUG)
        .with_target("outer", tracing::Level::INFO);
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(filtered).with(layer));
    let outer = tracing::info_span!(target: "outer", "page");
    let exchange = outer.in_scope(|| ExactProxy::new().call(get(upstream.url("/"))));
    let response: Response<Body> = within("a response", exchange).await.unwrap();
    read(response).await.1.unwrap();
    let text = String::from_utf8(text.lock().unwrap().clone()).unwrap();
    assert!(text.contains("page:exchange{otel.kind=\"client\" http.request.method=\"GET\""), "{text}");
    assert!(text.contains("http.response.status_code=200") && text.contains("outcome=\"complete\""), "{text}");
}

type Text = std::sync::Arc<std::sync::Mutex<Vec<u8>>>;

fn buffer() -> (impl for<'a> tracing_subscriber::fmt::MakeWriter<'a>, Text) {
    #[derive(Clone)]
    struct Writer(Text);
    impl std::io::Write for Writer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let text = Text::default();
    let writer = Writer(text.clone());
    (move || writer.clone(), text)
}
