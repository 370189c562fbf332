//! A maximum number of connections: waiting requests, their timeout, and the events that free a connection.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt;
use nexthop::{
    ErrorKind, ExactProxy, Phase,
    exact::ExactProxyBuilder,
    net::{Connect, Connecting, Destination},
    pool::CloseReason,
    tunnel::Upgraded,
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};

use super::storm::{Live, until};
use crate::support::{InMemory, RawUpstream, fetch, get, post, read, send, within};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn one_connection(connector: impl Connect) -> ExactProxyBuilder {
    ExactProxy::builder().connector(connector).pool_max_connections(1)
}

/// Starts an upstream that answers one request per permit, and reports the targets in order of arrival.
fn on_demand() -> (InMemory, Arc<Semaphore>, mpsc::UnboundedReceiver<String>) {
    let (answers, (targets, came)) = (Arc::new(Semaphore::new(0)), mpsc::unbounded_channel());
    let permits = answers.clone();
    let upstream = InMemory::new(move |mut conn| {
        let (permits, targets) = (permits.clone(), targets.clone());
        async move {
            loop {
                let seen = conn.request().await;
                targets.send(seen.target().to_owned()).unwrap();
                permits.acquire().await.unwrap().forget();
                conn.write(OK).await;
            }
        }
    });
    (upstream, answers, came)
}

#[tokio::test(start_paused = true)]
async fn requests_get_the_one_connection_in_the_order_they_came() {
    let (upstream, answers, mut came) = on_demand();
    let proxy = one_connection(upstream.clone()).build().unwrap();
    let mut requests = Vec::new();
    for n in 0..6 {
        // A request that is not retryable waits in the same order.
        let request = if n % 2 == 0 { get(format!("http://h/{n}")) } else { post(format!("http://h/{n}"), "x") };
        requests.push(tokio::spawn(fetch(&proxy, request)));
        until(|| proxy.pool_stats().waiting == n && proxy.pool_stats().in_use == 1).await;
    }
    answers.add_permits(6);
    for (n, request) in requests.into_iter().enumerate() {
        assert_eq!(request.await.unwrap(), (200, "ok".to_owned()));
        assert_eq!(came.recv().await.unwrap(), format!("/{n}"));
    }
    assert_eq!(upstream.connections(), 1);
    let stats = proxy.pool_stats();
    assert_eq!((stats.idle, stats.in_use, stats.waiting, stats.opened, stats.reused), (1, 0, 0, 1, 5));
}

