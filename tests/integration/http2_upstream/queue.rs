//! A maximum of connections with shared connections: a waiting request receives a stream or a connection, whichever is
//! available first.

use std::{
    future::{pending, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use http::StatusCode;
use nexthop::{ErrorKind, ExactProxy, Phase};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{call, seconds, with};
use crate::support::{
    Frames, Scripted,
    frames::{CANCEL, REFUSED_STREAM, RST_STREAM, SETTINGS},
    get, post,
};

/// SETTINGS_MAX_CONCURRENT_STREAMS with a value of one.
const ONE_STREAM: &[(u16, u32)] = &[(3, 1)];

/// Starts an upstream with one connection of one stream. The script receives the first request's stream; the returned
/// `Notify` reports that request.
fn crowded<F, Fut>(script: F) -> (Scripted, Arc<Notify>)
where
    F: Fn(usize, u32, Frames) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let begun = Arc::new(Notify::new());
    let (script, tell) = (Arc::new(script), begun.clone());
    let upstream = Scripted::frames(move |index, frames| {
        let (script, tell) = (script.clone(), tell.clone());
        async move {
            let mut frames = frames.greet(ONE_STREAM).await;
            let stream = frames.request().await;
            tell.notify_one();
            script(index, stream, frames).await
        }
    });
    (upstream, begun)
}

fn calling(proxy: &ExactProxy, path: &str) -> JoinHandle<Result<StatusCode, nexthop::Error>> {
    let (proxy, request) = (proxy.clone(), post(format!("http://h{path}"), "x"));
    tokio::spawn(async move { call(&proxy, request).await.map(|response| response.status()) })
}

async fn waiting(proxy: &ExactProxy, count: usize) {
    while proxy.pool_stats().waiting != count {
        sleep(seconds(1) / 1000).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_queue_for_a_stream_is_never_sent_and_who_leaves_a_stream_makes_room() {
    let (upstream, begun) = crowded(|_, first, mut frames| async move {
        let reset = frames.next_of(RST_STREAM).await;
        assert_eq!((reset.stream, reset.payload), (first, CANCEL.to_be_bytes().to_vec()));
        let second = frames.request().await;
        assert_eq!(second, first + 2, "a dropped request was sent");
        frames.ok(second, true).await;
        frames.drain().await;
    });
    let proxy = with(&upstream).pool_max_connections(1).build().unwrap();
    let first = calling(&proxy, "/1");
    begun.notified().await;
    let (left, patient) = (calling(&proxy, "/2"), calling(&proxy, "/3"));
    waiting(&proxy, 2).await;
    left.abort();
    waiting(&proxy, 1).await;
    first.abort();
    assert_eq!(patient.await.unwrap().unwrap(), StatusCode::OK);
    let stats = proxy.pool_stats();
    assert_eq!((stats.waiting, stats.opened, stats.in_use, stats.idle), (0, 1, 0, 1));
    upstream.finish();
}

#[tokio::test(start_paused = true)]
async fn where_the_shared_connection_ends_one_that_waits_opens_the_next_and_the_others_share_it() {
    let cut = Arc::new(Notify::new());
    let cutting = cut.clone();
    let (upstream, begun) = crowded(move |index, first, mut frames| {
        let cutting = cutting.clone();
        async move {
            if index == 0 {
                return cutting.notified().await;
            }
            frames.ok(first, true).await;
            loop {
                let stream = frames.request().await;
                frames.ok(stream, true).await;
            }
        }
    });
    let proxy = with(&upstream).pool_max_connections(1).build().unwrap();
    let first = calling(&proxy, "/1");
    begun.notified().await;
    let others: Vec<_> = (2..6).map(|n| calling(&proxy, &format!("/{n}"))).collect();
    waiting(&proxy, 4).await;
    cut.notify_one();
    assert_eq!(first.await.unwrap().expect_err("cut").kind(), ErrorKind::Upstream);
    for other in others {
        assert_eq!(other.await.unwrap().unwrap(), StatusCode::OK);
    }
    assert_eq!((upstream.connections(), proxy.pool_stats().waiting), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_comes_to_one_that_waits_for_another_is_not_lost_on_both() {
    let cut = Arc::new(Notify::new());
    let cutting = cut.clone();
    let (upstream, begun) = crowded(move |index, first, mut frames| {
        let cutting = cutting.clone();
        async move {
            if index == 0 {
                return cutting.notified().await;
            }
            frames.ok(first, true).await;
            loop {
                let stream = frames.request().await;
                frames.ok(stream, true).await;
            }
        }
    });
    let proxy = with(&upstream).pool_max_connections(1).build().unwrap();
    let first = calling(&proxy, "/1");
    begun.notified().await;
    // Keeps the status only, since the response would hold the stream.
    let asking = async || call(&proxy, get("http://h/")).await.map(|response| response.status());
    let [mut one, mut two, mut three] = [(); 3].map(|()| Box::pin(asking()));
    for waits in [&mut one, &mut two, &mut three] {
        assert!(is_pending(waits).await);
    }
    assert_eq!(proxy.pool_stats().waiting, 3);
    // The next request to open a connection is dropped; the last one in the queue opens it instead.
    drop(one);
    assert!(is_pending(&mut three).await && is_pending(&mut two).await);
    let start = Instant::now();
    cut.notify_one();
    let (two, three) = tokio::join!(two, three);
    assert_eq!((two.unwrap(), three.unwrap()), (StatusCode::OK, StatusCode::OK));
    assert_eq!((start.elapsed(), upstream.connections()), (Duration::ZERO, 2));
    first.await.unwrap().expect_err("cut");
}

/// Polls a future once.
async fn is_pending<F: Future>(future: &mut Pin<Box<F>>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

#[tokio::test(start_paused = true)]
async fn streams_are_given_out_in_the_order_of_asking_and_who_comes_later_stands_behind() {
    let release = Arc::new(Notify::new());
    let released = release.clone();
    let (upstream, begun) = crowded(move |_, first, mut frames| {
        let released = released.clone();
        async move {
            released.notified().await;
            frames.ok(first, true).await;
            loop {
                let stream = frames.request().await;
                frames.ok(stream, true).await;
            }
        }
    });
    let proxy = with(&upstream).pool_max_connections(1).build().unwrap();
    let mut first = Box::pin(call(&proxy, get("http://h/")));
    tokio::select! {
        _ = &mut first => panic!("the upstream has not answered yet"),
        () = begun.notified() => {}
    }
    // Responses arrive one at a time, in the order of the requests.
    let order = std::sync::Mutex::new(Vec::new());
    let asking = async |number: usize| {
        assert_eq!(call(&proxy, get("http://h/")).await.unwrap().status(), StatusCode::OK);
        order.lock().unwrap().push(number);
    };
    let mut queue = [1, 2, 3].map(|number| Box::pin(asking(number)));
    for waits in &mut queue {
        assert!(is_pending(waits).await);
    }
    release.notify_one();
    // The stream is free now, before any waiting request is polled again.
    drop(first.await.unwrap());
    let mut late = [4, 5].map(|number| Box::pin(asking(number)));
    for waits in &mut late {
        assert!(is_pending(waits).await);
    }
    assert_eq!(proxy.pool_stats().waiting, 4, "one of the five requests has a stream");
    let ([one, two, three], [four, five]) = (queue, late);
    tokio::join!(five, four, three, two, one);
    assert_eq!(*order.lock().unwrap(), [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn more_streams_by_new_settings_go_to_those_who_wait() {
    let (upstream, begun) = crowded(|_, first, mut frames| async move {
        frames.write(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 3]).await;
        let [second, third] = [frames.request().await, frames.request().await];
        for stream in [first, second, third] {
            frames.ok(stream, true).await;
        }
        frames.drain().await;
    });
    let proxy = with(&upstream).pool_max_connections(1).build().unwrap();
    let calls: Vec<_> = (1..4).map(|n| calling(&proxy, &format!("/{n}"))).collect();
    begun.notified().await;
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), StatusCode::OK);
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_takes_no_streams_is_not_asked_by_one_connection_after_another() {
    let upstream = Scripted::frames(|_, frames| async move {
        let mut frames = frames.greet(&[(3, 0)]).await;
        loop {
            let stream = frames.request().await;
            frames.reset(stream, REFUSED_STREAM).await;
        }
    });
    for builder in [with(&upstream), with(&upstream).pool_max_connections(9)] {
        let (proxy, before) = (builder.build().unwrap(), upstream.connections());
        let start = Instant::now();
        for _ in 0..20 {
            let error = call(&proxy, get("http://h/")).await.expect_err("refused");
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Upstream, true));
        }
        assert_eq!((upstream.connections() - before, start.elapsed()), (1, Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_takes_streams_again_is_asked_again() {
    let upstream = Scripted::frames(|_, frames| async move {
        let mut frames = frames.greet(&[]).await;
        let first = frames.request().await;
        frames.ok(first, true).await;
        frames.write(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 0]).await;
        sleep(seconds(5)).await;
        frames.write(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1]).await;
        let second = frames.request().await;
        frames.ok(second, true).await;
        frames.drain().await;
    });
    let proxy = with(&upstream).build().unwrap();
    assert_eq!(call(&proxy, get("http://h/")).await.unwrap().status(), StatusCode::OK);
    sleep(seconds(1)).await;
    let error = call(&proxy, get("http://h/")).await.expect_err("no streams");
    assert_eq!((error.status(), error.phase()), (StatusCode::BAD_GATEWAY, Phase::Queue));
    sleep(seconds(5)).await;
    assert_eq!(call(&proxy, get("http://h/")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_waited_for_as_long_as_a_connection_and_no_longer() {
    let (upstream, begun) = crowded(|_, _, mut frames| async move { frames.drain().await });
    let proxy = with(&upstream).pool_max_connections(1).pool_wait_timeout(seconds(3)).build().unwrap();
    let _first = calling(&proxy, "/1");
    begun.notified().await;
    let start = Instant::now();
    for late in [calling(&proxy, "/2"), calling(&proxy, "/3")] {
        let error = late.await.unwrap().expect_err("too late");
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Unavailable, Phase::Queue));
        assert!(error.is_retryable());
    }
    assert_eq!(start.elapsed(), seconds(3));
    assert_eq!(proxy.pool_stats().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_a_stream_is_waited_for_as_long_as_it_takes() {
    let release = Arc::new(Notify::new());
    let released = release.clone();
    let (upstream, begun) = crowded(move |_, first, mut frames| {
        let released = released.clone();
        async move {
            released.notified().await;
            frames.ok(first, true).await;
            loop {
                let stream = frames.request().await;
                frames.ok(stream, true).await;
            }
        }
    });
    let builder = with(&upstream).pool_max_connections(1).pool_wait_timeout(None);
    let proxy = builder.response_timeout(None).http2_ping_interval(None).build().unwrap();
    let first = calling(&proxy, "/1");
    begun.notified().await;
    let others = [calling(&proxy, "/2"), calling(&proxy, "/3")];
    waiting(&proxy, 2).await;
    sleep(seconds(3600)).await;
    release.notify_one();
    assert_eq!(first.await.unwrap().unwrap(), StatusCode::OK);
    for other in others {
        assert_eq!(other.await.unwrap().unwrap(), StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_dropped_while_requests_wait_still_serves_them() {
    let release = Arc::new(Notify::new());
    let released = release.clone();
    let (upstream, begun) = crowded(move |_, first, mut frames| {
        let released = released.clone();
        async move {
            released.notified().await;
            frames.ok(first, true).await;
            let second = frames.request().await;
            frames.ok(second, true).await;
            pending::<()>().await;
        }
    });
    let proxy = with(&upstream).pool_max_connections(1).build().unwrap();
    let first = calling(&proxy, "/1");
    begun.notified().await;
    let second = tokio::spawn({
        let proxy = proxy.clone();
        async move { call(&proxy, get("http://h/2")).await.map(|response| response.status()) }
    });
    waiting(&proxy, 1).await;
    drop(proxy);
    release.notify_one();
    assert_eq!(first.await.unwrap().unwrap(), StatusCode::OK);
    assert_eq!(second.await.unwrap().unwrap(), StatusCode::OK);
}
