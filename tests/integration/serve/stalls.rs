//! Clients that stop reading, and clients that read slowly.

use std::{convert::Infallible, time::Duration};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::Request,
    response::Response,
};
use bytes::Bytes;
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nexthop::serve::Drain;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::support::{
    Memory,
    body::{Feed, fed},
};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Answers with streaming bodies, and sends their feeds to the returned receiver.
fn feeds() -> (Router, mpsc::Receiver<Feed>) {
    let (feeds, handed) = mpsc::channel(1);
    let app = Router::new().fallback(async move || {
        let (feed, body) = fed();
        feeds.send(feed).await.unwrap();
        Response::new(Body::new(body))
    });
    (app, handed)
}

/// Answers with a body of one frame.
fn whole(size: usize) -> Router {
    Router::new().fallback(async move || "x".repeat(size))
}

/// Accepts an upgrade or a CONNECT, and echoes.
fn tunnel() -> Router {
    Router::new().fallback(async |mut request: Request| {
        let connect = request.method() == Method::CONNECT;
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        if connect {
            return Response::new(Body::empty());
        }
        let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        answer.header(header::CONNECTION, "upgrade").header(header::UPGRADE, "echo").body(Body::empty()).unwrap()
    })
}

/// Connects an HTTP/2 client whose flow control windows have this size.
async fn http_2<B>(memory: &Memory, window: u32) -> SendRequest<B>
where
    B: HttpBody<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let mut client = http2::Builder::new(TokioExecutor::new());
    client.initial_stream_window_size(window);
    let (sender, connection) = client.handshake(TokioIo::new(memory.stream().await)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Waits until all connections are closed.
async fn all_gone(drain: &Drain) {
    loop {
        sleep(Duration::from_millis(100)).await;
        if drain.open() == 0 {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_reading_is_cut_after_60_seconds() {
    let (app, mut feeds) = feeds();
    let (memory, _end) = Memory::serve(app, |serve| serve);
    let mut client = memory.client().await;
    client.send(REQUEST).await;
    let feed = feeds.recv().await.unwrap();
    sleep(Duration::from_secs(1000)).await; // the application is slow, not the client
    let began = Instant::now();
    while feed.data("x".repeat(10_000)).await {}
    assert_eq!(began.elapsed().as_secs(), 60);
    let (read, _) = client.read_to_end().await;
    assert!(!read.ends_with(b"\r\n0\r\n\r\n"));
}

#[tokio::test(start_paused = true)]
async fn it_is_cut_no_earlier_where_the_response_is_buffered_whole() {
    let drain = Drain::new();
    let (memory, _end) = Memory::serve(whole(200_000), |serve| serve.drain(drain.clone()));
    let mut client = memory.client().await;
    let began = Instant::now();
    client.send(REQUEST).await;
    sleep(Duration::from_secs(50)).await;
    client.read(1).await;
    all_gone(&drain).await;
    assert_eq!(began.elapsed().as_secs(), 110);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_not_cut() {
    for size in [200_000, 600_000] {
        let (memory, _end) = Memory::serve(whole(size), |serve| serve); // one size is below hyper's buffer, one above
        let mut client = memory.client().await;
        client.send(REQUEST).await;
        let mut read = 0;
        while read < size {
            sleep(Duration::from_secs(59)).await;
            read += client.read(5_000).await.len();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_can_be_set_and_lifted() {
    for (limit, cut) in [(Some(5), true), (None, false)] {
        let limit = limit.map(Duration::from_secs);
        let drain = Drain::new();
        let (memory, _end) = Memory::serve(whole(200_000), |serve| serve.write_timeout(limit).drain(drain.clone()));
        let mut client = memory.client().await;
        client.send(REQUEST).await;
        sleep(limit.unwrap_or(Duration::from_secs(10_000)) + Duration::from_secs(1)).await;
        assert_eq!(drain.open() == 0, cut);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_is_cut_where_its_client_stops_reading_and_not_where_it_is_quiet() {
    let drain = Drain::new();
    let (memory, _end) = Memory::serve(tunnel(), |serve| serve.drain(drain.clone()));
    let mut client = memory.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await;
    assert_eq!(client.head_response().await.status(), 101);
    sleep(Duration::from_secs(1000)).await;
    let began = Instant::now();
    client.send("x".repeat(70_000)).await; // more than the stream buffers
    sleep(Duration::from_secs(50)).await;
    client.read(1).await;
    all_gone(&drain).await;
    assert_eq!(began.elapsed().as_secs(), 110);
}

#[tokio::test(start_paused = true)]
async fn a_silent_http_2_connection_is_told_to_go_and_then_cut() {
    let drain = Drain::new();
    let (memory, _end) = Memory::serve(whole(1), |serve| serve.drain(drain.clone()));
    let mut client = memory.client().await;
    let began = Instant::now();
    client.send([PREFACE, b"\0\0\0\x04\0\0\0\0\0"].concat()).await;
    all_gone(&drain).await;
    assert_eq!(began.elapsed().as_secs(), 30 + 60);
}

#[tokio::test(start_paused = true)]
async fn an_http_2_client_that_opens_no_window_is_cut_though_it_reads() {
    let (app, mut feeds) = feeds();
    let (memory, _end) = Memory::serve(app, |serve| serve.header_timeout(None));
    let mut sender = http_2::<Empty<Bytes>>(&memory, 1000).await;
    let response = sender.send_request(http::Request::new(Empty::new())).await.unwrap();
    let feed = feeds.recv().await.unwrap();
    sleep(Duration::from_secs(1010)).await; // the application is slow, not the client
    let began = Instant::now();
    while feed.data("x".repeat(100)).await {}
    assert_eq!(began.elapsed().as_secs(), 60);
    drop(response);
}

#[tokio::test(start_paused = true)]
async fn an_http_2_client_that_stops_reading_its_socket_is_cut() {
    let (app, mut feeds) = feeds();
    let (memory, _end) = Memory::serve(app, |serve| serve);
    let mut client = memory.client().await;
    // SETTINGS with a window of 16 MiB, a WINDOW_UPDATE for the connection, and `GET /` by HPACK's static table.
    let settings = b"\0\0\x06\x04\0\0\0\0\0\0\x04\x01\0\0\0";
    let window = b"\0\0\x04\x08\0\0\0\0\0\x01\0\0\0";
    let get = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a";
    client.send([PREFACE, settings, window, get].concat()).await;
    let feed = feeds.recv().await.unwrap();
    let began = Instant::now();
    while feed.data("x".repeat(10_000)).await {}
    assert_eq!(began.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_http_2_is_not_cut() {
    for size in [1_000, 50_000] {
        let (memory, _end) = Memory::serve(whole(size), |serve| serve);
        let mut sender = http_2::<Empty<Bytes>>(&memory, 500).await;
        let mut body = sender.send_request(http::Request::new(Empty::new())).await.unwrap().into_body();
        let mut read = 0;
        while read < size {
            sleep(Duration::from_secs(59)).await;
            read += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
        assert_eq!(read, size);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_application_behind_http_2_is_waited_for() {
    let (app, mut feeds) = feeds();
    let (memory, _end) = Memory::serve(app, |serve| serve);
    let mut sender = http_2::<Full<Bytes>>(&memory, 1000).await;
    let mut body = sender.send_request(http::Request::new(Full::from("x"))).await.unwrap().into_body();
    let feed = feeds.recv().await.unwrap();
    for _ in 0..3 {
        sleep(Duration::from_secs(1000)).await;
        assert!(feed.data("hello").await);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_tunnel_keeps_its_http_2_connection_open() {
    let (memory, _end) = Memory::serve(tunnel(), |serve| serve);
    let mut sender = http_2::<Empty<Bytes>>(&memory, 1000).await;
    let connect = http::Request::builder().method(Method::CONNECT).uri("a:1").body(Empty::new()).unwrap();
    let response = sender.send_request(connect).await.unwrap();
    let mut io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    sleep(Duration::from_secs(1000)).await;
    assert!(sender.is_ready(), "the connection is shutting down");
    io.write_all(b"hi").await.unwrap();
    let mut echoed = [0; 2];
    io.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"hi");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_all_of_a_response_that_breaks_off() {
    let (app, mut handed) = feeds();
    let (memory, _end) = Memory::serve(app, |serve| serve);
    let mut client = memory.client().await;
    client.read_slowly(20_000, Duration::from_secs(20));
    client.send(REQUEST).await;
    let feed = handed.recv().await.unwrap();
    tokio::spawn(async move {
        for _ in 0..4 {
            feed.data(vec![b'x'; 100_000]).await;
        }
        feed.fail("broken").await;
    });
    let (received, _) = client.read_to_end().await;
    assert_eq!(received.iter().filter(|byte| **byte == b'x').count(), 400_000);
    assert!(!received.ends_with(b"0\r\n\r\n"));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_breaks_off_is_not_kept_for_a_client_that_stops_reading() {
    let (app, mut handed) = feeds();
    let drain = Drain::new();
    let (memory, _end) = Memory::serve(app, |serve| serve.drain(drain.clone()));
    let mut client = memory.client().await;
    client.send(REQUEST).await;
    let feed = handed.recv().await.unwrap();
    feed.data(vec![b'x'; 100_000]).await;
    feed.fail("broken").await;
    let began = Instant::now();
    while drain.open() > 0 {
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(began.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_head_whose_body_breaks_off_at_once_is_delivered() {
    let (app, mut handed) = feeds();
    let (memory, _end) = Memory::serve(app, |serve| serve);
    let mut client = memory.client().await;
    client.send(REQUEST).await;
    handed.recv().await.unwrap().fail("broken").await;
    let (received, _) = client.read_to_end().await;
    assert!(received.starts_with(b"HTTP/1.1 200 OK\r\n") && received.ends_with(b"\r\n\r\n"), "{received:?}");
}

#[tokio::test(start_paused = true)]
async fn streams_of_http_2_that_break_off_deliver_what_they_have_and_cost_no_other() {
    let (app, mut handed) = feeds();
    let (memory, _end) = Memory::serve(app, |serve| serve);
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(memory.stream().await)).await.unwrap();
    tokio::spawn(connection);
    let mut bodies = Vec::new();
    let mut feeds = Vec::new();
    for _ in 0..10 {
        let request = http::Request::get("http://h/").body(Empty::<Bytes>::new()).unwrap();
        let response = tokio::spawn(sender.send_request(request));
        feeds.push(handed.recv().await.unwrap());
        bodies.push(response.await.unwrap().unwrap().into_body());
    }
    for feed in feeds.drain(1..) {
        feed.data("some").await;
        feed.fail("broken").await;
    }
    let whole = bodies.remove(0);
    for mut body in bodies {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "some");
        assert!(body.frame().await.unwrap().is_err());
    }
    feeds.remove(0).data("whole").await;
    assert_eq!(whole.collect().await.unwrap().to_bytes(), "whole");
}
