//! The part of HTTP/1.1 that an origin and a load generator need: heads by httparse, bodies with a `Content-Length`.

use std::{
    io::{self, ErrorKind},
    sync::LazyLock,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpStream,
};

pub const SMALL: &[u8] = b"Hello, world!";
pub const BULK: usize = 1 << 20;
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="; // RFC 6455 §1.3: answers the client's key
const MAX_FIELDS: usize = 64;

/// 1 MiB without repetition, so that a lost, doubled or misplaced chunk is detected.
pub static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    std::iter::repeat_with(next).take(BULK / 8).flat_map(u64::to_le_bytes).collect()
});

/// The fields of a request or response head that the benchmark uses.
#[derive(Default)]
pub struct Head {
    pub path: String,
    pub status: u16,
    pub length: usize,
    pub close: bool,
    /// `Sec-WebSocket-Accept`.
    pub accept: String,
}

/// A connection, and the bytes that were read from it but not used yet.
pub struct Connection<S = TcpStream> {
    pub stream: S,
    pub buffer: BytesMut,
}

impl Connection {
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }
}

impl<S: AsyncRead + Unpin> Connection<S> {
    /// Wraps a stream of any other kind.
    #[allow(dead_code, reason = "used by `forward`, which shares this file")]
    pub fn over(stream: S) -> Self {
        Self { stream, buffer: BytesMut::with_capacity(4096) }
    }

    /// Returns the next request's head, or `None` at the end of the connection.
    pub async fn request(&mut self) -> io::Result<Option<Head>> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
            let mut request = httparse::Request::new(&mut fields);
            if let httparse::Status::Complete(size) = request.parse(&self.buffer).map_err(io::Error::other)? {
                let path = request.path.unwrap_or_default().to_owned();
                let head = Head { path, ..framing(request.headers, false)? };
                self.buffer.advance(size);
                return Ok(Some(head));
            }
            if self.read().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Returns the status of a response to `CONNECT`, whose `Content-Length` has no meaning.
    #[allow(dead_code, reason = "used by `forward`, which shares this file")]
    pub async fn tunnel(&mut self) -> io::Result<u16> {
        self.head(false).await.map(|head| head.status)
    }

    /// Returns the next response's head.
    pub async fn response(&mut self) -> io::Result<Head> {
        self.head(true).await
    }

    async fn head(&mut self, needs_length: bool) -> io::Result<Head> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
            let mut response = httparse::Response::new(&mut fields);
            if let httparse::Status::Complete(size) = response.parse(&self.buffer).map_err(io::Error::other)? {
                let status = response.code.unwrap_or_default();
                let head = Head { status, ..framing(response.headers, needs_length && status == 200)? };
                self.buffer.advance(size);
                return Ok(head);
            }
            self.fill().await?;
        }
    }

    /// Reads exactly `expected`; anything else is an error.
    pub async fn expect(&mut self, mut expected: &[u8]) -> io::Result<()> {
        while !expected.is_empty() {
            if self.buffer.is_empty() {
                self.buffer.reserve(expected.len().min(256 << 10));
                self.fill().await?;
            }
            let size = self.buffer.len().min(expected.len());
            let (part, rest) = expected.split_at(size);
            if self.buffer[..size] != *part {
                return Err(io::Error::other("the body is not what the origin sent"));
            }
            self.buffer.advance(size);
            expected = rest;
        }
        Ok(())
    }

    /// Drops up to `size` bytes that are already read, and returns how many.
    pub fn discard_buffered(&mut self, size: usize) -> usize {
        let size = size.min(self.buffer.len());
        self.buffer.advance(size);
        size
    }

    /// Reads more; the end of the connection is an error.
    pub async fn fill(&mut self) -> io::Result<()> {
        match self.read().await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        self.buffer.reserve(4096);
        self.stream.read_buf(&mut self.buffer).await
    }
}

fn framing(fields: &[httparse::Header<'_>], needs_length: bool) -> io::Result<Head> {
    let mut head = Head::default();
    let mut length = None;
    for field in fields {
        if field.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(field.value).ok().and_then(|value| value.parse().ok());
        } else if field.name.eq_ignore_ascii_case("connection") {
            head.close = field.value.eq_ignore_ascii_case(b"close");
        } else if field.name.eq_ignore_ascii_case("sec-websocket-accept") {
            head.accept = String::from_utf8_lossy(field.value).into_owned();
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(io::Error::other("a chunked body instead of a Content-Length"));
        }
    }
    if needs_length && length.is_none() {
        return Err(io::Error::other("a response without Content-Length"));
    }
    head.length = length.unwrap_or_default();
    Ok(head)
}
