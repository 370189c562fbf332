//! All timeouts, on in-memory streams with a paused clock.
//!
//! | setting | default | limits the wait for | kind, status | test |
//! |---|---|---|---|---|
//! | `connect_timeout` | 10 s | name resolution, TCP connect and TLS handshake | `Timeout`, 504, `Phase::Connect`, retryable | `connecting_takes_10_s_…` |
//! | | | each of these steps, the PROXY header and the HTTP/2 preface | the same | `every_step_of_connecting_…` |
//! | `expect_continue_timeout` | 1 s | a 100 from the upstream | none: the body is sent | `an_expected_body_goes_…` |
//! | `body_idle_timeout` | 60 s | the client's next frame | `RequestTimeout`, 408, `Phase::Send` | `a_client_may_be_silent_…` |
//! | | | the upstream to accept bytes | `Timeout`, 504, `Phase::Send` | `an_upstream_that_takes_nothing_…` |
//! | `response_timeout` | 60 s | the response's head | `Timeout`, 504, `Phase::ResponseHead` | `the_head_of_a_response_…` |
//! | `body_idle_timeout` | 60 s | the upstream's next frame | `Timeout`, `Phase::ResponseBody`: the body fails | `a_body_from_upstream_…` |
//! | | | either body, after an early response head | the same | `after_an_early_head_either_body_…` |
//! | 2 s, 1 MiB | | the rest of the client's body after the response | none: the body is dropped | `an_answered_clients_body_…` |
//! | `pool_idle_timeout` | 90 s | another request | none: the connection is closed | `an_idle_connection_…` |
//! | `tunnel_idle_timeout` | 1 h | a byte in either direction | none: both ends are closed | `a_tunnel_may_be_silent_…` |

use std::{future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use nexthop::{
    Body, Error, ErrorKind, ExactProxy, ForwardProxy, Phase, TransparentProxy,
    ca::CertificateAuthority,
    exact::ExactProxyBuilder,
    exact::HttpVersions,
    forward::ConnectAction,
    net::{ByteStream, Connect, Connecting, Destination, ProxyProtocolVersion},
    tunnel::Upgraded,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep},
};
use tower::{Layer, ServiceExt};

use crate::support::{
    Front, InMemory, Memory, RawClient, RawConn, RawUpstream,
    body::{Feed, fed},
    get,
    tls::TestCa,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn with(upstream: InMemory) -> ExactProxyBuilder {
    ExactProxy::builder().connector(upstream)
}

fn to<F, Fut>(script: F) -> ExactProxy
where
    F: Fn(RawConn) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    with(InMemory::new(script)).build().unwrap()
}

async fn failed(proxy: &ExactProxy, request: Request<Body>) -> (ErrorKind, Phase, u16) {
    let error = proxy.clone().oneshot(request).await.expect_err("too late");
    assert!(error.is_timeout());
    (error.kind(), error.phase(), error.status().as_u16())
}

fn upload() -> (Feed, Request<Body>) {
    let (feed, body) = fed();
    (feed, Request::post("http://h/").body(Body::new(body)).unwrap())
}

async fn piece(body: &mut Body) -> Result<Bytes, Error> {
    body.frame().await.expect("another frame").map(|frame| frame.into_data().unwrap())
}

#[tokio::test(start_paused = true)]
async fn connecting_takes_10_s_at_the_most_or_what_is_said() {
    struct Never;
    impl Connect for Never {
        fn connect(&self, _: &Destination) -> Connecting {
            Box::pin(pending())
        }
    }
    for (proxy, limit) in [
        (ExactProxy::builder().connector(Never).build().unwrap(), 10),
        (ExactProxy::builder().connector(Never).connect_timeout(seconds(3)).build().unwrap(), 3),
    ] {
        let start = Instant::now();
        let error = proxy.oneshot(get("http://h/")).await.unwrap_err();
        assert_eq!((error.kind(), error.phase(), error.status().as_u16()), (ErrorKind::Timeout, Phase::Connect, 504));
        assert!(error.is_retryable() && error.is_timeout());
        assert_eq!(start.elapsed(), seconds(limit));
    }
}

