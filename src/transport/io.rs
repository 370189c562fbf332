//! [`Io`]: the byte stream under a connection.

use std::{
    fmt,
    future::{Future, poll_fn},
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::coop::unconstrained,
};

#[cfg(feature = "tls")]
use super::secured::Secured;

/// A byte stream to an upstream. Implemented for every type that implements `AsyncRead`, `AsyncWrite`, `Send` and
/// `Unpin`.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for T {}

/// What TLS is spoken over, or a tunnel leads through.
pub(crate) trait Carrier: AsyncRead + AsyncWrite + Send + Unpin {
    /// Ready where a read may find something; pending, and woken, only where it is certain to find nothing.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "only TLS asks"))]
    fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Carrier for TokioIo<Upgraded> {}

impl Carrier for Box<dyn Carrier> {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_readable(cx)
    }
}

/// The streams that the transport knows, named so that the common ones cost no dynamic call.
pub(crate) enum Io {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
    #[cfg(feature = "tls")]
    Tls(Secured),
    Custom(Box<dyn ByteStream>),
}

impl Io {
    /// True if TLS is spoken here, not in a user's own stream.
    pub(crate) fn is_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return matches!(self, Self::Tls(_));
        #[cfg(not(feature = "tls"))]
        return false;
    }

    /// Makes the end of a tunnel that failed look like one, where the stream has a way to: TLS ends without `close_notify`, and a stream of
    /// HTTP/2 that is dropped is reset anyway. TCP closes as ever, since its reset would destroy bytes that were delivered before.
    pub(super) fn cut(&mut self) {
        #[cfg(feature = "tls")]
        if let Self::Tls(stream) = self {
            stream.cut();
        }
    }

    /// True if the peer has neither closed nor sent anything: what an idle connection must be to be used again.
    ///
    /// Costs no system call on a socket whose readiness was consumed; what the kernel has not reported to the runtime yet stays unseen.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [0_u8; 1];
        let tried = match self {
            Self::Tcp(stream) => stream.try_read(&mut byte),
            #[cfg(unix)]
            Self::Unix(stream) => stream.try_read(&mut byte),
            _ => return self.is_quiet_when_polled(),
        };
        tried.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The same for streams that are more than a socket.
    fn is_quiet_when_polled(&mut self) -> bool {
        let mut byte = [0_u8; 1];
        let mut buf = ReadBuf::new(&mut byte);
        // A task that has used up its budget would find every stream quiet, those with bytes of nobody's response in them, too.
        let read = unconstrained(poll_fn(|cx| Pin::new(&mut *self).poll_read(cx, &mut buf)));
        pin!(read).poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// The same as far as the kernel knows, which costs a system call; for streams that are none of the kernel's, nothing is known.
    pub(crate) fn is_quiet_in_kernel(&self) -> bool {
        let peek = |socket: SockRef<'_>| socket.peek(&mut [MaybeUninit::uninit()]);
        let peeked = match self {
            Self::Tcp(stream) => peek(stream.into()),
            #[cfg(unix)]
            Self::Unix(stream) => peek(stream.into()),
            // Whatever has come is for TLS to read first, be it only a session ticket.
            #[cfg(feature = "tls")]
            Self::Tls(stream) => return stream.session.stream().get_ref().0.is_quiet_in_kernel(),
            Self::Custom(_) => return true,
        };
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Calls the same method on whichever stream it is.
macro_rules! each {
    ($io:expr, $stream:ident => $call:expr) => {
        match $io {
            Io::Tcp($stream) => $call,
            #[cfg(unix)]
            Io::Unix($stream) => $call,
            #[cfg(feature = "tls")]
            Io::Tls(Secured { session: $stream, .. }) => $call,
            Io::Custom($stream) => $call,
        }
    };
}

impl Carrier for Io {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            #[cfg(unix)]
            Self::Unix(stream) => stream.poll_read_ready(cx),
            #[cfg(feature = "tls")]
            Self::Tls(_) => Poll::Ready(Ok(())),
            Self::Custom(_) => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.session.poll_read(cx, buf),
            other => each!(other, stream => Pin::new(stream).poll_read(cx, buf)),
        }
    }
}

/// The methods of `AsyncWrite`, by those of the stream that `$within!` finds in `self`.
macro_rules! write_by {
    ($within:ident) => {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            $within!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, buf))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            $within!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, bufs))
        }

        fn is_write_vectored(&self) -> bool {
            $within!(self, stream => stream.is_write_vectored())
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            $within!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            $within!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
        }
    };
}
#[cfg(any(feature = "http2", feature = "serve", feature = "tls"))]
pub(crate) use write_by;

impl AsyncWrite for Io {
    write_by!(each);
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Tcp",
            #[cfg(unix)]
            Self::Unix(_) => "Unix",
            #[cfg(feature = "tls")]
            Self::Tls(_) => "Tls",
            Self::Custom(_) => "Custom",
        })
    }
}
