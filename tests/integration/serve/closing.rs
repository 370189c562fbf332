//! Closing connections whose clients may still be sending (RFC 9112 §9.6).

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Bytes, routing::post};
use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    time::{Instant, sleep},
};

use crate::support::{Front, Memory, within};

/// Rejects requests without reading their bodies, except on `/read`.
fn app() -> Router {
    let read = async |body: Bytes| body.len().to_string();
    Router::new().route("/read", post(read)).fallback(async || StatusCode::PAYLOAD_TOO_LARGE)
}

#[tokio::test]
async fn an_answer_reaches_a_client_that_reads_only_after_it_has_sent_everything() {
    let front = Front::serve(app()).await;
    // Larger than the kernel's buffers.
    let body = vec![b'x'; 32_000_000];
    let whole = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
    let chunked = format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len());
    for (head, expected) in [(whole.as_str(), 413), (&chunked, 413), ("GET / HTTP/1.1\r\nHost: h\r\nX: ", 431)] {
        let mut client = TcpStream::connect(front.addr).await.unwrap();
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&body).await.expect("the server reads the whole body");
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        within("the answer and its end", client.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_on_sending_is_cut_off_after_5_seconds() {
    let (memory, _end) = Memory::serve(app(), |serve| serve);
    let mut client = memory.stream().await;
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 413"), "the response and the end of the stream arrive at once");
    let began = Instant::now();
    while client.write_all(b"still").await.is_ok() {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_client_whose_request_was_read() {
    for request in [
        "POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
        "POST /read HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    ] {
        let stop = Arc::new(Notify::new());
        let signal = stop.clone();
        let (memory, end) =
            Memory::serve(app(), |serve| serve.with_graceful_shutdown(async move { signal.notified().await }));
        let mut client = memory.client().await;
        client.exchange(request).await;
        let began = Instant::now();
        stop.notify_one();
        assert_eq!(end.await.unwrap().cut(), 0);
        assert!(began.elapsed() < Duration::from_secs(1), "{request}");
    }
}
