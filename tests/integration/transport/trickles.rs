//! Peers that send what is no content byte by byte: chunk sizes, extensions, trailers, empty frames. None of it restarts the limit on the next
//! frame of a body.

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use nexthop::{Body, ErrorKind, ExactProxy, Phase, ProxyApp, exact::HttpVersions};
use tokio::time::{Instant, sleep};

use crate::support::{
    InMemory, Memory, RawConn, Scripted,
    body::fed,
    frames::{DATA, END_STREAM, HEADERS},
    get,
};

/// Beginnings of what is no content, which go on with any number of the same byte.
const FRAMING: [(&str, &str, char); 6] = [
    ("a chunk's size", "", '0'),
    ("an extension", "5;a", 'b'),
    ("a quoted extension", "5;a=\"", 'b'),
    ("an extension of the last chunk", "0;a", 'b'),
    ("a trailer", "0\r\nx: ", 'y'),
    ("another trailer", "0\r\nx: y\r\n", 'z'),
];

/// Frame types of HTTP/2.
const CONTINUATION: u8 = 9;
const UNKNOWN: u8 = 0x42;

const LATE: Duration = Duration::from_secs(60);
/// Between two bytes of what trickles.
const PAUSE: Duration = Duration::from_secs(25);

/// Sends a chunk after 100 s, and then what trickles for as long as somebody takes it.
async fn trickle(mut conn: RawConn, begin: &'static str, more: char) {
    conn.head().await;
    conn.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    conn.write(begin).await;
    loop {
        sleep(PAUSE).await;
        conn.write(more.to_string()).await;
    }
}

fn to(begin: &'static str, more: char) -> ExactProxy {
    let upstream = InMemory::new(move |conn| trickle(conn, begin, more));
    ExactProxy::builder().connector(upstream).build().unwrap()
}

/// Reads on until the body fails: when that is, counted from its last frame.
async fn fails(body: &mut Body) -> Duration {
    let mut last = Instant::now();
    loop {
        match body.frame().await.expect("no end") {
            Ok(frame) if frame.data_ref().is_some_and(|data| !data.is_empty()) => last = Instant::now(),
            Ok(frame) => assert!(frame.is_data()),
            Err(error) => {
                assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::ResponseBody));
                return last.elapsed();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_trickles_its_framing_is_late_60_s_after_the_last_content() {
    for (what, begin, more) in FRAMING {
        let mut response = to(begin, more).request(get("http://h/")).await.unwrap();
        assert_eq!(fails(response.body_mut()).await, LATE, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_no_earlier_late_before_a_request_that_is_still_being_sent() {
    for (what, begin, more) in FRAMING {
        let (_feed, body) = fed();
        let request = Request::post("http://h/").body(Body::new(body)).unwrap();
        let mut response = to(begin, more).request(request).await.unwrap();
        assert_eq!(fails(response.body_mut()).await, LATE, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn frames_of_http_2_without_content_are_none() {
    for kind in [DATA, HEADERS, UNKNOWN] {
        let upstream = Scripted::frames(move |_, frames| async move {
            let mut frames = frames.greet(&[]).await;
            let stream = frames.request().await;
            frames.ok(stream, false).await;
            frames.data(stream, b"abc", false).await;
            if kind == HEADERS {
                frames.write(HEADERS, END_STREAM, stream, &[0, 1, b'x', 1]).await;
            }
            loop {
                sleep(PAUSE).await;
                match kind {
                    DATA => frames.data(stream, b"", false).await,
                    HEADERS => frames.write(CONTINUATION, 0, stream, b"").await,
                    _ => frames.write(UNKNOWN, 0, 0, b"").await,
                }
            }
        });
        let builder = ExactProxy::builder().http_versions(HttpVersions::Http2Only).http2_ping_interval(None);
        let proxy = builder.connector(upstream.clone()).build().unwrap();
        let mut response = proxy.request(get("http://h/")).await.unwrap();
        assert_eq!(fails(response.body_mut()).await, LATE, "{kind}");
        upstream.finish();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_trickles_the_framing_of_its_body_is_answered_408() {
    for (what, begin, more) in FRAMING {
        let upstream = InMemory::new(|mut conn| async move {
            conn.request().await;
        });
        let exact = ExactProxy::builder().connector(upstream).build().unwrap();
        let app = ProxyApp::builder("http://h").client(exact).build().unwrap();
        let (memory, _end) = Memory::serve(app, |serve| serve);
        let mut client = memory.client().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
        client.send(begin).await;
        let began = Instant::now();
        let trickling = async {
            loop {
                sleep(PAUSE).await;
                client.send(more.to_string()).await;
            }
        };
        // The response is read from what the client has received when it was sent.
        assert!(tokio::time::timeout(LATE + Duration::from_secs(1), trickling).await.is_err());
        let response = client.response().await;
        assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT.as_u16(), "{what}");
        assert_eq!(began.elapsed(), LATE + Duration::from_secs(1), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_frames_without_content_is_late_too() {
    for versions in [HttpVersions::Auto, HttpVersions::Http2Only] {
        let http1 = InMemory::new(|mut conn| async move {
            conn.request().await;
        });
        let http2 = Scripted::frames(|_, frames| async move {
            frames.greet(&[]).await.drain().await;
        });
        let builder = ExactProxy::builder().http_versions(versions);
        let builder = match versions {
            HttpVersions::Http2Only => builder.connector(http2),
            _ => builder.connector(http1),
        };
        let (feed, body) = fed();
        let request = Request::post("http://h/").body(Body::new(body)).unwrap();
        tokio::spawn(async move {
            feed.data("abc").await;
            while feed.data("").await {
                sleep(PAUSE).await;
            }
        });
        let began = Instant::now();
        let error = builder.build().unwrap().request(request).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed()), (ErrorKind::RequestTimeout, LATE), "{versions:?}");
    }
}
