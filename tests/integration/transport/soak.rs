//! Long runs through `ProxyApp` during which connections and streams fail and clients disconnect. Checks that no
//! response is wrong, no request hangs, no socket stays open, and memory stays constant.
//!
//! These tests are ignored by default, since they measure the files and the memory of the whole process. They are
//! seeded; run them sequentially, preferably in release mode, which sends more requests:
//!
//! ```text
//! cargo test --release -p nexthop-tests soak -- --ignored --nocapture --test-threads 1
//! ```

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, server::SendResponse};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use nexthop::{Body, Error, ExactProxy, ProxyApp, exact::HttpVersions, net::Tls};
use tokio::{net::TcpListener, time::Instant};
use tower::ServiceExt;

use super::stress::{Random, answer, content};
use crate::support::{RawConn, tls::TestCa, wire::Wire, within_limit};

const TASKS: u64 = 64;
const REQUESTS: u64 = if cfg!(debug_assertions) { 50_000 } else { 200_000 };
/// Maximum number of streams on an HTTP/2 connection. Eight connections are too few for all tasks.
const STREAMS: u32 = 4;

/// A body of unknown length in several frames.
struct Pieces(VecDeque<Bytes>);

impl Pieces {
    fn of(path: &str, random: &mut Random) -> Self {
        let mut rest = Bytes::from(content(path));
        let mut pieces = VecDeque::new();
        while !rest.is_empty() {
            pieces.push_back(rest.split_to(rest.len().min(1 + random.below(4_000) as usize)));
        }
        Self(pieces)
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

/// Number of times that each POST was processed.
type Posts = Arc<Mutex<HashMap<String, u32>>>;

/// Answers requests. One in twenty requests kills its connection: before, within or after the response's head, or
/// within its body.
async fn connection(io: impl Wire, mut random: Random, posts: Posts) {
    let mut conn = RawConn::over(io);
    while let Ok(Some(seen)) = conn.try_request().await {
        let path = seen.target();
        if !seen.line().starts_with("GET ") {
            assert!(seen.body == content(path), "the received body differs from the sent one: {}", seen.line());
        }
        if seen.line().starts_with("POST ") {
            *posts.lock().unwrap().entry(path.to_owned()).or_default() += 1;
        }
        let (mut answer, keep) = answer(path, &mut random);
        let killed = random.below(20) == 0;
        if killed {
            let head = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
            let body = (answer.len() - head) as u64;
            let at = match random.below(4) {
                0 => 0,
                1 => random.below(head as u64) as usize,
                2 => head + random.below(body + 1) as usize,
                _ => answer.len(),
            };
            answer.truncate(at);
        }
        conn.write(answer).await;
        match (killed, random.below(2)) {
            (true, 0) => return conn.reset(),
            (true, _) => return,
            (false, _) if !keep => return,
            (false, _) => {}
        }
    }
}

/// Answers HTTP/2 requests. One stream in twenty is refused, is reset before or within its body, or closes its
/// connection, with or without GOAWAY.
async fn http2_connection(io: impl Wire, mut random: Random, posts: Posts) {
    let mut builder = h2::server::Builder::new();
    let Ok(mut connection) = builder.max_concurrent_streams(STREAMS).handshake::<_, Bytes>(io).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let fault = if random.below(20) == 0 { random.below(40) } else { u64::MAX };
        match fault {
            0 => return,
            1 => {
                connection.graceful_shutdown();
            }
            2..10 => {
                respond.send_reset(Reason::REFUSED_STREAM);
                continue;
            }
            _ => {}
        }
        let seed = random.below(u64::MAX);
        tokio::spawn(stream(request, respond, fault, Random(seed + 1), posts.clone()));
    }
}

async fn stream(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    fault: u64,
    mut random: Random,
    posts: Posts,
) {
    let (head, mut body) = request.into_parts();
    let (path, mut got) = (head.uri.path(), Vec::new());
    if head.method == Method::POST {
        *posts.lock().unwrap().entry(path.to_owned()).or_default() += 1;
    }
    while let Some(data) = body.data().await {
        let Ok(data) = data else { return };
        let _ = body.flow_control().release_capacity(data.len());
        got.extend_from_slice(&data);
    }
    // A stream that the client has reset may end without an error, too.
    if head.method != Method::GET && body.is_end_stream() {
        assert!(got == content(path), "the received body differs from the sent one: {} {path}", head.method);
    }
    if (10..25).contains(&fault) {
        return respond.send_reset(Reason::INTERNAL_ERROR);
    }
    let mut content = Bytes::from(content(path));
    let response = match random.below(2) {
        0 => Response::builder().header("content-length", content.len()),
        _ => Response::builder(),
    };
    let Ok(mut sender) = respond.send_response(response.body(()).unwrap(), false) else { return };
    let first = content.split_to(random.below(content.len() as u64 + 1) as usize);
    if sender.send_data(first, false).is_err() {
        return;
    }
    tokio::task::yield_now().await;
    if fault < u64::MAX {
        return sender.send_reset(Reason::CANCEL);
    }
    let _ = sender.send_data(content, true);
}

/// Configuration of a run: protocol of the upstream and limit of connections.
#[derive(Clone, Copy)]
struct Kind {
    http2: bool,
    tls: bool,
    max_connections: Option<usize>,
}

impl Kind {
    /// Starts the upstream and returns a proxy to it.
    async fn start(self, posts: Posts) -> ProxyApp {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let ca = TestCa::new();
        let alpn = if self.http2 { "h2" } else { "http/1.1" };
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(ca.server_config(&[alpn])));
        tokio::spawn(async move {
            for seed in 1_u64.. {
                let Ok((io, _)) = listener.accept().await else { return };
                io.set_nodelay(true).unwrap();
                let (acceptor, posts) = (acceptor.clone(), posts.clone());
                let random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
                tokio::spawn(async move {
                    match (self.http2, self.tls) {
                        (false, false) => connection(io, random, posts).await,
                        (true, false) => http2_connection(io, random, posts).await,
                        (http2, true) => match (acceptor.accept(io).await, http2) {
                            (Ok(io), false) => connection(io, random, posts).await,
                            (Ok(io), true) => http2_connection(io, random, posts).await,
                            (Err(_), _) => {} // the client has disconnected
                        },
                    }
                });
            }
        });
        let mut exact = ExactProxy::builder().tls(Tls::roots_pem(ca.root_pem().as_bytes()).unwrap());
        if let Some(max) = self.max_connections {
            exact = exact.pool_max_connections(max).pool_max_waiting(TASKS as usize);
        }
        if self.http2 && !self.tls {
            exact = exact.http_versions(HttpVersions::Http2Only);
        }
        let scheme = if self.tls { "https" } else { "http" };
        ProxyApp::builder(format!("{scheme}://{addr}")).client(exact.build().unwrap()).build().unwrap()
    }
}

