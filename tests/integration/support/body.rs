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

/// A body of unknown length: ends when its [`Feed`] is dropped.
pub struct Fed(mpsc::Receiver<io::Result<Frame<Bytes>>>);

/// The other end of a [`Fed`] body.
pub struct Feed(mpsc::Sender<io::Result<Frame<Bytes>>>);

/// A body and the end that feeds it. One frame fits between them.
pub fn fed() -> (Feed, Fed) {
    let (feed, body) = mpsc::channel(1);
    (Feed(feed), Fed(body))
}

/// A body of these pieces, of unknown length.
pub fn pieces(pieces: &[&'static str]) -> Fed {
    let (feed, body) = mpsc::channel(pieces.len().max(1));
    for piece in pieces {
        feed.try_send(Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).unwrap();
    }
    Fed(body)
}

impl Feed {
    /// False if nobody reads any more.
    pub async fn data(&self, bytes: impl Into<Bytes>) -> bool {
        self.0.send(Ok(Frame::data(bytes.into()))).await.is_ok()
    }

    pub async fn trailers(&self, trailers: HeaderMap) -> bool {
        self.0.send(Ok(Frame::trailers(trailers))).await.is_ok()
    }

    /// True while a frame waits to be taken.
    pub fn is_full(&self) -> bool {
        self.0.capacity() == 0
    }

    /// Breaks the body off.
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
