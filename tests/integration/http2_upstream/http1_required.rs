//! Upstreams that speak HTTP/2 and require HTTP/1.1 all the same (`HTTP_1_1_REQUIRED`, RFC 9113 §7), as some do for client certificates,
//! Windows authentication or WebSockets.

use std::sync::{Arc, Mutex};

use http::{Method, Request, StatusCode, Version};
use nexthop::{
    Body, ErrorKind, ExactProxy,
    exact::{ExactProxyBuilder, HttpVersions},
    net::Tls,
};
use tokio::task::JoinSet;

use super::{all, call};
use crate::support::{
    Frames, RawConn, Scripted,
    body::fed,
    frames::{DATA, REFUSED_STREAM},
    get, post,
    tls::TestCa,
};

const HTTP_1_1_REQUIRED: u32 = 13;

/// An upstream by both versions: what it saw over HTTP/1.1, and by which version each connection was opened.
struct Upstream {
    scripted: Scripted,
    proxy: ExactProxy,
    seen: Arc<Mutex<Vec<String>>>,
    versions: Arc<Mutex<Vec<Version>>>,
}

impl Upstream {
    /// Runs `script` on each connection over HTTP/2, with its number among those. Over HTTP/1.1, it answers every request.
    fn new<F, Fut>(script: F, settings: impl FnOnce(ExactProxyBuilder) -> ExactProxyBuilder) -> Self
    where
        F: Fn(usize, Frames) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let ca = TestCa::new();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(ca.server_config(&["h2", "http/1.1"])));
        let (seen, versions) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Vec<Version>>>::default());
        let (see, note, script) = (seen.clone(), versions.clone(), Arc::new(script));
        let scripted = Scripted::new(move |_, io| {
            let (acceptor, see, note, script) = (acceptor.clone(), see.clone(), note.clone(), script.clone());
            async move {
                let Ok(io) = acceptor.accept(io).await else { return };
                if io.get_ref().1.alpn_protocol() == Some(b"h2") {
                    let index = {
                        let mut versions = note.lock().unwrap();
                        versions.push(Version::HTTP_2);
                        versions.iter().filter(|version| **version == Version::HTTP_2).count() - 1
                    };
                    return script(index, Frames::over(io).greet(&[(8, 1)]).await).await;
                }
                note.lock().unwrap().push(Version::HTTP_11);
                answer(RawConn::over(io), see).await;
            }
        });
        let tls = Tls::roots_pem(ca.root_pem().as_bytes()).unwrap();
        let builder = ExactProxy::builder().tls(tls).connector(scripted.clone());
        Self { proxy: settings(builder).build().unwrap(), scripted, seen, versions }
    }

    fn versions(&self) -> Vec<Version> {
        self.versions.lock().unwrap().clone()
    }

    /// The request lines and bodies that it saw over HTTP/1.1.
    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.scripted.finish();
    }
}

async fn answer(mut conn: RawConn, seen: Arc<Mutex<Vec<String>>>) {
    loop {
        let request = conn.request().await;
        let line = request.line().trim_end_matches(" HTTP/1.1");
        seen.lock().unwrap().push(format!("{line} {}", String::from_utf8_lossy(&request.body)).trim_end().to_owned());
        if request.header("upgrade").is_some() {
            conn.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
            let byte = conn.read(1).await;
            conn.write(byte).await;
            return;
        }
        conn.write("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none").await;
    }
}

/// Resets every stream.
async fn resets(mut frames: Frames) {
    loop {
        let stream = frames.request().await;
        frames.reset(stream, HTTP_1_1_REQUIRED).await;
    }
}

fn request(method: Method, body: impl Into<Body>) -> Request<Body> {
    Request::builder().method(method).uri("https://localhost/x").body(body.into()).unwrap()
}

async fn is_answered(upstream: &Upstream, request: Request<Body>) {
    let response = call(&upstream.proxy, request).await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_11));
    let (body, _, end) = all(response.into_body()).await;
    assert_eq!((&body[..], end.is_ok()), (&b"one"[..], true));
}

