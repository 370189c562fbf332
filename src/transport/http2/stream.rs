//! [`Stream`]: the place of one request on a connection.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::runtime;

use super::conn::{Conn, State};
use crate::transport::CloseReason;

/// The place of one stream on a connection, held until its response was read and its request sent.
pub(crate) struct Stream {
    sender: SendRequest<Bytes>,
    conn: Conn,
    is_first: bool,
}

impl Stream {
    /// Of a place that was taken.
    pub(super) fn new(sender: SendRequest<Bytes>, conn: Conn, is_first: bool) -> Self {
        Self { sender, conn, is_first }
    }

    /// Opens the stream.
    pub(super) fn open(
        &mut self,
        request: http::Request<()>,
        end: bool,
    ) -> Result<(h2::client::ResponseFuture, h2::SendStream<Bytes>), h2::Error> {
        let opened = self.sender.send_request(request, end);
        self.conn.state().asked.store(true, Ordering::Release);
        // The upstream's silence counts from here.
        self.conn.state().drive.notify_one();
        opened
    }

    /// True if the upstream takes extended `CONNECT` (RFC 8441), which its first SETTINGS tell: they are waited for, one second at the most.
    pub(crate) async fn takes_extended_connect(&self) -> bool {
        let state = self.conn.state();
        // Without an answer in time, it is taken for a no.
        let _ = state.wait_for(|| state.is_settled()).await;
        self.sender.is_extended_connect_protocol_enabled()
    }

    /// Lets the connection end with the streams that are on it.
    pub(crate) fn retire(self) {
        self.conn.state().close_for(CloseReason::MaxIdle);
    }

    /// False for the stream that the connection was opened for.
    pub(crate) fn is_shared(&self) -> bool {
        !self.is_first
    }

    /// Notes whether the error means that the upstream requires HTTP/1.1.
    pub(super) fn note(&self, error: &h2::Error) {
        self.conn.state().note(error);
    }

    /// Returns true if the connection received a `GOAWAY` that requires HTTP/1.1. Streams that it does not refuse fail for another reason.
    pub(super) fn left_for_http1(&self) -> bool {
        self.conn.state().left_for_http1()
    }

    /// True if the connection had answered another request before.
    pub(super) fn is_used(&self) -> bool {
        self.conn.state().used.load(Ordering::Relaxed)
    }

    /// Waits until it is known how many streams the upstream takes, for one second at the most. `None` where that was known before the
    /// stream was taken.
    pub(super) fn settling(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let conn = self.conn.clone();
        self.is_first.then(|| Box::pin(async move { conn.state().settled().await }) as _)
    }

    /// True if no stream was opened yet, not even this first one, since the upstream takes none.
    pub(super) fn is_barred(&self) -> bool {
        self.conn.is_barred() && !self.conn.state().began.load(Ordering::Acquire)
    }

    /// Where its connection lives.
    pub(crate) fn runtime(&self) -> runtime::Id {
        self.conn.state().runtime
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.conn.state().clone())
    }

    pub(super) fn answered(&self) {
        self.conn.state().used.store(true, Ordering::Relaxed);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.conn.state().release();
        self.conn.serve_queue();
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("conn", &self.conn).finish_non_exhaustive()
    }
}

/// Tells a connection from others.
pub(crate) struct Mark(Arc<State>);

impl Mark {
    pub(super) fn is(&self, state: &Arc<State>) -> bool {
        Arc::ptr_eq(&self.0, state)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::transport::{io::Io, limits::Limits};

    /// A stream on a connection to a server that allows extended `CONNECT`, or not; nobody is there without a word.
    async fn opened(allows: Option<bool>) -> (Stream, tokio::task::JoinHandle<()>) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let server = tokio::spawn(async move {
            let Some(allows) = allows else {
                let _theirs = theirs;
                return std::future::pending().await;
            };
            let mut builder = h2::server::Builder::new();
            if allows {
                builder.enable_connect_protocol();
            }
            let mut connection = builder.handshake::<_, Bytes>(theirs).await.unwrap();
            while connection.accept().await.is_some() {}
        });
        let io = Io::Custom(Box::new(ours));
        let (_, stream) = Conn::open(io, &Limits::default(), None, None, None, |_| {}).await.unwrap();
        (stream, server)
    }

    #[tokio::test(start_paused = true)]
    async fn extended_connect_is_known_with_the_first_settings_or_not_to_be_had_after_a_second() {
        let begin = Instant::now();
        assert!(opened(Some(true)).await.0.takes_extended_connect().await);
        assert!(!opened(Some(false)).await.0.takes_extended_connect().await);
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert!(!opened(None).await.0.takes_extended_connect().await);
        assert_eq!(begin.elapsed(), Duration::from_secs(1));
    }
}
