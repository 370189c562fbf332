//! Streams over which TLS is spoken: how they are read, and how the client's end of one is closed.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};

use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf},
    runtime,
    task::coop::unconstrained,
};
use tokio_rustls::{client, server};

use super::io::Io;

/// Either end of TLS.
pub(crate) trait Decrypting: AsyncBufRead + Unpin {
    /// True if there is nothing to hand out before the peer has sent more.
    fn wants_read(&self) -> bool;
}

impl<T: AsyncRead + AsyncWrite + Unpin> Decrypting for client::TlsStream<T> {
    fn wants_read(&self) -> bool {
        self.get_ref().1.wants_read()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Decrypting for server::TlsStream<T> {
    fn wants_read(&self) -> bool {
        self.get_ref().1.wants_read()
    }
}

/// Reads what has been decrypted, and asks the peer only where that is nothing: the streams' own `poll_read` asks once more for as long as
/// there is room in `buf`, which is always but in the middle of large bodies.
pub(crate) fn poll_read<T: Decrypting>(
    tls: &mut T,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    loop {
        let data = ready!(Pin::new(&mut *tls).poll_fill_buf(cx))?;
        let count = data.len().min(buf.remaining());
        buf.put_slice(data.get(..count).unwrap_or_default());
        Pin::new(&mut *tls).consume(count);
        if count == 0 || buf.remaining() == 0 || tls.wants_read() {
            return Poll::Ready(Ok(()));
        }
    }
}

/// A client's end of TLS. Dropped, it says that it closes (RFC 9112 §9.8), if that finds room at once.
pub(crate) struct Secured(pub(super) Box<client::TlsStream<Io>>);

impl Secured {
    pub(crate) fn new(stream: client::TlsStream<Io>) -> Self {
        Self(Box::new(stream))
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // To ask the socket costs less than to have TLS ask it.
        if self.0.wants_read() {
            ready!(self.0.get_ref().0.poll_readable(cx))?;
        }
        poll_read(&mut *self.0, cx, buf)
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        // A stream of a user's own may need its runtime, and may not be asked twice to panic.
        if runtime::Handle::try_current().is_err() || std::thread::panicking() {
            return;
        }
        let farewell = unconstrained(poll_fn(|cx| Pin::new(&mut self.0).poll_shutdown(cx)));
        // Nobody waits for it, nor for an error of it.
        let _ = pin!(farewell).poll(&mut Context::from_waker(Waker::noop()));
    }
}
