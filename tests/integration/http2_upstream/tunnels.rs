//! Streams as tunnels: extended `CONNECT` and `CONNECT`, their ends and their flow control windows.

use std::future::pending;

use http::{Method, Request, StatusCode};
use nexthop::{Body, ErrorKind, ProxyApp, ext::ConnectTo, serve::Drain, tunnel::Upgraded};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::Instant,
};

use super::{call, seconds, to, with};
use crate::support::{
    Frames, Memory, Scripted,
    frames::{CANCEL, DATA, END_STREAM, REFUSED_STREAM, RST_STREAM, WINDOW_UPDATE},
    get,
};

/// SETTINGS_ENABLE_CONNECT_PROTOCOL.
const CONNECT_PROTOCOL: u16 = 8;

/// Starts a script whose SETTINGS allow extended `CONNECT`.
fn upstream<F, Fut>(script: F) -> Scripted
where
    F: Fn(usize, Frames) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let script = std::sync::Arc::new(script);
    Scripted::frames(move |index, frames| {
        let script = script.clone();
        async move { script(index, frames.greet(&[(CONNECT_PROTOCOL, 1)]).await).await }
    })
}

fn upgrade() -> Request<Body> {
    let request = Request::get("http://h/").header("connection", "upgrade").header("upgrade", "foo");
    request.body(Body::empty()).unwrap()
}

async fn open(upstream: &Scripted) -> Upgraded {
    let mut response = call(&with(upstream).build().unwrap(), upgrade()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["upgrade"], "foo");
    Upgraded::take(&mut response).unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_direction_ends_by_itself() {
    let upstream = upstream(|_, mut frames| async move {
        let stream = frames.request().await;
        frames.ok(stream, false).await;
        assert_eq!(frames.next_of(DATA).await.payload, b"question");
        let end = frames.next_of(DATA).await;
        assert_eq!((end.flags & END_STREAM, end.payload.len()), (END_STREAM, 0));
        frames.data(stream, b"answer", true).await;
        pending::<()>().await;
    });
    let mut io = open(&upstream).await;
    io.write_all(b"question").await.unwrap();
    io.shutdown().await.unwrap();
    let mut all = Vec::new();
    io.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"answer");
    upstream.finish();
}