#[tokio::test(start_paused = true)]
async fn every_step_of_connecting_counts_in_the_same_10_s() {
    /// Connects to a peer that accepts a few bytes and sends nothing.
    struct Deaf(std::sync::Mutex<Vec<tokio::io::DuplexStream>>);
    impl Connect for Deaf {
        fn connect(&self, _: &Destination) -> Connecting {
            let (ours, theirs) = tokio::io::duplex(8);
            self.0.lock().unwrap().push(theirs);
            Box::pin(async move {
                sleep(seconds(4)).await;
                Ok(Box::new(ours) as Box<dyn ByteStream>)
            })
        }
    }
    let with = || ExactProxy::builder().connector(Deaf(Default::default()));
    for (builder, url, phase) in [
        (with().send_proxy_protocol(ProxyProtocolVersion::V1), "http://h/", Phase::Connect),
        (with().send_proxy_protocol(ProxyProtocolVersion::V2), "https://127.0.0.1/", Phase::Connect),
        (with(), "https://127.0.0.1/", Phase::Tls),
        (with().http_versions(HttpVersions::Http2Only), "http://h/", Phase::Connect),
    ] {
        let start = Instant::now();
        let error = builder.build().unwrap().oneshot(get(url)).await.unwrap_err();
        assert_eq!((error.kind(), error.phase(), error.is_retryable()), (ErrorKind::Timeout, phase, true));
        assert_eq!(start.elapsed(), seconds(10));
    }
}

