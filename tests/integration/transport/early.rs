//! Responses that arrive before the request was sent completely.

use http::Request;
use nexthop::{ExactProxy, TransparentProxy};
use tokio::sync::mpsc;

use crate::support::{Front, InMemory, Memory, RawClient, RawUpstream, body::fed, fetch, get, read, send, within};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const TOO_LARGE: &str = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig";

/// Sends a body of `size` bytes, and reads the response only afterwards, as some clients do. Returns its status and
/// body.
async fn upload_then_read(front: &Front, host: std::net::SocketAddr, size: usize) -> (u16, String) {
    let mut client = front.client().await;
    let head = format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n\r\n");
    client.send(head).await;
    client.send(vec![b'x'; size]).await;
    let response = client.response().await;
    (response.status(), response.text().to_owned())
}

#[tokio::test]
async fn a_413_reaches_a_client_that_reads_only_after_it_has_written() {
    let front = Front::hyper(TransparentProxy::new()).await;
    for close in [false, true] {
        let upstream = RawUpstream::tcp(move |mut conn| async move {
            loop {
                conn.head().await;
                conn.write(TOO_LARGE).await;
                if close {
                    return conn.reset(); // like servers that have not read the body
                }
                conn.read(600_000).await;
            }
        });
        for _ in 0..5 {
            let answer = upload_then_read(&front, upstream.addr(), 600_000).await;
            // The reset may overtake the response on the network; the client then receives a 502.
            assert!(answer == (413, "big".to_owned()) || close && answer.0 == 502, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn what_an_upstream_that_has_closed_does_not_take_is_taken_from_the_client_all_the_same() {
    // In memory, since the kernel would buffer the bytes.
    let upstream = InMemory::new(|mut conn| async move {
        conn.head().await;
        conn.write(TOO_LARGE).await;
    });
    let exact = ExactProxy::builder().connector(upstream).build().unwrap();
    let proxy = TransparentProxy::builder().client(exact).build().unwrap();
    let (front, _) = Memory::serve(proxy, |serve| serve);
    let mut client = front.client().await;
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n").await;
    client.send(vec![b'x'; 900_000]).await;
    let response = client.response().await;
    assert_eq!((response.status(), response.text()), (413, "big"));
}

#[tokio::test]
async fn an_early_response_is_passed_on_at_once_and_the_body_goes_on() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        conn.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfo").await;
        assert_eq!(conn.read(11).await, b"3\r\none\r\n2\r\n");
        conn.write("ur").await;
        assert_eq!(conn.read(9).await, b"oo\r\n0\r\n\r\n");
        conn.request().await;
        conn.write(OK).await;
    });
    let proxy = ExactProxy::new();
    let (feed, body) = fed();
    let response = send(&proxy, Request::post(upstream.url("/")).body(body).unwrap()).await.unwrap();
    assert_eq!(http_body::Body::size_hint(response.body()).exact(), Some(4));
    assert!(feed.data("one").await);
    assert!(feed.data("oo").await);
    drop(feed);
    let (bytes, end) = read(response).await;
    assert_eq!((bytes.as_slice(), end.is_ok()), (&b"four"[..], true));
    until_reused(&proxy, &upstream).await;
}

/// Asserts that the connection is pooled again once both bodies have ended. The reader of the response cannot observe
/// the end of the request body.
async fn until_reused(proxy: &ExactProxy, upstream: &RawUpstream) {
    within("the connection's return", async {
        // The task that sends the rest of the body completes within the next polls of this thread.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(fetch(proxy, get(upstream.url("/"))).await.0, 200);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_stream_echoed_as_it_comes_goes_both_ways_and_its_connection_is_used_again() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        conn.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for _ in 0..50 {
            let chunk = conn.read(8).await;
            conn.write(chunk).await;
        }
        let end = conn.read(5).await;
        conn.write(end).await;
        conn.request().await;
        conn.write(OK).await;
    });
    let front = Front::hyper(TransparentProxy::new()).await;
    let mut client = front.client().await;
    client.send(format!("POST / HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n", upstream.addr())).await;
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
    let mut got = Vec::new();
    for n in 0..50 {
        let chunk = format!("3\r\n{n:03}\r\n");
        client.send(&chunk).await;
        while !got.ends_with(chunk.as_bytes()) {
            got.extend(client.read(1).await);
        }
    }
    assert!(got.starts_with(head.as_bytes()));
    client.send("0\r\n\r\n").await;
    assert_eq!(client.read(5).await, b"0\r\n\r\n");
    let next = client.exchange(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", upstream.addr())).await;
    assert_eq!((next.text(), upstream.connections()), ("ok", 1));
}

#[tokio::test]
async fn a_response_over_before_the_body_is_whole_though_the_upstream_takes_no_more() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        conn.write(TOO_LARGE).await;
        conn.reset();
    });
    let (feed, body) = fed();
    let proxy = ExactProxy::new();
    let sending = send(&proxy, Request::post(upstream.url("/")).body(body).unwrap());
    let feeding = async {
        // More than the limit for the rest of an answered request's body: the body is dropped, which ends this loop.
        while feed.data(vec![0; 64 * 1024]).await {}
    };
    let (response, ()) = within("the end of the upload", async { tokio::join!(sending, feeding) }).await;
    match response {
        Ok(response) => assert_eq!(read(response).await.0, b"big"),
        Err(error) => assert_eq!(error.status().as_u16(), 502),
    }
    upstream.wait_closed().await;
}

