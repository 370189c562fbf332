//! Scripts for what upstreams do to proxies, each for [`RawUpstream`](super::RawUpstream) as well as
//! [`InMemoryUpstream`](super::InMemoryUpstream).
//!
//! | script | what the upstream does | a proxy should |
//! |---|---|---|
//! | [`answers`] | answers, and keeps its connections | use them again |
//! | [`closes_stale`] | closes a connection that had served, on the next request | send again what may be sent again |
//! | [`reset_at`], [`cut_at`] | breaks off within a response | not pass it on as whole |
//! | [`truncated_chunk`] | the same within a chunk | the same |
//! | [`glued_101`] | sends the first bytes of a tunnel together with its `101` | lose none of them |
//! | [`early_413`] | refuses a body of which it reads nothing, and goes | pass the answer on |
//! | [`slow_reader`] | takes a body slowly | hold its client back, and not give up |
//! | [`slow_writer`] | gives a response slowly | pass on what is there |
//! | [`silent`] | never answers | give up some time |
//! | [`garbage`] | speaks something else | answer for it |
//!
//! For HTTP/2 there is [`http2::goes_away`](super::http2::goes_away). Other scripts are written as quickly:
//!
//! ```
//! use nexthop::testkit::{RawConn, RawUpstream};
//!
//! /// Two answers to one request.
//! async fn doubles(mut conn: RawConn) {
//!     conn.request().await;
//!     conn.write("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n").await;
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

/// A script at work on one connection.
pub type Playing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Answers the n-th request of each connection with the n-th of `answers`, the last one again and again, and keeps the connection.
///
/// # Panics
/// If there are no answers.
#[track_caller]
pub fn answers<A: Into<Vec<u8>>>(
    answers: impl IntoIterator<Item = A>,
) -> impl Fn(RawConn) -> Playing + Clone + Send + Sync + 'static {
    let answers: Arc<[Vec<u8>]> = answers.into_iter().map(Into::into).collect();
    assert!(!answers.is_empty(), "an answer is needed");
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

/// Answers the first request of each connection with `answer` as if it kept the connection, and closes it without a word when it has
/// read the head of the second.
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

/// Reads a request, writes the first `count` bytes of `response`, and closes the connection in order.
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

/// Answers with the chunk `hello` and 3 bytes of one of 8, and closes the connection in order.
pub fn truncated_chunk() -> impl Fn(RawConn) -> Playing + Clone + Send + Sync + 'static {
    let response = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n8\r\n wo";
    cut_at(response, response.len())
}

/// Takes any upgrade (to websocket with the right `Sec-WebSocket-Accept`), with `greeting` in the same write as the `101`, then sends back
/// what comes through the tunnel. What asks for no upgrade gets a `101` without `Upgrade`, which is wrong.
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

/// Answers 413 when it has read the head of a request, says that it will close, and does, with the body unread. Over TCP, what was unread
/// makes the close a reset, which may overtake the answer: a 502 is right, too, then. In memory, the answer always arrives.
pub fn early_413() -> impl Fn(RawConn) -> Playing + Clone + Send + Sync + 'static {
    |mut conn: RawConn| -> Playing {
        Box::pin(async move {
            conn.head().await;
            conn.write("HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        })
    }
}

/// Reads a request at most `bytes` at a time, waiting for `every` before each, then writes `answer`; so with each request of a connection.
///
/// How much a body is in advance of it depends on the buffers between: 64 KiB in memory, or as
/// [`holding`](super::InMemoryUpstream::holding) says.
pub fn slow_reader(
    bytes: usize,
    every: Duration,
    answer: impl Into<Bytes>,
) -> impl Fn(RawConn) -> Playing + Clone + Send + Sync + 'static {
    let answer = answer.into();
    move |mut conn: RawConn| -> Playing {
        let answer = answer.clone();
        Box::pin(async move {
            conn.read_slowly(bytes, every);
            loop {
                conn.request().await;
                conn.write(&answer).await;
            }
        })
    }
}

/// Reads a request, then writes `response` at most `bytes` at a time, waiting for `every` before each, and closes the connection in order.
///
/// # Panics
/// If `bytes` is 0.
#[track_caller]
pub fn slow_writer(
    response: impl Into<Bytes>,
    bytes: usize,
    every: Duration,
) -> impl Fn(RawConn) -> Playing + Clone + Send + Sync + 'static {
    assert!(bytes > 0, "nothing at a time takes for ever");
    let response = response.into();
    move |mut conn: RawConn| -> Playing {
        let response = response.clone();
        Box::pin(async move {
            conn.request().await;
            for piece in response.chunks(bytes) {
                tokio::time::sleep(every).await;
                conn.write(piece).await;
            }
        })
    }
}

/// Reads a request and says nothing, for as long as its peer stays.
pub fn silent() -> impl Fn(RawConn) -> Playing + Clone + Send + Sync + 'static {
    |mut conn: RawConn| -> Playing {
        Box::pin(async move {
            conn.request().await;
            conn.read_to_end().await;
        })
    }
}

/// Reads a request and greets it like a mail server.
pub fn garbage() -> impl Fn(RawConn) -> Playing + Clone + Send + Sync + 'static {
    let greeting = "220 mail.example ESMTP\r\n\r\n";
    cut_at(greeting, greeting.len())
}

fn first(response: impl Into<Bytes>, count: usize) -> Bytes {
    let mut response = response.into();
    response.truncate(count);
    response
}

/// The fields of a request, as far as they are some.
fn headers(seen: &ReceivedRequest) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in seen.head.lines().skip(1).filter_map(|line| line.split_once(':')) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value.trim())) {
            headers.append(name, value);
        }
    }
    headers
}
