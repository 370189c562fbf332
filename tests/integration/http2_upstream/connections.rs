//! Assignment of requests to connections, and the lifetime of connections.

use std::{future::pending, sync::Arc};

use http::StatusCode;
use nexthop::Phase;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{call, seconds, to, with};
use crate::support::{Scripted, frames::GOAWAY, get};

/// SETTINGS_MAX_CONCURRENT_STREAMS.
const MAX_STREAMS: u16 = 3;

#[tokio::test(start_paused = true)]
async fn a_hundred_first_requests_share_one_connection() {
    let (proxy, upstream) = to(|_, mut frames| async move {
        loop {
            let stream = frames.request().await;
            frames.ok(stream, true).await;
        }
    });
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let proxy = proxy.clone();
        calls.spawn(async move { call(&proxy, get("http://h/")).await.unwrap().status() });
    }
    assert_eq!(calls.join_all().await, [StatusCode::OK; 100]);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn where_streams_run_out_another_connection_is_opened_and_all_are_used_again() {
    let release = Arc::new(Notify::new());
    let wait = release.clone();
    let upstream = Scripted::frames(move |_, frames| {
        let wait = wait.clone();
        async move {
            let mut frames = frames.greet(&[(MAX_STREAMS, 1)]).await;
            let stream = frames.request().await;
            wait.notified().await;
            frames.ok(stream, true).await;
            loop {
                let stream = frames.request().await;
                frames.ok(stream, true).await;
            }
        }
    });
    let proxy = with(&upstream).build().unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..3 {
        let proxy = proxy.clone();
        calls.spawn(async move { call(&proxy, get("http://h/")).await.unwrap().status() });
    }
    while upstream.connections() < 3 {
        sleep(seconds(1)).await;
    }
    release.notify_waiters();
    assert_eq!(calls.join_all().await, [StatusCode::OK; 3]);
    for _ in 0..3 {
        call(&proxy, get("http://h/")).await.unwrap();
    }
    assert_eq!(upstream.connections(), 3);
}

#[tokio::test(start_paused = true)]
async fn more_than_one_stream_waits_for_the_upstreams_word_but_no_longer_than_a_second() {
    let upstream = Scripted::frames(|_, mut frames| async move {
        let begin = Instant::now();
        frames.request().await;
        assert!(begin.elapsed() < seconds(1));
        frames.request().await;
        assert_eq!(begin.elapsed(), seconds(1));
        pending::<()>().await;
    });
    let proxy = with(&upstream).build().unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..2 {
        let proxy = proxy.clone();
        calls.spawn(async move { call(&proxy, get("http://h/")).await });
    }
    assert!(timeout(seconds(5), calls.join_next()).await.is_err());
    assert_eq!(upstream.connections(), 1);
    upstream.finish();
}

#[tokio::test(start_paused = true)]
async fn all_that_wait_for_a_connection_learn_that_there_is_none() {
    let proxy = nexthop::ExactProxy::builder()
        .http_versions(nexthop::exact::HttpVersions::Http2Only)
        .connector(Refusing)
        .build()
        .unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let proxy = proxy.clone();
        calls.spawn(async move { call(&proxy, get("http://h/")).await.expect_err("no connection").is_retryable() });
    }
    let begin = Instant::now();
    assert_eq!(calls.join_all().await, [true; 50]);
    assert_eq!(begin.elapsed(), seconds(3));
}

/// Refuses each connection after three seconds.
struct Refusing;

