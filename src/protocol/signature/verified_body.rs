//! A body on its way in: it ends well only if it is the one that was signed.

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
    gather::{Gather, Gathered, Whole},
    refusal::Refusal,
    trailers::{self, HeadSignature},
};
use crate::error::{BoxError, Error, ErrorKind};

/// A request's body on its way to the application.
#[derive(Debug)]
#[non_exhaustive]
pub enum BodyVerification<B> {
    /// Nothing to wait for: no body, an uncovered one, or one that is checked while it streams.
    Ready(VerifiedBody<B>),
    /// A body that is read up to 64 KiB; if it ends there, it is checked before the application runs.
    Reading(ReadVerified<B>),
}

/// Reads a small body and checks its digest. A body that turns out larger than 64 KiB, and declared no length, is passed
/// on as a stream that is checked at its end.
///
/// # Errors
/// `Signature` if it is not the one that was signed, `RequestBody` if it fails.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct ReadVerified<B> {
    /// Until it has been read. In a box, because the rest of a larger body changes hands.
    body: Option<Gather<Pin<Box<B>>>>,
    is_sized: bool,
    digest: [u8; 32],
}

impl<B> ReadVerified<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(body: B, digest: [u8; 32]) -> Self {
        let is_sized = body.size_hint().exact().is_some();
        Self { body: Some(Gather::new(Box::pin(body))), is_sized, digest }
    }
}

impl<B> Future for ReadVerified<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<VerifiedBody<B>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled_again = || Error::new(ErrorKind::Internal, "polled after completion");
        let gather = self.body.as_mut().ok_or_else(polled_again)?;
        let gathered = ready!(Pin::new(gather).poll_whole(cx));
        let body = self.body.take().map(Gather::into_inner);
        let mut whole = match (gathered?, body) {
            (Gathered::Whole(whole), _) => whole,
            (Gathered::Longer(start), Some(body)) if !self.is_sized => {
                return Poll::Ready(Ok(VerifiedBody::continued(body, start, Expected::Digest(self.digest))));
            }
            (Gathered::Longer(_), _) => return Poll::Ready(Err(Refusal::Body("longer than declared").into())),
        };
        if whole.sha256() != self.digest {
            return Poll::Ready(Err(Refusal::Body("wrong digest").into()));
        }
        if let Some(trailers) = whole.trailers_mut() {
            trailers::clean_owned(trailers);
        }
        Poll::Ready(Ok(VerifiedBody { kind: Kind::Whole { whole } }))
    }
}

