//! Bodies on their way out and in.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::Stamp;
use crate::error::{BoxError, Error};

/// A request's body on its way into signed form.
#[derive(Debug)]
#[non_exhaustive]
pub enum Covering<B> {
    /// Nothing to wait for: no body, a body covered by trailers, or an uncovered one.
    Ready(Stamp, SignedBody<B>),
    /// A small body that must be read before the head can be signed.
    Reading(ReadSigned<B>),
}

/// Reads a small body and makes its digest.
#[derive(Debug)]
pub struct ReadSigned<B>(B);

impl<B> Future for ReadSigned<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<(Stamp, SignedBody<B>), Error>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}

/// A body in signed form.
#[derive(Debug)]
pub struct SignedBody<B>(B);

impl<B> SignedBody<B> {
    /// The body again, if it can be sent again: empty, or read whole for its digest.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        todo!()
    }
}

impl<B> Body for SignedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        todo!()
    }

    fn is_end_stream(&self) -> bool {
        todo!()
    }

    fn size_hint(&self) -> SizeHint {
        todo!()
    }
}

/// A body on its way to the application.
#[derive(Debug)]
#[non_exhaustive]
pub enum Opening<B> {
    /// Nothing to wait for: no body, an uncovered one, or one that is checked while it streams.
    Ready(VerifiedBody<B>),
    /// A small body that is read and checked before the application runs.
    Reading(ReadVerified<B>),
}

/// Reads a small body and checks its digest.
#[derive(Debug)]
pub struct ReadVerified<B>(B);

impl<B> Future for ReadVerified<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<VerifiedBody<B>, Error>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}

/// A body that ends well only if it is the one that was signed.
#[derive(Debug)]
pub struct VerifiedBody<B>(B);

impl<B> Body for VerifiedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        todo!()
    }

    fn is_end_stream(&self) -> bool {
        todo!()
    }

    fn size_hint(&self) -> SizeHint {
        todo!()
    }
}
