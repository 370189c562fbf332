//! Drops a request after each number of polls, from zero to completion. Afterwards nothing of it is left: the next
//! requests find every permit of the pool free, and receive their own responses.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use nexthop::{Body, Error, ExactProxy, exact::ExactProxyBuilder, tunnel::Upgraded};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};
use tower::Service;

use crate::support::{
    InMemory, RawConn,
    turns::{Dripping, Reluctant, for_turns, turn},
};

/// Exceeds the number of polls of every exchange here.
const EVER: usize = 3_000;

/// Kinds of exchanges, which are the first part of a request's path.
const KINDS: [&str; 10] = ["plain", "head", "chunks", "echo", "sized", "expect", "early", "cut", "interim", "stale"];

/// Answers according to the first part of the path; the response contains the last part.
async fn upstream(mut conn: RawConn) {
    for served in 0.. {
        let head = conn.head().await;
        let id = head.target().rsplit('/').next().unwrap().to_owned();
        let plain = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{id}", id.len());
        match head.target().split('/').nth(1).unwrap() {
            "stale" if served > 0 => return,
            "plain" | "stale" => conn.write(plain).await,
            "head" => conn.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", id.len())).await,
            "chunks" => {
                conn.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n").await;
                for byte in id.bytes() {
                    conn.write(format!("1\r\n{}\r\n", char::from(byte))).await;
                }
                conn.write("0\r\nx-end: yes\r\n\r\n").await;
            }
            kind @ ("echo" | "expect") => {
                if kind == "expect" {
                    conn.write("HTTP/1.1 100 Continue\r\n\r\n").await;
                }
                until_last_chunk(&mut conn).await;
                conn.write(plain).await;
            }
            "sized" => {
                conn.read(10).await;
                conn.write(plain).await;
            }
            "early" => {
                conn.write(plain).await;
                until_last_chunk(&mut conn).await;
            }
            "cut" => {
                conn.read(4).await;
                return conn.write(plain).await;
            }
            "interim" => {
                conn.write("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await;
                conn.write(plain).await;
            }
            "switch" => {
                conn.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nearly")
                    .await;
                loop {
                    let bytes = conn.read_some().await;
                    if bytes.is_empty() {
                        return;
                    }
                    conn.write(bytes).await;
                }
            }
            other => panic!("{other}"),
        }
    }
}

async fn until_last_chunk(conn: &mut RawConn) {
    let mut read = Vec::new();
    while !read.ends_with(b"0\r\nx-sum: 10\r\n\r\n") {
        read.extend_from_slice(&conn.read(1).await);
    }
}

fn request(kind: &str, id: &str) -> Request<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "10".parse().unwrap());
    let pieces = &["one", "and", "more"];
    let builder = Request::builder().uri(format!("http://up.test/{kind}/{id}"));
    let (builder, body) = match kind {
        "head" => (builder.method("HEAD"), Body::empty()),
        "echo" | "early" | "cut" => (builder.method("POST"), Body::new(Dripping::of(pieces, Some(trailers)))),
        "expect" => {
            (builder.method("PUT").header("expect", "100-continue"), Body::new(Dripping::of(pieces, Some(trailers))))
        }
        "sized" => (builder.method("PUT").header("content-length", 10), Body::new(Dripping::of(pieces, None))),
        "switch" => (builder.header("connection", "upgrade").header("upgrade", "echo"), Body::empty()),
        _ => (builder, Body::empty()),
    };
    builder.body(body).unwrap()
}

