//! A long run through `ProxyApp` while connections are killed: no wrong answer, nothing hung, nothing left open, memory flat.
//!
//! Not run with the others, whose files it would count. By itself, seeded, and best in release:
//!
//! ```text
//! cargo test --release --all-features --test integration soak -- --ignored --nocapture
//! ```

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request};
use http_body::Frame;
use http_body_util::BodyExt;
use nexthop::{Body, Error, ProxyApp};
use tokio::{
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tower::ServiceExt;

use super::stress::{Random, answer, content};
use crate::support::{RawConn, within_limit};

const TASKS: u64 = 64;
const REQUESTS: u64 = 200_000;

/// A body in pieces, whose length nobody is told.
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

/// Answers requests, and kills one connection in twenty requests: before the head, within it, within the body or after it.
async fn connection(io: TcpStream, mut random: Random, posts: Arc<Mutex<HashMap<String, u32>>>) {
    io.set_nodelay(true).unwrap();
    let mut conn = RawConn::over(io);
    while let Ok(Some(seen)) = conn.try_request().await {
        let path = seen.target();
        if !seen.line().starts_with("GET ") {
            assert!(seen.body == content(path), "another body than was sent for {}", seen.line());
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

async fn upstream(posts: Arc<Mutex<HashMap<String, u32>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for seed in 1_u64.. {
            let Ok((io, _)) = listener.accept().await else { return };
            tokio::spawn(connection(io, Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)), posts.clone()));
        }
    });
    addr
}

/// One request: true for a right answer, false for an error. A wrong one fails the test.
async fn one(app: &ProxyApp, path: &str, random: &mut Random) -> bool {
    let method = [Method::GET, Method::GET, Method::PUT, Method::POST][random.below(4) as usize].clone();
    let body = match (&method, random.below(2)) {
        (&Method::GET, _) => Body::empty(),
        (_, 0) => Body::from(content(path)),
        (_, _) => Body::new(Pieces::of(path, random)),
    };
    let request = Request::builder().method(method).uri(path).header("host", "h").body(body).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    if response.status() != 200 {
        assert_eq!(response.status(), 502);
        return false;
    }
    let (mut body, mut got) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        got.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    assert!(got == content(path), "a wrong answer to {path} looks whole");
    true
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Resident memory in KiB.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Right answers and errors of `requests` requests.
async fn run(app: &ProxyApp, round: u64, requests: u64) -> (u64, u64) {
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let app = app.clone();
            tokio::spawn(async move {
                let mut random = Random((round * TASKS + task) * 7919 + 1);
                let (mut right, mut errors) = (0, 0);
                for n in 0..requests / TASKS {
                    if one(&app, &format!("/{round}/{task}/{n}"), &mut random).await {
                        right += 1;
                    } else {
                        errors += 1;
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

#[ignore = "takes a while, and counts the files and the memory of the whole process"]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_thousand_requests_leave_nothing_behind() {
    let posts = Arc::new(Mutex::new(HashMap::new()));
    let addr = upstream(posts.clone()).await;
    let files = open_files();
    let app = ProxyApp::builder(format!("http://{addr}").parse().unwrap()).build().unwrap();
    let start = Instant::now();

    let (mut right, mut errors) = run(&app, 0, REQUESTS / 4).await;
    posts.lock().unwrap().clear(); // so that what is measured is not the test's own
    let before = memory();
    for round in 1..4 {
        let (some, others) = run(&app, round, REQUESTS / 4).await;
        (right, errors) = (right + some, errors + others);
        let posts = std::mem::take(&mut *posts.lock().unwrap());
        assert!(posts.values().all(|times| *times == 1), "a POST was sent twice");
    }
    let after = memory();
    println!("{right} right, {errors} errors in {:?}; memory {before} KiB, then {after} KiB", start.elapsed());
    assert!(right > REQUESTS * 19 / 20, "{right} right answers");
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
