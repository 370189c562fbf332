//! Backpressure: memory is limited by a few buffers, whichever side is slow. In-memory streams make the size of every
//! buffer known.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::BodyExt;
use nexthop::{ExactProxy, ProxyApp, TransparentProxy};
use tokio::io::AsyncWriteExt;

use crate::support::{InMemory, Memory, RawClient, body::fed, get, send};

/// Starts an upstream that sends `head` and then an endless body; counts the bytes it has sent.
fn endless(head: &'static str) -> (InMemory, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    let upstream = InMemory::new(move |mut conn| {
        let count = count.clone();
        async move {
            conn.head().await;
            conn.write(head).await;
            loop {
                conn.write([7; 4096]).await;
                count.fetch_add(4096, Ordering::SeqCst);
            }
        }
    });
    (upstream, taken)
}

/// An endless body; counts the bytes that were read from it.
struct Endless(Arc<AtomicUsize>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static PIECE: [u8; 16 * 1024] = [7; 16 * 1024];
        self.0.fetch_add(PIECE.len(), Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PIECE)))))
    }
}

/// Yields to the other tasks until the count no longer changes.
async fn settled(count: &AtomicUsize) -> usize {
    let mut last = usize::MAX;
    while last != count.load(Ordering::SeqCst) {
        last = count.load(Ordering::SeqCst);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    last
}

/// Total size of the buffers of both duplex streams, of this crate and of hyper.
const BUFFERS: usize = 1024 * 1024;

#[tokio::test]
async fn a_reader_that_stalls_stalls_the_upstream() {
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"] {
        let (upstream, taken) = endless(head);
        let proxy = ExactProxy::builder().connector(upstream).build().unwrap();
        let mut body = send(&proxy, get("http://h/")).await.unwrap().into_body();
        let first = settled(&taken).await;
        assert!(first <= 160 * 1024, "{first} bytes taken without a reader");
        let mut read = 0;
        while read < 4 * 1024 * 1024 {
            read += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
        let later = settled(&taken).await - read;
        assert!(later <= 160 * 1024, "{later} bytes taken ahead of the reader");
    }
}

#[tokio::test]
async fn a_client_that_stalls_stalls_the_upstream() {
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"] {
        let (upstream, taken) = endless(head);
        let exact = ExactProxy::builder().connector(upstream).build().unwrap();
        let proxy = TransparentProxy::builder().client(exact).build().unwrap();
        let (front, _) = Memory::serve(proxy, |serve| serve);
        let mut client = front.client().await;
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let stalled = settled(&taken).await;
        assert!(stalled > 0 && stalled <= BUFFERS, "{stalled} bytes taken");
    }
}

#[tokio::test]
async fn an_upstream_that_stalls_stalls_the_uploader() {
    let upstream = InMemory::new(|mut conn| async move {
        conn.head().await;
        std::future::pending::<()>().await;
    });
    let proxy = ExactProxy::builder().connector(upstream).build().unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let uploading = tokio::spawn(send(&proxy, Request::post("http://h/").body(Endless(taken.clone())).unwrap()));
    let stalled = settled(&taken).await;
    assert!(stalled > 0 && stalled <= 160 * 1024, "{stalled} bytes taken");
    uploading.abort();
}

#[tokio::test]
async fn an_upstream_that_stalls_stalls_the_client_and_64_mib_arrive_once_it_goes_on() {
    let go = Arc::new(tokio::sync::Notify::new());
    let gone_on = go.clone();
    let upstream = InMemory::new(move |mut conn| {
        let go = go.clone();
        async move {
            conn.head().await;
            go.notified().await;
            for _ in 0..64 {
                assert!(conn.read(1 << 20).await.iter().all(|byte| *byte == 7));
            }
            conn.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    });
    let exact = ExactProxy::builder().connector(upstream).build().unwrap();
    let app = ProxyApp::builder("http://h/").client(exact).build().unwrap();
    let (front, _) = Memory::serve(app, |serve| serve);
    let (read, mut write) = tokio::io::split(front.stream().await);
    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    let uploading = tokio::spawn(async move {
        let head = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n", 64 << 20);
        write.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..64 * 64 {
            write.write_all(&[7; 16 * 1024]).await.unwrap();
            count.fetch_add(16 * 1024, Ordering::SeqCst);
        }
        write
    });
    let stalled = settled(&taken).await;
    assert!(stalled > 0 && stalled <= BUFFERS, "{stalled} bytes taken");
    gone_on.notify_one();
    let mut client = RawClient::over(tokio::io::join(read, tokio::io::sink())).patient();
    assert_eq!(client.response().await.text(), "ok");
    uploading.await.unwrap();
}

#[tokio::test]
async fn both_ways_at_once_a_stalled_reader_stalls_the_download_and_not_the_upload() {
    let (upstream, down) = endless("HTTP/1.1 200 OK\r\n\r\n");
    let proxy = ExactProxy::builder().connector(upstream).build().unwrap();
    let (feed, body) = fed();
    let response = send(&proxy, Request::post("http://h/").body(body).unwrap()).await.unwrap();
    let stalled = settled(&down).await;
    assert!(stalled > 0 && stalled <= 256 * 1024, "{stalled} bytes taken");
    assert!(feed.data("taken").await);
    assert!(feed.data("taken").await);
    drop(response);
    feed.dropped().await;
}
