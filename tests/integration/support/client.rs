//! A client that writes bytes and reads whole responses.

use std::{io, net::SocketAddr, panic::Location, path::Path, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UnixStream},
};

use super::{
    DEADLINE,
    upstream::Echo,
    wire::{Buffered, Wire, fields},
    within_limit,
};

/// One connection on which a test writes bytes as it likes. Nothing it waits for takes longer than [`DEADLINE`](super::DEADLINE).
pub struct RawClient {
    io: Buffered,
    limit: Duration,
}

/// A response as it came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawResponse {
    /// Status line and fields, up to and with the empty line.
    pub head: String,
    /// The body with its framing, as on the wire.
    pub wire_body: Vec<u8>,
    /// The body without framing.
    pub body: Vec<u8>,
}

impl RawClient {
    pub async fn tcp(addr: SocketAddr) -> Self {
        let io = TcpStream::connect(addr).await.unwrap();
        io.set_nodelay(true).unwrap();
        Self::over(io)
    }

    pub async fn unix(path: &Path) -> Self {
        Self::over(UnixStream::connect(path).await.unwrap())
    }

    /// Over any stream: TLS, or an in-memory one.
    pub fn over(io: impl Wire) -> Self {
        Self { io: Buffered::new(io), limit: DEADLINE }
    }

    /// Waits for as long as a paused clock may go.
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
    pub async fn finish_writing(&mut self) {
        self.io.io.shutdown().await.unwrap();
    }

    /// Reads one response (to a request that is not `HEAD`) with its body, framed by length, by chunks or by the end of the stream.
    /// Fails if it breaks off.
    #[track_caller]
    pub fn response(&mut self) -> impl Future<Output = RawResponse> + '_ {
        let at = Location::caller();
        within_limit(self.limit, "a response", async move {
            self.try_response(true).await.unwrap_or_else(|error| panic!("{at}: no whole response: {error}"))
        })
    }

    /// The same for an answer without body, as to `HEAD`.
    #[track_caller]
    pub fn head_response(&mut self) -> impl Future<Output = RawResponse> + '_ {
        let at = Location::caller();
        within_limit(self.limit, "a response", async move {
            self.try_response(false).await.unwrap_or_else(|error| panic!("{at}: no response head: {error}"))
        })
    }

    /// Reads one response; an error where it is not complete.
    pub async fn try_response(&mut self, with_body: bool) -> io::Result<RawResponse> {
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
            self.try_response(whole).await.unwrap_or_else(|error| panic!("{at}: no whole response: {error}"))
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

    /// Leaves with a TCP reset.
    pub fn reset(self) {
        self.io.io.reset_on_close();
    }
}

impl RawResponse {
    pub fn status(&self) -> u16 {
        status(&self.head)
    }

    /// Every value of a field, in order.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        fields(&self.head, name)
    }

    /// The one value of a field; fails if it is there twice.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let values = self.fields(name);
        assert!(values.len() < 2, "{name} is there {} times: {values:?}", values.len());
        values.first().copied()
    }

    /// The body as text.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as what [`echo`](super::echo) answers with.
    #[track_caller]
    pub fn echo(&self) -> Echo {
        assert_eq!(self.status(), 200, "{}{}", self.head, String::from_utf8_lossy(&self.body));
        Echo::from_json(&self.body)
    }
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|code| code.trim().parse().ok()).unwrap_or_else(|| panic!("no status in {head:?}"))
}