/// Reads the response to its end. Returns its body, or the error.
async fn read(response: Response<Body>) -> Result<String, Error> {
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

struct Bench {
    proxy: ExactProxy,
    live: Reluctant,
    upstream: InMemory,
    asked: AtomicUsize,
    told: Arc<AtomicUsize>,
}

impl Bench {
    fn new(settings: impl FnOnce(ExactProxyBuilder) -> ExactProxyBuilder) -> Self {
        let upstream = InMemory::new(upstream).holding(64);
        let (live, told) = (Reluctant::new(upstream.clone(), 10), Arc::new(AtomicUsize::new(0)));
        let hook = told.clone();
        let builder = ExactProxy::builder().connector(live.clone()).on_exchange(move |_| {
            hook.fetch_add(1, SeqCst);
        });
        let proxy = settings(builder).build().unwrap();
        Self { proxy, live, upstream, asked: AtomicUsize::new(0), told }
    }

    fn ask(&self, kind: &str, id: &str) -> impl Future<Output = Result<Response<Body>, Error>> + use<> {
        self.asked.fetch_add(1, SeqCst);
        self.proxy.clone().call(request(kind, id))
    }

    async fn is_answered(&self, kind: &str, id: &str) {
        let right = if kind == "head" { "" } else { id };
        let response = self.ask(kind, id).await.unwrap_or_else(|error| panic!("{kind} {id}: {error:?}"));
        assert_eq!(read(response).await.unwrap(), right, "{kind}");
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

    /// Checks that two concurrent requests find a permit each, that an upload's connection is reused, and that one
    /// connection remains.
    async fn goes_on(&self, when: &str) {
        tokio::join!(self.is_answered("plain", "next"), self.is_answered("echo", "beside"));
        self.is_answered("chunks", "last").await;
        self.is_left_alone(when).await;
        self.upstream.finish();
    }
}

type Settings = fn(ExactProxyBuilder) -> ExactProxyBuilder;

/// The default pool, and pools whose limits decide which request continues.
const POOLS: [(&str, Settings); 4] = [
    ("unbounded", |builder| builder),
    ("one connection", |builder| builder.pool_max_connections(1)),
    ("one of two, kept for one", |builder| builder.pool_max_connections(2).pool_max_idle(1)),
    ("none kept", |builder| builder.pool_max_connections(1).pool_max_idle(0)),
];

/// Drops a request after each number of polls, until one completes. `then` consumes the response.
async fn at_every_turn<F>(kind: &'static str, then: fn(Response<Body>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    for (pool, settings) in POOLS {
        for warm in [false, true] {
            for turns in 0.. {
                assert!(turns < EVER, "{kind} never ends");
                let bench = Bench::new(settings);
                if warm {
                    bench.is_answered("plain", "before").await;
                }
                let asked = bench.ask(kind, "given-up");
                let all = async move {
                    let response = asked.await.unwrap_or_else(|error| panic!("{kind}: {error:?}"));
                    then(response).await;
                };
                let done = for_turns(turns, all).await.is_some();
                let when = format!("{kind}, {pool}, warm: {warm}, {turns} turns");
                bench.is_left_alone(&when).await;
                bench.goes_on(&when).await;
                if done {
                    assert!(turns > 5, "{when}: no request was dropped");
                    break;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_given_up_at_any_turn_leaves_nothing_behind() {
    for kind in KINDS {
        at_every_turn(kind, |response| async {
            assert!(["", "given-up"].contains(&read(response).await.unwrap().as_str()));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_given_up_at_any_turn_leaves_nothing_behind() {
    at_every_turn("switch", |mut response| async move {
        let mut tunnel = Upgraded::take(&mut response).unwrap();
        let mut echoed = [0; 10];
        tunnel.write_all(b"later").await.unwrap();
        tunnel.flush().await.unwrap();
        tunnel.read_exact(&mut echoed).await.unwrap();
        assert_eq!(&echoed, b"earlylater");
        tunnel.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_place_in_the_queue_given_up_at_any_turn_goes_to_the_next() {
    for kind in ["plain", "echo", "early"] {
        for (pool, settings) in POOLS.into_iter().filter(|(pool, _)| *pool != "unbounded") {
            for turns in 0.. {
                assert!(turns < EVER, "{kind} never ends");
                let bench = Arc::new(Bench::new(settings));
                let answered = |kind, id| {
                    let bench = bench.clone();
                    tokio::spawn(async move { bench.is_answered(kind, id).await })
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
                let behind = answered("sized", "behind");
                let all = async move { assert_eq!(read(asked.await.unwrap()).await.unwrap(), "given-up") };
                let done = for_turns(turns, all).await.is_some();
                let when = format!("{kind}, {pool}, {turns} turns");
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
}