/// An endless body that is always ready.
struct Endless(mpsc::UnboundedSender<usize>);

impl http_body::Body for Endless {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        static PIECE: [u8; 16 * 1024] = [7; 16 * 1024];
        let _ = self.0.send(PIECE.len());
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(bytes::Bytes::from_static(&PIECE)))))
    }
}

#[tokio::test]
async fn an_endless_body_does_not_keep_the_thread_when_its_upstream_has_gone() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        conn.write(TOO_LARGE).await;
        conn.reset();
    });
    let (taken, mut count) = mpsc::unbounded_channel();
    let request = Request::post(upstream.url("/")).body(Endless(taken)).unwrap();
    if let Ok(response) = send(&ExactProxy::new(), request).await {
        assert_eq!(read(response).await.0, b"big");
    }
    // The channel closes when the body is dropped.
    let mut total = 0;
    while let Some(taken) = within("the body's end", count.recv()).await {
        total += taken;
    }
    assert!(total < 64 * 1024 * 1024, "{total} bytes taken");
}

#[tokio::test]
async fn the_rest_of_a_body_does_not_hold_a_connection_whose_response_is_over() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        conn.write(TOO_LARGE).await;
        let rest = conn.read_to_end().await.len();
        assert!((1024 * 1024..8 * 1024 * 1024).contains(&rest), "{rest} bytes");
    });
    let (feed, body) = fed();
    let response = send(&ExactProxy::new(), Request::post(upstream.url("/")).body(body).unwrap()).await.unwrap();
    assert_eq!(read(response).await.0, b"big");
    while within("the upload", feed.data(vec![0; 16 * 1024])).await {}
    upstream.wait_closed().await;
}

#[tokio::test]
async fn leaving_an_early_response_closes_its_connection_at_once() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        conn.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfo").await;
        conn.read_to_end().await;
    });
    let proxy = ExactProxy::builder().body_idle_timeout(None).build().unwrap();
    let (feed, body) = fed();
    let response = send(&proxy, Request::post(upstream.url("/")).body(body).unwrap()).await.unwrap();
    let mut body = response.into_body();
    use http_body_util::BodyExt;
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "fo");
    // The relaying task now waits for the upstream and for the client.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    drop(body);
    within("the upload's end", feed.dropped()).await;
    upstream.wait_closed().await;
}

#[tokio::test]
async fn a_body_that_fails_after_the_head_cuts_the_response() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        conn.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n").await;
        assert_eq!(conn.read_to_end().await, b"");
    });
    let (feed, body) = fed();
    let response = send(&ExactProxy::new(), Request::post(upstream.url("/")).body(body).unwrap()).await.unwrap();
    feed.fail("gone").await;
    assert!(read(response).await.1.is_err());
    upstream.wait_closed().await;
}

#[tokio::test]
async fn a_failing_body_does_not_spoil_a_response_that_was_complete() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        conn.write(TOO_LARGE).await;
        conn.read_to_end().await;
    });
    let (feed, body) = fed();
    let response = send(&ExactProxy::new(), Request::post(upstream.url("/")).body(body).unwrap()).await.unwrap();
    for _ in 0..20 {
        tokio::task::yield_now().await; // until the task has read the response
    }
    feed.fail("gone").await;
    upstream.wait_closed().await;
    let (bytes, end) = read(response).await;
    assert_eq!((bytes.as_slice(), end.is_ok()), (&b"big"[..], true));
}

#[tokio::test]
async fn the_client_of_a_hyper_server_may_go_on_after_an_early_response() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        if conn.index == 0 {
            conn.head().await;
            conn.write(TOO_LARGE).await;
            conn.read(600_000).await;
        }
        loop {
            conn.request().await;
            conn.write(OK).await;
        }
    });
    let front = Front::hyper(TransparentProxy::new()).await;
    let mut client: RawClient = front.client().await;
    client.send(format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 600000\r\n\r\n", upstream.addr())).await;
    client.send(vec![b'x'; 600_000]).await;
    assert_eq!(client.response().await.status(), 413);
    let next = client.exchange(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", upstream.addr())).await;
    assert_eq!(next.text(), "ok");
}
