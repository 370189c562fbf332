//! Streams over which TLS is spoken: how they are read, and how the client's end of one is closed.

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};

use tokio::{
    io::{AsyncBufRead, AsyncWrite, ReadBuf},
    runtime,
    task::coop::unconstrained,
};
use tokio_rustls::{client, server};

use super::io::{Carrier, Io, write_by};

/// The protocols that `serve` selects by ALPN (RFC 7301), the first one that the client offers. HTTP/1.0 is spoken by the same code
/// as HTTP/1.1, and there are clients that offer nothing else.
#[cfg(feature = "serve")]
pub(crate) fn served_protocols(http2: bool) -> Vec<Vec<u8>> {
    let names: &[&[u8]] = &[b"h2", b"http/1.1", b"http/1.0"];
    let skipped = usize::from(!(http2 && cfg!(feature = "http2")));
    names.iter().skip(skipped).map(|name| name.to_vec()).collect()
}

/// Either end of TLS.
pub(crate) trait Decrypting: AsyncBufRead + Unpin {
    /// What it is spoken over, if there is nothing to hand out before the peer has sent more.
    fn carrier_to_read(&mut self) -> Option<&mut impl Carrier>;
}

impl<T: Carrier> Decrypting for client::TlsStream<T> {
    fn carrier_to_read(&mut self) -> Option<&mut impl Carrier> {
        let (carrier, session) = self.get_mut();
        session.wants_read().then_some(carrier)
    }
}

impl<T: Carrier> Decrypting for server::TlsStream<T> {
    fn carrier_to_read(&mut self) -> Option<&mut impl Carrier> {
        let (carrier, session) = self.get_mut();
        session.wants_read().then_some(carrier)
    }
}

/// One end of TLS. Bytes that were decrypted before an error are delivered before the error is reported: a record that is broken or missing
/// takes nothing from those before it.
pub(crate) struct Session<T> {
    stream: T,
    failed: Option<io::Error>,
}

impl<T> Session<T> {
    pub(crate) const fn new(stream: T) -> Self {
        Self { stream, failed: None }
    }

    pub(crate) const fn stream(&self) -> &T {
        &self.stream
    }
}

impl<T: Decrypting> Session<T> {
    /// Reads what has been decrypted. Only where that is nothing is the peer asked, and TLS only where there is something for it: the
    /// streams' own `poll_read` asks TLS each time, and once more wherever there is room left in `buf`.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(carrier) = self.stream.carrier_to_read() {
            if let Some(error) = self.failed.take() {
                return Poll::Ready(Err(error));
            }
            ready!(carrier.poll_readable(cx))?;
        }
        loop {
            let filled = ready!(Pin::new(&mut self.stream).poll_fill_buf(cx)).map(|data| {
                let count = data.len().min(buf.remaining());
                buf.put_slice(data.get(..count).unwrap_or_default());
                count
            });
            let is_drained = |stream: &mut T| stream.carrier_to_read().is_some();
            match filled {
                Ok(count) => {
                    Pin::new(&mut self.stream).consume(count);
                    if count == 0 || buf.remaining() == 0 || is_drained(&mut self.stream) {
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(error) if self.failed.is_some() || is_drained(&mut self.stream) => return Poll::Ready(Err(error)),
                // Records before the one that failed came in the same read from the peer, and are decrypted.
                Err(error) => self.failed = Some(error),
            }
        }
    }
}

/// Calls the same method on the stream.
macro_rules! inside {
    ($session:expr, $stream:ident => $call:expr) => {
        match $session {
            Session { stream: $stream, .. } => $call,
        }
    };
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Session<T> {
    write_by!(inside);
}

/// A client's end of TLS. Dropped, it sends `close_notify` (RFC 9112 §9.8), if that finds room at once.
pub(crate) struct Secured {
    pub(super) session: Box<Session<client::TlsStream<Io>>>,
    is_cut: bool,
}

impl Secured {
    pub(crate) fn new(stream: client::TlsStream<Io>) -> Self {
        Self { session: Box::new(Session::new(stream)), is_cut: false }
    }

    /// Ends without `close_notify`, so that the peer sees that bytes are missing.
    pub(super) fn cut(&mut self) {
        self.is_cut = true;
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        // A stream of a user's own may need its runtime, and may not be asked twice to panic.
        if self.is_cut || runtime::Handle::try_current().is_err() || std::thread::panicking() {
            return;
        }
        let farewell = unconstrained(poll_fn(|cx| Pin::new(&mut self.session).poll_shutdown(cx)));
        // Nobody waits for it, nor for an error of it.
        let _ = pin!(farewell).poll(&mut Context::from_waker(Waker::noop()));
    }
}
