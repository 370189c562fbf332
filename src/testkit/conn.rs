//! [`RawConn`]: a connection to a scripted upstream.

use std::{fmt, io, sync::Arc, time::Duration};

use tokio::io::AsyncWriteExt;

use super::{
    ReceivedRequest,
    upstream::Shared,
    wire::{Buffered, fields},
};
use crate::transport::ByteStream;

/// Reads and writes one connection in the script of an upstream.
///
/// If the peer has closed the connection, most methods end the script without an error: their future never completes.
/// The methods have no deadline; the test sets one for the response that it waits for.
pub struct RawConn {
    /// Index of the connection at its upstream, from 0.
    pub index: usize,
    io: Buffered,
    shared: Arc<Shared>,
    left: bool,
}

impl RawConn {
    pub(super) fn new(io: impl ByteStream, shared: &Arc<Shared>) -> Self {
        Self { index: shared.connected(), io: Buffered::new(io), shared: shared.clone(), left: false }
    }

    /// Wraps a stream, for custom upstreams.
    pub fn over(io: impl ByteStream) -> Self {
        Self::new(io, &Arc::default())
    }

    /// Reads one request with its body and records it. Ends the script if the connection closes first.
    ///
    /// # Panics
    /// As [`try_request`](Self::try_request).
    pub async fn request(&mut self) -> ReceivedRequest {
        match self.try_request().await {
            Ok(Some(seen)) => seen,
            Ok(None) | Err(_) => self.over_and_out().await,
        }
    }

    /// Reads one request with its body and records it. Returns `None` if the peer closes the connection before a
    /// request.
    ///
    /// # Panics
    /// If the last transfer coding is not `chunked`, or `Content-Length` is not a number.
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

    /// Reads the head of a request and records it; the body remains unread. Ends the script if the connection closes
    /// first.
    pub async fn head(&mut self) -> ReceivedRequest {
        let Ok(Some(head)) = self.io.head().await else { return self.over_and_out().await };
        let head = String::from_utf8_lossy(&head).into_owned();
        self.shared.record(ReceivedRequest { connection: self.index, head, wire_body: Vec::new(), body: Vec::new() })
    }

    /// Reads exactly `count` bytes, as in a body or a tunnel. Ends the script if the connection closes first.
    pub async fn read(&mut self, count: usize) -> Vec<u8> {
        match self.io.exactly(count).await {
            Ok(bytes) => bytes,
            Err(_) => self.over_and_out().await,
        }
    }

    /// Reads the bytes that are available, and waits if there are none. Returns an empty `Vec` at the end of the
    /// stream. Ends the script at a reset.
    pub async fn read_some(&mut self) -> Vec<u8> {
        match self.io.some().await {
            Ok(bytes) => bytes,
            Err(_) => self.over_and_out().await,
        }
    }

    /// Reads to the end of the stream, or to a reset, and returns the bytes.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        match self.io.rest().await {
            Ok(rest) => rest,
            Err(_) => std::mem::take(&mut self.io.read),
        }
    }

    /// Limits reading from now on: each read waits for `interval` and then takes at most `bytes`.
    #[doc(alias = "throttle")]
    pub fn read_slowly(&mut self, bytes: usize, interval: Duration) {
        self.io.read_slowly(bytes, interval);
    }

    /// Writes and flushes `bytes` unchanged. Ends the script if the connection is closed.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let written = self.io.io.write_all(bytes.as_ref()).await;
        if written.is_err() || self.io.io.flush().await.is_err() {
            self.over_and_out().await
        }
    }

    /// Waits until the upstream has received `count` requests, on all its connections.
    pub fn wait_requests(&self, count: usize) -> impl Future<Output = ()> + use<> {
        let shared = self.shared.clone();
        async move { shared.until_seen(count).await }
    }

    /// Shuts down the write side of the connection; reading remains possible.
    pub async fn finish_writing(&mut self) {
        // Fails if the peer has already closed the connection, which is of no interest to the script.
        let _ = self.io.io.shutdown().await;
    }

    /// Closes the connection with a reset, over TCP, TLS over TCP, and in-memory streams of this module. Other streams
    /// are closed.
    pub fn reset(self) {
        self.io.io.reset_on_close();
    }

    /// Closes the connection after the peer has left, and never completes.
    async fn over_and_out<T>(&mut self) -> T {
        self.close();
        std::future::pending().await
    }

    /// Drops the stream before `closed` is recorded, so that waiting tests observe a closed stream.
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
