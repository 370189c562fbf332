//! Request heads as the upstream receives them, and response heads as the client receives them.

use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use nexthop::{Body, ErrorKind, Phase, ext::OnInformational};
use tokio::{io::DuplexStream, sync::mpsc};

use super::{all, call, to, with};
use crate::support::{
    Scripted,
    frames::{END_HEADERS, HEADERS},
    get, post,
};

/// Starts an h2 server that reports each request and sends the response of `answer` without a body.
fn upstream(answer: fn() -> Response<()>) -> (Scripted, mpsc::UnboundedReceiver<Request<()>>) {
    let (tell, seen) = mpsc::unbounded_channel();
    let tell = Mutex::new(tell);
    let upstream = Scripted::new(move |_, io: DuplexStream| {
        let tell = tell.lock().unwrap().clone();
        async move {
            let mut connection = h2::server::handshake(io).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                tell.send(request.map(drop)).unwrap();
                respond.send_response(answer(), true).unwrap();
            }
        }
    });
    (upstream, seen)
}

fn ok() -> Response<()> {
    Response::new(())
}

/// RFC 9110 §10.1.1.
#[tokio::test(start_paused = true)]
async fn an_expectation_goes_out_with_content_alone() {
    let (upstream, mut seen) = upstream(ok);
    let proxy = with(&upstream).build().unwrap();
    for (body, expectation, sent) in
        [("", "100-Continue", None), ("ab", "100-continue", Some("100-continue")), ("", "other", Some("other"))]
    {
        let request = Request::post("http://h/").header("expect", expectation).body(Body::from(body)).unwrap();
        assert_eq!(call(&proxy, request).await.unwrap().status(), StatusCode::OK);
        let seen = seen.recv().await.unwrap();
        assert_eq!(seen.headers().get("expect").map(|value| value.to_str().unwrap()), sent, "{body:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_authority_is_what_host_says_and_no_field_of_a_connection_is_sent() {
    let (upstream, mut seen) = upstream(ok);
    let proxy = with(&upstream).build().unwrap();
    let request = Request::get("http://10.0.0.1:8080/a?b=c")
        .header("host", "app.example")
        .header("connection", "te, x-hop")
        .header("x-hop", "1")
        .header("keep-alive", "timeout=5")
        .header("proxy-connection", "keep-alive")
        .header("te", "gzip, trailers")
        .header("upgrade-insecure-requests", "1")
        .header("x-own", "2")
        .body(Body::empty())
        .unwrap();
    let response = call(&proxy, request).await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
    let seen = seen.recv().await.unwrap();
    assert_eq!(seen.uri(), "http://app.example/a?b=c");
    let mut names: Vec<_> = seen.headers().keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["te", "upgrade-insecure-requests", "x-own"]);
    assert_eq!(seen.headers()["te"], "trailers");
}

#[tokio::test(start_paused = true)]
async fn the_authority_is_the_uris_where_there_is_no_host_and_a_body_tells_its_length() {
    let (upstream, mut seen) = upstream(ok);
    let proxy = with(&upstream).build().unwrap();
    call(&proxy, post("http://h:81?q", "four")).await.unwrap();
    let first = seen.recv().await.unwrap();
    assert_eq!(first.uri(), "http://h:81/?q");
    assert_eq!(first.headers()["content-length"], "4");
    let options = Request::options("http://h").body(Body::empty()).unwrap();
    call(&proxy, options).await.unwrap();
    assert_eq!(seen.recv().await.unwrap().uri().path(), "/");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_no_authority_is_a_bad_target_and_nothing_is_sent() {
    let (upstream, mut seen) = upstream(ok);
    let proxy = with(&upstream).build().unwrap();
    for hosts in [&["a b"][..], &[""], &["user@h"], &["one", "two"]] {
        let mut request = get("http://h/");
        for host in hosts {
            request.headers_mut().append("host", host.parse().unwrap());
        }
        let error = call(&proxy, request).await.expect_err("no authority");
        assert_eq!((error.kind(), error.status().as_u16()), (ErrorKind::InvalidTarget, 400), "{hosts:?}");
    }
    assert!(seen.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn fields_that_were_to_be_kept_are_not_kept_here() {
    let (upstream, mut seen) = upstream(ok);
    let proxy = with(&upstream).keep_hop_by_hop().build().unwrap();
    let mut request = get("http://h/");
    for (name, value) in [("connection", "x-hop"), ("x-hop", "1"), ("te", "gzip"), ("keep-alive", "1")] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    call(&proxy, request).await.unwrap();
    assert_eq!(seen.recv().await.unwrap().headers(), &HeaderMap::new());
}

#[tokio::test(start_paused = true)]
async fn answers_without_body_keep_their_length_only_where_it_means_something() {
    let (upstream, _seen) =
        upstream(|| Response::builder().status(304).header("content-length", "7").body(()).unwrap());
    let proxy = with(&upstream).build().unwrap();
    let response = call(&proxy, get("http://h/")).await.unwrap();
    assert_eq!(response.headers()["content-length"], "7");
    assert_eq!(all(response.into_body()).await.0, b"");

    let (upstream, _seen) =
        self::upstream(|| Response::builder().status(204).header("content-length", "0").body(()).unwrap());
    let proxy = with(&upstream).build().unwrap();
    assert!(call(&proxy, get("http://h/")).await.unwrap().headers().get("content-length").is_none());

    let (upstream, _seen) = self::upstream(|| Response::builder().header("content-length", "7").body(()).unwrap());
    let proxy = with(&upstream).build().unwrap();
    let response = call(&proxy, Request::head("http://h/").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()["content-length"], "7");
    let (bytes, _, end) = all(response.into_body()).await;
    assert_eq!((bytes.len(), end.is_ok()), (0, true));
}

#[tokio::test(start_paused = true)]
async fn interim_responses_are_dropped_but_not_without_end() {
    let (proxy, _upstream) = to(|_, mut frames| async move {
        let stream = frames.request().await;
        for _ in 0..100 {
            frames.write(HEADERS, END_HEADERS, stream, INTERIM).await;
        }
        frames.ok(stream, true).await;
        let stream = frames.request().await;
        for _ in 0..101 {
            frames.write(HEADERS, END_HEADERS, stream, INTERIM).await;
        }
        frames.drain().await;
    });
    assert_eq!(call(&proxy, get("http://h/")).await.unwrap().status(), StatusCode::OK);
    let error = call(&proxy, get("http://h/")).await.expect_err("for ever");
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Upstream, Phase::ResponseHead));
}

/// `:status: 103`, as a literal without indexing, with the name by index 8 of the static table.
const INTERIM: &[u8] = b"\x08\x03103";

#[tokio::test(start_paused = true)]
async fn a_body_that_expects_100_waits_for_it_or_for_a_second() {
    let (proxy, _upstream) = to(|_, mut frames| async move {
        let stream = frames.request().await;
        let waiting = tokio::time::timeout(super::seconds(1) / 2, frames.next_of(0)).await;
        assert!(waiting.is_err(), "the body was sent before 100 Continue");
        frames.write(HEADERS, END_HEADERS, stream, b"\x08\x03100").await;
        assert_eq!(frames.next_of(0).await.payload, b"body");
        frames.ok(stream, true).await;
        // The upstream sends no 100 Continue for the second request.
        let stream = frames.request().await;
        assert_eq!(frames.next_of(0).await.payload, b"body");
        frames.ok(stream, true).await;
        pending::<()>().await;
    });
    for _ in 0..2 {
        let mut request = post("http://h/", Bytes::from_static(b"body"));
        request.headers_mut().insert("expect", "100-continue".parse().unwrap());
        assert_eq!(call(&proxy, request).await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_with_fields_of_a_connection_or_too_long_a_head_is_502_and_costs_nobody_else() {
    /// `:status: 200` and `connection: close`, the latter as a literal without indexing.
    const CLOSE: &[u8] = b"\x88\x00\x0aconnection\x05close";
    const CONTINUATION: u8 = 9;
    let (proxy, upstream) = to(|_, mut frames| async move {
        let stream = frames.request().await;
        frames.write(HEADERS, END_HEADERS, stream, CLOSE).await;
        let stream = frames.request().await;
        // The header `x` with a value of 16000 bytes, five times; the limit is 64 KiB.
        let long = [b"\x00\x01x\x7f\x81\x7c".as_slice(), &[b'a'; 16_000]].concat();
        frames.write(HEADERS, 0, stream, &[b"\x88", long.as_slice()].concat()).await;
        for n in 1..5 {
            frames.write(CONTINUATION, if n == 4 { END_HEADERS } else { 0 }, stream, &long).await;
        }
        let stream = frames.request().await;
        frames.ok(stream, true).await;
        frames.drain().await;
    });
    for _ in 0..2 {
        let error = call(&proxy, post("http://h/", "x")).await.expect_err("not HTTP/2");
        assert_eq!((error.kind(), error.status().as_u16()), (ErrorKind::Upstream, 502));
    }
    assert_eq!(call(&proxy, get("http://h/")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn interim_responses_are_told_to_whoever_asks_without_a_length() {
    let (proxy, upstream) = to(|_, mut frames| async move {
        let stream = frames.request().await;
        // `:status: 103` and `content-length: 7` in HPACK: literals with indexed names.
        frames.write(HEADERS, END_HEADERS, stream, b"\x08\x03103\x0f\x0d\x017").await;
        frames.ok(stream, true).await;
        frames.drain().await;
    });
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    let mut request = get("http://h/");
    request.extensions_mut().insert(OnInformational::new(move |interim| {
        tell.lock().unwrap().push((interim.status().as_u16(), interim.headers().len()));
    }));
    assert_eq!(call(&proxy, request).await.unwrap().status(), 200);
    assert_eq!(*told.lock().unwrap(), [(103, 0)]);
    upstream.finish();
}
