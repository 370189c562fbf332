//! Drops a request after each number of polls, from zero to completion. Afterwards its stream is free, and its
//! connection serves other requests to their end.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nexthop::{Body, Error, ExactProxy, exact::ExactProxyBuilder, exact::HttpVersions, tunnel::Upgraded};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};
use tower::Service;

use crate::support::{
    Scripted,
    frames::{NO_ERROR, REFUSED_STREAM},
    turns::{Dripping, Reluctant, for_turns, turn},
};

const EVER: usize = 3_000;

/// Answers according to the first part of the path; the response contains the last part.
async fn answer(mut request: Request<Incoming>) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let path = request.uri().path().to_owned();
    let id = path.rsplit('/').next().unwrap().to_owned();
    let text = |id: String| {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-end", "yes".parse().unwrap());
        let frames = [http_body::Frame::data(Bytes::from(id)), http_body::Frame::trailers(trailers)];
        StreamBody::new(tokio_stream::iter(frames.map(Ok))).boxed()
    };
    if *request.method() == Method::CONNECT {
        tokio::spawn(async move {
            let Ok(tunnel) = hyper::upgrade::on(request).await else { return };
            let (mut read, mut write) = tokio::io::split(TokioIo::new(tunnel));
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        });
        return Ok(Response::new(http_body_util::Empty::new().boxed()));
    }
    match path.split('/').nth(1).unwrap() {
        "echo" => {
            let body = request.body_mut().collect().await;
            assert!(body.is_err() || body.unwrap().to_bytes() == "oneandmore");
        }
        "early" => {
            tokio::spawn(async move { request.into_body().collect().await.map(drop) });
        }
        _ => {}
    }
    Ok(Response::new(text(id)))
}

/// Serves all requests, up to `streams` concurrently.
fn upstream(streams: u32, first: First) -> Scripted {
    Scripted::new(move |index, io| async move {
        if index == 0 && first != First::Serves {
            let mut frames = crate::support::Frames::over(io).greet(&[]).await;
            let warm = frames.request().await;
            frames.ok(warm, true).await;
            loop {
                let stream = frames.request().await;
                match first {
                    First::Refuses => frames.reset(stream, REFUSED_STREAM).await,
                    _ => frames.go_away(warm, NO_ERROR).await,
                }
            }
        }
        let mut server = http2::Builder::new(TokioExecutor::new());
        server.max_concurrent_streams(streams).enable_connect_protocol();
        // Clients that disconnect are the subject of these tests.
        let _ = server.serve_connection(TokioIo::new(io), service_fn(answer)).await;
    })
}

/// Outcome of the second request on the first connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum First {
    Serves,
    Refuses,
    GoesAway,
}

fn request(kind: &str, id: &str) -> Request<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "10".parse().unwrap());
    let builder = Request::builder().uri(format!("http://up.test/{kind}/{id}"));
    let (builder, body) = match kind {
        "echo" | "early" => (builder.method("POST"), Body::new(Dripping::of(&["one", "and", "more"], Some(trailers)))),
        "switch" => (builder.header("connection", "upgrade").header("upgrade", "echo"), Body::empty()),
        _ => (builder, Body::empty()),
    };
    builder.body(body).unwrap()
}