#[tokio::test(start_paused = true)]
async fn a_reset_is_followed_by_one_attempt_over_http_1_1_whatever_the_method_and_by_http_1_1_from_then_on() {
    for method in [Method::GET, Method::PUT, Method::POST, Method::PATCH] {
        let upstream = Upstream::new(|_, frames| resets(frames), |builder| builder);
        for body in ["", "in memory"] {
            is_answered(&upstream, request(method.clone(), body)).await;
        }
        is_answered(&upstream, request(Method::GET, "")).await;
        assert_eq!(upstream.seen(), [format!("{method} /x"), format!("{method} /x in memory"), "GET /x".into()]);
        assert_eq!(upstream.versions(), [Version::HTTP_2, Version::HTTP_11], "one of each");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_sent_in_pieces_is_sent_again_whole() {
    let upstream = Upstream::new(
        |_, mut frames| async move {
            let stream = frames.request().await;
            frames.next_of(DATA).await;
            frames.reset(stream, HTTP_1_1_REQUIRED).await;
            frames.drain().await;
        },
        |builder| builder,
    );
    let (feed, body) = fed();
    let proxy = upstream.proxy.clone();
    let calling = tokio::spawn(async move { call(&proxy, request(Method::POST, Body::new(body))).await });
    feed.data("first ").await;
    feed.data("second").await;
    drop(feed);
    assert_eq!(calling.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(upstream.seen(), ["POST /x first second"]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_sent_again_is_left_to_the_caller_and_the_next_goes_over_http_1_1() {
    let upstream = Upstream::new(
        |_, mut frames| async move {
            let stream = frames.request().await;
            let mut read = 0;
            while read <= 40_000 {
                read += frames.next_of(DATA).await.payload.len();
            }
            frames.reset(stream, HTTP_1_1_REQUIRED).await;
            frames.drain().await;
        },
        |builder| builder.replay_max_bytes(1000),
    );
    let (feed, body) = fed();
    let proxy = upstream.proxy.clone();
    let calling = tokio::spawn(async move { call(&proxy, request(Method::POST, Body::new(body))).await });
    for _ in 0..5 {
        feed.data("x".repeat(10_000)).await;
    }
    let error = calling.await.unwrap().expect_err("it cannot be sent again");
    assert_eq!((error.kind(), error.status().as_u16(), error.is_retryable()), (ErrorKind::Upstream, 502, true));
    is_answered(&upstream, request(Method::POST, "again")).await;
    assert_eq!(upstream.versions(), [Version::HTTP_2, Version::HTTP_11]);
}

#[tokio::test(start_paused = true)]
async fn what_a_goaway_refuses_goes_over_http_1_1_and_what_it_may_have_let_through_only_if_it_is_idempotent() {
    for (last, method, answered) in
        [(0, Method::POST, true), (0, Method::GET, true), (1, Method::GET, true), (1, Method::POST, false)]
    {
        let upstream = Upstream::new(
            move |_, mut frames| async move {
                frames.request().await;
                frames.go_away(last, HTTP_1_1_REQUIRED).await;
            },
            |builder| builder,
        );
        if answered {
            is_answered(&upstream, request(method, "body")).await;
        } else {
            let error = call(&upstream.proxy, request(method, "body")).await.expect_err("it may have been processed");
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Upstream, false));
        }
        is_answered(&upstream, request(Method::POST, "next")).await;
        assert_eq!(upstream.versions(), [Version::HTTP_2, Version::HTTP_11], "{last}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_goaway_on_an_idle_connection_is_remembered() {
    let upstream = Upstream::new(
        |_, mut frames| async move {
            let stream = frames.request().await;
            frames.ok(stream, true).await;
            frames.go_away(stream, HTTP_1_1_REQUIRED).await;
            frames.drain().await;
        },
        |builder| builder,
    );
    let first = call(&upstream.proxy, request(Method::GET, "")).await.unwrap();
    assert_eq!(first.version(), Version::HTTP_2);
    assert!(all(first.into_body()).await.2.is_ok());
    tokio::time::sleep(std::time::Duration::from_millis(1)).await; // the GOAWAY is read
    is_answered(&upstream, request(Method::POST, "")).await;
    assert_eq!(upstream.versions(), [Version::HTTP_2, Version::HTTP_11]);
}

#[tokio::test(start_paused = true)]
async fn a_reset_within_a_response_cuts_it_and_the_next_request_goes_over_http_1_1() {
    for early in [false, true] {
        let upstream = Upstream::new(
            |_, mut frames| async move {
                let stream = frames.request().await;
                frames.ok(stream, false).await;
                frames.data(stream, b"begun", false).await;
                frames.reset(stream, HTTP_1_1_REQUIRED).await;
                frames.drain().await;
            },
            |builder| builder,
        );
        let (feed, body) = fed();
        let body = if early { Body::new(body) } else { Body::empty() };
        let response = call(&upstream.proxy, request(Method::POST, body)).await.unwrap();
        let (read, _, end) = all(response.into_body()).await;
        assert_eq!((&read[..], end.is_err()), (&b"begun"[..], true));
        is_answered(&upstream, request(Method::GET, "")).await;
        assert_eq!(upstream.versions(), [Version::HTTP_2, Version::HTTP_11], "{early}");
        drop(feed);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_share_the_first_connection_are_all_answered() {
    for maximum in [None, Some(1), Some(2)] {
        let upstream = Upstream::new(
            |_, frames| resets(frames),
            |builder| match maximum {
                Some(maximum) => builder.pool_max_connections(maximum),
                None => builder,
            },
        );
        let mut calls = JoinSet::new();
        for _ in 0..50 {
            let proxy = upstream.proxy.clone();
            calls.spawn(async move {
                let response = call(&proxy, request(Method::POST, "shared")).await.unwrap();
                all(response.into_body()).await.0
            });
        }
        assert_eq!(calls.join_all().await, vec![b"one".to_vec(); 50], "{maximum:?}");
        assert_eq!(upstream.seen(), ["POST /x shared"; 50]);
        let over_http2 = upstream.versions().iter().filter(|version| **version == Version::HTTP_2).count();
        assert_eq!(over_http2, 1, "{maximum:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_open_go_on() {
    let proceed = Arc::new(tokio::sync::Notify::new());
    let wait = proceed.clone();
    let upstream = Upstream::new(
        move |_, mut frames| {
            let wait = wait.clone();
            async move {
                let first = frames.request().await;
                frames.ok(first, false).await;
                let second = frames.request().await;
                frames.reset(second, HTTP_1_1_REQUIRED).await;
                wait.notified().await;
                frames.data(first, b"whole", true).await;
                frames.drain().await;
            }
        },
        |builder| builder,
    );
    let first = call(&upstream.proxy, request(Method::GET, "")).await.unwrap();
    is_answered(&upstream, request(Method::GET, "")).await;
    proceed.notify_one();
    let (body, _, end) = all(first.into_body()).await;
    assert_eq!((&body[..], end.is_ok()), (&b"whole"[..], true));
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_that_is_reset_goes_over_http_1_1() {
    let upstream = Upstream::new(|_, frames| resets(frames), |builder| builder);
    for _ in 0..2 {
        let mut asking = get("https://localhost/x");
        asking.headers_mut().insert("connection", "upgrade".parse().unwrap());
        asking.headers_mut().insert("upgrade", "echo".parse().unwrap());
        let mut response = call(&upstream.proxy, asking).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let mut tunnel = nexthop::tunnel::Upgraded::take(&mut response).unwrap();
        tokio::io::AsyncWriteExt::write_u8(&mut tunnel, 7).await.unwrap();
        assert_eq!(tokio::io::AsyncReadExt::read_u8(&mut tunnel).await.unwrap(), 7);
    }
    assert_eq!(upstream.versions(), [Version::HTTP_2, Version::HTTP_11, Version::HTTP_11]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_refused_before_is_sent_a_third_time_over_http_1_1() {
    let upstream = Upstream::new(
        |index, mut frames| async move {
            let stream = frames.request().await;
            frames.reset(stream, if index == 0 { REFUSED_STREAM } else { HTTP_1_1_REQUIRED }).await;
            frames.drain().await;
        },
        |builder| builder,
    );
    is_answered(&upstream, request(Method::POST, "patient")).await;
    assert_eq!(upstream.versions(), [Version::HTTP_2, Version::HTTP_2, Version::HTTP_11]);
    assert_eq!(upstream.seen(), ["POST /x patient"]);
}

#[tokio::test(start_paused = true)]
async fn other_origins_go_on_over_http_2() {
    let upstream = Upstream::new(
        |index, mut frames| async move {
            loop {
                let stream = frames.request().await;
                match index {
                    0 => frames.ok(stream, true).await,
                    _ => frames.reset(stream, HTTP_1_1_REQUIRED).await,
                }
            }
        },
        |builder| builder,
    );
    let versions =
        ["https://localhost/", "https://127.0.0.1/", "https://localhost/", "https://127.0.0.1/"].map(|url| {
            let proxy = upstream.proxy.clone();
            async move { call(&proxy, get(url)).await.unwrap().version() }
        });
    let mut seen = Vec::new();
    for version in versions {
        seen.push(version.await);
    }
    assert_eq!(seen, [Version::HTTP_2, Version::HTTP_11, Version::HTTP_2, Version::HTTP_11]);
}

#[tokio::test(start_paused = true)]
async fn with_prior_knowledge_it_is_an_error_that_costs_neither_an_attempt_nor_the_connection() {
    let upstream = Upstream::new(
        |_, mut frames| async move {
            let stream = frames.request().await;
            frames.reset(stream, HTTP_1_1_REQUIRED).await;
            let stream = frames.request().await;
            frames.ok(stream, true).await;
            frames.drain().await;
        },
        |builder| builder.http_versions(HttpVersions::Http2Only),
    );
    let error = call(&upstream.proxy, post("https://localhost/x", "body")).await.expect_err("HTTP/2 only");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Upstream, true));
    assert!(error.to_string().contains("requires HTTP/1.1"), "{error}");
    assert_eq!(call(&upstream.proxy, request(Method::GET, "")).await.unwrap().version(), Version::HTTP_2);
    assert_eq!(upstream.versions(), [Version::HTTP_2]);
}
