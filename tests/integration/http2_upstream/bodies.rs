//! Bodies in both directions: their ends, and that a truncated body never appears to be complete.

use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Request};
use nexthop::{Body, ErrorKind, Phase};
use tokio::sync::Notify;

use super::{all, call, piece, to, with};
use crate::support::{
    Scripted,
    body::fed,
    frames::{CANCEL, DATA, END_HEADERS, END_STREAM, HEADERS, INTERNAL_ERROR, NO_ERROR, RST_STREAM},
    get, post,
};

#[tokio::test(start_paused = true)]
async fn bodies_stream_both_ways_at_once_with_their_trailers() {
    let (proxy, _upstream) = to(|_, mut frames| async move {
        let stream = frames.request().await;
        frames.ok(stream, false).await;
        for _ in 0..3 {
            let echo = frames.next_of(DATA).await;
            assert_eq!(echo.flags & END_STREAM, 0);
            frames.data(stream, &echo.payload, false).await;
        }
        let trailers = frames.next_of(HEADERS).await;
        assert_ne!(trailers.flags & END_STREAM, 0);
        frames.write(HEADERS, END_HEADERS | END_STREAM, stream, &trailers.payload).await;
        frames.drain().await;
    });
    let (feed, body) = fed();
    let response = call(&proxy, Request::post("http://h/").body(Body::new(body)).unwrap()).await.unwrap();
    let mut body = response.into_body();
    for text in ["one", "two", "three"] {
        assert!(feed.data(text).await);
        assert_eq!(piece(&mut body).await.unwrap(), text);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "6".parse().unwrap());
    trailers.insert("content-length", "6".parse().unwrap());
    feed.trailers(trailers).await;
    drop(feed);
    let (rest, trailers, end) = all(body).await;
    assert!(rest.is_empty() && end.is_ok());
    // `Content-Length` is not allowed in trailers, so the proxy removes it.
    let trailers = trailers.unwrap();
    assert_eq!((trailers["x-sum"].as_bytes(), trailers.len()), (&b"6"[..], 1));
}