async fn read(response: Response<Body>) -> Result<String, Error> {
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

struct Bench {
    proxy: ExactProxy,
    live: Reluctant,
    upstream: Scripted,
    asked: AtomicUsize,
    told: Arc<AtomicUsize>,
}

impl Bench {
    fn new(upstream: Scripted, settings: impl FnOnce(ExactProxyBuilder) -> ExactProxyBuilder) -> Self {
        let (live, told) = (Reluctant::new(upstream.clone(), 32), Arc::new(AtomicUsize::new(0)));
        let hook = told.clone();
        let builder = ExactProxy::builder().http_versions(HttpVersions::Http2Only).connector(live.clone());
        let builder = builder.on_exchange(move |_| {
            hook.fetch_add(1, SeqCst);
        });
        Self { proxy: settings(builder).build().unwrap(), live, upstream, asked: AtomicUsize::new(0), told }
    }

    fn ask(&self, kind: &str, id: &str) -> impl Future<Output = Result<Response<Body>, Error>> + use<> {
        self.asked.fetch_add(1, SeqCst);
        self.proxy.clone().call(request(kind, id))
    }

    async fn is_answered(&self, kind: &str, id: &str, when: &str) {
        let response = self.ask(kind, id).await.unwrap_or_else(|error| panic!("{when}: {kind} {id}: {error:?}"));
        assert!(response.status() == StatusCode::OK && ["", id].contains(&read(response).await.unwrap().as_str()));
    }

    /// Waits until no connection is in use, and checks that the statistics add up.
    async fn is_left_alone(&self, when: &str) {
        let mut waits = 0;
        while self.proxy.pool_stats().in_use + self.proxy.pool_stats().waiting > 0
            || self.live.open() > self.proxy.pool_stats().idle
        {
            waits += 1;
            assert!(waits < 5_000, "{when}: {:?}, {} open", self.proxy.pool_stats(), self.live.open());
            sleep(Duration::from_millis(1)).await;
        }
        let stats = self.proxy.pool_stats();
        assert_eq!(stats.opened, stats.closed() + stats.idle as u64, "{when}: {stats:?}");
        assert_eq!(self.live.open(), stats.idle, "{when}: {stats:?}");
        assert_eq!(self.told.load(SeqCst), self.asked.load(SeqCst), "{when}");
    }

    async fn goes_on(&self, when: &str) {
        tokio::join!(self.is_answered("plain", "next", when), self.is_answered("echo", "beside", when));
        self.is_answered("early", "last", when).await;
        self.is_left_alone(when).await;
        self.upstream.finish();
    }
}

/// Drops a request after each number of polls, until one completes. `then` consumes the response.
async fn at_every_turn<F>(kind: &'static str, first: First, warm: bool, then: fn(Response<Body>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    // With a limit of one connection, `First::Refuses` would fail every attempt.
    for most in [None, Some(1)].into_iter().take(if first == First::Refuses { 1 } else { 2 }) {
        for turns in 0.. {
            assert!(turns < EVER, "{kind} never ends");
            let bench = Bench::new(upstream(1, first), |builder| match most {
                Some(most) => builder.pool_max_connections(most),
                None => builder,
            });
            let when = format!("{kind}, {first:?}, at most {most:?}, warm: {warm}, {turns} turns");
            if warm {
                bench.is_answered("plain", "before", &when).await;
            }
            let asked = bench.ask(kind, "given-up");
            let all = async move {
                let response = asked.await.unwrap_or_else(|error| panic!("{kind}: {error:?}"));
                then(response).await;
            };
            let done = for_turns(turns, all).await.is_some();
            bench.is_left_alone(&when).await;
            bench.goes_on(&when).await;
            if done {
                assert!(turns > 5, "{when}: no request was dropped");
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_given_up_at_any_turn_is_free_again() {
    for kind in ["plain", "echo", "early"] {
        for warm in [false, true] {
            at_every_turn(kind, First::Serves, warm, |response| async {
                assert_eq!(read(response).await.unwrap(), "given-up");
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_given_up_while_it_is_sent_again_leaves_nothing_behind() {
    for kind in ["plain", "echo", "early"] {
        for first in [First::Refuses, First::GoesAway] {
            at_every_turn(kind, first, true, |response| async {
                assert_eq!(read(response).await.unwrap(), "given-up");
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_on_a_stream_given_up_at_any_turn_leaves_nothing_behind() {
    for warm in [false, true] {
        at_every_turn("switch", First::Serves, warm, |mut response| async move {
            let mut tunnel = Upgraded::take(&mut response).unwrap();
            let mut echoed = [0; 5];
            tunnel.write_all(b"later").await.unwrap();
            tunnel.flush().await.unwrap();
            tunnel.read_exact(&mut echoed).await.unwrap();
            assert_eq!(&echoed, b"later");
            tunnel.shutdown().await.unwrap();
            assert_eq!(tunnel.read(&mut echoed).await.unwrap(), 0);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_in_the_queue_for_a_stream_given_up_at_any_turn_goes_to_the_next() {
    for kind in ["plain", "echo", "early"] {
        for turns in 0.. {
            assert!(turns < EVER, "{kind} never ends");
            let when = format!("{kind}, {turns} turns");
            let bench = Arc::new(Bench::new(upstream(1, First::Serves), |builder| builder.pool_max_connections(1)));
            let answered = |kind, id| {
                let (bench, when) = (bench.clone(), when.clone());
                tokio::spawn(async move { bench.is_answered(kind, id, &when).await })
            };
            let before = answered("plain", "before");
            let seen = bench.clone();
            tokio::spawn(async move {
                while seen.proxy.pool_stats().in_use == 0 {
                    turn().await;
                }
            })
            .await
            .unwrap();
            let asked = bench.ask(kind, "given-up");
            let behind = answered("echo", "behind");
            let all = async move { assert_eq!(read(asked.await.unwrap()).await.unwrap(), "given-up") };
            let done = for_turns(turns, all).await.is_some();
            for other in [before, behind] {
                tokio::time::timeout(Duration::from_secs(9), other).await.expect(&when).unwrap();
            }
            bench.is_left_alone(&when).await;
            bench.goes_on(&when).await;
            if done {
                break;
            }
        }
    }
}
