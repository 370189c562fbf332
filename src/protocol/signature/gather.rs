//! A small body, read whole.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use sha2::{Digest, Sha256};

use super::MAX_DIGEST_BYTES;
use crate::error::{BoxError, Error, ErrorKind};

pin_project! {
    /// Reads a body of at most [`MAX_DIGEST_BYTES`]. A body of one frame is not copied.
    #[derive(Debug)]
    pub(super) struct Gather<B> {
        #[pin]
        body: B,
        whole: Whole,
        rest: BytesMut,
    }
}

/// Holds the bytes that were read from a body.
#[derive(Debug)]
pub(super) enum Gathered {
    Whole(Whole),
    /// More than [`MAX_DIGEST_BYTES`], and more may come from the body.
    Longer(Bytes),
}

/// A body that lies in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Whole {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

impl<B> Gather<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(body: B) -> Self {
        Self { body, whole: Whole::default(), rest: BytesMut::new() }
    }

    /// Returns the body, without the part that was read.
    pub(super) fn into_inner(self) -> B {
        self.body
    }

    /// Must not be polled again after it was ready.
    pub(super) fn poll_whole(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Gathered, Error>> {
        let mut this = self.project();
        while let Some(frame) = ready!(this.body.as_mut().poll_frame(cx)) {
            match frame.map_err(|error| Error::from_body(ErrorKind::RequestBody, error))?.into_data() {
                Ok(data) => {
                    let length = this.whole.data.len() + this.rest.len() + data.len();
                    if length as u64 > MAX_DIGEST_BYTES {
                        this.rest.reserve(length - this.rest.len());
                        for part in [&std::mem::take(&mut this.whole.data), &data] {
                            this.rest.extend_from_slice(part);
                        }
                        return Poll::Ready(Ok(Gathered::Longer(std::mem::take(this.rest).freeze())));
                    }
                    if length == data.len() {
                        this.whole.data = data;
                    } else {
                        this.rest.extend_from_slice(&std::mem::take(&mut this.whole.data));
                        this.rest.extend_from_slice(&data);
                    }
                }
                Err(frame) => this.whole.trailers = frame.into_trailers().ok(),
            }
        }
        let mut whole = std::mem::take(this.whole);
        if !this.rest.is_empty() {
            whole.data = std::mem::take(this.rest).freeze();
        }
        Poll::Ready(Ok(Gathered::Whole(whole)))
    }
}

impl Whole {
    pub(super) fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.data).into()
    }

    pub(super) fn len(&self) -> u64 {
        self.data.len() as u64
    }

    pub(super) fn trailers_mut(&mut self) -> Option<&mut HeaderMap> {
        self.trailers.as_mut()
    }

    pub(super) fn next_frame(&mut self) -> Option<Frame<Bytes>> {
        if self.data.is_empty() {
            return self.trailers.take().map(Frame::trailers);
        }
        Some(Frame::data(std::mem::take(&mut self.data)))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}
