//! One byte stream under a peer of the kit, and HTTP/1.1 messages cut out of it byte for byte.

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

/// Any stream, of which it is known how it is reset.
pub(super) trait Wire: ByteStream {
    /// Makes the coming close a reset, where that is known: of TCP, of TLS over it, and in memory.
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

/// One end of a stream in memory that can be reset as a socket can: what was sent before is read first.
#[derive(Debug)]
pub(super) struct Pipe {
    io: DuplexStream,
    reset: Arc<AtomicBool>,
}

impl Pipe {
    /// Both ends, with room for this many bytes each way.
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

/// A stream with what was read of it and not yet asked for.
pub(super) struct Buffered {
    pub(super) io: Box<dyn Wire>,
    pub(super) read: Vec<u8>,
    pace: Option<(usize, Duration)>,
}

impl Buffered {
    pub(super) fn new(io: impl Wire) -> Self {
        Self { io: Box::new(io), read: Vec::new(), pace: None }
    }

    /// From now on, reads this many bytes at most, and before each time waits for so long.
    pub(super) fn read_slowly(&mut self, bytes: usize, every: Duration) {
        self.pace = Some((bytes, every));
    }

    /// Reads once more; 0 at the end.
    async fn fill(&mut self) -> io::Result<usize> {
        let Some((bytes, every)) = self.pace else { return self.io.read_buf(&mut self.read).await };
        tokio::time::sleep(every).await;
        (&mut self.io).take(bytes as u64).read_buf(&mut self.read).await
    }

    /// Takes everything up to and with the first empty line; `None` at an end before any byte.
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

    /// Takes `count` bytes.
    pub(super) async fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.read.len() < count {
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.read.drain(..count).collect())
    }

    /// Takes what is there, or comes next; empty at the end.
    pub(super) async fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.read.is_empty() {
            self.fill().await?;
        }
        Ok(std::mem::take(&mut self.read))
    }

    /// Takes everything up to the end of the stream.
    pub(super) async fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill().await? != 0 {}
        Ok(std::mem::take(&mut self.read))
    }

    /// Takes one line with its CRLF.
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

    /// Takes a chunked body with its trailers: as it was on the wire, and its content.
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

/// Every value of a field in a raw head, in order, without outer white space.
pub(super) fn fields<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}

/// The one value of a field; fails if it is there twice.
#[track_caller]
pub(super) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    only(name, &fields(head, name))
}

/// The one value of these, if there is any; fails if there are more.
#[track_caller]
pub(super) fn only<'a>(name: &str, values: &[&'a str]) -> Option<&'a str> {
    assert!(values.len() < 2, "{name} is there {} times: {values:?}", values.len());
    values.first().copied()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