impl nexthop::net::Connect for Refusing {
    fn connect(&self, _: &nexthop::net::Destination) -> nexthop::net::Connecting {
        Box::pin(async {
            sleep(seconds(3)).await;
            Err(std::io::ErrorKind::ConnectionRefused.into())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn if_the_one_that_connects_gives_up_another_one_connects() {
    let upstream = Scripted::frames(|index, frames| async move {
        if index == 0 {
            pending::<()>().await;
        }
        let mut frames = frames.greet(&[]).await;
        loop {
            let stream = frames.request().await;
            frames.ok(stream, true).await;
        }
    });
    let proxy = with(&upstream).connector(Slow(upstream.clone())).build().unwrap();
    let first = tokio::spawn({
        let proxy = proxy.clone();
        async move { call(&proxy, get("http://h/")).await }
    });
    sleep(seconds(1)).await;
    let second = tokio::spawn({
        let proxy = proxy.clone();
        async move { call(&proxy, get("http://h/")).await.unwrap().status() }
    });
    sleep(seconds(1)).await;
    assert_eq!(upstream.connections(), 1);
    first.abort();
    assert_eq!(second.await.unwrap(), StatusCode::OK);
    assert_eq!(upstream.connections(), 2);
}

/// Never completes the first connection, and opens later ones at once.
struct Slow(Scripted);

impl nexthop::net::Connect for Slow {
    fn connect(&self, to: &nexthop::net::Destination) -> nexthop::net::Connecting {
        let never = self.0.connections() == 0;
        let connecting = self.0.connect(to);
        Box::pin(async move { if never { pending().await } else { connecting.await } })
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_anothers_connection_waits_as_long_as_for_its_own_and_says_that_it_waited() {
    let upstream = Scripted::frames(|_, _| pending());
    let proxy = with(&upstream).connector(Never).build().unwrap();
    let calling = || {
        let proxy = proxy.clone();
        tokio::spawn(async move { call(&proxy, get("http://h/")).await.expect_err("no connection") })
    };
    let start = Instant::now();
    let first = calling();
    sleep(seconds(1)).await;
    let mut others = JoinSet::new();
    for _ in 0..2 {
        let call = calling();
        others.spawn(async move { (call.await.unwrap().phase(), start.elapsed()) });
    }
    sleep(seconds(4)).await;
    first.abort(); // one of the others then connects with a timeout of its own
    assert_eq!(others.join_all().await, [(Phase::Queue, seconds(11)), (Phase::Connect, seconds(15))]);
}

/// Never completes a connection.
struct Never;

impl nexthop::net::Connect for Never {
    fn connect(&self, _: &nexthop::net::Destination) -> nexthop::net::Connecting {
        Box::pin(pending())
    }
}

#[tokio::test(start_paused = true)]
async fn an_unused_connection_says_goodbye_and_closes() {
    let closed = Arc::new(Notify::new());
    let told = closed.clone();
    let upstream = Scripted::frames(move |index, frames| {
        let told = told.clone();
        async move {
            let mut frames = frames.greet(&[]).await;
            let stream = frames.request().await;
            frames.ok(stream, true).await;
            if index == 0 {
                frames.next_of(GOAWAY).await;
                frames.drain().await;
                told.notify_one();
            }
            pending::<()>().await;
        }
    });
    let proxy = with(&upstream).pool_idle_timeout(seconds(30)).build().unwrap();
    let begin = Instant::now();
    call(&proxy, get("http://h/")).await.unwrap();
    closed.notified().await;
    assert_eq!(begin.elapsed(), seconds(30));
    call(&proxy, get("http://h/")).await.unwrap();
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_closed_with_the_last_service_that_knows_it() {
    let closed = Arc::new(Notify::new());
    let told = closed.clone();
    let (proxy, _upstream) = to(move |_, mut frames| {
        let told = told.clone();
        async move {
            let stream = frames.request().await;
            frames.ok(stream, true).await;
            frames.drain().await;
            told.notify_one();
        }
    });
    call(&proxy, get("http://h/")).await.unwrap();
    drop(proxy);
    timeout(seconds(1), closed.notified()).await.expect("closed at once");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_too_old_serves_its_streams_to_the_end_and_no_others() {
    let (proxy, upstream) = {
        let upstream = Scripted::frames(|_, frames| async move {
            let mut frames = frames.greet(&[]).await;
            let stream = frames.request().await;
            sleep(seconds(20)).await;
            frames.ok(stream, true).await;
            frames.drain().await;
        });
        (with(&upstream).pool_max_age(seconds(10)).build().unwrap(), upstream)
    };
    let first = tokio::spawn({
        let proxy = proxy.clone();
        async move { call(&proxy, get("http://h/")).await.unwrap().status() }
    });
    sleep(seconds(11)).await;
    assert_eq!(call(&proxy, get("http://h/")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(first.await.unwrap(), StatusCode::OK);
    assert_eq!(upstream.connections(), 2);
}
