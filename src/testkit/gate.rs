//! Connections that break at the moment of a write.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{InMemoryUpstream, RawConn};
use crate::transport::{ByteStream, Connect, Connecting, Destination};

/// Wraps a connector, and breaks its connections at the moment of a write, before any byte is accepted. Simulates an
/// upstream that closes an idle connection while a request is being sent on it.
///
/// ```
/// use http::Request;
/// use http_body_util::BodyExt;
/// use nexthop::{Body, ExactProxy, testkit::{Gate, scripts}};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), nexthop::BoxError> {
/// let gate = Gate::default();
/// let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// let upstream = gate.connector(scripts::answers([ok]));
/// let proxy = ExactProxy::builder().connector(upstream).build()?;
/// for _ in 0..2 {
///     // No byte of the request was sent, so even a POST is retried on another connection.
///     let response = proxy.clone().oneshot(Request::post("http://app/").body(Body::empty())?).await?;
///     assert_eq!(response.into_body().collect().await?.to_bytes(), "ok");
///     gate.shut();
/// }
/// assert_eq!(gate.connections(), 2);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "fault injection")]
#[derive(Clone, Debug, Default)]
pub struct Gate {
    opened: Arc<AtomicUsize>,
    shut_before: Arc<AtomicUsize>,
    unresponsive_after: Option<usize>,
}

impl Gate {
    /// Sets the number of bytes after which writes to each connection fail, while reads continue. Default: no limit.
    #[must_use]
    pub fn unresponsive_after(mut self, bytes: usize) -> Self {
        self.unresponsive_after = Some(bytes);
        self
    }

    /// Returns a connector to an [`InMemoryUpstream`] with this script, through the gate.
    pub fn connector<F, Fut>(&self, script: F) -> impl Connect + use<F, Fut>
    where
        F: Fn(RawConn) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.before(InMemoryUpstream::new(script))
    }

    /// Wraps another connector with the gate.
    pub fn before<C: Connect>(&self, inner: C) -> impl Connect + use<C> {
        GatedConnector { gate: self.clone(), inner }
    }

    /// Breaks the connections that are open now, at their next write. New connections are not affected.
    pub fn shut(&self) {
        self.shut_before.store(self.connections(), Ordering::SeqCst);
    }

    /// Returns the number of connections opened so far.
    pub fn connections(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }
}

struct GatedConnector<C> {
    gate: Gate,
    inner: C,
}

impl<C: Connect> Connect for GatedConnector<C> {
    fn connect(&self, to: &Destination) -> Connecting {
        let index = self.gate.opened.fetch_add(1, Ordering::SeqCst);
        let (connecting, shut_before) = (self.inner.connect(to), self.gate.shut_before.clone());
        let takes = self.gate.unresponsive_after;
        Box::pin(
            async move { Ok(Box::new(Gated { io: connecting.await?, index, shut_before, refused: 0, takes }) as _) },
        )
    }
}

/// A stream that, once shut, returns `Pending` for a few writes and then an error.
struct Gated {
    io: Box<dyn ByteStream>,
    index: usize,
    shut_before: Arc<AtomicUsize>,
    refused: usize,
    takes: Option<usize>,
}

impl AsyncRead for Gated {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.refused > 3 { Poll::Ready(Ok(())) } else { Pin::new(&mut self.io).poll_read(cx, buf) }
    }
}

impl AsyncWrite for Gated {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.index >= self.shut_before.load(Ordering::SeqCst) {
            let takes = self.takes.unwrap_or(usize::MAX).min(buf.len());
            if takes == 0 {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let written = Pin::new(&mut self.io).poll_write(cx, &buf[..takes]);
            if let (Some(takes), Poll::Ready(Ok(n))) = (&mut self.takes, &written) {
                *takes -= n;
            }
            return written;
        }
        self.refused += 1;
        if self.refused > 3 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