#[tokio::test(start_paused = true)]
async fn another_destination_does_not_wait() {
    let (upstream, answers, mut came) = on_demand();
    let proxy = one_connection(upstream.clone()).build().unwrap();
    let first = tokio::spawn(fetch(&proxy, get("http://h/1")));
    assert_eq!(came.recv().await.unwrap(), "/1");
    let other = tokio::spawn(fetch(&proxy, get("http://other/2")));
    assert_eq!(came.recv().await.unwrap(), "/2");
    answers.add_permits(2);
    assert_eq!((first.await.unwrap().0, other.await.unwrap().0), (200, 200));
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_told_so_and_may_try_again() {
    let (upstream, answers, mut came) = on_demand();
    let proxy = one_connection(upstream).pool_wait_timeout(Duration::from_secs(3)).build().unwrap();
    let first = tokio::spawn(fetch(&proxy, get("http://h/1")));
    came.recv().await.unwrap();
    let start = Instant::now();
    let error = send(&proxy, post("http://h/2", "x")).await.unwrap_err();
    assert_eq!((error.kind(), error.phase(), error.status().as_u16()), (ErrorKind::Unavailable, Phase::Queue, 503));
    assert!(error.is_retryable());
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    let stats = proxy.pool_stats();
    assert_eq!((stats.waiting, stats.refused, stats.in_use), (0, 1, 1));
    answers.add_permits(2);
    first.await.unwrap();
    fetch(&proxy, get("http://h/3")).await;
    assert_eq!(came.recv().await.unwrap(), "/3", "the request that timed out was sent");
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_a_request_waits_for_as_long_as_it_takes() {
    let (upstream, answers, mut came) = on_demand();
    let builder = one_connection(upstream).pool_wait_timeout(None).response_timeout(None);
    let proxy = builder.build().unwrap();
    let first = tokio::spawn(proxy_call(&proxy, "http://h/1"));
    came.recv().await.unwrap();
    let second = tokio::spawn(proxy_call(&proxy, "http://h/2"));
    until(|| proxy.pool_stats().waiting == 1).await;
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    answers.add_permits(2);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (200, 200));
}

/// Sends a request without the deadline of the test helpers.
fn proxy_call(proxy: &ExactProxy, url: &str) -> impl Future<Output = u16> + use<> {
    let response = tower::ServiceExt::oneshot(proxy.clone(), get(url));
    async move { response.await.unwrap().status().as_u16() }
}

#[tokio::test(start_paused = true)]
async fn one_more_than_may_wait_is_refused_at_once() {
    let (upstream, answers, mut came) = on_demand();
    let proxy = one_connection(upstream).pool_max_waiting(2).build().unwrap();
    let mut requests = vec![tokio::spawn(fetch(&proxy, get("http://h/1")))];
    came.recv().await.unwrap();
    for n in 1..3 {
        requests.push(tokio::spawn(fetch(&proxy, get("http://h/2"))));
        until(|| proxy.pool_stats().waiting == n).await;
    }
    let start = Instant::now();
    let error = send(&proxy, get("http://h/3")).await.unwrap_err();
    assert_eq!((error.kind(), error.phase(), error.is_retryable()), (ErrorKind::Unavailable, Phase::Queue, true));
    assert_eq!(start.elapsed(), Duration::ZERO);
    // A request that is dropped makes room in the queue for another one.
    requests.pop().unwrap().abort();
    until(|| proxy.pool_stats().waiting == 1).await;
    requests.push(tokio::spawn(fetch(&proxy, get("http://h/4"))));
    until(|| proxy.pool_stats().waiting == 2).await;
    answers.add_permits(3);
    for request in requests {
        assert_eq!(request.await.unwrap().0, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_given_to_one_that_left_in_this_moment_goes_to_the_next() {
    let (upstream, answers, mut came) = on_demand();
    for connection_lives in [true, false] {
        let proxy = one_connection(upstream.clone()).build().unwrap();
        let before = upstream.connections();
        let first = send(&proxy, get("http://h/1"));
        let mut first = Box::pin(first);
        poll_once(first.as_mut()).await;
        let mut leaving = Box::pin(send(&proxy, get("http://h/2")));
        poll_once(leaving.as_mut()).await;
        let mut next = Box::pin(send(&proxy, get("http://h/3")));
        poll_once(next.as_mut()).await;
        assert_eq!(proxy.pool_stats().waiting, 2);
        came.recv().await.unwrap();
        answers.add_permits(1);
        if connection_lives {
            first.await.unwrap(); // the response is complete: its connection is handed over
        } else {
            drop(first); // its permit is handed over
        }
        assert_eq!(proxy.pool_stats().waiting, 1, "the second request holds the connection or permit");
        drop(leaving);
        assert_eq!(proxy.pool_stats().waiting, 0, "it was not passed on to the third request");
        answers.add_permits(1);
        assert_eq!(next.await.unwrap().status(), 200);
        assert_eq!(came.recv().await.unwrap(), "/3");
        assert_eq!(upstream.connections() - before, if connection_lives { 1 } else { 2 });
        answers.forget_permits(2);
    }
}

/// Polls a future once; the future must not be ready.
async fn poll_once(future: impl Future + Unpin) {
    tokio::select! {
        biased;
        _ = future => panic!("ready"),
        () = std::future::ready(()) => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_in_any_way_makes_room() {
    let live = Live::new(InMemory::new(|mut conn| async move {
        loop {
            let seen = conn.request().await;
            let answer = match seen.target() {
                "/half" => "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nha",
                "/silent" => "",
                "/garbage" => "nonsense\r\n\r\n",
                "/close" => "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
                "/until-close" => "HTTP/1.1 200 OK\r\n\r\nok",
                "/early" => "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nok",
                _ => OK,
            };
            conn.write(answer).await;
            if matches!(seen.target(), "/until-close" | "/early") {
                return;
            }
        }
    }));
    let proxy = one_connection(live.clone()).response_timeout(Duration::from_secs(5)).build().unwrap();
    let url = |path: &str| format!("http://h{path}");
    for _ in 0..2 {
        let mut half = send(&proxy, get(url("/half"))).await.unwrap().into_body();
        half.frame().await.unwrap().unwrap();
        drop(half);
        fetch(&proxy, get(url("/"))).await;

        assert_eq!(send(&proxy, get(url("/silent"))).await.unwrap_err().kind(), ErrorKind::Timeout);
        fetch(&proxy, get(url("/"))).await;

        let mut left = Box::pin(send(&proxy, get(url("/silent"))));
        poll_once(left.as_mut()).await;
        drop(left);
        fetch(&proxy, get(url("/"))).await;

        assert_eq!(send(&proxy, get(url("/garbage"))).await.unwrap_err().kind(), ErrorKind::Upstream);
        for path in ["/close", "/until-close", "/early", "/"] {
            fetch(&proxy, get(url(path))).await;
        }
    }
    assert_eq!(live.most(), 1);
    let stats = proxy.pool_stats();
    assert_eq!((stats.opened, stats.idle, stats.in_use), (stats.closed() + 1, 1, 0));
}

/// Never connects to the host `never`, and refuses connections to all others.
struct Hard;

impl Connect for Hard {
    fn connect(&self, to: &Destination) -> Connecting {
        match to.host() {
            Some("never") => Box::pin(std::future::pending()),
            _ => Box::pin(async { Err(std::io::ErrorKind::ConnectionRefused.into()) }),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_never_was_makes_room() {
    let proxy = one_connection(Hard).connect_timeout(Duration::from_secs(4)).build().unwrap();
    for _ in 0..3 {
        let error = send(&proxy, get("http://refused/")).await.unwrap_err();
        assert_eq!(error.phase(), Phase::Connect);
        let error = send(&proxy, get("http://never/")).await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Connect));
        let mut left = Box::pin(send(&proxy, get("http://never/")));
        poll_once(left.as_mut()).await;
        drop(left);
    }
    // A request that waits for another request's connection attempt opens a connection itself when that attempt fails.
    let (first, second) = (send(&proxy, get("http://never/")), send(&proxy, get("http://never/")));
    let start = Instant::now();
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.unwrap_err().phase(), second.unwrap_err().phase()), (Phase::Connect, Phase::Connect));
    assert_eq!(start.elapsed(), Duration::from_secs(8));
    let stats = proxy.pool_stats();
    assert_eq!((stats.opened, stats.closed(), stats.waiting), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_is_a_connection_until_it_ends() {
    let upstream = InMemory::new(|mut conn| async move {
        let seen = conn.request().await;
        if seen.header("upgrade").is_some() {
            conn.write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n").await;
            conn.read_to_end().await;
        }
        conn.write(OK).await;
    });
    let proxy = one_connection(upstream).pool_wait_timeout(Duration::from_secs(2)).build().unwrap();
    let mut upgrade = get("http://h/");
    upgrade.headers_mut().insert("connection", "upgrade".parse().unwrap());
    upgrade.headers_mut().insert("upgrade", "foo".parse().unwrap());
    let mut response = send(&proxy, upgrade).await.unwrap();
    let tunnel = Upgraded::take(&mut response).unwrap();
    drop(response);
    assert_eq!(send(&proxy, get("http://h/")).await.unwrap_err().phase(), Phase::Queue);
    drop(tunnel);
    fetch(&proxy, get("http://h/")).await;
    assert_eq!(proxy.pool_stats().closed_by(CloseReason::Upgraded), 1);
}

#[tokio::test(start_paused = true)]
async fn one_connection_that_is_never_kept_serves_all_in_turn() {
    let live = Live::new(InMemory::new(|mut conn| async move {
        conn.request().await;
        conn.write(OK).await;
        conn.request().await;
        panic!("kept");
    }));
    let proxy = one_connection(live.clone()).pool_max_idle(0).build().unwrap();
    let one = || fetch(&proxy, get("http://h/"));
    tokio::join!(one(), one(), one(), one(), one());
    assert_eq!((live.opened(), live.most(), live.now()), (5, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_that_a_request_cannot_use_makes_room_for_one_it_can() {
    let upstream = InMemory::new(|mut conn| async move {
        loop {
            conn.request().await;
            conn.write(OK).await;
        }
    });
    let live = Live::new(upstream);
    let proxy = one_connection(live.clone()).build().unwrap();
    fetch(&proxy, get("http://h/")).await;
    tokio::time::advance(Duration::from_secs(4)).await;
    fetch(&proxy, post("http://h/", "not on one idle for so long")).await;
    assert_eq!((live.opened(), live.most()), (2, 1));
    assert_eq!(proxy.pool_stats().closed_by(CloseReason::MaxIdle), 1);
}

#[tokio::test]
async fn a_stale_connection_is_replaced_in_its_own_place() {
    // The first connection answers once and closes on the second request.
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.write(OK).await;
        conn.request().await;
        if conn.index > 0 {
            conn.write(OK).await;
        }
    });
    let proxy = ExactProxy::builder().pool_max_connections(1).build().unwrap();
    fetch(&proxy, get(upstream.url("/"))).await;
    fetch(&proxy, get(upstream.url("/"))).await;
    assert_eq!(upstream.connections(), 2);
    assert_eq!(proxy.pool_stats().closed_by(CloseReason::ClosedByPeer), 1);
}

#[test]
fn a_connection_of_another_runtime_makes_room_whether_it_is_idle_or_comes_back() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let serving = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let upstream = serving.block_on(async {
        RawUpstream::tcp(|mut conn| async move {
            loop {
                conn.request().await;
                conn.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no").await;
                conn.write("k").await;
            }
        })
    });
    let proxy = ExactProxy::builder().pool_max_connections(1).build().unwrap();
    let (first, second) = (runtime(), runtime());
    // The idle connection belongs to a runtime that no thread drives.
    assert_eq!(first.block_on(fetch(&proxy, get(upstream.url("/")))).1, "ok");
    assert_eq!(second.block_on(fetch(&proxy, get(upstream.url("/")))).1, "ok");
    assert_eq!(upstream.connections(), 2);
    // The connection is in use on one runtime while a request of the other one waits.
    let held = second.block_on(send(&proxy, get(upstream.url("/")))).unwrap();
    let waiting = std::thread::spawn({
        let (proxy, url) = (proxy.clone(), upstream.url("/"));
        move || (first.block_on(fetch(&proxy, get(url))), first)
    });
    while proxy.pool_stats().waiting == 0 && proxy.pool_stats().idle == 0 && proxy.pool_stats().opened < 3 {
        std::thread::yield_now();
    }
    assert_eq!(second.block_on(read(held)).0, b"ok");
    let (answer, first) = waiting.join().unwrap();
    assert_eq!(answer.1, "ok");
    assert_eq!(upstream.connections(), 3);
    let stats = proxy.pool_stats();
    assert_eq!((stats.opened, stats.idle, stats.in_use, stats.closed()), (3, 1, 0, 2));
    // The end of the runtime closes its connection and frees its permit.
    drop(first);
    assert_eq!(proxy.pool_stats().closed_by(CloseReason::Runtime), 1);
    assert_eq!(second.block_on(fetch(&proxy, get(upstream.url("/")))).1, "ok");
    serving.block_on(async { drop(upstream) });
}

#[tokio::test]
async fn limits_that_nothing_could_pass_are_not_taken() {
    for builder in [
        ExactProxy::builder().pool_max_connections(0),
        ExactProxy::builder().pool_max_requests(0),
        ExactProxy::builder().pool_wait_timeout(Duration::ZERO),
    ] {
        builder.build().expect_err("0");
    }
    let proxy = ExactProxy::builder().pool_max_connections(1).pool_max_waiting(0).build().unwrap();
    let upstream = RawUpstream::answering([OK]);
    within("a response", fetch(&proxy, get(upstream.url("/")))).await;
}
