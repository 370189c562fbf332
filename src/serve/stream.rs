//! The byte stream of a connection: what was read ahead, the drain's membership, and TLS.

use std::{
    any::Any,
    future::poll_fn,
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    activity::{Activity, InFlight},
    drain::DrainGuard,
    watch::Phase,
};
#[cfg(feature = "tls")]
use crate::transport::secured;
use crate::transport::{Carrier, write_by};

/// An accepted stream, with bytes of it that were read ahead.
///
/// It is a member of the drain and holds its place among the connections for as long as it lives: as a tunnel it lives on in the hands
/// of whoever took the upgrade, and is cut there by an error on its next read or write. A client that takes nothing for too long is cut
/// the same way.
pub(super) struct Guarded<Io> {
    io: Io,
    ahead: BytesMut,
    activity: Arc<Activity>,
    write_timeout: Duration,
    /// There while writes find no room: the client is not idle then.
    blocked: Option<InFlight>,
    /// When that has lasted too long. Made only where it happens, and pushed later when it happens again.
    stall: Option<Pin<Box<Sleep>>>,
    /// Who waited last, so that a tunnel's task is woken for the cut.
    parked: Option<Waker>,
    guard: DrainGuard,
    _permit: Option<OwnedSemaphorePermit>,
}

impl<Io> Guarded<Io> {
    pub(super) fn new(
        io: Io,
        write_timeout: Duration,
        activity: Arc<Activity>,
        guard: DrainGuard,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Box<Self> {
        // In a box, as it changes hands several times before it is served.
        Box::new(Self {
            io,
            ahead: BytesMut::new(),
            activity,
            write_timeout,
            blocked: None,
            stall: None,
            parked: None,
            guard,
            _permit: permit,
        })
    }

    /// What was read ahead.
    pub(super) fn buffered(&self) -> &[u8] {
        &self.ahead
    }

    /// Takes `count` bytes off what was read ahead.
    pub(super) fn consume(&mut self, count: usize) {
        self.ahead.advance(count);
    }

    fn alive(&self) -> io::Result<()> {
        if self.guard.watch().phase() == Phase::Cut {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server has shut down"));
        }
        Ok(())
    }

    /// About to wait: be woken when the drain cuts.
    fn park(&mut self, cx: &Context<'_>) -> io::Result<()> {
        if !self.parked.as_ref().is_some_and(|parked| parked.will_wake(cx.waker())) {
            self.parked = Some(cx.waker().clone());
            self.guard.watch().wake(cx.waker());
            self.alive()?;
        }
        Ok(())
    }

    fn wrote(&mut self, wrote: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if wrote.is_pending() {
            self.park(cx)?;
            return self.poll_stalled(cx).map(Err);
        }
        if self.blocked.is_some() {
            self.blocked = None;
        }
        self.activity.wrote();
        wrote
    }

    /// There is no room: the error when there has been none for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.blocked.is_none() {
            self.blocked = Some(self.activity.begin(false));
            let deadline = Instant::now() + self.write_timeout;
            match &mut self.stall {
                Some(stall) => stall.as_mut().reset(deadline),
                None => self.stall = Some(Box::pin(sleep_until(deadline))),
            }
        }
        if let Some(stall) = &mut self.stall {
            ready!(stall.as_mut().poll(cx));
        }
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the client took nothing in time"))
    }
}

impl<Io: AsyncRead + Unpin> Guarded<Io> {
    /// Reads ahead once more; 0 at the end of the stream.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // On the stack, as most connections bring far less at first, and hand it on at once.
        let mut bytes = [MaybeUninit::uninit(); READ_AHEAD];
        let mut buf = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
        self.ahead.extend_from_slice(buf.filled());
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<Io: AsyncRead + AsyncWrite + Send + Unpin + 'static> Carrier for Box<Guarded<Io>> {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = (&self.io as &dyn Any).downcast_ref::<TcpStream>();
        let Some(socket) = socket.filter(|_| self.ahead.is_empty()) else { return Poll::Ready(Ok(())) };
        self.alive()?;
        let readable = socket.poll_read_ready(cx);
        if readable.is_pending() {
            self.park(cx)?;
        }
        readable
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Guarded<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(count));
            if self.ahead.is_empty() {
                self.ahead = BytesMut::new(); // gives the buffer back
            }
            return Poll::Ready(Ok(()));
        }
        self.alive()?;
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Pending => {
                self.park(cx)?;
                Poll::Pending
            }
            read @ Poll::Ready(_) => read,
        }
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Guarded<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.alive()?;
        let wrote = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(wrote, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.alive()?;
        let wrote = if slices.iter().map(|slice| slice.len()).sum::<usize>() <= SMALL {
            // `send(2)` has less to look at than `writev(2)`.
            let mut bytes = [MaybeUninit::uninit(); SMALL];
            let mut joined = ReadBuf::uninit(&mut bytes);
            slices.iter().for_each(|slice| joined.put_slice(slice));
            Pin::new(&mut self.io).poll_write(cx, joined.filled())
        } else {
            Pin::new(&mut self.io).poll_write_vectored(cx, slices)
        };
        self.wrote(wrote, cx)
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

/// A connection as HTTP sees it.
pub(super) enum Stream<Io> {
    Plain(Box<Guarded<Io>>),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::server::TlsStream<Box<Guarded<Io>>>>),
}

/// Calls the same method on whatever is inside.
macro_rules! delegate {
    ($stream:expr, $io:ident => $call:expr) => {
        match $stream {
            Stream::Plain($io) => $call,
            #[cfg(feature = "tls")]
            Stream::Tls($io) => $call,
        }
    };
}

impl<Io: AsyncRead + AsyncWrite + Send + Unpin + 'static> Carrier for Stream<Io> {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(io) => io.poll_readable(cx),
            #[cfg(feature = "tls")]
            Self::Tls(_) => Poll::Ready(Ok(())),
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Send + Unpin + 'static> AsyncRead for Stream<Io> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            #[cfg(feature = "tls")]
            Self::Tls(io) => secured::poll_read(&mut **io, cx, buf),
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<Io> {
    write_by!(delegate);
}

/// A small response, head and body.
const SMALL: usize = 512;
/// Enough for most request heads, so that looking at the first bytes costs no further read.
const READ_AHEAD: usize = 4096;
