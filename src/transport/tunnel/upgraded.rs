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

/// Reads from and writes to an upstream after `101 Switching Protocols` or a `2xx` to `CONNECT`.
///
/// The first byte read is the first byte after the head of the response. [`take`](Self::take) takes the connection out
/// of the response. A response to a request from a hyper server does not contain one: that connection is already joined
/// with the client's.
///
/// ```
/// use nexthop::{Body, ExactProxy, tunnel::Upgraded};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), nexthop::BoxError> {
/// let (stream, mut upstream) = tokio::io::duplex(1024);
/// # let upstream = tokio::spawn(async move {
/// #     let mut head = Vec::new();
/// #     while !head.ends_with(b"\r\n\r\n") {
/// #         head.push(upstream.read_u8().await?);
/// #     }
/// #     let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
/// #     upstream.write_all(head.as_bytes()).await?;
/// #     let byte = upstream.read_u8().await?;
/// #     upstream.write_u8(byte).await
/// # });
/// let request = http::Request::get("http://example.test/")
///     .header("connection", "upgrade")
///     .header("upgrade", "echo")
///     .body(Body::empty())?;
/// let mut response = ExactProxy::new().send_on(stream, request).await?;
/// assert_eq!(response.status(), 101);
///
/// let mut upgraded = Upgraded::take(&mut response).ok_or("not upgraded")?;
/// upgraded.write_u8(7).await?;
/// assert_eq!(upgraded.read_u8().await?, 7);
/// # upstream.await??;
/// # Ok(())
/// # }
/// ```
#[doc(alias = "websocket")]
#[doc(alias = "upgrade")]
#[doc(alias = "OnUpgrade")]
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

    /// Takes the connection out of a response. Returns `None` if the response contains none, or if it was taken before.
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
