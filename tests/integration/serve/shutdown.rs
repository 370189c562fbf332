//! Shutdown of a server: requests complete, and tunnels may continue until the deadline.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request, response::Response, routing::get};
use http::{StatusCode, header};
use hyper_util::rt::TokioIo;
use nexthop::serve::Drain;
use tokio::{
    net::TcpListener,
    sync::{Notify, oneshot},
    time::{Instant, sleep},
};

use crate::support::{Memory, RawClient, echo, within};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// `/` waits for `release`; `/tunnel` echoes bytes until it is closed.
fn app(arrived: &Arc<Notify>, release: &Arc<Notify>) -> Router {
    let (arrived, release) = (arrived.clone(), release.clone());
    let wait = async move || {
        arrived.notify_one();
        release.notified().await;
        "done"
    };
    let tunnel = async |mut request: Request| {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let io = TokioIo::new(upgrade.await.unwrap());
            let (mut read, mut write) = tokio::io::split(io);
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        answer.header(header::CONNECTION, "upgrade").header(header::UPGRADE, "echo").body(Body::empty()).unwrap()
    };
    Router::new().route("/", get(wait)).route("/tunnel", get(tunnel))
}

async fn tunnel(memory: &Memory) -> RawClient {
    let mut client = memory.client().await;
    client.send("GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await;
    assert_eq!(client.head_response().await.status(), 101);
    client.send("x").await;
    assert_eq!(client.read(1).await, b"x");
    client
}

#[tokio::test(start_paused = true)]
async fn a_request_in_flight_is_finished_and_idle_connections_are_closed() {
    let (arrived, release, stop) = <(Arc<Notify>, Arc<Notify>, Arc<Notify>)>::default();
    let signal = stop.clone();
    let (memory, end) = Memory::serve(app(&arrived, &release), |serve| {
        serve.with_graceful_shutdown(async move { signal.notified().await })
    });
    let (mut busy, mut fresh, mut idle) = (memory.client().await, memory.client().await, memory.client().await);
    release.notify_one();
    assert_eq!(idle.exchange(REQUEST).await.text(), "done");
    arrived.notified().await;
    busy.send(REQUEST).await;
    arrived.notified().await;

    stop.notify_one();
    idle.closed().await;
    fresh.closed().await;
    release.notify_one();
    let response = busy.response().await;
    assert_eq!((response.text(), response.header("connection")), ("done", Some("close")));
    busy.closed().await;
    assert_eq!(end.await.unwrap().cut(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_has_begun_to_arrive_is_answered_while_the_server_drains() {
    let drain = Drain::new();
    let (memory, end) = Memory::serve(echo(), |serve| serve.drain(drain.clone()));
    let halves = [
        ("GET / HTTP/1.1\r\nHo", "st: a\r\n\r\n"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab", "cd"),
    ];
    let mut begun = Vec::new();
    for (half, rest) in halves {
        let mut client = memory.client().await;
        client.send(half).await;
        begun.push((client, rest));
    }
    sleep(Duration::from_secs(1)).await;
    drain.begin();
    sleep(Duration::from_secs(1)).await;
    for (mut client, rest) in begun {
        client.send(rest).await;
        let response = client.response().await;
        assert_eq!((response.status(), response.header("connection")), (200, Some("close")));
        client.closed().await;
    }
    assert_eq!(end.await.unwrap().cut(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_goes_on_until_the_deadline_and_is_cut_there() {
    let drain = Drain::new();
    let (memory, end) = Memory::serve(app(&Arc::default(), &Arc::default()), |serve| {
        serve.drain(drain.clone()).drain_timeout(Duration::from_secs(60))
    });
    let mut client = tunnel(&memory).await;
    let began = Instant::now();
    drain.begin();
    sleep(Duration::from_secs(59)).await;
    client.send("y").await;
    assert_eq!(client.read(1).await, b"y");
    client.closed().await;
    assert_eq!(began.elapsed().as_secs(), 60);
    assert_eq!(end.await.unwrap().cut(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_ends_in_time_ends_the_wait() {
    let drain = Drain::new();
    let (memory, end) =
        Memory::serve(app(&Arc::default(), &Arc::default()), |serve| serve.drain(drain.clone()).drain_timeout(None));
    let client = tunnel(&memory).await;
    assert_eq!(drain.open(), 1);
    drain.begin();
    sleep(Duration::from_secs(1000)).await;
    assert_eq!(drain.open(), 1);
    drop(client);
    assert_eq!(end.await.unwrap().cut(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_end_is_cut_at_the_deadline() {
    let (arrived, drain) = (Arc::new(Notify::new()), Drain::new());
    let (memory, end) = Memory::serve(app(&arrived, &Arc::default()), |serve| serve.drain(drain.clone()));
    let mut client = memory.client().await;
    // The pipelined second request keeps hyper from reading the socket.
    client.send(REQUEST.repeat(2)).await;
    arrived.notified().await;
    let began = Instant::now();
    drain.begin();
    client.closed().await;
    assert_eq!(began.elapsed().as_secs(), 30);
    assert_eq!(end.await.unwrap().cut(), 1);
}

#[tokio::test]
async fn a_stopped_server_takes_no_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = nexthop::serve(listener, echo()).with_graceful_shutdown(async move {
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());
    RawClient::tcp(addr).await.exchange(REQUEST).await;
    stop.send(()).unwrap();
    within("the shutdown", server).await.unwrap();
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn work_that_registers_itself_is_waited_for() {
    let drain = Drain::new();
    let (_memory, end) = Memory::serve(echo(), |serve| serve.drain(drain.clone()).drain_timeout(None));
    let guard = drain.register();
    let work = tokio::spawn(async move {
        guard.draining().await;
        sleep(Duration::from_secs(500)).await;
    });
    let began = Instant::now();
    drain.begin();
    assert_eq!(end.await.unwrap().cut(), 0);
    assert_eq!(began.elapsed().as_secs(), 500);
    work.await.unwrap();
}
