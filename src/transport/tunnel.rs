//! Connections that have become something else: the two ends of an upgraded one, joined.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use http::{Extensions, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes},
    time::{Instant, sleep_until},
};

use super::{io::Io, pool::Home};

/// The connection to an upstream after a `101 Switching Protocols`: reads what the upstream sends, from its first byte, and writes to it.
///
/// A response with that status carries it, unless the request came from a hyper server and is joined with its client already.
pub struct Upgraded {
    io: Io,
    /// Bytes that came with the 101.
    first: BytesMut,
    /// Counts the connection as long as it is there.
    _home: Home,
}

impl Upgraded {
    pub(crate) fn new(io: Io, first: BytesMut, home: Home) -> Self {
        Self { io, first, _home: home }
    }

    /// Takes the connection out of a response; `None` if it carries none, or it was taken.
    pub fn take<B>(response: &mut Response<B>) -> Option<Self> {
        let slot = response.extensions_mut().remove::<Slot>()?;
        slot.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Extensions must be `Clone`; the first to ask gets the connection.
#[derive(Clone)]
struct Slot(Arc<Mutex<Option<Upgraded>>>);

/// Joins `upstream` with the client that sent the request, in a task of its own, or puts it into the response.
pub(crate) fn open<B>(
    upstream: Upgraded,
    request: &mut Extensions,
    response: &mut Response<B>,
    idle: Option<Duration>,
) {
    let Some(client) = request.remove::<OnUpgrade>() else {
        response.extensions_mut().insert(Slot(Arc::new(Mutex::new(Some(upstream)))));
        return;
    };
    tokio::spawn(async move {
        match client.await {
            Ok(client) => join(TokioIo::new(client), upstream, idle).await,
            Err(error) => tracing::debug!(%error, "the client's side of an upgrade was lost"),
        }
    });
}

/// Copies both ways until both have ended, carrying each end across, or until nothing moves for `idle`.
async fn join(client: impl AsyncRead + AsyncWrite + Unpin, upstream: Upgraded, idle: Option<Duration>) {
    let last = Arc::new(Mutex::new(Instant::now()));
    let mut client = Watched { io: client, last: last.clone() };
    let mut upstream = Watched { io: upstream, last: last.clone() };
    let mut copy = pin!(copy_bidirectional_with_sizes(&mut client, &mut upstream, COPY, COPY));
    let mut silence = pin!(silence(&last, idle));
    let ended = poll_fn(|cx| match copy.as_mut().poll(cx) {
        Poll::Ready(ended) => Poll::Ready(ended.map(|_| ())),
        Poll::Pending => silence.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "a tunnel was cut");
    }
}

/// Ends when nothing has moved for `idle`.
async fn silence(last: &Mutex<Instant>, idle: Option<Duration>) {
    let Some(idle) = idle else { return std::future::pending().await };
    loop {
        let until = *last.lock().unwrap_or_else(PoisonError::into_inner) + idle;
        if until <= Instant::now() {
            return;
        }
        sleep_until(until).await;
    }
}

/// Notes when bytes moved.
struct Watched<T> {
    io: T,
    last: Arc<Mutex<Instant>>,
}

impl<T> Watched<T> {
    fn note<R>(&self, result: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if let Poll::Ready(Ok(_)) = result {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        result
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.note(read)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let n = self.first.len().min(buf.remaining());
        buf.put_slice(self.first.get(..n).unwrap_or_default());
        self.first.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
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

/// Bytes copied at once, each way.
const COPY: usize = 16 * 1024;
