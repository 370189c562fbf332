//! A client that writes bytes and reads complete responses.

use std::{fmt, io, net::SocketAddr, panic::Location, time::Duration};

use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    DEADLINE, Echo,
    wire::{Buffered, field, fields},
    within_limit,
};
use crate::transport::ByteStream;

/// Writes arbitrary bytes to one connection, and reads HTTP/1.1 responses.
///
/// # Panics
/// Each operation panics on an unexpected error, and after [`DEADLINE`](super::DEADLINE). The message reports the line
/// of the test.
///
/// ```
/// use axum::{Router, routing::put};
/// use nexthop::testkit::RawClient;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), nexthop::BoxError> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let addr = listener.local_addr()?;
/// let app = Router::new().route("/", put(async |body: String| body));
/// tokio::spawn(nexthop::serve(listener, app).into_future());
///
/// let mut client = RawClient::tcp(addr).await;
/// client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n").await;
/// client.send("3;extension=ignored\r\nllo\r\n0\r\n\r\n").await;
/// let response = client.response().await;
/// assert_eq!((response.status(), response.text()), (200, "hello"));
/// # Ok(())
/// # }
/// ```
#[doc(alias = "raw socket")]
pub struct RawClient {
    io: Buffered,
    limit: Duration,
}

/// Holds a response as it was received on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawResponse {
    /// Status line and headers, including the empty line at the end.
    pub head: String,
    /// Body with its framing, as on the wire.
    pub wire_body: Vec<u8>,
    /// Body without framing.
    pub body: Vec<u8>,
}

impl RawClient {
    /// Connects over TCP.
    #[track_caller]
    pub fn tcp(addr: SocketAddr) -> impl Future<Output = Self> {
        let at = Location::caller();
        within_limit(DEADLINE, "connecting", async move {
            let io = TcpStream::connect(addr).await.unwrap_or_else(|error| panic!("{at}: cannot connect: {error}"));
            io.set_nodelay(true).unwrap_or_else(|error| panic!("{at}: cannot set an option: {error}"));
            Self::over(io)
        })
    }

    /// Connects to a unix socket.
    #[cfg(unix)]
    #[track_caller]
    pub fn unix(path: &std::path::Path) -> impl Future<Output = Self> {
        let at = Location::caller();
        within_limit(DEADLINE, "connecting", async move {
            let io = tokio::net::UnixStream::connect(path).await;
            Self::over(io.unwrap_or_else(|error| panic!("{at}: cannot connect: {error}")))
        })
    }

    /// Wraps a stream, such as TLS or an in-memory stream.
    pub fn over(io: impl ByteStream) -> Self {
        Self { io: Buffered::new(io), limit: DEADLINE }
    }