#[tokio::test(start_paused = true)]
async fn a_reset_stream_never_looks_like_an_end() {
    for reason in [NO_ERROR, CANCEL, INTERNAL_ERROR] {
        let (proxy, _upstream) = to(move |_, mut frames| async move {
            let stream = frames.request().await;
            frames.ok(stream, false).await;
            frames.data(stream, b"half", false).await;
            frames.reset(stream, reason).await;
            frames.drain().await;
        });
        let response = call(&proxy, get("http://h/")).await.unwrap();
        let (bytes, _, end) = all(response.into_body()).await;
        let error = end.expect_err("cut");
        assert_eq!(bytes, b"half");
        assert_eq!(
            (error.kind(), error.phase(), error.is_retryable()),
            (ErrorKind::Upstream, Phase::ResponseBody, false)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_inside_a_body_is_an_error() {
    let (proxy, _upstream) = to(|_, mut frames| async move {
        let stream = frames.request().await;
        frames.ok(stream, false).await;
        frames.data(stream, b"half", false).await;
    });
    let response = call(&proxy, get("http://h/")).await.unwrap();
    let (bytes, _, end) = all(response.into_body()).await;
    assert_eq!(bytes, b"half");
    assert_eq!(end.expect_err("cut").kind(), ErrorKind::Upstream);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_as_long_as_announced_is_an_error() {
    // `content-length: 9`, with the name by index 28 of the static table.
    let head = b"\x88\x0f\x0d\x019";
    for (data, end) in [(&b"short"[..], true), (b"much too long", false)] {
        let (proxy, _upstream) = to(move |_, mut frames| async move {
            let stream = frames.request().await;
            frames.write(HEADERS, END_HEADERS, stream, head).await;
            frames.data(stream, data, end).await;
            frames.drain().await;
        });
        let response = call(&proxy, get("http://h/")).await.unwrap();
        assert_eq!(response.headers()["content-length"], "9");
        let error = all(response.into_body()).await.2.expect_err("another length");
        assert_eq!(error.kind(), ErrorKind::Upstream);
    }
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_is_whole_although_the_upstream_wants_no_more_of_the_request() {
    let (proxy, _upstream) = to(|_, mut frames| async move {
        let stream = frames.request().await;
        frames.ok(stream, false).await;
        frames.data(stream, b"too large", true).await;
        frames.reset(stream, NO_ERROR).await;
        frames.drain().await;
    });
    let (feed, body) = fed();
    let response = call(&proxy, Request::post("http://h/").body(Body::new(body)).unwrap()).await.unwrap();
    let (bytes, _, end) = all(response.into_body()).await;
    assert_eq!(bytes, b"too large");
    end.unwrap();
    drop(feed);
}

#[tokio::test(start_paused = true)]
async fn a_clients_body_that_breaks_off_resets_the_stream() {
    let seen = Arc::new(Notify::new());
    let told = seen.clone();
    let (proxy, upstream) = to(move |_, mut frames| {
        let told = told.clone();
        async move {
            frames.request().await;
            let reset = frames.next_of(RST_STREAM).await;
            assert_eq!(reset.payload, CANCEL.to_be_bytes());
            told.notify_one();
            let stream = frames.request().await;
            frames.ok(stream, true).await;
            frames.drain().await;
        }
    });
    let (feed, body) = fed();
    feed.data("some").await;
    let calling = tokio::spawn({
        let proxy = proxy.clone();
        async move { call(&proxy, Request::post("http://h/").body(Body::new(body)).unwrap()).await }
    });
    feed.fail("gone").await;
    let error = calling.await.unwrap().expect_err("no body");
    assert_eq!((error.kind(), error.status().as_u16()), (ErrorKind::RequestBody, 400));
    seen.notified().await;
    // The connection remains usable.
    call(&proxy, get("http://h/")).await.unwrap();
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_of_another_length_than_announced_is_the_clients_fault() {
    for text in ["short", "much too long"] {
        let (proxy, _upstream) = to(|_, mut frames| async move {
            frames.request().await;
            frames.drain().await;
        });
        let (feed, body) = fed();
        let request = Request::post("http://h/").header("content-length", "9").body(Body::new(body)).unwrap();
        feed.data(text).await;
        drop(feed);
        let error = call(&proxy, request).await.expect_err("another length");
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::RequestBody, false), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_or_the_body_resets_the_stream_and_not_the_connection() {
    let resets = Arc::new(Mutex::new(Vec::new()));
    let (seen, changed) = (resets.clone(), Arc::new(Notify::new()));
    let told = changed.clone();
    let (proxy, upstream) = to(move |_, mut frames| {
        let (seen, told) = (seen.clone(), told.clone());
        async move {
            for answer in [false, true] {
                let stream = frames.request().await;
                if answer {
                    frames.ok(stream, false).await;
                    frames.data(stream, b"some", false).await;
                } else {
                    told.notify_one();
                }
                let reset = frames.next_of(RST_STREAM).await;
                seen.lock().unwrap().push((reset.stream, reset.payload));
                told.notify_one();
            }
            let stream = frames.request().await;
            frames.ok(stream, true).await;
            pending::<()>().await;
        }
    });
    let unanswered = tokio::spawn({
        let proxy = proxy.clone();
        async move { call(&proxy, get("http://h/")).await }
    });
    changed.notified().await;
    unanswered.abort();
    changed.notified().await;
    let mut body = call(&proxy, get("http://h/")).await.unwrap().into_body();
    assert_eq!(piece(&mut body).await.unwrap(), "some");
    drop(body);
    changed.notified().await;
    call(&proxy, post("http://h/", "more")).await.unwrap();
    let cancel = CANCEL.to_be_bytes().to_vec();
    assert_eq!(*resets.lock().unwrap(), [(1, cancel.clone()), (3, cancel)]);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_holds_up_no_other_stream() {
    let stalled = Arc::new(Notify::new());
    let told = stalled.clone();
    let (proxy, upstream) = to(move |_, mut frames| {
        let told = told.clone();
        async move {
            // Fills the windows of 20 streams, although no client reads.
            let window = 512 * 1024;
            for _ in 0..20 {
                let stream = frames.request().await;
                frames.ok(stream, false).await;
                let piece = vec![0; 16 * 1024];
                for _ in 0..window / piece.len() {
                    frames.data(stream, &piece, false).await;
                }
            }
            told.notify_one();
            let stream = frames.request().await;
            frames.ok(stream, false).await;
            frames.data(stream, b"through", true).await;
            frames.drain().await;
        }
    });
    let mut unread = Vec::new();
    for _ in 0..20 {
        unread.push(call(&proxy, get("http://h/")).await.unwrap());
    }
    stalled.notified().await;
    let (bytes, _, end) = all(call(&proxy, get("http://h/")).await.unwrap().into_body()).await;
    assert_eq!(bytes, b"through");
    end.unwrap();
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_more_of_a_request_is_taken_than_the_upstream_lets_through() {
    let (proxy, _upstream) = to(|_, mut frames| async move {
        frames.request().await;
        frames.drain().await;
    });
    let (feed, body) = fed();
    let _calling =
        tokio::spawn(async move { call(&proxy, Request::post("http://h/").body(Body::new(body)).unwrap()).await });
    // The default window of a stream is 65,535 bytes.
    let mut taken = 0;
    while tokio::time::timeout(super::seconds(5), feed.data(Bytes::from(vec![0; 10_000]))).await == Ok(true) {
        taken += 10_000;
    }
    assert!((60_000..=100_000).contains(&taken), "{taken}");
}

#[tokio::test(start_paused = true)]
async fn bodies_that_are_dropped_unread_do_not_use_up_the_connections_window() {
    let upstream = Scripted::new(|_, io| async move {
        let mut connection = h2::server::handshake(io).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            // The client may have reset the stream.
            if let Ok(mut body) = respond.send_response(http::Response::new(()), false) {
                let _ = body.send_data(Bytes::from_static(&[7; 60_000]), true);
            }
        }
    });
    // The connection's window is a hundred times as large.
    let proxy = with(&upstream).http2_stream_window_bytes(65_535).build().unwrap();
    for n in 0..400 {
        let mut response = call(&proxy, get("http://h/")).await.unwrap();
        if n % 4 > 0 {
            piece(response.body_mut()).await.unwrap();
        }
    }
    let (bytes, _, end) = all(call(&proxy, get("http://h/")).await.unwrap().into_body()).await;
    assert_eq!((bytes.len(), end.is_ok(), upstream.connections()), (60_000, true, 1));
}