/// Sends one request. Returns true for a correct response, false for an error, and `None` if the request was dropped
/// early. Fails on a wrong response.
async fn one(app: &ProxyApp, path: &str, random: &mut Random) -> Option<bool> {
    let method = [Method::GET, Method::GET, Method::PUT, Method::POST][random.below(4) as usize].clone();
    let body = match (&method, random.below(2)) {
        (&Method::GET, _) => Body::empty(),
        (_, 0) => Body::from(content(path)),
        (_, _) => Body::new(Pieces::of(path, random)),
    };
    let request = Request::builder().method(method).uri(path).header("host", "h").body(body).unwrap();
    let leaves = random.below(64) == 0;
    let mut patience = random.below(4) + if leaves { 0 } else { u64::from(u32::MAX) };
    let mut response = pin!(app.clone().oneshot(request));
    let response = poll_fn(|cx| match response.as_mut().poll(cx) {
        Poll::Ready(response) => Poll::Ready(Some(response.unwrap())),
        Poll::Pending if patience == 0 => Poll::Ready(None),
        Poll::Pending => {
            patience -= 1;
            Poll::Pending
        }
    })
    .await?;
    if response.status() != 200 {
        assert_eq!(response.status(), 502);
        return Some(false);
    }
    let (mut body, mut got) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Some(false) };
        got.extend_from_slice(&frame.into_data().unwrap_or_default());
        if leaves && random.below(2) == 0 {
            return None;
        }
    }
    assert!(got == content(path), "a wrong response to {path} appears to be complete");
    Some(true)
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Returns the resident memory of this process in KiB.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Sends `requests` requests. Returns the number of correct responses and of errors.
async fn run(app: &ProxyApp, round: u64, requests: u64) -> (u64, u64) {
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let app = app.clone();
            tokio::spawn(async move {
                let mut random = Random((round * TASKS + task) * 7919 + 1);
                let (mut right, mut errors) = (0, 0);
                for n in 0..requests / TASKS {
                    match one(&app, &format!("/{round}/{task}/{n}"), &mut random).await {
                        Some(true) => right += 1,
                        Some(false) => errors += 1,
                        None => {}
                    }
                }
                (right, errors)
            })
        })
        .collect();
    let mut sum = (0, 0);
    for task in tasks {
        let (right, errors) = within_limit(Duration::from_secs(600), "a task's requests", task).await.unwrap();
        sum = (sum.0 + right, sum.1 + errors);
    }
    sum
}

