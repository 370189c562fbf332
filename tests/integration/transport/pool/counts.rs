//! Limits on idle connections, and the statistics and events of the pool.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use nexthop::{
    ExactProxy,
    pool::{CloseReason, PoolChange},
};

use super::storm::{Live, until};
use crate::support::{InMemory, RawConn, RawUpstream, fetch, get, post, read, send, within};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn serve(mut conn: RawConn) {
    loop {
        conn.request().await;
        conn.write(OK).await;
    }
}

#[tokio::test]
async fn a_connection_serves_as_many_requests_as_it_may() {
    let upstream = RawUpstream::tcp(serve);
    let proxy = ExactProxy::builder().pool_max_requests(3).build().unwrap();
    for n in 0..7 {
        fetch(&proxy, get(upstream.url("/"))).await;
        assert_eq!(upstream.connections(), n / 3 + 1);
    }
    assert_eq!(proxy.pool_stats().closed_by(CloseReason::MaxRequests), 2);
}

#[tokio::test]
async fn as_many_as_the_upstream_said_whether_it_counts_down_or_not() {
    for counts_down in [true, false] {
        let upstream = RawUpstream::tcp(move |mut conn| async move {
            for left in (1..=3).rev() {
                conn.request().await;
                let max = if counts_down { left } else { 3 };
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nkeep-alive: timeout=9\r\nKeep-Alive: max={max}\r\ncontent-length: 0\r\n\r\n"
                );
                conn.write(answer).await;
            }
            conn.request().await;
            panic!("a request beyond the announced maximum");
        });
        let proxy = ExactProxy::new();
        for n in 0..7 {
            fetch(&proxy, get(upstream.url("/"))).await;
            assert_eq!(upstream.connections(), n / 3 + 1);
        }
        assert_eq!(proxy.pool_stats().closed_by(CloseReason::MaxRequests), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn of_all_idle_connections_the_one_unused_for_the_longest_makes_room() {
    let live = Live::new(InMemory::new(serve));
    let proxy = ExactProxy::builder().connector(live.clone()).pool_max_idle_total(3).build().unwrap();
    for host in ["c", "a", "b", "c", "d", "e"] {
        fetch(&proxy, get(format!("http://{host}/"))).await;
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    // Hosts a, b, c, d and e were connected; the connections to a and b were closed.
    assert_eq!((live.opened(), live.now(), proxy.pool_stats().idle), (5, 3, 3));
    for host in ["c", "d", "e"] {
        fetch(&proxy, get(format!("http://{host}/"))).await;
    }
    assert_eq!(live.opened(), 5);
    fetch(&proxy, get("http://a/")).await;
    assert_eq!((live.opened(), live.now()), (6, 3));
    assert_eq!(proxy.pool_stats().closed_by(CloseReason::MaxIdle), 3);
}

#[tokio::test]
async fn what_the_peer_closes_while_it_is_idle_is_closed_without_another_request() {
    // Real sockets: the upstream reads each connection to its end, which arrives only after the proxy has closed it.
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no").await;
        conn.wait_requests(10).await;
        conn.write("k").await;
        conn.finish_writing().await;
        conn.read_to_end().await;
    });
    let proxy = ExactProxy::builder().pool_idle_timeout(None).build().unwrap();
    let requests: Vec<_> = (0..10).map(|_| tokio::spawn(fetch(&proxy, get(upstream.url("/"))))).collect();
    for request in requests {
        request.await.unwrap();
    }
    upstream.wait_closed().await;
    until(|| proxy.pool_stats().idle == 0).await;
    assert_eq!(proxy.pool_stats().closed_by(CloseReason::ClosedByPeer), 10);
}

#[tokio::test(start_paused = true)]
async fn events_tell_the_life_of_a_connection_in_order() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = events.clone();
    let proxy = ExactProxy::builder()
        .connector(InMemory::new(serve))
        .pool_max_requests(3)
        .pool_max_connections(1)
        .on_pool_event(move |event| {
            assert_eq!(event.destination.host(), Some("h"));
            told.lock().unwrap().push(event.change);
        })
        .build()
        .unwrap();
    fetch(&proxy, get("http://h/")).await;
    fetch(&proxy, get("http://h/")).await;
    let both = [tokio::spawn(fetch(&proxy, get("http://h/"))), tokio::spawn(fetch(&proxy, get("http://h/")))];
    for one in both {
        one.await.unwrap();
    }
    use PoolChange::{CheckedIn, CheckedOut, Closed, Opened, Waiting};
    let (uses, idle) = (Closed(CloseReason::MaxRequests), Closed(CloseReason::Idle));
    let so_far = [Opened, CheckedIn, CheckedOut, CheckedIn, CheckedOut, Waiting, uses, Opened, CheckedIn];
    assert_eq!(*events.lock().unwrap(), so_far);
    until_idle_ones_are_gone(&proxy).await;
    assert_eq!(events.lock().unwrap()[so_far.len()..], [idle]);
}

