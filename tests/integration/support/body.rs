//! Bodies that a test feeds frame by frame.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::sync::mpsc;

/// A body of unknown length, which ends when its [`Feed`] is dropped.
pub struct Fed(mpsc::Receiver<io::Result<Frame<Bytes>>>);

/// The sender of a [`Fed`] body.
pub struct Feed(mpsc::Sender<io::Result<Frame<Bytes>>>);

/// Returns a body and its sender, with room for one frame.
pub fn fed() -> (Feed, Fed) {
    let (feed, body) = mpsc::channel(1);
    (Feed(feed), Fed(body))
}

/// Returns a body of unknown length with these frames.
pub fn pieces(pieces: &[&'static str]) -> Fed {
    let (feed, body) = mpsc::channel(pieces.len().max(1));
    for piece in pieces {
        feed.try_send(Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).unwrap();
    }
    Fed(body)
}

impl Feed {
    /// Sends a frame. Returns false if the body was dropped.
    pub async fn data(&self, bytes: impl Into<Bytes>) -> bool {
        self.0.send(Ok(Frame::data(bytes.into()))).await.is_ok()
    }

    pub async fn trailers(&self, trailers: HeaderMap) -> bool {
        self.0.send(Ok(Frame::trailers(trailers))).await.is_ok()
    }

    /// Returns true while a frame waits to be read.
    pub fn is_full(&self) -> bool {
        self.0.capacity() == 0
    }

    /// Ends the body with an error.
    pub async fn fail(self, why: &'static str) {
        let _ = self.0.send(Err(io::Error::other(why))).await;
    }

    /// Waits until the body is dropped.
    pub async fn dropped(&self) {
        self.0.closed().await;
    }
}

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx)
    }
}
