//! [`Stream`]: the inside of a tunnel as HTTP sees it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{caps::Place, connect::Io};
#[cfg(feature = "intercept")]
use crate::transport::secured::Session;

/// A client's stream, and its place among the tunnels: held for as long as the stream is there, also in the hands of whoever took an upgrade.
pub(super) struct Stream {
    kind: Kind,
    _place: Place,
}

/// With or without TLS.
pub(super) enum Kind {
    Plain {
        /// What was read of it already.
        ahead: BytesMut,
        io: Io,
    },
    #[cfg(feature = "intercept")]
    Tls(Box<Session<tokio_rustls::server::TlsStream<Io>>>),
}

impl Stream {
    pub(super) const fn new(kind: Kind, place: Place) -> Self {
        Self { kind, _place: place }
    }
}

impl Kind {
    pub(super) const fn is_tls(&self) -> bool {
        match self {
            Self::Plain { .. } => false,
            #[cfg(feature = "intercept")]
            Self::Tls(_) => true,
        }
    }
}

/// Calls the same method on whatever is inside.
macro_rules! delegate {
    ($stream:expr, $io:ident => $call:expr) => {
        match &mut $stream.get_mut().kind {
            Kind::Plain { io: $io, .. } => $call,
            #[cfg(feature = "intercept")]
            Kind::Tls($io) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Plain { ahead, io } if ahead.is_empty() => Pin::new(io).poll_read(cx, buf),
            Kind::Plain { ahead, .. } => {
                let count = ahead.len().min(buf.remaining());
                buf.put_slice(ahead.get(..count).unwrap_or_default());
                ahead.advance(count);
                if ahead.is_empty() {
                    *ahead = BytesMut::new(); // gives the buffer back
                }
                Poll::Ready(Ok(()))
            }
            #[cfg(feature = "intercept")]
            Kind::Tls(io) => io.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, io => Pin::new(io).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, io => Pin::new(io).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.kind {
            Kind::Plain { io, .. } => io.is_write_vectored(),
            #[cfg(feature = "intercept")]
            Kind::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, io => Pin::new(io).poll_shutdown(cx))
    }
}
