//! HTTP/2 upstreams that are scripted frame by frame, in memory.
//!
//! ```
//! use http::Request;
//! use http_body_util::BodyExt;
//! use nexthop::{
//!     Body, ExactProxy,
//!     testkit::http2::{Http2Upstream, REFUSED_STREAM},
//!     exact::HttpVersions,
//! };
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), nexthop::BoxError> {
//! let upstream = Http2Upstream::frames(|connection, frames| async move {
//!     let mut frames = frames.greet(&[]).await;
//!     let stream = frames.request().await;
//!     if connection == 0 {
//!         return frames.reset(stream, REFUSED_STREAM).await;
//!     }
//!     frames.ok(stream, false).await;
//!     frames.data(stream, b"hello", true).await;
//!     frames.drain().await;
//! });
//! let exact = ExactProxy::builder().connector(upstream.clone()).http_versions(HttpVersions::Http2Only).build()?;
//! let response = exact.oneshot(Request::post("http://app/").body(Body::empty())?).await?;
//! assert_eq!(response.into_body().collect().await?.to_bytes(), "hello");
//! assert_eq!(upstream.connections(), 2);
//! upstream.finish();
//! # Ok(())
//! # }
//! ```

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{Playing, Tasks};
use crate::transport::{ByteStream, Connect, Connecting, Destination};

/// A connector whose every connection leads to a script, in memory. What fails in a script fails the test, if it calls
/// [`finish`](Self::finish).
#[derive(Clone)]
pub struct Http2Upstream {
    run: Arc<dyn Fn(usize, DuplexStream) + Send + Sync>,
    connections: Arc<AtomicUsize>,
    tasks: Tasks,
}

impl Http2Upstream {
    /// Runs `script` once for each connection, with its index, from 0, and the server's end of a stream.
    pub fn new<F, Fut>(script: F) -> Self
    where
        F: Fn(usize, DuplexStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let tasks = Tasks::default();
        let running = tasks.clone();
        let run = Arc::new(move |index, io| running.spawn(script(index, io)));
        Self { run, connections: Arc::default(), tasks }
    }

    /// The same with a script that speaks frames.
    pub fn frames<F, Fut>(script: F) -> Self
    where
        F: Fn(usize, Frames) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::new(move |index, io| script(index, Frames::over(io)))
    }

    /// How many connections were opened so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Stops the scripts.
    ///
    /// # Panics
    /// With the first panic of a script.
    pub fn finish(&self) {
        self.tasks.finish();
    }
}

impl Connect for Http2Upstream {
    fn connect(&self, _: &Destination) -> Connecting {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        (self.run)(self.connections.fetch_add(1, Ordering::SeqCst), theirs);
        Box::pin(async move { Ok(Box::new(ours) as Box<dyn ByteStream>) })
    }
}

impl fmt::Debug for Http2Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2Upstream").field("connections", &self.connections()).finish_non_exhaustive()
    }
}

/// A script for [`Http2Upstream::frames`]: the first connection answers `requests` requests with an empty 200; to the next one it says
/// `GOAWAY`, naming the last that it has answered, and answers it never. Later connections answer all.
pub fn goes_away(requests: usize) -> impl Fn(usize, Frames) -> Playing + Clone + Send + Sync + 'static {
    move |connection, frames| {
        Box::pin(async move {
            let mut frames = frames.greet(&[]).await;
            let (mut answered, mut last) = (0, 0);
            while connection > 0 || answered < requests {
                last = frames.request().await;
                frames.ok(last, true).await;
                answered += 1;
            }
            frames.request().await;
            frames.go_away(last, NO_ERROR).await;
            frames.drain().await;
        })
    }
}

/// One frame (RFC 9113 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// Its type, such as [`HEADERS`].
    pub kind: u8,
    /// Its flags, such as [`END_STREAM`].
    pub flags: u8,
    /// The stream it belongs to; 0 for the connection.
    pub stream: u32,
    /// What follows its head of 9 bytes.
    pub payload: Vec<u8>,
}

/// Frame type: content.
pub const DATA: u8 = 0;
/// Frame type: a head or trailers.
pub const HEADERS: u8 = 1;
/// Frame type: a stream is given up.
pub const RST_STREAM: u8 = 3;
/// Frame type: settings of a connection.
pub const SETTINGS: u8 = 4;
/// Frame type: is anybody there?
pub const PING: u8 = 6;
/// Frame type: no more streams here.
pub const GOAWAY: u8 = 7;
/// Frame type: room for more content.
pub const WINDOW_UPDATE: u8 = 8;

