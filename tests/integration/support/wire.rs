//! One byte stream under a test peer, and HTTP/1.1 messages cut out of it byte for byte.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// A byte stream of any kind.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Makes the coming close a TCP reset, where there is TCP.
    fn reset_on_close(&self) {}
}

impl Wire for TcpStream {
    fn reset_on_close(&self) {
        self.set_zero_linger().unwrap();
    }
}

impl Wire for UnixStream {}

impl Wire for tokio::io::DuplexStream {}

impl<R: AsyncRead + Unpin + Send + 'static> Wire for tokio::io::Join<R, tokio::io::Sink> {}

impl Wire for tokio_rustls::server::TlsStream<tokio::io::DuplexStream> {}

impl Wire for tokio_rustls::server::TlsStream<TcpStream> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }
}

impl Wire for tokio_rustls::client::TlsStream<TcpStream> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }
}

/// A stream with what was read of it and not yet asked for.
pub struct Buffered {
    pub io: Box<dyn Wire>,
    pub read: Vec<u8>,
}

impl Buffered {
    pub fn new(io: impl Wire) -> Self {
        Self { io: Box::new(io), read: Vec::new() }
    }

    /// Reads once more; 0 at the end.
    pub async fn fill(&mut self) -> io::Result<usize> {
        self.io.read_buf(&mut self.read).await
    }

    /// Takes everything up to and with the first empty line; `None` at an end before any byte.
    pub async fn head(&mut self) -> io::Result<Option<Vec<u8>>> {
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
    pub async fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.read.len() < count {
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.read.drain(..count).collect())
    }

    /// Takes everything up to the end of the stream.
    pub async fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill().await? != 0 {}
        Ok(std::mem::take(&mut self.read))
    }

    /// Takes one line with its CRLF.
    pub async fn line(&mut self) -> io::Result<Vec<u8>> {
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
    pub async fn chunked(&mut self) -> io::Result<(Vec<u8>, Vec<u8>)> {
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
pub fn fields<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}

pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