#[tokio::test(start_paused = true)]
async fn a_reset_is_an_error_and_so_is_a_lost_connection() {
    for resets in [true, false] {
        let upstream = upstream(move |_, mut frames| async move {
            let stream = frames.request().await;
            frames.ok(stream, false).await;
            frames.data(stream, b"part", false).await;
            if resets {
                frames.reset(stream, CANCEL).await;
                pending::<()>().await;
            }
        });
        let mut io = open(&upstream).await;
        let mut all = Vec::new();
        io.read_to_end(&mut all).await.expect_err("no end");
        assert!(all.is_empty() || all == b"part");
        io.write_all(b"more").await.expect_err("no way");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_is_dropped_is_reset_and_its_connection_goes_on() {
    let (told, mut ends) = mpsc::unbounded_channel();
    let upstream = upstream(move |_, mut frames| {
        let told = told.clone();
        async move {
            let stream = frames.request().await;
            frames.ok(stream, false).await;
            let reset = frames.next_of(RST_STREAM).await;
            assert_eq!((reset.stream, reset.payload), (stream, CANCEL.to_be_bytes().to_vec()));
            told.send(()).unwrap();
            let stream = frames.request().await;
            frames.ok(stream, true).await;
            pending::<()>().await;
        }
    });
    let proxy = with(&upstream).build().unwrap();
    drop(call(&proxy, upgrade()).await.unwrap());
    ends.recv().await.unwrap();
    assert_eq!(call(&proxy, get("http://h/")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(upstream.connections(), 1);
    upstream.finish();
}

#[tokio::test(start_paused = true)]
async fn the_window_opens_as_bytes_are_read() {
    const WINDOW: usize = 65_535;
    let (read, mut begins) = mpsc::unbounded_channel();
    let upstream = upstream(move |_, mut frames| {
        let read = read.clone();
        async move {
            let stream = frames.request().await;
            frames.ok(stream, false).await;
            for _ in 0..5 {
                frames.data(stream, &[7; WINDOW / 5], false).await;
            }
            read.send(()).unwrap();
            let opened = loop {
                let update = frames.next_of(WINDOW_UPDATE).await;
                if update.stream == stream {
                    break u32::from_be_bytes(update.payload.try_into().unwrap());
                }
            };
            assert!(read.is_closed(), "the window grew before the client read");
            assert!(opened <= WINDOW as u32);
            frames.data(stream, &[8; 9], true).await;
            pending::<()>().await;
        }
    });
    let proxy = with(&upstream).http2_stream_window_bytes(WINDOW as u32).build().unwrap();
    let mut io = Upgraded::take(&mut call(&proxy, upgrade()).await.unwrap()).unwrap();
    begins.recv().await.unwrap();
    tokio::time::sleep(seconds(5)).await;
    drop(begins);
    let mut all = Vec::new();
    io.read_to_end(&mut all).await.unwrap();
    assert!(all.len() > WINDOW && all.starts_with(&[7; WINDOW]) && all.ends_with(&[8]));
    upstream.finish();
}

#[tokio::test(start_paused = true)]
async fn a_writer_waits_for_the_upstreams_window() {
    let upstream = upstream(|_, mut frames| async move {
        let stream = frames.request().await;
        frames.ok(stream, false).await;
        let mut got = 0;
        while got < 65_535 {
            got += frames.next_of(DATA).await.payload.len();
        }
        assert_eq!(got, 65_535);
        tokio::time::sleep(seconds(3)).await;
        frames.write(WINDOW_UPDATE, 0, stream, &1000_u32.to_be_bytes()).await;
        frames.write(WINDOW_UPDATE, 0, 0, &1000_u32.to_be_bytes()).await;
        while got < 66_535 {
            got += frames.next_of(DATA).await.payload.len();
        }
        frames.data(stream, b"", true).await;
        pending::<()>().await;
    });
    let mut io = open(&upstream).await;
    let begin = Instant::now();
    io.write_all(&[1; 66_535]).await.unwrap();
    assert_eq!(begin.elapsed(), seconds(3));
    assert_eq!(io.read(&mut [0; 9]).await.unwrap(), 0);
    upstream.finish();
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_was_not_processed_is_sent_again_elsewhere() {
    let upstream = upstream(|index, mut frames| async move {
        let stream = frames.request().await;
        if index == 0 {
            frames.reset(stream, REFUSED_STREAM).await;
        } else {
            frames.ok(stream, false).await;
            frames.data(stream, b"here", true).await;
        }
        pending::<()>().await;
    });
    let mut io = open(&upstream).await;
    let mut all = Vec::new();
    io.read_to_end(&mut all).await.unwrap();
    assert_eq!((all.as_slice(), upstream.connections()), (&b"here"[..], 2));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_serves_one_request_serves_an_upgrade() {
    let upstream = upstream(|_, mut frames| async move {
        let stream = frames.request().await;
        frames.ok(stream, false).await;
        frames.data(stream, b"here", true).await;
        frames.drain().await;
    });
    let proxy = with(&upstream).pool_max_requests(1).build().unwrap();
    for _ in 0..2 {
        let mut io = Upgraded::take(&mut call(&proxy, upgrade()).await.unwrap()).unwrap();
        let mut all = Vec::new();
        io.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"here");
    }
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_word_on_extended_connect_a_second_is_waited_and_no_longer() {
    let upstream = Scripted::frames(|_, mut frames| async move { frames.drain().await });
    let begin = Instant::now();
    let error = call(&with(&upstream).build().unwrap(), upgrade()).await.expect_err("no stream");
    assert_eq!((error.kind(), begin.elapsed()), (ErrorKind::Unsupported, seconds(1)));
}

#[tokio::test(start_paused = true)]
async fn connect_goes_to_a_proxy_by_prior_knowledge_and_may_be_refused() {
    let (proxy, upstream) = to(|_, mut frames| async move {
        let stream = frames.request().await;
        frames.ok(stream, false).await;
        assert_eq!(frames.next_of(DATA).await.payload, b"hello");
        frames.data(stream, b"and you", true).await;
        let stream = frames.request().await;
        // :status 404
        frames.write(crate::support::frames::HEADERS, 4, stream, &[0x8d]).await;
        frames.data(stream, b"no", true).await;
        assert_eq!(frames.next_of(DATA).await.flags & END_STREAM, END_STREAM);
        let stream = frames.request().await;
        frames.ok(stream, true).await;
        pending::<()>().await;
    });
    let connect = || {
        let mut request = Request::builder().method(Method::CONNECT).uri("h.test:443").body(Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectTo::Authority("proxy.test:80".parse().unwrap()));
        request
    };
    let mut response = call(&proxy, connect()).await.unwrap();
    assert_eq!((response.status(), response.headers().len()), (StatusCode::OK, 0));
    let mut io = Upgraded::take(&mut response).unwrap();
    io.write_all(b"hello").await.unwrap();
    let mut all = Vec::new();
    io.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"and you");

    let response = call(&proxy, connect()).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(super::all(response.into_body()).await.0, b"no");
    assert_eq!(upstream.connections(), 1);
    upstream.finish();
}

/// Opens a client's tunnel through a proxy.
async fn behind(upstream: &Scripted, drain: &Drain) -> (Memory, crate::support::RawClient) {
    let exact = with(upstream).tunnel_idle_timeout(seconds(30)).build().unwrap();
    let app = ProxyApp::builder("http://up.test").client(exact).build().unwrap();
    let (memory, _end) = Memory::serve(app, |serve| serve.drain(drain.clone()).drain_timeout(seconds(10)));
    let mut client = memory.client().await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n").await;
    assert_eq!(client.head_response().await.status(), 101);
    (memory, client)
}

/// Starts an upstream that echoes one byte and reports when its stream is reset.
fn cut(told: mpsc::UnboundedSender<()>) -> Scripted {
    upstream(move |_, mut frames| {
        let told = told.clone();
        async move {
            let stream = frames.request().await;
            frames.ok(stream, false).await;
            let byte = frames.next_of(DATA).await.payload;
            frames.data(stream, &byte, false).await;
            assert_eq!(frames.next_of(RST_STREAM).await.payload, CANCEL.to_be_bytes());
            told.send(()).unwrap();
            pending::<()>().await;
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_through_which_nothing_moves_is_cut_at_both_ends() {
    let (told, mut ends) = mpsc::unbounded_channel();
    let (upstream, drain) = (cut(told), Drain::new());
    let (_memory, mut client) = behind(&upstream, &drain).await;
    client.send("x").await;
    assert_eq!(client.read(1).await, b"x");
    let begin = Instant::now();
    client.closed().await;
    ends.recv().await.unwrap();
    // The timer fires four times within the timeout.
    assert!((30..=37).contains(&begin.elapsed().as_secs()));
    assert_eq!(drain.tunnels(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_is_counted_and_cut_at_the_deadline_of_a_shutdown() {
    let (told, mut ends) = mpsc::unbounded_channel();
    let (upstream, drain) = (cut(told), Drain::new());
    let (_memory, mut client) = behind(&upstream, &drain).await;
    assert_eq!(drain.tunnels(), 1);
    let begin = Instant::now();
    drain.begin();
    client.send("x").await;
    assert_eq!(client.read(1).await, b"x");
    client.closed().await;
    ends.recv().await.unwrap();
    assert_eq!((begin.elapsed(), drain.tunnels()), (seconds(10), 0));
}
