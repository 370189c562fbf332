//! In-memory HTTP/2 upstreams with scripts of frames.
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
//! let exact = ExactProxy::builder()
//!     .connector(upstream.clone())
//!     .http_versions(HttpVersions::Http2Only)
//!     .build()?;
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

use super::{Tasks, scripts::Playing};
use crate::transport::{ByteStream, Connect, Connecting, Destination};

/// Connects each connection to an HTTP/2 script, in memory. [`finish`](Self::finish) raises panics of scripts again.
#[doc(alias = "h2")]
#[doc(alias = "mock")]
#[derive(Clone)]
pub struct Http2Upstream {
    run: Arc<dyn Fn(usize, DuplexStream) + Send + Sync>,
    connections: Arc<AtomicUsize>,
    tasks: Tasks,
}

impl Http2Upstream {
    /// Creates an upstream that runs `script` once for each connection, with the index of the connection (from 0) and
    /// the server side of its stream.
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

    /// Creates an upstream with a script that reads and writes [`Frames`], and the index of the connection (from 0).
    pub fn frames<F, Fut>(script: F) -> Self
    where
        F: Fn(usize, Frames) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::new(move |index, io| script(index, Frames::over(io)))
    }

    /// Returns the number of connections opened so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Aborts the scripts.
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

/// Returns a script for [`Http2Upstream::frames`] that closes the first connection gracefully with `GOAWAY`.
///
/// The first connection answers `requests` requests with an empty 200. It responds to the next request with a `GOAWAY`
/// that names the last answered stream, and never answers that request. Later connections answer all requests.
#[doc(alias = "GOAWAY")]
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

/// Holds one frame (RFC 9113 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// Frame type, such as [`HEADERS`].
    pub kind: u8,
    /// Flags, such as [`END_STREAM`].
    pub flags: u8,
    /// Stream identifier; 0 for the connection.
    pub stream: u32,
    /// Payload, after the frame header of 9 bytes.
    pub payload: Vec<u8>,
}

/// Frame type `DATA`: content of a request or response.
pub const DATA: u8 = 0;
/// Frame type `HEADERS`: a head or trailers.
pub const HEADERS: u8 = 1;
/// Frame type `RST_STREAM`: aborts a stream.
pub const RST_STREAM: u8 = 3;
/// Frame type `SETTINGS`: settings of a connection.
pub const SETTINGS: u8 = 4;
/// Frame type `PING`: checks that the peer responds.
pub const PING: u8 = 6;
/// Frame type `GOAWAY`: the connection accepts no more streams.
pub const GOAWAY: u8 = 7;
/// Frame type `WINDOW_UPDATE`: grants flow control credit.
pub const WINDOW_UPDATE: u8 = 8;

/// Flag of `DATA` and `HEADERS`: the sender sends no more on this stream.
pub const END_STREAM: u8 = 1;
/// Flag of `SETTINGS` and `PING`: acknowledges a frame.
pub const ACK: u8 = 1;
/// Flag of `HEADERS`: the header block is complete.
pub const END_HEADERS: u8 = 4;

/// Error code `NO_ERROR`: graceful shutdown.
pub const NO_ERROR: u32 = 0;
/// Error code `INTERNAL_ERROR`: an internal error of the sender.
pub const INTERNAL_ERROR: u32 = 2;
/// Error code `REFUSED_STREAM`: the request was not processed and can be retried.
pub const REFUSED_STREAM: u32 = 7;
/// Error code `CANCEL`: the stream is no longer needed.
pub const CANCEL: u32 = 8;

/// Reads and writes frames on the server side of a connection.
///
/// [`request`](Self::request) and [`next_of`](Self::next_of) never complete on a closed connection, so a script that
/// calls them waits until the test ends.
pub struct Frames {
    io: Box<dyn ByteStream>,
    greeted: bool,
    /// True if PING frames are acknowledged. Default: true.
    pub answers: bool,
    /// Number of PING frames received, without acknowledgements.
    pub pings: usize,
    unread: VecDeque<Frame>,
}

impl Frames {
    /// Wraps a stream, on which the client sends the connection preface first.
    pub fn over(io: impl ByteStream) -> Self {
        Self { io: Box::new(io), greeted: false, answers: true, pings: 0, unread: VecDeque::new() }
    }

    /// Sends SETTINGS with pairs of identifier and value (RFC 9113 §6.5.2).
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

    /// Sends one frame. Does nothing if the client has closed the connection.
    pub async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        // Errors are ignored, since some tests are about clients that disconnect.
        let _ = self.io.write_all(&frame).await;
    }

    /// Reads the next frame. Returns `None` at the end of the connection. SETTINGS and PING are acknowledged, and
    /// returned, too.
    ///
    /// # Panics
    /// If the client does not send the connection preface of HTTP/2 first.
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

    /// Reads the next frame of type `kind` and skips others. Never completes if the connection ends first.
    pub async fn next_of(&mut self, kind: u8) -> Frame {
        loop {
            match self.next().await {
                Some(frame) if frame.kind == kind => return frame,
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Reads the next request head and returns its stream identifier.
    pub async fn request(&mut self) -> u32 {
        self.next_of(HEADERS).await.stream
    }

    /// Reads and discards frames until the connection ends.
    pub async fn drain(&mut self) {
        while self.next().await.is_some() {}
    }

    /// Sends a 200 response without headers. If `end` is true, the response has no body.
    pub async fn ok(&mut self, stream: u32, end: bool) {
        self.write(HEADERS, END_HEADERS | u8::from(end), stream, &[0x88]).await;
    }

    /// Sends a DATA frame. If `end` is true, the frame is the last one of the stream.
    pub async fn data(&mut self, stream: u32, bytes: &[u8], end: bool) {
        self.write(DATA, u8::from(end), stream, bytes).await;
    }

    /// Aborts a stream with RST_STREAM and an error code, such as [`CANCEL`].
    pub async fn reset(&mut self, stream: u32, error_code: u32) {
        self.write(RST_STREAM, 0, stream, &error_code.to_be_bytes()).await;
    }

    /// Sends GOAWAY: no stream above `last_stream` was or will be processed.
    pub async fn go_away(&mut self, last_stream: u32, error_code: u32) {
        let mut payload = last_stream.to_be_bytes().to_vec();
        payload.extend_from_slice(&error_code.to_be_bytes());
        self.write(GOAWAY, 0, 0, &payload).await;
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").field("pings", &self.pings).finish_non_exhaustive()
    }
}
