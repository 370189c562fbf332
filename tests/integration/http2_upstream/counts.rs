//! Statistics and events of shared connections, the reasons for their closing, and the runtimes they run on.

use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use axum::{Router, routing};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::StatusCode;
use nexthop::{
    ExactProxy,
    exact::ExactProxyBuilder,
    exact::HttpVersions,
    pool::{CloseReason, PoolChange},
};
use tokio::{task::spawn_blocking, time::sleep};

use super::{all, call, piece, seconds, with};
use crate::support::{Frames, Front, Scripted, fetch, get, within};

type Told = Arc<Mutex<Vec<PoolChange>>>;

fn listening(builder: ExactProxyBuilder) -> (ExactProxy, Told) {
    let told = Told::default();
    let telling = told.clone();
    (builder.on_pool_event(move |event| telling.lock().unwrap().push(event.change)).build().unwrap(), told)
}

/// Starts an upstream that answers every request.
fn answering() -> Scripted {
    Scripted::frames(|_, frames| async move { answer(frames.greet(&[]).await).await })
}

async fn answer(mut frames: Frames) {
    loop {
        let stream = frames.request().await;
        frames.ok(stream, true).await;
    }
}

async fn ask(proxy: &ExactProxy) {
    assert_eq!(call(proxy, get("http://h/")).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_shared_connection_is_told_of_when_it_is_opened_shared_and_closed() {
    let (proxy, told) = listening(with(&answering()).pool_idle_timeout(seconds(9)));
    for _ in 0..3 {
        ask(&proxy).await;
    }
    sleep(seconds(1)).await;
    let stats = proxy.pool_stats();
    assert_eq!((stats.opened, stats.reused, stats.idle, stats.in_use), (1, 2, 1, 0));
    sleep(seconds(9)).await;
    let stats = proxy.pool_stats();
    assert_eq!((stats.closed_by(CloseReason::Idle), stats.closed(), stats.idle, stats.in_use), (1, 1, 0, 0));
    let expected =
        [PoolChange::Opened, PoolChange::CheckedOut, PoolChange::CheckedOut, PoolChange::Closed(CloseReason::Idle)];
    assert_eq!(*told.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_connection_serves_as_many_requests_as_it_may() {
    let upstream = answering();
    for (uses, connections) in [(1, 4), (3, 2), (4, 1)] {
        let before = upstream.connections();
        let proxy = with(&upstream).pool_max_requests(uses).build().unwrap();
        for _ in 0..4 {
            ask(&proxy).await;
        }
        sleep(seconds(1)).await;
        assert_eq!(upstream.connections() - before, connections, "{uses}");
        assert_eq!(proxy.pool_stats().closed_by(CloseReason::MaxRequests), 4 / uses);
    }
}

#[tokio::test(start_paused = true)]
async fn age_is_why_an_old_connection_is_closed() {
    let (proxy, _) = listening(with(&answering()).pool_max_age(seconds(5)));
    ask(&proxy).await;
    sleep(seconds(6)).await;
    assert_eq!(proxy.pool_stats().closed_by(CloseReason::Age), 1);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_says_goodbye_or_leaves_an_unused_connection_is_why_it_is_closed() {
    for says in [true, false] {
        let upstream = Scripted::frames(move |_, frames| async move {
            let mut frames = frames.greet(&[]).await;
            let stream = frames.request().await;
            if says {
                frames.go_away(stream, 0).await;
            }
            frames.ok(stream, true).await;
            if says {
                frames.drain().await;
            } else {
                sleep(seconds(2)).await;
            }
        });
        let proxy = with(&upstream).build().unwrap();
        ask(&proxy).await;
        sleep(seconds(3)).await;
        let stats = proxy.pool_stats();
        assert_eq!((stats.closed_by(CloseReason::ClosedByPeer), stats.closed()), (1, 1), "says: {says}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_fails_under_a_request_is_broken() {
    let upstream = Scripted::frames(|_, frames| async move {
        frames.greet(&[]).await.request().await;
    });
    let proxy = with(&upstream).build().unwrap();
    call(&proxy, get("http://h/")).await.expect_err("no answer");
    sleep(seconds(1)).await;
    assert_eq!(proxy.pool_stats().closed_by(CloseReason::Broken), 1);
}

#[tokio::test]
async fn a_request_never_waits_for_a_connection_of_another_runtime() {
    let endless = async || {
        let first = stream::once(async { Ok::<_, std::convert::Infallible>(Bytes::from_static(b"first")) });
        axum::body::Body::from_stream(first.chain(stream::once(pending())))
    };
    let app = Router::new().route("/", routing::get(async || "done")).route("/endless", routing::get(endless));
    let upstream = Front::hyper(app).await;
    let (proxy, told) = listening(ExactProxy::builder().http_versions(HttpVersions::Http2Only));
    let (other, url, endless) = (proxy.clone(), upstream.url("/"), upstream.url("/endless"));
    let elsewhere = spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let body = runtime.block_on(async {
            assert_eq!(fetch(&other, get(url)).await.0, 200);
            let mut body = call(&other, get(endless)).await.unwrap().into_body();
            assert_eq!(piece(&mut body).await.unwrap(), "first");
            body
        });
        (runtime, body)
    });
    let (runtime, body) = within("another runtime", elsewhere).await.unwrap();
    // No thread drives the other runtime any more.
    assert_eq!(fetch(&proxy, get(upstream.url("/"))).await, (200, "done".into()));
    assert_eq!(proxy.pool_stats().opened, 2);

    let reading = tokio::spawn(all(body));
    within("its end", spawn_blocking(move || drop(runtime))).await.unwrap();
    let (_, _, end) = within("an end", reading).await.unwrap();
    end.expect_err("a body that was cut");
    assert_eq!(fetch(&proxy, get(upstream.url("/"))).await, (200, "done".into()));
    assert_eq!(proxy.pool_stats().closed_by(CloseReason::Runtime), 1);
    let told = told.lock().unwrap();
    assert_eq!(told.iter().filter(|change| **change == PoolChange::Closed(CloseReason::Runtime)).count(), 1);
    assert_eq!(proxy.pool_stats().opened, 2);
}