/// Advances the clock; the reaper runs within each step.
async fn until_idle_ones_are_gone(proxy: &ExactProxy) {
    while proxy.pool_stats().idle > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_figures_add_up_after_a_thousand_requests_of_all_kinds() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        loop {
            let seen = conn.request().await;
            match seen.target() {
                "/close" => {
                    return conn.write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
                }
                "/cut" => return conn.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok").await,
                "/none" => return,
                "/half" => conn.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok").await,
                _ => conn.write(OK).await,
            }
        }
    });
    for max in [None, Some(5)] {
        let mut builder = ExactProxy::builder().pool_max_idle(6).pool_max_requests(20);
        if let Some(max) = max {
            builder = builder.pool_max_connections(max);
        }
        let events = Arc::new(Mutex::new((0, 0, 0)));
        let told = events.clone();
        let proxy = builder
            .on_pool_event(move |event| {
                let mut told = told.lock().unwrap();
                match event.change {
                    PoolChange::Opened => told.0 += 1,
                    PoolChange::CheckedOut => told.1 += 1,
                    PoolChange::Closed(_) => told.2 += 1,
                    _ => {}
                }
            })
            .build()
            .unwrap();
        let tasks: Vec<_> = (0..20)
            .map(|task| {
                let (proxy, url) = (proxy.clone(), upstream.url(""));
                tokio::spawn(async move {
                    for n in 0..50 {
                        let path = ["/", "/close", "/", "/cut", "/half", "/", "/none", "/"][(task + n) % 8];
                        let url = format!("{url}{path}");
                        let request = if n % 3 == 0 { post(url, "x") } else { get(url) };
                        let Ok(response) = send(&proxy, request).await else { continue };
                        if path != "/half" {
                            let _ = read(response).await;
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let stats = proxy.pool_stats();
        assert_eq!((stats.in_use, stats.waiting, stats.refused), (0, 0, 0), "{stats:?}");
        assert_eq!(stats.opened, stats.closed() + stats.idle as u64, "{stats:?}");
        assert!(stats.opened > 100 && stats.reused > 100, "{stats:?}");
        for reason in [CloseReason::Broken, CloseReason::Finished] {
            assert!(stats.closed_by(reason) > 50, "{reason:?} in {stats:?}");
        }
        // Reads the statistics again, since the peer may close an idle connection at any time.
        let stats = proxy.pool_stats();
        let (opened, reused, closed) = *events.lock().unwrap();
        assert_eq!((opened, reused), (stats.opened, stats.reused));
        assert!(closed >= stats.closed());
    }
}

#[tokio::test]
async fn nothing_is_idle_and_nothing_runs_where_nothing_was_sent() {
    let proxy = ExactProxy::builder().pool_max_connections(2).build().unwrap();
    assert_eq!(proxy.pool_stats(), ExactProxy::new().pool_stats());
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.write(OK).await;
        conn.read_to_end().await;
    });
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let lived = ExactProxy::builder().pool_idle_timeout(Duration::from_millis(1)).build().unwrap();
    fetch(&lived, get(upstream.url("/"))).await;
    upstream.wait_closed().await;
    // The reaper ends with the last idle connection, and the upstream's tasks end with their connections.
    within("the end of the tasks", async {
        while tokio::runtime::Handle::current().metrics().num_alive_tasks() > before {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
