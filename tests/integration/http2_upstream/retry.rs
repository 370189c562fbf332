//! Retries: requests that are sent again, and requests that are not.

use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use http::{Request, StatusCode};
use nexthop::{Body, ErrorKind};
use tokio::sync::Notify;

use super::{all, call, piece, to};
use crate::support::{
    Frames,
    body::{fed, pieces},
    frames::{DATA, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM},
    get, post,
};

/// Answers every request and records the bodies.
async fn serve(mut frames: Frames, bodies: Arc<Mutex<Vec<Vec<u8>>>>) {
    loop {
        let stream = frames.request().await;
        let mut body = Vec::new();
        loop {
            let frame = frames.next_of(DATA).await;
            body.extend_from_slice(&frame.payload);
            if frame.flags & 1 != 0 {
                break;
            }
        }
        bodies.lock().unwrap().push(body);
        frames.ok(stream, true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_stream_is_sent_again_on_another_connection_whatever_its_method() {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let seen = bodies.clone();
    let (proxy, upstream) = to(move |index, mut frames| {
        let seen = seen.clone();
        async move {
            if index > 0 {
                return serve(frames, seen).await;
            }
            loop {
                let stream = frames.request().await;
                frames.reset(stream, REFUSED_STREAM).await;
            }
        }
    });
    assert_eq!(call(&proxy, post("http://h/", "in memory")).await.unwrap().status(), StatusCode::OK);
    let one_frame = Request::post("http://h/").body(Body::new(pieces(&["one frame"]))).unwrap();
    // The end of the body may have been read before the refusal; the body cannot be replayed then.
    let streamed = call(&proxy, one_frame).await;
    assert!(streamed.is_ok() || streamed.is_err_and(|error| error.is_retryable()));
    assert_eq!(bodies.lock().unwrap()[0], b"in memory");
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_had_again_is_left_to_the_caller() {
    let (proxy, upstream) = to(|_, mut frames| async move {
        let stream = frames.request().await;
        frames.next_of(DATA).await;
        frames.next_of(DATA).await;
        frames.reset(stream, REFUSED_STREAM).await;
        frames.drain().await;
    });
    let (feed, body) = fed();
    let calling =
        tokio::spawn(async move { call(&proxy, Request::post("http://h/").body(Body::new(body)).unwrap()).await });
    feed.data("one").await;
    // This part exceeds the replay buffer.
    feed.data("x".repeat(70_000)).await;
    let error = calling.await.unwrap().expect_err("refused");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Upstream, true));
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_sent_twice_at_the_most() {
    let (proxy, upstream) = to(|_, mut frames| async move {
        let stream = frames.request().await;
        frames.reset(stream, REFUSED_STREAM).await;
        frames.drain().await;
    });
    let error = call(&proxy, get("http://h/")).await.expect_err("refused twice");
    assert_eq!((error.kind(), error.status().as_u16(), error.is_retryable()), (ErrorKind::Upstream, 502, true));
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn after_a_goaway_open_streams_end_in_peace_and_those_above_the_last_are_sent_again() {
    let (told, away) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, go) = (told.clone(), away.clone());
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let seen = bodies.clone();
    let (proxy, upstream) = to(move |index, mut frames| {
        let (tell, go, seen) = (tell.clone(), go.clone(), seen.clone());
        async move {
            if index > 0 {
                return serve(frames, seen).await;
            }
            let first = frames.request().await;
            frames.ok(first, false).await;
            frames.data(first, b"begun", false).await;
            frames.request().await;
            frames.go_away(first, NO_ERROR).await;
            tell.notify_one();
            go.notified().await;
            frames.data(first, b" and ended", true).await;
            frames.drain().await;
        }
    });
    let mut first = call(&proxy, get("http://h/")).await.unwrap().into_body();
    assert_eq!(piece(&mut first).await.unwrap(), "begun");
    // The request is not idempotent, but the upstream did not process it.
    assert_eq!(call(&proxy, post("http://h/", "above the last")).await.unwrap().status(), StatusCode::OK);
    told.notified().await;
    assert_eq!(call(&proxy, post("http://h/", "after it")).await.unwrap().status(), StatusCode::OK);
    away.notify_one();
    let (rest, _, end) = all(first).await;
    assert_eq!(rest, b" and ended");
    end.unwrap();
    assert_eq!(*bodies.lock().unwrap(), [b"above the last".to_vec(), b"after it".to_vec()]);
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_an_old_connection_lost_is_sent_again_only_if_it_is_idempotent() {
    for idempotent in [true, false] {
        let (proxy, upstream) = to(|index, mut frames| async move {
            let stream = frames.request().await;
            frames.ok(stream, true).await;
            frames.request().await;
            if index > 0 {
                pending::<()>().await;
            }
        });
        call(&proxy, get("http://h/")).await.unwrap();
        let request = if idempotent { get("http://h/") } else { post("http://h/", "once") };
        let outcome = call(&proxy, request).await;
        if idempotent {
            outcome.unwrap();
        } else {
            assert!(!outcome.expect_err("lost").is_retryable());
        }
        assert_eq!(upstream.connections(), 1 + usize::from(idempotent));
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_that_is_lost_and_a_stream_that_is_reset_are_not_tried_again() {
    let (proxy, upstream) = to(|_, mut frames| async move {
        frames.request().await;
    });
    assert!(!call(&proxy, get("http://h/")).await.expect_err("lost").is_retryable());
    assert_eq!(upstream.connections(), 1);
    let (proxy, upstream) = to(|_, mut frames| async move {
        let stream = frames.request().await;
        frames.reset(stream, INTERNAL_ERROR).await;
        frames.drain().await;
    });
    assert!(!call(&proxy, get("http://h/")).await.expect_err("reset").is_retryable());
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_on_shared_connections_fill_the_retry_budget_too() {
    // Each connection serves one request and fails on the next.
    let (proxy, _upstream) = to(|_, mut frames| async move {
        let stream = frames.request().await;
        frames.ok(stream, true).await;
        frames.request().await;
    });
    let mut answered = 0;
    loop {
        match call(&proxy, get("http://h/")).await {
            Ok(response) => assert!(all(response.into_body()).await.2.is_ok()),
            Err(error) => break assert_eq!((error.status().as_u16(), error.is_retryable()), (502, false)),
        }
        answered += 1;
    }
    assert!(
        (1_200..1_300).contains(&answered),
        "{answered} requests, the retry budget is 1000 plus 20 % of the requests"
    );
}
