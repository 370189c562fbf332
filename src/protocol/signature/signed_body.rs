//! A body on its way out: covered by its digest, by trailers, or not at all.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use sha2::{Digest, Sha256};

use super::{
    AttemptSigner, Signer,
    gather::{Gather, Gathered, Whole},
    sign::Cover,
    trailers::Slot,
};
use crate::error::{BoxError, Error, ErrorKind};

/// A request's body on its way into signed form.
#[derive(Debug)]
#[non_exhaustive]
pub enum BodySigning<B> {
    /// Nothing to wait for: no body, a body covered by trailers, or an uncovered one.
    Ready(AttemptSigner, SignedBody<B>),
    /// A small body, which must be read before its head can be signed.
    Reading(ReadSigned<B>),
}

pin_project! {
    /// Reads a small body and makes its digest.
    ///
    /// # Errors
    /// `RequestBody` if the body fails or has not its declared length.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ReadSigned<B> {
        #[pin]
        body: Gather<B>,
        declared: u64,
        signer: Signer,
    }
}

impl<B> ReadSigned<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(body: B, declared: u64, signer: Signer) -> Self {
        Self { body: Gather::new(body), declared, signer }
    }
}

impl<B> Future for ReadSigned<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<(AttemptSigner, SignedBody<B>), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let whole = match ready!(this.body.poll_whole(cx))? {
            Gathered::Whole(whole) => whole,
            Gathered::Longer(_) => {
                return Poll::Ready(Err(Error::new(ErrorKind::RequestBody, "body is longer than declared")));
            }
        };
        if whole.len() != *this.declared {
            return Poll::Ready(Err(Error::new(
                ErrorKind::RequestBody,
                "body length differs from the declared length",
            )));
        }
        let stamp = AttemptSigner::new(this.signer.clone(), Cover::Digest(whole.sha256()));
        Poll::Ready(Ok((stamp, SignedBody { kind: Kind::Whole { whole } })))
    }
}

pin_project! {
    /// A body in signed form. Frames pass as they come; where trailers cover it, they are the last frame, beside its own.
    ///
    /// # Errors
    /// `RequestBody` if the body inside fails: then there are no trailers, and the other end sees no good end.
    pub struct SignedBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B> {
        Whole { whole: Whole },
        Plain { #[pin] body: B },
        Trailers { #[pin] body: B, hash: Option<Sha256>, slot: Slot },
    }
}

impl<B> SignedBody<B> {
    pub(super) fn empty() -> Self {
        Self { kind: Kind::Whole { whole: Whole::default() } }
    }

    pub(super) fn plain(body: B) -> Self {
        Self { kind: Kind::Plain { body } }
    }

    pub(super) fn with_trailers(body: B, slot: Slot) -> Self {
        Self { kind: Kind::Trailers { body, hash: Some(Sha256::new()), slot } }
    }

    /// The body once more, if it can be sent again: empty, or read whole for its digest. As it is now, without what was taken of it.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        match &self.kind {
            Kind::Whole { whole } => Some(Self { kind: Kind::Whole { whole: whole.clone() } }),
            Kind::Plain { .. } | Kind::Trailers { .. } => None,
        }
    }
}

impl<B> Body for SignedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.project().kind.project() {
            KindProjection::Whole { whole } => Poll::Ready(whole.next_frame().map(Ok)),
            KindProjection::Plain { body } => body.poll_frame(cx).map_err(broken),
            KindProjection::Trailers { body, hash, slot } => {
                let Some(hashing) = hash else { return Poll::Ready(None) };
                let trailers = match ready!(body.poll_frame(cx)) {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => {
                            hashing.update(&data);
                            return Poll::Ready(Some(Ok(Frame::data(data))));
                        }
                        Err(frame) => frame.into_trailers().unwrap_or_default(),
                    },
                    Some(Err(error)) => {
                        *hash = None;
                        return Poll::Ready(Some(Err(broken(error))));
                    }
                    None => HeaderMap::new(),
                };
                let end = hash.take().map(|hash| last_frame(hash, slot, trailers));
                Poll::Ready(end)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole { whole } => whole.is_end_stream(),
            Kind::Plain { body } => body.is_end_stream(),
            Kind::Trailers { hash, .. } => hash.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole { whole } => whole.size_hint(),
            Kind::Plain { body } => body.size_hint(),
            // Never exact: trailers need a body that says itself where it ends.
            Kind::Trailers { .. } => SizeHint::new(),
        }
    }
}

fn last_frame(hash: Sha256, slot: &Slot, mut trailers: HeaderMap) -> Result<Frame<Bytes>, Error> {
    let head =
        slot.take().ok_or_else(|| Error::new(ErrorKind::Internal, "the body was sent before the head was signed"))?;
    head.sign(&hash.finalize().into(), &mut trailers)?;
    Ok(Frame::trailers(trailers))
}

fn broken(error: impl Into<BoxError>) -> Error {
    Error::from_body(ErrorKind::RequestBody, error)
}

impl<B> fmt::Debug for SignedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let covered_by = match &self.kind {
            Kind::Whole { .. } => "head",
            Kind::Plain { .. } => "nothing",
            Kind::Trailers { .. } => "trailers",
        };
        f.debug_struct("SignedBody").field("covered_by", &covered_by).finish_non_exhaustive()
    }
}
