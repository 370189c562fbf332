//! Scripts that simulate behavior of upstreams, for [`RawUpstream`](super::RawUpstream) and
//! [`InMemoryUpstream`](super::InMemoryUpstream).
//!
//! | script | behavior of the upstream | expected of a proxy |
//! |---|---|---|
//! | [`answers`] | answers, and keeps its connections open | reuses connections |
//! | [`closes_stale`] | closes a reused connection on the next request | retries if that is safe |
//! | [`reset_at`], [`cut_at`] | closes the connection within a response | does not forward the response as complete |
//! | [`truncated_chunk`] | closes the connection within a chunk | does not forward the response as complete |
//! | [`glued_101`] | sends the first bytes of a tunnel in the same write as the `101` | loses no bytes |
//! | [`early_413`] | rejects a request before reading its body, and closes | forwards the response |
//! | [`slow_reader`] | reads a body slowly | applies backpressure, and does not time out |
//! | [`slow_writer`] | sends a response slowly | forwards each part at once |
//! | [`silent`] | never responds | times out |
//! | [`garbage`] | speaks another protocol | answers with an error |
//!
//! For HTTP/2 there is [`http2::goes_away`](super::http2::goes_away). A custom script is an async function:
//!
//! ```
//! use nexthop::testkit::{RawConn, RawUpstream};
//!
//! /// Sends two responses to one request.
//! async fn doubles(mut conn: RawConn) {
//!     conn.request().await;
//!     conn.write("HTTP/1.1 204 No Content\r\n\r\n").await;
//!     conn.write("HTTP/1.1 204 No Content\r\n\r\n").await;
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let upstream = RawUpstream::tcp(doubles);
//! # }
//! ```

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::{RawConn, ReceivedRequest};
use crate::message::{extended::switch, upgrade::handshake};

/// Future of a script that runs on one connection.
pub type Playing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Answers the n-th request of each connection with the n-th of `answers`, repeats the last answer, and keeps the
/// connection open.
///
/// # Panics
/// If `answers` is empty.
#[track_caller]
pub fn answers<A: Into<Vec<u8>>>(
    answers: impl IntoIterator<Item = A>,
) -> impl Fn(RawConn) -> Playing + Clone + Send + Sync + 'static {
    let answers: Arc<[Vec<u8>]> = answers.into_iter().map(Into::into).collect();
    assert!(!answers.is_empty(), "at least one answer is required");
    move |mut conn: RawConn| -> Playing {
        let answers = answers.clone();
        Box::pin(async move {
            for turn in 0.. {
                conn.request().await;
                conn.write(&answers[turn.min(answers.len() - 1)]).await;
            }
        })
    }
}

/// Answers the first request of each connection with `answer`, and closes the connection without a response after the
/// head of the second request.
pub fn closes_stale(answer: impl Into<Bytes>) -> impl Fn(RawConn) -> Playing + Clone + Send + Sync + 'static {
    let answer = answer.into();
    move |mut conn: RawConn| -> Playing {
        let answer = answer.clone();
        Box::pin(async move {
            conn.request().await;
            conn.write(answer).await;
            conn.head().await;
        })
    }
}

/// Reads a request, writes the first `count` bytes of `response`, and resets the connection.
pub fn reset_at(
    response: impl Into<Bytes>,
    count: usize,
) -> impl Fn(RawConn) -> Playing + Clone + Send + Sync + 'static {
    let response = first(response, count);
    move |mut conn: RawConn| -> Playing {
        let response = response.clone();
        Box::pin(async move {
            conn.request().await;
            conn.write(response).await;
            conn.reset();
        })
    }
}

/// Reads a request, writes the first `count` bytes of `response`, and closes the connection without a reset.
pub fn cut_at(response: impl Into<Bytes>, count: usize) -> impl Fn(RawConn) -> Playing + Clone + Send + Sync + 'static {
    let response = first(response, count);
    move |mut conn: RawConn| -> Playing {
        let response = response.clone();
        Box::pin(async move {
            conn.request().await;
            conn.write(response).await;
        })
    }
}

/// Answers with the chunk `hello` and 3 of the 8 bytes of the next chunk, and closes the connection without a reset.
pub fn truncated_chunk() -> impl Fn(RawConn) -> Playing + Clone + Send + Sync + 'static {
    let response = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n8\r\n wo";
    cut_at(response, response.len())
}

