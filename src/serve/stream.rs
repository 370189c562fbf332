//! The byte stream of a connection: what was read ahead, the drain's membership, and TLS.

use std::{
    any::Any,
    future::poll_fn,
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    task::coop::unconstrained,
    time::{Instant, Sleep, sleep, sleep_until},
};

use super::{
    activity::{Activity, InFlight},
    drain::DrainGuard,
    watch::Phase,
};
#[cfg(feature = "tls")]
use crate::transport::secured::Session;
use crate::transport::{Carrier, write_by};

/// An accepted stream, with bytes of it that were read ahead.
///
/// It is a member of the drain and holds its place among the connections for as long as it lives: as a tunnel it lives on in the hands
/// of whoever took the upgrade, and is cut there by an error on its next read or write. A client that takes nothing for too long is cut
/// the same way. Closed while the client may be in the middle of a request, it takes what still comes, for a while.
pub(super) struct Guarded<Io> {
    io: Io,
    ahead: BytesMut,
    activity: Arc<Activity>,
    write_timeout: Duration,
    /// There while writes find no room: the client is not idle then.
    blocked: Option<InFlight>,
    /// When that has lasted too long. Made only where it happens, and pushed later when it happens again.
    stall: Option<Pin<Box<Sleep>>>,
    /// There once it is closed, while what still comes is taken.
    linger: Option<Box<Linger>>,
    /// Who waited last, so that a tunnel's task is woken for the cut.
    parked: Option<Waker>,
    guard: DrainGuard,
    _permit: Option<OwnedSemaphorePermit>,
}

/// How much longer what comes is taken.
struct Linger {
    over: Pin<Box<Sleep>>,
    left: usize,
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
            linger: None,
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
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the connection was cut by the server's shutdown",
            ));
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
            self.activity.delivery.set_blocked(false);
        }
        self.activity.wrote();
        wrote
    }

    /// There is no room: the error when there has been none for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.blocked.is_none() {
            self.blocked = Some(self.activity.begin(false));
            self.activity.delivery.set_blocked(true);
            let deadline = Instant::now() + self.write_timeout;
            match &mut self.stall {
                Some(stall) => stall.as_mut().reset(deadline),
                None => self.stall = Some(Box::pin(sleep_until(deadline))),
            }
        }
        if let Some(stall) = &mut self.stall {
            ready!(stall.as_mut().poll(cx));
        }
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the client accepted no bytes within the write timeout"))
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
            self.activity.sending.heard();
            if self.ahead.is_empty() {
                self.ahead = BytesMut::new(); // gives the buffer back
            }
            return Poll::Ready(Ok(()));
        }
        self.alive()?;
        let before = buf.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Pending => {
                if self.activity.is_idle() {
                    self.activity.sending.pauses();
                }
                self.park(cx)?;
                Poll::Pending
            }
            read @ Poll::Ready(_) => {
                if buf.filled().len() > before {
                    self.activity.sending.heard();
                }
                read
            }
        }
    }
}

impl<Io: AsyncRead + Unpin> Guarded<Io> {
    /// Takes what the client still sends until it closes, too, or has had its time (RFC 9112 §9.6): the kernel would answer it by a reset,
    /// which destroys what the client has not yet read of the response.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive()?;
        let new = || Box::new(Linger { over: Box::pin(sleep(LINGER)), left: LINGER_BYTES });
        let linger = self.linger.get_or_insert_with(new);
        // Looked at also where reading has used up the task's budget.
        if pin!(unconstrained(linger.over.as_mut())).poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut bytes = [MaybeUninit::uninit(); READ_AHEAD];
        for _ in 0..TURN {
            let mut buf = ReadBuf::uninit(&mut bytes);
            match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if (1..linger.left).contains(&buf.filled().len()) => {
                    linger.left -= buf.filled().len()
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    self.park(cx)?;
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<Io> {
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
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            if !self.activity.sending.maybe() {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_linger(cx)
    }
}

/// A connection as HTTP sees it.
pub(super) enum Stream<Io> {
    Plain(Box<Guarded<Io>>),
    #[cfg(feature = "tls")]
    Tls(Box<Session<tokio_rustls::server::TlsStream<Box<Guarded<Io>>>>>),
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
            Self::Tls(io) => io.poll_read(cx, buf),
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<Io> {
    write_by!(delegate);
}

/// How long a client may go on sending after the last response, before it is cut off.
const LINGER: Duration = Duration::from_secs(5);
/// And how much.
const LINGER_BYTES: usize = 64 * 1024 * 1024;
/// How many reads of that are done before others have their turn.
const TURN: usize = 16;
/// A small response, head and body.
const SMALL: usize = 512;
/// Enough for most request heads, so that looking at the first bytes costs no further read.
const READ_AHEAD: usize = 4096;
