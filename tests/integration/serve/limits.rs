//! Limits of a connection: time, bytes, headers, and the number of connections.

use std::{io, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::State, response::Response};
use nexthop::serve::{Accepted, Listener};
use tokio::{
    io::DuplexStream,
    sync::{Notify, mpsc},
    time::{Instant, sleep},
};

use crate::support::{Front, Memory, RawClient, body::fed, echo};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_connection_that_brings_no_head_is_closed_after_30_seconds() {
    let (memory, _end) = Memory::serve(echo(), |serve| serve);
    for start in ["", "P", "GET / HT", "PRI * HTTP/2.0\r\n"] {
        let mut client = memory.client().await;
        let began = Instant::now();
        client.send(start).await;
        client.closed().await;
        assert_eq!(began.elapsed().as_secs(), 30, "after {start:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_drips_in_is_not_waited_for_any_longer() {
    let (memory, _end) = Memory::serve(echo(), |serve| serve.header_timeout(Duration::from_secs(5)));
    let mut client = memory.client().await;
    client.exchange(REQUEST).await;
    let began = Instant::now();
    client.send("GET / HTTP/1.1\r\n").await;
    for _ in 0..4 {
        sleep(Duration::from_secs(1)).await;
        client.send("X: y\r\n").await;
    }
    client.closed().await;
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_the_next_request_counts_from_the_end_of_the_last() {
    let (memory, _end) = Memory::serve(echo(), |serve| serve.header_timeout(Duration::from_secs(30)));
    let mut client = memory.client().await;
    for _ in 0..3 {
        sleep(Duration::from_secs(20)).await;
        client.exchange(REQUEST).await;
    }
    let began = Instant::now();
    client.closed().await;
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_request_may_take_longer_than_a_head_and_so_may_its_response() {
    let (memory, _end) = Memory::serve(
        Router::new().fallback(async || {
            sleep(Duration::from_secs(1000)).await;
            let (feed, body) = fed();
            tokio::spawn(async move {
                for _ in 0..10 {
                    sleep(Duration::from_secs(100)).await;
                    feed.data("x").await;
                }
            });
            Response::new(Body::new(body))
        }),
        |serve| serve,
    );
    let mut client = memory.client().await;
    assert_eq!(client.exchange(REQUEST).await.text(), "xxxxxxxxxx");
    let began = Instant::now();
    client.closed().await;
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_a_buffered_response_is_not_taken_for_an_idle_client() {
    let size = 200_000; // more than the stream buffers, less than hyper buffers
    let app = Router::new().fallback(move || async move { "x".repeat(size) });
    let (memory, _end) = Memory::serve(app, |serve| serve);
    let mut client = memory.client().await;
    client.send(REQUEST).await;
    let mut read = 0;
    while read < size {
        sleep(Duration::from_secs(20)).await;
        read += client.read(20_000).await.len();
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_a_silent_connection_stays() {
    let (memory, _end) = Memory::serve(echo(), |serve| serve.header_timeout(None));
    let mut client = memory.client().await;
    client.send("GET").await;
    sleep(Duration::from_secs(100_000)).await;
    client.send(" / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn an_idle_http_2_connection_is_told_to_go() {
    let (memory, _end) = Memory::serve(echo(), |serve| serve);
    let mut client = memory.client().await;
    let began = Instant::now();
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    loop {
        let head = client.read(9).await;
        client.read(usize::from(u16::from_be_bytes([head[1], head[2]]))).await;
        if head[3] == 7 {
            break; // GOAWAY
        }
    }
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test]
async fn a_head_that_is_too_long_or_has_too_many_fields_is_answered_431() {
    let front = Front::serve(echo()).await;
    let long = |size| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(size));
    let many = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
    assert_eq!(front.exchange(long(60_000)).await.status(), 200);
    assert_eq!(front.exchange(long(70_000)).await.status(), 431);
    assert_eq!(front.exchange(many(100)).await.status(), 200);
    assert_eq!(front.exchange(many(101)).await.status(), 431);

    let front = Front::serve_with(echo(), |serve| serve.max_head_bytes(1000).max_headers(200)).await;
    assert_eq!(front.exchange(long(900)).await.status(), 200);
    assert_eq!(front.exchange(long(1000)).await.status(), 431);
    assert_eq!(front.exchange(many(150)).await.status(), 200);
    let front = Front::serve_with(echo(), |serve| serve.max_head_bytes(1_000_000)).await;
    assert_eq!(front.exchange(long(900_000)).await.status(), 200);
}

#[tokio::test]
async fn without_keep_alive_a_connection_is_for_one_request() {
    let front = Front::serve_with(echo(), |serve| serve.keep_alive(false)).await;
    let mut client = front.client().await;
    assert_eq!(client.exchange(REQUEST).await.header("connection"), Some("close"));
    client.closed().await;
}

#[tokio::test(start_paused = true)]
async fn more_connections_than_allowed_wait_for_one_to_close() {
    let held = Arc::new(Notify::new());
    let app = Router::new()
        .fallback(async |State(held): State<Arc<Notify>>| {
            held.notify_one();
            "hi"
        })
        .with_state(held.clone());
    let (memory, _end) = Memory::serve(app, |serve| serve.max_connections(1).header_timeout(None));
    let mut first = memory.client().await;
    first.exchange(REQUEST).await;
    held.notified().await;
    let mut second = memory.client().await;
    second.send(REQUEST).await;
    let early = tokio::time::timeout(Duration::from_secs(1000), held.notified()).await;
    assert!(early.is_err(), "the second request was served while the first connection was open");
    drop(first);
    assert_eq!(second.response().await.text(), "hi");
}

/// Fails like a process without free file descriptors, and then accepts.
struct Exhausted {
    failures: usize,
    then: mpsc::Receiver<Accepted<DuplexStream>>,
}

impl Listener for Exhausted {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<Accepted<DuplexStream>> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(if self.failures.is_multiple_of(2) {
                io::Error::from_raw_os_error(24) // EMFILE
            } else {
                io::ErrorKind::ConnectionAborted.into()
            });
        }
        self.then.accept().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_accept_is_waited_out_and_not_spun_on() {
    let (connections, then) = mpsc::channel(1);
    let began = Instant::now();
    let server = tokio::spawn(nexthop::serve(Exhausted { failures: 10, then }, echo()).into_future());
    let (client, io) = tokio::io::duplex(1024);
    connections.send(Accepted::new(io)).await.unwrap();
    RawClient::over(client).patient().exchange(REQUEST).await;
    // An aborted connection causes no delay; each of the five EMFILE errors delays for one second.
    assert_eq!(began.elapsed().as_secs(), 5);
    server.abort();
}