/// Accepts any upgrade with a `101` and `greeting` in the same write, and then echoes the bytes of the tunnel.
///
/// For WebSocket, `Sec-WebSocket-Accept` is correct. A request without an upgrade is answered with a `101` without
/// `Upgrade`, which is invalid.
#[doc(alias = "websocket")]
pub fn glued_101(greeting: impl Into<Bytes>) -> impl Fn(RawConn) -> Playing + Clone + Send + Sync + 'static {
    let greeting = greeting.into();
    move |mut conn: RawConn| -> Playing {
        let greeting = greeting.clone();
        Box::pin(async move {
            let asked = handshake(&headers(&conn.request().await), Version::HTTP_11);
            let mut answer = HeaderMap::new();
            if let Some(asked) = asked {
                switch(&asked, &mut answer);
            }
            let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
            for (name, value) in &answer {
                bytes.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
            }
            bytes.extend_from_slice(b"\r\n");
            bytes.extend_from_slice(&greeting);
            while !bytes.is_empty() {
                conn.write(&bytes).await;
                bytes = conn.read_some().await;
            }
        })
    }
}

/// Answers with 413 and `Connection: close` after the head of a request, and closes the connection with the body
/// unread.
///
/// Over TCP, unread bytes turn the close into a reset, which may overtake the response; a proxy may then answer with
/// 502. In memory, the response always arrives.
pub fn early_413() -> impl Fn(RawConn) -> Playing + Clone + Send + Sync + 'static {
    |mut conn: RawConn| -> Playing {
        Box::pin(async move {
            conn.head().await;
            conn.write("HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        })
    }
}

/// Reads each request slowly, and then writes `answer`. Each read waits for `interval` and takes at most `bytes`.
///
/// The sender can be ahead by the size of the buffers in between: 64 KiB in memory, unless
/// [`holding`](super::InMemoryUpstream::holding) sets another size.
#[doc(alias = "backpressure")]
pub fn slow_reader(
    bytes: usize,
    interval: Duration,
    answer: impl Into<Bytes>,
) -> impl Fn(RawConn) -> Playing + Clone + Send + Sync + 'static {
    let answer = answer.into();
    move |mut conn: RawConn| -> Playing {
        let answer = answer.clone();
        Box::pin(async move {
            conn.read_slowly(bytes, interval);
            loop {
                conn.request().await;
                conn.write(&answer).await;
            }
        })
    }
}

/// Reads a request, writes `response` slowly, and closes the connection without a reset. Each write waits for
/// `interval` and sends at most `bytes`.
///
/// # Panics
/// If `bytes` is 0.
#[track_caller]
pub fn slow_writer(
    response: impl Into<Bytes>,
    bytes: usize,
    interval: Duration,
) -> impl Fn(RawConn) -> Playing + Clone + Send + Sync + 'static {
    assert!(bytes > 0, "bytes must be greater than zero");
    let response = response.into();
    move |mut conn: RawConn| -> Playing {
        let response = response.clone();
        Box::pin(async move {
            conn.request().await;
            for piece in response.chunks(bytes) {
                tokio::time::sleep(interval).await;
                conn.write(piece).await;
            }
        })
    }
}

/// Reads a request and sends nothing until the peer closes the connection.
#[doc(alias = "timeout")]
pub fn silent() -> impl Fn(RawConn) -> Playing + Clone + Send + Sync + 'static {
    |mut conn: RawConn| -> Playing {
        Box::pin(async move {
            conn.request().await;
            conn.read_to_end().await;
        })
    }
}

/// Reads a request and responds with the greeting of a mail server (SMTP).
pub fn garbage() -> impl Fn(RawConn) -> Playing + Clone + Send + Sync + 'static {
    let greeting = "220 mail.example ESMTP\r\n\r\n";
    cut_at(greeting, greeting.len())
}

fn first(response: impl Into<Bytes>, count: usize) -> Bytes {
    let mut response = response.into();
    response.truncate(count);
    response
}

/// Parses the headers of a request; skips invalid lines.
fn headers(seen: &ReceivedRequest) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in seen.head.lines().skip(1).filter_map(|line| line.split_once(':')) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value.trim())) {
            headers.append(name, value);
        }
    }
    headers
}