/// Flag of `DATA` and `HEADERS`: the last of this stream.
pub const END_STREAM: u8 = 1;
/// Flag of `SETTINGS` and `PING`: this is an answer.
pub const ACK: u8 = 1;
/// Flag of `HEADERS`: the head is complete.
pub const END_HEADERS: u8 = 4;

/// Error code: all is well.
pub const NO_ERROR: u32 = 0;
/// Error code: something went wrong.
pub const INTERNAL_ERROR: u32 = 2;
/// Error code: nothing was done, so that it can be asked again.
pub const REFUSED_STREAM: u32 = 7;
/// Error code: no longer wanted.
pub const CANCEL: u32 = 8;

/// The server's side of a connection. A script that reads on a closed connection waits for ever, until the test ends.
pub struct Frames {
    io: Box<dyn ByteStream>,
    greeted: bool,
    /// Whether PING is answered, as it is at first.
    pub answers: bool,
    /// PING frames that were no answers.
    pub pings: usize,
    unread: VecDeque<Frame>,
}

impl Frames {
    /// Over any stream on which a client will begin with its preface.
    pub fn over(io: impl ByteStream) -> Self {
        Self { io: Box::new(io), greeted: false, answers: true, pings: 0, unread: VecDeque::new() }
    }

    /// Sends SETTINGS: pairs of identifier and value (RFC 9113 §6.5.2).
    #[must_use]
    pub async fn greet(mut self, settings: &[(u16, u32)]) -> Self {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        self.write(SETTINGS, 0, 0, &payload).await;
        self
    }

    /// Sends one frame, or nothing if the client has left.
    pub async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        // A client that has left is what some tests are about.
        let _ = self.io.write_all(&frame).await;
    }

    /// The next frame; none at the end of the connection. SETTINGS and PING are answered.
    ///
    /// # Panics
    /// If the client does not begin with the preface of HTTP/2.
    pub async fn next(&mut self) -> Option<Frame> {
        if let Some(frame) = self.unread.pop_front() {
            return Some(frame);
        }
        if !self.greeted {
            let mut preface = [0; 24];
            self.io.read_exact(&mut preface).await.ok()?;
            assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            self.greeted = true;
        }
        let mut head = [0; 9];
        self.io.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.io.read_exact(&mut payload).await.ok()?;
        let frame = Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        };
        if frame.flags & ACK == 0 && frame.kind == SETTINGS {
            self.write(SETTINGS, ACK, 0, &[]).await;
        }
        if frame.flags & ACK == 0 && frame.kind == PING {
            self.pings += 1;
            if self.answers {
                self.write(PING, ACK, 0, &frame.payload).await;
            }
        }
        Some(frame)
    }

    /// The next frame of this kind; others are skipped.
    pub async fn next_of(&mut self, kind: u8) -> Frame {
        loop {
            match self.next().await {
                Some(frame) if frame.kind == kind => return frame,
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// The stream of the next request.
    pub async fn request(&mut self) -> u32 {
        self.next_of(HEADERS).await.stream
    }

    /// Reads until the connection ends.
    pub async fn drain(&mut self) {
        while self.next().await.is_some() {}
    }

    /// Answers 200 without fields; with `end`, without a body.
    pub async fn ok(&mut self, stream: u32, end: bool) {
        self.write(HEADERS, END_HEADERS | u8::from(end), stream, &[0x88]).await;
    }

    /// Sends content; with `end`, the last of it.
    pub async fn data(&mut self, stream: u32, bytes: &[u8], end: bool) {
        self.write(DATA, u8::from(end), stream, bytes).await;
    }

    /// Gives up a stream.
    pub async fn reset(&mut self, stream: u32, reason: u32) {
        self.write(RST_STREAM, 0, stream, &reason.to_be_bytes()).await;
    }

    /// Says that no stream above `last` was or will be processed.
    pub async fn go_away(&mut self, last: u32, reason: u32) {
        let mut payload = last.to_be_bytes().to_vec();
        payload.extend_from_slice(&reason.to_be_bytes());
        self.write(GOAWAY, 0, 0, &payload).await;
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").field("pings", &self.pings).finish_non_exhaustive()
    }
}