pin_project! {
    /// A body that ends well only if it is the one that was signed.
    ///
    /// A body that was read whole was checked before anybody sees it. One that streams is checked at its end: what came before may be
    /// forged, and only a stream that ends without an error was not. The newest frame is held back while more is at hand, and the one
    /// that completes a declared length until the check is done, so that a reader who counts bytes does not miss the error; but a frame
    /// after which the sender pauses is given out, or two who talk in turns would wait for each other for ever.
    ///
    /// Trailers that sign the body, and fields of this crate in trailers, are removed.
    ///
    /// # Errors
    /// `Signature` in place of the end if the body is not the one that was signed; `RequestBody` if the body inside fails.
    pub struct VerifiedBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B> {
        Whole { whole: Whole },
        Plain { #[pin] body: B },
        Checked { #[pin] body: B, check: Check },
        // The beginning was read ahead.
        Continued { body: Pin<Box<B>>, check: Check },
    }
}

/// What a streamed body must turn out to be.
#[derive(Debug)]
pub(super) enum Expected {
    Digest([u8; 32]),
    Trailers(Box<HeadSignature>),
}

struct Check {
    hash: Sha256,
    expected: Expected,
    /// Bytes still to come, where the length is declared.
    remaining: Option<u64>,
    held: Option<Bytes>,
    state: State,
}

enum State {
    Streaming,
    Good(Option<HeaderMap>),
    Failed,
}

impl<B: Body> VerifiedBody<B> {
    pub(super) fn plain(body: B) -> Self {
        Self { kind: Kind::Plain { body } }
    }

    pub(super) fn checked(body: B, expected: Expected) -> Self {
        let remaining = body.size_hint().exact();
        let check = Check { hash: Sha256::new(), expected, remaining, held: None, state: State::Streaming };
        Self { kind: Kind::Checked { body, check } }
    }

    fn continued(body: Pin<Box<B>>, start: Bytes, expected: Expected) -> Self {
        let mut hash = Sha256::new();
        hash.update(&start);
        let check = Check { hash, expected, remaining: None, held: Some(start), state: State::Streaming };
        Self { kind: Kind::Continued { body, check } }
    }
}

impl<B> Body for VerifiedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.project().kind.project() {
            KindProjection::Whole { whole } => Poll::Ready(whole.next_frame().map(Ok)),
            KindProjection::Plain { body } => body.poll_frame(cx).map(|frame| frame.map(plain_frame)),
            KindProjection::Checked { body, check } => check.poll_frame(body, cx),
            KindProjection::Continued { body, check } => check.poll_frame(body.as_mut(), cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole { whole } => whole.is_end_stream(),
            Kind::Plain { body } => body.is_end_stream(),
            Kind::Checked { check, .. } | Kind::Continued { check, .. } => match &check.state {
                State::Streaming => false,
                State::Good(trailers) => check.held.is_none() && trailers.is_none(),
                State::Failed => true,
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole { whole } => whole.size_hint(),
            Kind::Plain { body } => body.size_hint(),
            Kind::Checked { check, .. } | Kind::Continued { check, .. } => {
                let held = check.held.as_ref().map_or(0, |data| data.len() as u64);
                check.remaining.map_or_else(SizeHint::new, |more| SizeHint::with_exact(more.saturating_add(held)))
            }
        }
    }
}

impl Check {
    fn poll_frame<B>(
        &mut self,
        mut body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        loop {
            if let Some(frame) = self.next_frame() {
                return Poll::Ready(frame);
            }
            match body.as_mut().poll_frame(cx) {
                Poll::Pending => return self.pause(),
                Poll::Ready(frame) => match self.take(frame) {
                    Ok(None) => {}
                    Ok(Some(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(error) => return Poll::Ready(Some(Err(self.fail(error)))),
                },
            }
        }
    }

    /// What is to be given out once the body was found good or bad; the outer `None` while it streams.
    fn next_frame(&mut self) -> Option<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.state {
            State::Streaming => None,
            State::Failed => Some(None),
            State::Good(trailers) => {
                let held = self.held.take().map(Frame::data);
                Some(held.or_else(|| trailers.take().map(Frame::trailers)).map(Ok))
            }
        }
    }

    /// The sender pauses: gives out what is held back, unless it may be the last.
    fn pause(&mut self) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.remaining == Some(0) {
            return Poll::Pending;
        }
        self.held.take().map_or(Poll::Pending, |data| Poll::Ready(Some(Ok(Frame::data(data)))))
    }

    /// Takes one frame in, or the end; gives out data that is now known not to be the last.
    fn take<E: Into<BoxError>>(&mut self, frame: Option<Result<Frame<Bytes>, E>>) -> Result<Option<Bytes>, Error> {
        let frame = frame.transpose().map_err(|error| Error::from_body(ErrorKind::RequestBody, error))?;
        match frame.map(Frame::into_data) {
            Some(Ok(data)) if data.is_empty() => Ok(None),
            Some(Ok(data)) => {
                self.hash.update(&data);
                if let Some(remaining) = &mut self.remaining {
                    let longer = Refusal::Body("longer than declared");
                    *remaining = remaining.checked_sub(data.len() as u64).ok_or(longer)?;
                }
                Ok(self.held.replace(data))
            }
            Some(Err(frame)) => self.end(frame.into_trailers().ok()).map(|()| None),
            None => self.end(None).map(|()| None),
        }
    }

    fn end(&mut self, mut trailers: Option<HeaderMap>) -> Result<(), Error> {
        let digest: [u8; 32] = self.hash.finalize_reset().into();
        match (&self.expected, &mut trailers) {
            (Expected::Digest(expected), _) if *expected != digest => return Err(Refusal::Body("wrong digest").into()),
            (Expected::Digest(_), Some(trailers)) => trailers::clean_owned(trailers),
            (Expected::Digest(_), None) => {}
            (Expected::Trailers(_), None) => return Err(Refusal::Body("trailers are missing").into()),
            (Expected::Trailers(head), Some(trailers)) => {
                head.verify(&digest, trailers)?;
                trailers::clean(trailers);
            }
        }
        self.state = State::Good(trailers.filter(|trailers| !trailers.is_empty()));
        Ok(())
    }

    fn fail(&mut self, error: Error) -> Error {
        self.held = None;
        self.state = State::Failed;
        error
    }
}

fn plain_frame<E: Into<BoxError>>(frame: Result<Frame<Bytes>, E>) -> Result<Frame<Bytes>, Error> {
    let mut frame = frame.map_err(|error| Error::from_body(ErrorKind::RequestBody, error))?;
    if let Some(trailers) = frame.trailers_mut() {
        trailers::clean_owned(trailers);
    }
    Ok(frame)
}

impl<B> fmt::Debug for VerifiedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checked = match &self.kind {
            Kind::Whole { .. } => "whole",
            Kind::Plain { .. } => "not",
            Kind::Checked { .. } | Kind::Continued { .. } => "at its end",
        };
        f.debug_struct("VerifiedBody").field("checked", &checked).finish_non_exhaustive()
    }
}