    /// Sets the deadline of each operation to a day, for tests with a paused clock. Default:
    /// [`DEADLINE`](super::DEADLINE).
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.limit = Duration::from_secs(24 * 60 * 60);
        self
    }

    /// Writes and flushes `bytes` unchanged.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> impl Future<Output = ()> {
        let at = Location::caller();
        within_limit(self.limit, "writing", async move {
            let written = self.io.io.write_all(bytes.as_ref()).await;
            let flushed = self.io.io.flush().await;
            written.and(flushed).unwrap_or_else(|error| panic!("{at}: cannot write: {error}"));
        })
    }

    /// Shuts down the write side of the connection; reading remains possible.
    #[track_caller]
    pub fn finish_writing(&mut self) -> impl Future<Output = ()> + '_ {
        let at = Location::caller();
        within_limit(self.limit, "shutting down the write side", async move {
            let ended = self.io.io.shutdown().await;
            ended.unwrap_or_else(|error| panic!("{at}: cannot shut down the write side: {error}"));
        })
    }

    /// Limits reading from now on: each read waits for `interval` and then takes at most `bytes`. Simulates a slow
    /// client.
    #[doc(alias = "throttle")]
    pub fn read_slowly(&mut self, bytes: usize, interval: Duration) {
        self.io.read_slowly(bytes, interval);
    }

    /// Reads one response with its body, framed by length, by chunks or by the end of the stream. For `HEAD`, use
    /// [`head_response`](Self::head_response).
    ///
    /// # Panics
    /// If the response is incomplete.
    #[track_caller]
    pub fn response(&mut self) -> impl Future<Output = RawResponse> + '_ {
        let at = Location::caller();
        within_limit(self.limit, "a response", async move {
            self.read_response(true).await.unwrap_or_else(|error| panic!("{at}: incomplete response: {error}"))
        })
    }

    /// Reads one response without a body, as for `HEAD`.
    ///
    /// # Panics
    /// If the response is incomplete.
    #[track_caller]
    pub fn head_response(&mut self) -> impl Future<Output = RawResponse> + '_ {
        let at = Location::caller();
        within_limit(self.limit, "a response", async move {
            self.read_response(false).await.unwrap_or_else(|error| panic!("{at}: incomplete response: {error}"))
        })
    }

    /// Reads one response, or returns an error if it is incomplete. `with_body` is false for the response to a `HEAD`.
    #[track_caller]
    pub fn try_response(&mut self, with_body: bool) -> impl Future<Output = io::Result<RawResponse>> + '_ {
        within_limit(self.limit, "a response", self.read_response(with_body))
    }

    async fn read_response(&mut self, with_body: bool) -> io::Result<RawResponse> {
        let head = self.io.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = status(&head);
        let bodiless = !with_body || status / 100 == 1 || status == 204 || status == 304;
        let (wire_body, body) = if bodiless {
            (Vec::new(), Vec::new())
        } else if let Some(coding) = fields(&head, "transfer-encoding").last() {
            assert!(coding.eq_ignore_ascii_case("chunked"), "transfer-encoding: {coding}");
            self.io.chunked().await?
        } else {
            let body = match fields(&head, "content-length").first() {
                Some(length) => self.io.exactly(length.parse().unwrap()).await?,
                None => self.io.rest().await?,
            };
            (body.clone(), body)
        };
        Ok(RawResponse { head, wire_body, body })
    }

    /// Writes a request and reads its response, without a body if the request is a `HEAD`.
    ///
    /// # Panics
    /// If the response is incomplete.
    #[track_caller]
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> impl Future<Output = RawResponse> {
        let at = Location::caller();
        within_limit(self.limit, "an exchange", async move {
            let written = self.io.io.write_all(request.as_ref()).await;
            written.unwrap_or_else(|error| panic!("{at}: cannot write: {error}"));
            let whole = !request.as_ref().starts_with(b"HEAD ");
            self.read_response(whole).await.unwrap_or_else(|error| panic!("{at}: incomplete response: {error}"))
        })
    }

    /// Reads exactly `count` bytes, as in a tunnel.
    #[track_caller]
    pub fn read(&mut self, count: usize) -> impl Future<Output = Vec<u8>> + '_ {
        let at = Location::caller();
        within_limit(self.limit, "reading", async move {
            self.io.exactly(count).await.unwrap_or_else(|error| panic!("{at}: cannot read {count} bytes: {error}"))
        })
    }

    /// Reads to the end of the stream. Returns the bytes, and true if the stream ended without an error such as a
    /// reset.
    #[track_caller]
    pub fn read_to_end(&mut self) -> impl Future<Output = (Vec<u8>, bool)> + '_ {
        within_limit(self.limit, "the end of the stream", async move {
            let clean = self.io.rest().await.map(|rest| self.io.read = rest).is_ok();
            (std::mem::take(&mut self.io.read), clean)
        })
    }

    /// Waits until the peer closes the connection.
    ///
    /// # Panics
    /// If the peer sends more data first.
    #[track_caller]
    pub fn closed(&mut self) -> impl Future<Output = ()> + '_ {
        let at = Location::caller();
        within_limit(self.limit, "the peer's close", async move {
            let _ = self.io.rest().await.map(|rest| self.io.read = rest);
            let read = String::from_utf8_lossy(&self.io.read);
            assert!(read.is_empty(), "{at}: the peer sent more data before it closed: {read:?}");
        })
    }

    /// Closes the connection with a reset, over TCP, TLS over TCP, and in-memory streams of this module. Other streams
    /// are closed.
    pub fn reset(self) {
        self.io.io.reset_on_close();
    }
}

impl fmt::Debug for RawClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawClient").field("limit", &self.limit).finish_non_exhaustive()
    }
}

// === impl RawResponse ===

impl RawResponse {
    /// Returns the status code.
    pub fn status(&self) -> u16 {
        status(&self.head)
    }

    /// Returns all values of a header, in order.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        fields(&self.head, name)
    }

    /// Returns the value of a header, if present.
    ///
    /// # Panics
    /// If the header occurs more than once.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// Returns the body as text.
    ///
    /// # Panics
    /// If the body is not valid UTF-8.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Parses the body as a response of [`echo`](super::echo()).
    ///
    /// # Panics
    /// If the response is anything else.
    #[track_caller]
    pub fn echo(&self) -> Echo {
        assert_eq!(self.status(), 200, "{}{}", self.head, String::from_utf8_lossy(&self.body));
        Echo::from_json(&self.body)
    }
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|code| code.trim().parse().ok()).unwrap_or_else(|| panic!("no status in {head:?}"))
}
