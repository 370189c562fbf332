//! One connection in the hands of a script.

use std::{fmt, io, sync::Arc, time::Duration};

use tokio::io::AsyncWriteExt;

use super::{
    ReceivedRequest,
    upstream::Shared,
    wire::{Buffered, fields},
};
use crate::transport::ByteStream;

/// One connection in the hands of a script. What waits for the peer ends the script quietly when the peer has left, and has no limit of
/// time: that is the business of whoever waits for the answer.
pub struct RawConn {
    /// Which connection of the upstream this is, from 0.
    pub index: usize,
    io: Buffered,
    shared: Arc<Shared>,
    left: bool,
}

impl RawConn {
    pub(super) fn new(io: impl ByteStream, shared: &Arc<Shared>) -> Self {
        Self { index: shared.connected(), io: Buffered::new(io), shared: shared.clone(), left: false }
    }

    /// A connection over any stream, for upstreams of one's own.
    pub fn over(io: impl ByteStream) -> Self {
        Self::new(io, &Arc::default())
    }

    /// Reads one request with its body and records it. Ends the script if the peer closes instead.
    pub async fn request(&mut self) -> ReceivedRequest {
        match self.try_request().await {
            Ok(Some(seen)) => seen,
            Ok(None) | Err(_) => self.over_and_out().await,
        }
    }

    /// Reads one request with its body and records it; `None` if the peer closes instead.
    ///
    /// # Panics
    /// If the head names another transfer coding than `chunked`, or a `Content-Length` that is no number.
    pub async fn try_request(&mut self) -> io::Result<Option<ReceivedRequest>> {
        let Some(head) = self.io.head().await? else { return Ok(None) };
        let head = String::from_utf8_lossy(&head).into_owned();
        let (wire_body, body) = if let Some(coding) = fields(&head, "transfer-encoding").last() {
            assert!(coding.eq_ignore_ascii_case("chunked"), "transfer-encoding: {coding}");
            self.io.chunked().await?
        } else {
            let length = fields(&head, "content-length").first().map_or(0, |length| length.parse().unwrap());
            let body = self.io.exactly(length).await?;
            (body.clone(), body)
        };
        Ok(Some(self.shared.record(ReceivedRequest { connection: self.index, head, wire_body, body })))
    }

    /// Reads a request's head and records it, leaving the body unread. Ends the script if the peer closes instead.
    pub async fn head(&mut self) -> ReceivedRequest {
        let Ok(Some(head)) = self.io.head().await else { return self.over_and_out().await };
        let head = String::from_utf8_lossy(&head).into_owned();
        self.shared.record(ReceivedRequest { connection: self.index, head, wire_body: Vec::new(), body: Vec::new() })
    }

    /// Reads `count` bytes, as in a body or a tunnel. Ends the script if the peer closes before.
    pub async fn read(&mut self, count: usize) -> Vec<u8> {
        match self.io.exactly(count).await {
            Ok(bytes) => bytes,
            Err(_) => self.over_and_out().await,
        }
    }

    /// Reads what is there, or comes next; empty at the end of the stream. Ends the script at a reset.
    pub async fn read_some(&mut self) -> Vec<u8> {
        match self.io.some().await {
            Ok(bytes) => bytes,
            Err(_) => self.over_and_out().await,
        }
    }

    /// Reads to the end of the stream; what came, also where it ended in a reset.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        match self.io.rest().await {
            Ok(rest) => rest,
            Err(_) => std::mem::take(&mut self.io.read),
        }
    }

    /// From now on, whatever reads takes at most `bytes` at a time, and waits for `every` before each time.
    pub fn read_slowly(&mut self, bytes: usize, every: Duration) {
        self.io.read_slowly(bytes, every);
    }

    /// Writes bytes as they are. Ends the script if the peer has left.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let written = self.io.io.write_all(bytes.as_ref()).await;
        if written.is_err() || self.io.io.flush().await.is_err() {
            self.over_and_out().await
        }
    }

    /// Waits until `count` requests came, on this connection or another of the same upstream.
    pub fn wait_requests(&self, count: usize) -> impl Future<Output = ()> + use<> {
        let shared = self.shared.clone();
        async move { shared.until_seen(count).await }
    }

    /// Closes the sending direction alone.
    pub async fn finish_writing(&mut self) {
        // A peer that has left needs no telling.
        let _ = self.io.io.shutdown().await;
    }

    /// Closes with a reset: of TCP, also under TLS, and in memory. Other streams are closed.
    pub fn reset(self) {
        self.io.io.reset_on_close();
    }

    /// The peer has left: close, and never come back to the script.
    async fn over_and_out<T>(&mut self) -> T {
        self.close();
        std::future::pending().await
    }

    /// The stream goes first: who waits for its end may look at it.
    fn close(&mut self) {
        self.io = Buffered::new(tokio::io::empty());
        if !std::mem::replace(&mut self.left, true) {
            self.shared.closed();
        }
    }
}

impl Drop for RawConn {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for RawConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawConn").field("index", &self.index).finish_non_exhaustive()
    }
}
