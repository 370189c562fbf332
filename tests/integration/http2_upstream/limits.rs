//! All timeouts, on a paused clock.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::Request;
use nexthop::{Body, ErrorKind, Phase};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::{all, call, piece, seconds, to, with};
use crate::support::{Scripted, body::fed, frames::RST_STREAM, get};

#[tokio::test(start_paused = true)]
async fn the_head_of_a_response_is_awaited_60_s_from_the_last_byte_of_the_request() {
    let (proxy, _upstream) = to(|_, mut frames| async move { frames.drain().await });
    let begin = Instant::now();
    let error = call(&proxy, get("http://h/")).await.expect_err("no answer");
    assert_eq!(begin.elapsed(), seconds(60));
    assert_eq!((error.kind(), error.phase(), error.is_retryable()), (ErrorKind::Timeout, Phase::ResponseHead, false));

    let (feed, body) = fed();
    let begin = Instant::now();
    let calling =
        tokio::spawn(async move { call(&proxy, Request::post("http://h/").body(Body::new(body)).unwrap()).await });
    for _ in 0..3 {
        sleep(seconds(50)).await;
        feed.data("more").await;
    }
    drop(feed);
    let error = calling.await.unwrap().expect_err("no answer");
    assert_eq!((begin.elapsed(), error.phase()), (seconds(210), Phase::ResponseHead));
}

#[tokio::test(start_paused = true)]
async fn a_client_has_60_s_for_each_frame_of_its_body() {
    let (proxy, _upstream) = to(|_, mut frames| async move { frames.drain().await });
    let (feed, body) = fed();
    feed.data("some").await;
    let begin = Instant::now();
    let error = call(&proxy, Request::post("http://h/").body(Body::new(body)).unwrap()).await.expect_err("no body");
    assert_eq!((begin.elapsed(), error.kind(), error.status().as_u16()), (seconds(60), ErrorKind::RequestTimeout, 408));
    drop(feed);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_takes_no_more_has_60_s() {
    let (proxy, _upstream) = to(|_, mut frames| async move { frames.drain().await });
    let body = Bytes::from(vec![0; 200_000]);
    let begin = Instant::now();
    let error = call(&proxy, Request::post("http://h/").body(Body::from(body)).unwrap()).await.expect_err("stalled");
    assert_eq!((begin.elapsed(), error.kind(), error.phase()), (seconds(60), ErrorKind::Timeout, Phase::Send));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_stops_is_cut_after_60_s_and_its_stream_reset() {
    let reset = Arc::new(Notify::new());
    let told = reset.clone();
    let (proxy, _upstream) = to(move |_, mut frames| {
        let told = told.clone();
        async move {
            let stream = frames.request().await;
            frames.ok(stream, false).await;
            frames.data(stream, b"some", false).await;
            frames.next_of(RST_STREAM).await;
            told.notify_one();
        }
    });
    let mut body = call(&proxy, get("http://h/")).await.unwrap().into_body();
    assert_eq!(piece(&mut body).await.unwrap(), "some");
    let begin = Instant::now();
    let error = piece(&mut body).await.expect_err("silence");
    assert_eq!((begin.elapsed(), error.kind(), error.phase()), (seconds(60), ErrorKind::Timeout, Phase::ResponseBody));
    drop(body);
    timeout(seconds(1), reset.notified()).await.expect("told at once");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_silent_for_a_day_lives_if_nothing_limits_it() {
    let upstream = Scripted::frames(|_, frames| async move {
        let mut frames = frames.greet(&[]).await;
        let stream = frames.request().await;
        frames.ok(stream, false).await;
        let mut seen = 0;
        let quiet = sleep(seconds(24 * 3600));
        tokio::pin!(quiet);
        loop {
            tokio::select! {
                frame = frames.next() => seen += usize::from(frame.expect("no end").kind == crate::support::frames::PING),
                () = &mut quiet => break,
            }
        }
        // The first PING after 20 s, later ones every 310 s: gRPC servers accept this rate.
        assert!((270..=279).contains(&seen), "{seen} PING frames");
        frames.data(stream, b"at last", true).await;
        frames.drain().await;
    });
    let proxy = with(&upstream).body_idle_timeout(None).build().unwrap();
    let body = call(&proxy, get("http://h/")).await.unwrap().into_body();
    let (bytes, _, end) = all(body).await;
    assert_eq!(bytes, b"at last");
    end.unwrap();
    upstream.finish();
}

#[tokio::test(start_paused = true)]
async fn a_two_way_stream_is_not_cut_while_either_way_moves() {
    let upstream = Scripted::frames(|_, frames| async move {
        let mut frames = frames.greet(&[]).await;
        let stream = frames.request().await;
        frames.ok(stream, false).await;
        for _ in 0..4 {
            sleep(seconds(40)).await;
            frames.data(stream, b"tick", false).await;
        }
        frames.drain().await;
    });
    // The script reads nothing, so it acknowledges no PING.
    let proxy = with(&upstream).http2_ping_interval(None).build().unwrap();
    let (feed, body) = fed();
    let response = call(&proxy, Request::post("http://h/").body(Body::new(body)).unwrap()).await.unwrap();
    let begin = Instant::now();
    let (bytes, _, end) = all(response.into_body()).await;
    assert_eq!((bytes.len(), begin.elapsed()), (16, seconds(220)));
    assert_eq!(end.expect_err("silence at last").kind(), ErrorKind::Timeout);
    drop(feed);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_does_not_answer_a_question_is_given_up() {
    let (proxy, upstream) = to(|index, mut frames| async move {
        frames.answers = index > 0;
        let stream = frames.request().await;
        frames.ok(stream, index > 0).await;
        frames.drain().await;
        pending::<()>().await;
    });
    let begin = Instant::now();
    let response = call(&proxy, get("http://h/")).await.unwrap();
    let error = all(response.into_body()).await.2.expect_err("gone");
    assert_eq!((begin.elapsed(), error.kind()), (seconds(30), ErrorKind::Upstream));
    call(&proxy, get("http://h/")).await.unwrap();
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_has_vanished_is_given_up_though_no_request_waits_for_long() {
    let (proxy, upstream) = to(|index, mut frames| async move {
        frames.answers = index > 0;
        let stream = frames.request().await;
        frames.ok(stream, true).await;
        frames.drain().await;
        pending::<()>().await;
    });
    call(&proxy, get("http://h/")).await.unwrap();
    let begin = Instant::now();
    while timeout(seconds(5), call(&proxy, get("http://h/"))).await.is_err() {
        assert!(begin.elapsed() < seconds(60), "requests are sent to an unresponsive upstream");
        sleep(seconds(1)).await;
    }
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_only_slow_is_kept_and_not_asked_time_and_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let pings = asked.clone();
    let (proxy, upstream) = to(move |_, mut frames| {
        let pings = pings.clone();
        async move {
            while frames.next().await.is_some() {
                pings.store(frames.pings, Ordering::SeqCst);
            }
        }
    });
    for _ in 0..150 {
        timeout(seconds(5), call(&proxy, get("http://h/"))).await.unwrap_err();
        sleep(seconds(1)).await;
    }
    assert_eq!((asked.load(Ordering::SeqCst), upstream.connections()), (3, 1), "in 900 s");
}