/// Sends all requests, and checks that no resource is left open.
async fn soak(kind: Kind) {
    let posts = Posts::default();
    let app = kind.start(posts.clone()).await;
    let files = open_files();
    let start = Instant::now();

    let (mut right, mut errors) = run(&app, 0, REQUESTS / 4).await;
    posts.lock().unwrap().clear(); // frees the memory of the test itself before the measurement
    let before = memory();
    for round in 1..4 {
        let (some, others) = run(&app, round, REQUESTS / 4).await;
        (right, errors) = (right + some, errors + others);
        let posts = std::mem::take(&mut *posts.lock().unwrap());
        assert!(posts.values().all(|times| *times == 1), "a POST was sent twice");
    }
    let after = memory();
    println!("{right} right, {errors} errors in {:?}; memory {before} KiB, then {after} KiB", start.elapsed());
    assert!(right > REQUESTS * 17 / 20, "{right} right answers");
    assert!(after < before + 16 * 1024, "memory grew from {before} to {after} KiB");

    println!("{} files open with a full pool, {files} before", open_files());
    drop(app);
    within_limit(Duration::from_secs(60), "the end of every connection", async {
        while open_files() > files {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[ignore = "takes a while, and counts the files and the memory of the whole process"]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_over_http_1_1_leave_nothing_behind() {
    soak(Kind { http2: false, tls: false, max_connections: None }).await;
}

#[ignore = "takes a while, and counts the files and the memory of the whole process"]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_that_queue_for_eight_connections_leave_nothing_behind() {
    soak(Kind { http2: false, tls: false, max_connections: Some(8) }).await;
}

#[ignore = "takes a while, and counts the files and the memory of the whole process"]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_over_tls_that_queue_for_eight_connections_leave_nothing_behind() {
    soak(Kind { http2: false, tls: true, max_connections: Some(8) }).await;
}

#[ignore = "takes a while, and counts the files and the memory of the whole process"]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_over_http_2_leave_nothing_behind() {
    soak(Kind { http2: true, tls: false, max_connections: None }).await;
}

#[ignore = "takes a while, and counts the files and the memory of the whole process"]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_over_http_2_and_tls_that_queue_for_streams_leave_nothing_behind() {
    soak(Kind { http2: true, tls: true, max_connections: Some(8) }).await;
}
