//! Buffered byte streams of the testkit's peers, and parsing of raw HTTP/1.1 messages.

use std::{
    any::Any,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpStream,
};

use crate::transport::ByteStream;

/// A stream that can be closed with a reset, if its type supports that.
pub(super) trait Wire: ByteStream {
    /// Turns the next close into a reset, for TCP, TLS over TCP, and in-memory streams.
    fn reset_on_close(&self);
}

impl<T: ByteStream> Wire for T {
    fn reset_on_close(&self) {
        let this: &dyn Any = self;
        if let Some(pipe) = this.downcast_ref::<Pipe>() {
            pipe.reset.store(true, Ordering::SeqCst);
        }
        let tcp = this.downcast_ref::<TcpStream>();
        #[cfg(feature = "tls")]
        let tcp = tcp
            .or_else(|| Some(this.downcast_ref::<tokio_rustls::server::TlsStream<TcpStream>>()?.get_ref().0))
            .or_else(|| Some(this.downcast_ref::<tokio_rustls::client::TlsStream<TcpStream>>()?.get_ref().0));
        if let Some(tcp) = tcp {
            tcp.set_zero_linger().unwrap();
        }
    }
}

/// One end of an in-memory stream that can be reset like a socket. Bytes sent before the reset are read first.
#[derive(Debug)]
pub(super) struct Pipe {
    io: DuplexStream,
    reset: Arc<AtomicBool>,
}

impl Pipe {
    /// Returns both ends, with a buffer of this size in each direction.
    pub(super) fn pair(bytes: usize) -> (Self, Self) {
        let (one, other) = tokio::io::duplex(bytes);
        let reset = Arc::<AtomicBool>::default();
        (Self { io: one, reset: reset.clone() }, Self { io: other, reset })
    }

    fn is_reset(&self) -> bool {
        self.reset.load(Ordering::SeqCst)
    }
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buf.remaining();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        match read {
            Poll::Ready(Ok(())) if room > 0 && buf.remaining() == room && self.is_reset() => {
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            read => read,
        }
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.io).poll_write(cx, buf) {
            Poll::Ready(Err(_)) if self.is_reset() => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            written => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A stream with a buffer of bytes that were read and not yet consumed.
pub(super) struct Buffered {
    pub(super) io: Box<dyn Wire>,
    pub(super) read: Vec<u8>,
    pace: Option<(usize, Duration)>,
}

impl Buffered {
    pub(super) fn new(io: impl Wire) -> Self {
        Self { io: Box::new(io), read: Vec::new(), pace: None }
    }

    /// Limits later reads: each waits for `every` and then reads at most `bytes`.
    pub(super) fn read_slowly(&mut self, bytes: usize, every: Duration) {
        self.pace = Some((bytes, every));
    }

    /// Reads once. Returns 0 at the end of the stream.
    async fn fill(&mut self) -> io::Result<usize> {
        let Some((bytes, every)) = self.pace else { return self.io.read_buf(&mut self.read).await };
        tokio::time::sleep(every).await;
        (&mut self.io).take(bytes as u64).read_buf(&mut self.read).await
    }

    /// Takes all bytes through the first empty line. Returns `None` if the stream ends before the first byte.
    pub(super) async fn head(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = find(&self.read, b"\r\n\r\n") {
                return Ok(Some(self.read.drain(..at + 4).collect()));
            }
            if self.fill().await? == 0 {
                return if self.read.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Takes exactly `count` bytes.
    pub(super) async fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.read.len() < count {
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.read.drain(..count).collect())
    }

    /// Takes the buffered bytes, or reads once. Returns an empty `Vec` at the end of the stream.
    pub(super) async fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.read.is_empty() {
            self.fill().await?;
        }
        Ok(std::mem::take(&mut self.read))
    }

    /// Takes all bytes to the end of the stream.
    pub(super) async fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill().await? != 0 {}
        Ok(std::mem::take(&mut self.read))
    }

    /// Takes one line, including its CRLF.
    async fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = find(&self.read, b"\r\n") {
                return Ok(self.read.drain(..at + 2).collect());
            }
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Takes a chunked body with its trailers. Returns the bytes on the wire and the decoded content.
    pub(super) async fn chunked(&mut self) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let (mut wire, mut content) = (Vec::new(), Vec::new());
        loop {
            let line = self.line().await?;
            let digits = String::from_utf8_lossy(&line);
            let size = digits.trim_end().split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
            wire.extend_from_slice(&line);
            if size == 0 {
                break;
            }
            let chunk = self.exactly(size + 2).await?;
            content.extend_from_slice(&chunk[..size]);
            wire.extend_from_slice(&chunk);
        }
        loop {
            let line = self.line().await?;
            wire.extend_from_slice(&line);
            if line == b"\r\n" {
                return Ok((wire, content));
            }
        }
    }
}

/// Returns all values of a header in a raw head, in order, without surrounding white space.
pub(super) fn fields<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}

/// Returns the value of a header, if present. Fails if the header occurs more than once.
#[track_caller]
pub(super) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    only(name, &fields(head, name))
}

/// Returns the only value, if any. Fails if there are several.
#[track_caller]
pub(super) fn only<'a>(name: &str, values: &[&'a str]) -> Option<&'a str> {
    assert!(values.len() < 2, "expected at most one {name} header, got {}: {values:?}", values.len());
    values.first().copied()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
