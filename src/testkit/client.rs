//! A client that writes bytes and reads whole responses.

use std::{fmt, io, net::SocketAddr, panic::Location, time::Duration};

use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    DEADLINE, Echo,
    wire::{Buffered, field, fields},
    within_limit,
};
use crate::transport::ByteStream;

/// One connection on which a test writes bytes as it likes. Nothing it waits for takes longer than [`DEADLINE`](super::DEADLINE), after
/// which it fails, as it does at whatever else was not to be expected; the message names the line of the test.
///
/// ```
/// use axum::{Router, routing::put};
/// use nexthop::testkit::RawClient;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), nexthop::BoxError> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let addr = listener.local_addr()?;
/// tokio::spawn(nexthop::serve(listener, Router::new().route("/", put(async |body: String| body))).into_future());
///
/// let mut client = RawClient::tcp(addr).await;
/// client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n").await;
/// client.send("3;never=minded\r\nllo\r\n0\r\n\r\n").await;
/// let response = client.response().await;
/// assert_eq!((response.status(), response.text()), (200, "hello"));
/// # Ok(())
/// # }
/// ```
pub struct RawClient {
    io: Buffered,
    limit: Duration,
}

/// A response as it came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawResponse {
    /// Status line and fields, up to and with the empty line.
    pub head: String,
    /// The body with its framing, as on the wire.
    pub wire_body: Vec<u8>,
    /// The body without framing.
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

    /// Over any stream: TLS, or one in memory.
    pub fn over(io: impl ByteStream) -> Self {
        Self { io: Buffered::new(io), limit: DEADLINE }
    }

    /// Waits for as long as a paused clock may go: a day.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.limit = Duration::from_secs(24 * 60 * 60);
        self
    }

    /// Writes bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> impl Future<Output = ()> {
        let at = Location::caller();
        within_limit(self.limit, "writing", async move {
            let written = self.io.io.write_all(bytes.as_ref()).await;
            let flushed = self.io.io.flush().await;
            written.and(flushed).unwrap_or_else(|error| panic!("{at}: cannot write: {error}"));
        })
    }

    /// Closes the sending direction alone.
    #[track_caller]
    pub fn finish_writing(&mut self) -> impl Future<Output = ()> + '_ {
        let at = Location::caller();
        within_limit(self.limit, "the end of writing", async move {
            let ended = self.io.io.shutdown().await;
            ended.unwrap_or_else(|error| panic!("{at}: cannot end writing: {error}"));
        })
    }

    /// From now on, whatever reads takes at most `bytes` at a time, and waits for `every` before each time: a client that reads slowly.
    pub fn read_slowly(&mut self, bytes: usize, every: Duration) {
        self.io.read_slowly(bytes, every);
    }

    /// Reads one response (to a request that is not `HEAD`) with its body, framed by length, by chunks or by the end of the stream.
    /// Fails if it breaks off.
    #[track_caller]
    pub fn response(&mut self) -> impl Future<Output = RawResponse> + '_ {
        let at = Location::caller();
        within_limit(self.limit, "a response", async move {
            self.read_response(true).await.unwrap_or_else(|error| panic!("{at}: no whole response: {error}"))
        })
    }

    /// The same for an answer without body, as to `HEAD`.
    #[track_caller]
    pub fn head_response(&mut self) -> impl Future<Output = RawResponse> + '_ {
        let at = Location::caller();
        within_limit(self.limit, "a response", async move {
            self.read_response(false).await.unwrap_or_else(|error| panic!("{at}: no response head: {error}"))
        })
    }

    /// Reads one response; an error where it is not complete. `with_body` is false for what answers `HEAD`.
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

    /// Writes a request and reads its response.
    #[track_caller]
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> impl Future<Output = RawResponse> {
        let at = Location::caller();
        within_limit(self.limit, "an exchange", async move {
            let written = self.io.io.write_all(request.as_ref()).await;
            written.unwrap_or_else(|error| panic!("{at}: cannot write: {error}"));
            let whole = !request.as_ref().starts_with(b"HEAD ");
            self.read_response(whole).await.unwrap_or_else(|error| panic!("{at}: no whole response: {error}"))
        })
    }

    /// Reads `count` bytes, as in a tunnel.
    #[track_caller]
    pub fn read(&mut self, count: usize) -> impl Future<Output = Vec<u8>> + '_ {
        let at = Location::caller();
        within_limit(self.limit, "reading", async move {
            self.io.exactly(count).await.unwrap_or_else(|error| panic!("{at}: cannot read {count} bytes: {error}"))
        })
    }

    /// Reads to the end of the stream, however it ends: what came, and whether it ended without a reset.
    #[track_caller]
    pub fn read_to_end(&mut self) -> impl Future<Output = (Vec<u8>, bool)> + '_ {
        within_limit(self.limit, "the end of the stream", async move {
            let clean = self.io.rest().await.map(|rest| self.io.read = rest).is_ok();
            (std::mem::take(&mut self.io.read), clean)
        })
    }

    /// Waits for the other side to close; fails if it sends anything more.
    #[track_caller]
    pub fn closed(&mut self) -> impl Future<Output = ()> + '_ {
        let at = Location::caller();
        within_limit(self.limit, "the other side's close", async move {
            let _ = self.io.rest().await.map(|rest| self.io.read = rest);
            let read = String::from_utf8_lossy(&self.io.read);
            assert!(read.is_empty(), "{at}: it sent more before it closed: {read:?}");
        })
    }

    /// Leaves with a reset: of TCP, also under TLS, and in memory. Other streams are closed.
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
    /// The status code.
    pub fn status(&self) -> u16 {
        status(&self.head)
    }

    /// Every value of a field, in order.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        fields(&self.head, name)
    }

    /// The one value of a field; fails if it is there twice.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// The body as text; fails where it is none.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as what [`echo`](super::echo()) answers with; fails if it is anything else.
    #[track_caller]
    pub fn echo(&self) -> Echo {
        assert_eq!(self.status(), 200, "{}{}", self.head, String::from_utf8_lossy(&self.body));
        Echo::from_json(&self.body)
    }
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|code| code.trim().parse().ok()).unwrap_or_else(|| panic!("no status in {head:?}"))
}
