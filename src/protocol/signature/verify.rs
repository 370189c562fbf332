//! [`Verifier`]: the receiving end.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, request::Parts, uri::Scheme};
use http_body::Body;

use super::Opening;
use crate::{
    error::{BoxError, ConfigError, Error},
    protocol::{keyring::Keyring, replay::ReplayStore},
};

/// Which bodies may go without a digest or trailers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Uncovered {
    /// Those whose declared length is above 64 KiB.
    Large,
    /// All.
    All,
}

/// Verifies requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Verifier {}

/// Builds a [`Verifier`].
#[derive(Clone, Debug)]
#[must_use]
pub struct VerifierBuilder {}

impl Verifier {
    /// Verifies with all keys of a keyring.
    pub fn builder(_keyring: Keyring) -> VerifierBuilder {
        todo!()
    }

    /// True if the request claims to bear a signature of ours. One look-up; says nothing of its worth.
    #[must_use]
    pub fn is_signed(&self, _headers: &HeaderMap) -> bool {
        todo!()
    }

    /// Verifies a request's head, and remembers its nonce. Touches nothing.
    ///
    /// # Errors
    /// `Signature` (403), `Unavailable` (503: the replay store).
    pub fn verify<B: Body>(&self, _parts: &Parts, _body: &B, _now: SystemTime) -> Result<Verdict, Error> {
        todo!()
    }
}

impl VerifierBuilder {
    /// Where nonces are remembered. Default: a `LocalReplay` of its own.
    pub fn replay(self, _store: impl ReplayStore) -> Self {
        self
    }

    /// How old a signature may be. Default 60 s.
    pub fn max_age(self, _age: Duration) -> Self {
        self
    }

    /// How far the two clocks may be apart. Default 30 s.
    pub fn skew(self, _skew: Duration) -> Self {
        self
    }

    /// The scheme of this hop where the request's URI does not say it: decides which port is the default one. Default `http`.
    pub fn scheme(self, _scheme: Scheme) -> Self {
        self
    }

    /// Accepts bodies that nothing covers.
    pub fn dangerous_accept_uncovered(self, _which: Uncovered) -> Self {
        self
    }

    /// # Errors
    /// `Invalid` if the ages are above a day.
    pub fn build(self) -> Result<Verifier, ConfigError> {
        todo!()
    }
}

/// The outcome of [`Verifier::verify`], now or later.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// The signature holds.
    Now(Verified),
    /// The signature holds if the replay store says so.
    Later(VerifyLater),
}

/// Waits for a replay store that is elsewhere.
#[derive(Debug)]
pub struct VerifyLater {}

impl Future for VerifyLater {
    type Output = Result<Verified, Error>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}

/// A head whose signature holds.
#[derive(Debug)]
pub struct Verified {}

impl Verified {
    /// The id of the key that signed.
    #[must_use]
    pub fn key_id(&self) -> &Arc<str> {
        todo!()
    }

    /// True if this field of the verified head is one of ours and covered.
    #[must_use]
    pub fn covers(&self, _name: &HeaderName) -> bool {
        todo!()
    }

    /// The fields of ours that the head has and that are not covered.
    #[must_use]
    pub fn uncovered(&self) -> &[HeaderName] {
        todo!()
    }

    /// Removes the fields of ours that are not covered, and the signature itself; joins the lines of covered ones, so that everybody
    /// reads the text that was signed.
    pub fn restore(&self, _headers: &mut HeaderMap) {
        todo!()
    }

    /// Takes the body into a form that ends well only if it is the one that was signed.
    pub fn open<B>(self, _body: B) -> Opening<B>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        todo!()
    }
}
