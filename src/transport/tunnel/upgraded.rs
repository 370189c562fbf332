//! [`Upgraded`]: the upstream's end of a tunnel, in a caller's own hands.

use std::{
    any::Any,
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use http::Response;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::{io::Io, observe::Watch, pool::Home};

/// The connection to an upstream after a `101 Switching Protocols`, or a `2xx` to `CONNECT`: reads what the upstream sends, from its first
/// byte, and writes to it.
///
/// Such a response carries it, unless the request came from a hyper server and is joined with its client already.
pub struct Upgraded {
    pub(super) io: Io,
    /// Bytes that came with the head.
    pub(super) first: BytesMut,
    /// Counts the connection as long as it is there, if it is one of its own; dropped after the stream.
    pub(super) home: Option<Home>,
    pub(super) watch: Watch,
    /// What lasts as long as the tunnel.
    pub(super) hold: Option<Hold>,
}

impl Upgraded {
    pub(crate) fn new(io: Io, first: BytesMut, home: Option<Home>, watch: Watch) -> Self {
        Self { io, first, home, watch, hold: None }
    }

    /// Takes the connection out of a response; `None` if it carries none, or it was taken.
    pub fn take<B>(response: &mut Response<B>) -> Option<Self> {
        let slot = response.extensions_mut().remove::<Slot>()?;
        slot.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Puts it where [`take`](Self::take) finds it.
    pub(super) fn put<B>(self, response: &mut Response<B>) {
        response.extensions_mut().insert(Slot(Arc::new(Mutex::new(Some(self)))));
    }
}

/// Put into a request's extensions: what the tunnel that the request may become keeps until it ends.
#[derive(Clone)]
#[allow(dead_code, reason = "kept, never looked at")]
pub(crate) struct Hold(pub(crate) Arc<dyn Any + Send + Sync>);

/// Extensions must be `Clone`; the first to ask gets the connection.
#[derive(Clone)]
struct Slot(Arc<Mutex<Option<Upgraded>>>);

impl AsyncRead for Upgraded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
            self.watch.received(buf.filled().len().saturating_sub(before));
            return Poll::Ready(Ok(()));
        }
        let n = self.first.len().min(buf.remaining());
        buf.put_slice(self.first.get(..n).unwrap_or_default());
        self.first.advance(n);
        self.watch.received(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.watch.carried(n as u64, 0);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs))?;
        self.watch.carried(n as u64, 0);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded").field("io", &self.io).finish_non_exhaustive()
    }
}
