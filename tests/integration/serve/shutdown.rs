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
use tokio_rustls::TlsConnector;

use crate::support::{Memory, RawClient, echo, tls::TestCa, within};

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
    sleep(Duration::from_millis(900)).await;
    for (mut client, rest) in begun {
        client.send(rest).await;
        let response = client.response().await;
        assert_eq!((response.status(), response.header("connection")), (200, Some("close")));
        client.closed().await;
    }
    assert_eq!(end.await.unwrap().cut(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_has_begun_to_arrive_is_waited_for_1_s_and_does_not_delay_the_shutdown() {
    let tls = TestCa::new();
    // hyper closes a connection that has served a request at once.
    for (before, begun, seconds) in [
        ("", "GET / HTTP/1.1\r\nHo", 1),
        ("", "GET / HTTP/1.1\r\nHost: a\r\n", 1),
        (REQUEST, "G", 0),
        (REQUEST, "GET / HTTP/1.1\r\nHost: a\r\n\r", 0),
    ] {
        for secure in [false, true] {
            let drain = Drain::new();
            let (memory, end) = Memory::serve(echo(), |serve| {
                let serve = serve.drain(drain.clone());
                if secure { serve.tls(tls.server_config(&["http/1.1"])) } else { serve }
            });
            let mut client = if secure {
                let connector = TlsConnector::from(Arc::new(tls.client_config(&["http/1.1"])));
                let stream = memory.stream().await;
                RawClient::over(connector.connect("localhost".try_into().unwrap(), stream).await.unwrap()).patient()
            } else {
                memory.client().await
            };
            if !before.is_empty() {
                client.exchange(before).await;
            }
            client.send(begun).await;
            sleep(Duration::from_secs(3)).await;
            let began = Instant::now();
            drain.begin();
            if seconds > 0 {
                // Bytes that come later do not move the limit.
                sleep(Duration::from_millis(500)).await;
                client.send("X").await;
            }
            client.read_to_end().await;
            assert_eq!(end.await.unwrap().cut(), 0, "{begun:?}");
            assert_eq!(began.elapsed().as_secs(), seconds, "{begun:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_begun_before_a_head_is_closed_at_once() {
    let ca = TestCa::new();
    for begun in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n", b"\x16\x03\x01\x02\0\x01"] {
        let drain = Drain::new();
        let (memory, end) = Memory::serve(echo(), |serve| {
            let serve = serve.drain(drain.clone());
            if begun.starts_with(b"\x16") { serve.tls(ca.server_config(&[])) } else { serve }
        });
        let mut client = memory.client().await;
        client.send(begun).await;
        sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        drain.begin();
        client.closed().await;
        assert_eq!((end.await.unwrap().cut(), began.elapsed()), (0, Duration::ZERO), "{begun:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_http_2_client_that_answers_nothing_delays_the_shutdown_by_5_s() {
    // SETTINGS; the first half of a request's head; a frame that is not whole.
    for begun in
        [&b"\0\0\0\x04\0\0\0\0\0"[..], b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\0\0\0\0\x01\x82", b"\0\0\0\x04\0\0\0\0\0\0\0"]
    {
        let drain = Drain::new();
        let (memory, end) = Memory::serve(echo(), |serve| serve.drain(drain.clone()));
        let mut client = memory.client().await;
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        client.send(begun).await;
        sleep(Duration::from_secs(3)).await;
        let began = Instant::now();
        drain.begin();
        client.read_to_end().await;
        assert_eq!((end.await.unwrap().cut(), began.elapsed().as_secs()), (0, 5), "{begun:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_still_sending_after_its_answer_is_not_reset_by_a_shutdown() {
    let drain = Drain::new();
    let refuse = Router::new().fallback(async || StatusCode::PAYLOAD_TOO_LARGE);
    let (memory, end) = Memory::serve(refuse, |serve| serve.drain(drain.clone()));
    let mut client = memory.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 413);
    let began = Instant::now();
    drain.begin();
    for _ in 0..4 {
        sleep(Duration::from_secs(1)).await;
        client.send("still").await;
    }
    assert_eq!(end.await.unwrap().cut(), 0);
    assert_eq!(began.elapsed().as_secs(), 5);
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
