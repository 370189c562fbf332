//! Streams over which TLS is spoken: how they are read, and how the client's end of one is closed.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};

use tokio::{
    io::{AsyncBufRead, AsyncWrite, ReadBuf},
    runtime,
    task::coop::unconstrained,
};
use tokio_rustls::{client, server};

use super::io::{Carrier, Io};

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

/// Reads what has been decrypted. Only where that is nothing is the peer asked, and TLS only where there is something for it: the streams'
/// own `poll_read` asks TLS each time, and once more wherever there is room left in `buf`.
pub(crate) fn poll_read<T: Decrypting>(
    tls: &mut T,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    if let Some(carrier) = tls.carrier_to_read() {
        ready!(carrier.poll_readable(cx))?;
    }
    loop {
        let data = ready!(Pin::new(&mut *tls).poll_fill_buf(cx))?;
        let count = data.len().min(buf.remaining());
        buf.put_slice(data.get(..count).unwrap_or_default());
        Pin::new(&mut *tls).consume(count);
        if count == 0 || buf.remaining() == 0 || tls.carrier_to_read().is_some() {
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