#[tokio::test(start_paused = true)]
async fn the_head_of_a_response_takes_60_s_at_the_most_however_it_trickles() {
    let silent = |mut conn: RawConn| async move {
        conn.request().await;
        pending().await
    };
    let trickling = |mut conn: RawConn| async move {
        conn.request().await;
        conn.write("HTTP/1.1 200 OK\r\n").await;
        loop {
            sleep(seconds(7)).await;
            conn.write("x: y\r\n").await;
        }
    };
    for (proxy, limit) in [
        (to(silent), 60),
        (to(trickling), 60),
        (with(InMemory::new(silent)).response_timeout(seconds(5)).build().unwrap(), 5),
    ] {
        let start = Instant::now();
        assert_eq!(failed(&proxy, get("http://h/")).await, (ErrorKind::Timeout, Phase::ResponseHead, 504));
        assert_eq!(start.elapsed(), seconds(limit));
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_head_begins_when_the_request_was_sent_and_again_with_an_interim_response() {
    let proxy = to(|mut conn| async move {
        conn.request().await;
        for _ in 0..3 {
            sleep(seconds(55)).await;
            conn.write("HTTP/1.1 102 Processing\r\n\r\n").await;
        }
        pending().await
    });
    let (feed, request) = upload();
    let start = Instant::now();
    let feeding = async {
        for _ in 0..3 {
            sleep(seconds(50)).await;
            feed.data("slow").await;
        }
        drop(feed);
    };
    let (failed, ()) = tokio::join!(failed(&proxy, request), feeding);
    assert_eq!(failed, (ErrorKind::Timeout, Phase::ResponseHead, 504));
    assert_eq!(start.elapsed(), seconds(3 * 50 + 3 * 55 + 60));
}

#[tokio::test(start_paused = true)]
async fn a_body_from_upstream_may_be_silent_for_60_s_and_as_long_as_it_likes_in_all() {
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n"] {
        let proxy = to(move |mut conn| async move {
            conn.request().await;
            conn.write(head).await;
            for _ in 0..5 {
                sleep(seconds(59)).await;
                conn.write("piece").await;
            }
            pending().await
        });
        let mut body = proxy.oneshot(get("http://h/")).await.unwrap().into_body();
        let start = Instant::now();
        for _ in 0..5 {
            assert_eq!(piece(&mut body).await.unwrap(), "piece");
        }
        let error = piece(&mut body).await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::ResponseBody));
        assert_eq!(start.elapsed(), seconds(5 * 59 + 60));
        assert!(body.frame().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_its_time_does_not_make_the_upstream_late() {
    let proxy = to(|mut conn| async move {
        conn.request().await;
        conn.write("HTTP/1.1 200 OK\r\n\r\none").await;
        sleep(seconds(130)).await;
        conn.write("two").await;
        conn.read(1).await;
    });
    let mut body = proxy.oneshot(get("http://h/")).await.unwrap().into_body();
    assert_eq!(piece(&mut body).await.unwrap(), "one");
    sleep(seconds(100)).await;
    let start = Instant::now();
    assert_eq!(piece(&mut body).await.unwrap(), "two");
    assert_eq!(start.elapsed(), seconds(30));
}

#[tokio::test(start_paused = true)]
async fn a_client_may_be_silent_within_its_body_for_60_s() {
    let proxy = to(|mut conn| async move {
        conn.head().await;
        conn.read_to_end().await;
    });
    let (feed, request) = upload();
    let start = Instant::now();
    let feeding = async {
        for _ in 0..4 {
            sleep(seconds(59)).await;
            assert!(feed.data("piece").await);
        }
        feed.dropped().await;
    };
    let (failed, ()) = tokio::join!(failed(&proxy, request), feeding);
    assert_eq!(failed, (ErrorKind::RequestTimeout, Phase::Send, 408));
    assert_eq!(start.elapsed(), seconds(4 * 59 + 60));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_takes_nothing_for_60_s_is_late() {
    let reads = |mut conn: RawConn| async move {
        conn.head().await;
        for _ in 0..3 {
            sleep(seconds(59)).await;
            conn.read(1000).await;
        }
        pending().await
    };
    let proxy = with(InMemory::new(reads).holding(1000)).build().unwrap();
    let start = Instant::now();
    let request = Request::post("http://h/").body(Body::from(vec![0; 1_000_000])).unwrap();
    assert_eq!(failed(&proxy, request).await, (ErrorKind::Timeout, Phase::Send, 504));
    assert_eq!(start.elapsed(), seconds(3 * 59 + 60));
}

#[tokio::test(start_paused = true)]
async fn an_expected_body_goes_after_1_s_without_a_word() {
    for (limit, said) in [(1, None), (4, Some(seconds(4)))] {
        let upstream = InMemory::new(|mut conn| async move {
            conn.head().await;
            let start = Instant::now();
            conn.read(4).await;
            conn.write(format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", start.elapsed().as_secs()))
                .await;
        });
        let mut builder = with(upstream);
        if let Some(said) = said {
            builder = builder.expect_continue_timeout(said);
        }
        let request = Request::post("http://h/").header("expect", "100-continue").body(Body::from("body")).unwrap();
        let response = builder.build().unwrap().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["x"], limit.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn an_expected_body_that_never_comes_is_the_clients_fault() {
    for agrees in [true, false] {
        let proxy = to(move |mut conn| async move {
            conn.head().await;
            if agrees {
                conn.write("HTTP/1.1 100 Continue\r\n\r\n").await;
            }
            conn.read_to_end().await;
        });
        let (feed, body) = fed();
        let request = Request::post("http://h/").header("expect", "100-continue").body(Body::new(body)).unwrap();
        let start = Instant::now();
        assert_eq!(failed(&proxy, request).await, (ErrorKind::RequestTimeout, Phase::Send, 408));
        assert_eq!(start.elapsed(), seconds(if agrees { 60 } else { 61 }));
        drop(feed);
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_the_head_cuts_neither_a_long_upload_nor_a_long_event_stream() {
    let proxy = with(InMemory::new(|mut conn| async move {
        conn.request().await;
        conn.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await;
        for _ in 0..50 {
            sleep(seconds(30)).await;
            conn.write("data: x\n\n").await;
        }
    }))
    .response_timeout(seconds(5))
    .build()
    .unwrap();
    let (feed, request) = upload();
    let feeding = async {
        for _ in 0..50 {
            sleep(seconds(30)).await;
            assert!(feed.data("piece").await);
        }
        drop(feed);
    };
    let (response, ()) = tokio::join!(proxy.oneshot(request), feeding);
    let mut body = response.unwrap().into_body();
    let start = Instant::now();
    for _ in 0..50 {
        assert_eq!(piece(&mut body).await.unwrap(), "data: x\n\n");
    }
    assert!(body.frame().await.is_none());
    assert_eq!(start.elapsed(), seconds(50 * 30));
}

#[tokio::test(start_paused = true)]
async fn after_an_early_head_either_body_keeps_the_other_alive() {
    let proxy = to(|mut conn| async move {
        conn.head().await;
        conn.write("HTTP/1.1 200 OK\r\n\r\n").await;
        for _ in 0..3 {
            sleep(seconds(50)).await;
            conn.write("down").await;
        }
        conn.read_to_end().await;
    });
    let (feed, request) = upload();
    let mut body = proxy.oneshot(request).await.unwrap().into_body();
    let start = Instant::now();
    for _ in 0..3 {
        assert_eq!(piece(&mut body).await.unwrap(), "down");
    }
    for _ in 0..3 {
        sleep(seconds(50)).await;
        assert!(feed.data("up").await);
    }
    let error = piece(&mut body).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::ResponseBody));
    assert_eq!(start.elapsed(), seconds(6 * 50 + 60));
    feed.dropped().await;
}

#[tokio::test(start_paused = true)]
async fn after_an_early_head_a_reader_may_take_its_time_once_all_was_sent() {
    let proxy = to(|mut conn| async move {
        conn.head().await;
        conn.write("HTTP/1.1 200 OK\r\n\r\none").await;
        conn.read(5).await;
        sleep(seconds(230)).await;
        conn.write("two").await;
        sleep(seconds(50)).await;
    });
    let (feed, request) = upload();
    let mut body = proxy.oneshot(request).await.unwrap().into_body();
    drop(feed);
    sleep(seconds(200)).await; // the first frame waits to be read
    assert_eq!(piece(&mut body).await.unwrap(), "one");
    assert_eq!(piece(&mut body).await.unwrap(), "two");
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_answered_clients_body_is_taken_for_2_s_more() {
    let proxy = to(|mut conn| async move {
        conn.head().await;
        conn.write("HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
        conn.read_to_end().await;
    });
    let (feed, request) = upload();
    let response = proxy.oneshot(request).await.unwrap();
    let start = Instant::now();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "big");
    feed.data("more").await;
    feed.dropped().await;
    assert_eq!(start.elapsed(), seconds(2));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_for_90_s() {
    let upstream = InMemory::new(|mut conn| async move {
        loop {
            conn.request().await;
            conn.write(OK).await;
        }
    });
    let proxy = with(upstream.clone()).build().unwrap();
    for (wait, connections) in [(0, 1), (89, 1), (89, 1), (91, 2)] {
        sleep(seconds(wait)).await;
        proxy.clone().oneshot(get("http://h/")).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(upstream.connections(), connections);
    }
    let forever = with(upstream.clone()).pool_idle_timeout(None).build().unwrap();
    for _ in 0..2 {
        forever.clone().oneshot(get("http://h/")).await.unwrap().into_body().collect().await.unwrap();
        sleep(seconds(100_000)).await;
    }
    assert_eq!(upstream.connections(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_may_be_silent_for_an_hour_and_traffic_either_way_keeps_it() {
    let upstream = || {
        InMemory::new(|mut conn| async move {
            conn.request().await;
            conn.write(SWITCH).await;
            loop {
                let byte = conn.read(1).await;
                sleep(seconds(3500)).await;
                conn.write(byte).await;
            }
        })
    };
    for (exact, limit) in [
        (with(upstream()).build().unwrap(), 3600),
        (with(upstream()).tunnel_idle_timeout(seconds(4000)).build().unwrap(), 4000),
    ] {
        let proxy = TransparentProxy::builder().client(exact).build().unwrap();
        let (front, _) = Memory::serve(proxy, |serve| serve);
        let mut client = front.client().await;
        client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n").await;
        assert_eq!(client.head_response().await.status(), 101);
        let start = Instant::now();
        for _ in 0..3 {
            sleep(seconds(3500)).await;
            client.send("x").await;
            assert_eq!(client.read(1).await, b"x");
        }
        client.closed().await;
        // The timer fires four times within the timeout.
        let silent = start.elapsed() - seconds(6 * 3500);
        assert!((seconds(limit)..=seconds(limit) * 5 / 4).contains(&silent), "{silent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_in_a_clients_own_hands_has_no_limit_of_ours() {
    let proxy = to(|mut conn| async move {
        conn.request().await;
        conn.write(SWITCH).await;
        let byte = conn.read(1).await;
        conn.write(byte).await;
    });
    let request = Request::get("http://h/").header("connection", "upgrade").header("upgrade", "foo");
    let mut response = proxy.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let mut io = Upgraded::take(&mut response).unwrap();
    sleep(seconds(100_000)).await;
    io.write_all(b"x").await.unwrap();
    assert_eq!(io.read_u8().await.unwrap(), b'x');
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_turned_off_is_none() {
    let upstream = InMemory::new(|mut conn| async move {
        conn.head().await;
        sleep(seconds(100_000)).await;
        conn.read(15).await;
        sleep(seconds(100_000)).await;
        conn.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no").await;
        sleep(seconds(100_000)).await;
        conn.write("k").await;
    });
    let builder = with(upstream).connect_timeout(None).response_timeout(None).body_idle_timeout(None);
    let proxy = builder.tunnel_idle_timeout(None).build().unwrap();
    let (feed, request) = upload();
    let feeding = async {
        sleep(seconds(100_000)).await;
        feed.data("piece").await;
        drop(feed);
    };
    let (response, ()) = tokio::join!(proxy.oneshot(request), feeding);
    assert_eq!(response.unwrap().into_body().collect().await.unwrap().to_bytes(), "ok");
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_no_clock_reaches_is_none() {
    const EVER: Duration = Duration::MAX;
    let upstream = InMemory::new(|mut conn| async move {
        for _ in 0..2 {
            conn.request().await;
            conn.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no").await;
            sleep(seconds(100_000)).await;
            conn.write("k").await;
        }
    });
    let builder = with(upstream.clone()).connect_timeout(EVER).response_timeout(EVER).body_idle_timeout(EVER);
    let builder = builder.tunnel_idle_timeout(EVER).pool_idle_timeout(EVER).pool_max_age(EVER).pool_wait_timeout(EVER);
    let proxy = builder.expect_continue_timeout(EVER).pool_max_connections(1).build().unwrap();
    let one = async || {
        let response = proxy.clone().oneshot(get("http://h/")).await.unwrap();
        response.into_body().collect().await.unwrap().to_bytes()
    };
    let (first, second) = tokio::join!(one(), one());
    assert_eq!((&first[..], &second[..]), (&b"ok"[..], &b"ok"[..]));
    assert_eq!(upstream.connections(), 1);
}

/// Each timeout of a server and of a forward proxy is passed while its client connects.
#[tokio::test]
async fn a_server_and_a_forward_proxy_take_the_longest_duration_for_no_limit() {
    const EVER: Duration = Duration::MAX;
    let ca = TestCa::new();
    let origin = RawUpstream::answering(["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"]);
    for action in [ConnectAction::Tunnel, ConnectAction::Intercept, ConnectAction::Peek] {
        let exact = ExactProxy::builder().tunnel_idle_timeout(EVER).connect_timeout(EVER).build().unwrap();
        let authority = CertificateAuthority::builder().cache_ttl(EVER).build().unwrap();
        let layer = ForwardProxy::builder()
            .client(exact.clone())
            .certificate_authority(authority)
            .on_connect(move |_| action)
            .connect_ports(None)
            .dangerous_dial_anywhere()
            .handshake_timeout(EVER)
            .peek_timeout(EVER)
            .header_timeout(EVER)
            .write_timeout(EVER)
            .build()
            .unwrap();
        let front = Front::serve_with(layer.layer(exact), |serve| {
            let serve = serve.header_timeout(EVER).write_timeout(EVER).handshake_timeout(EVER);
            serve.tcp_keepalive(EVER).drain_timeout(EVER).tls(ca.server_config(&[]))
        })
        .await;
        let tcp = tokio::net::TcpStream::connect(front.addr).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(ca.client_config(&["http/1.1"])));
        let mut client = RawClient::over(connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap());
        client.send(format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.addr())).await;
        assert_eq!(client.head_response().await.status(), 200, "{action:?}");
        let response = client.exchange(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", origin.addr())).await;
        assert_eq!((response.status(), response.text()), (200, "ok"), "{action:?}");
    }
}

#[test]
fn no_time_at_all_is_refused_by_name() {
    for (builder, name) in [
        (ExactProxy::builder().connect_timeout(Duration::ZERO), "connect_timeout"),
        (ExactProxy::builder().response_timeout(Duration::ZERO), "response_timeout"),
        (ExactProxy::builder().body_idle_timeout(Duration::ZERO), "body_idle_timeout"),
        (ExactProxy::builder().tunnel_idle_timeout(Duration::ZERO), "tunnel_idle_timeout"),
        (ExactProxy::builder().max_response_head_bytes(0), "max_response_head_bytes"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}
