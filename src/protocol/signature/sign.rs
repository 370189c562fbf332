//! [`Signer`]: the sending end.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, request::Parts};
use http_body::Body;

use super::{Covering, Uncovered};
use crate::{
    error::{BoxError, ConfigError, Error},
    protocol::keyring::Keyring,
};

/// Signs requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Signer {}

/// Builds a [`Signer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct SignerBuilder {}

impl Signer {
    /// Signs with the first key of a keyring.
    pub fn builder(_keyring: Keyring) -> SignerBuilder {
        todo!()
    }

    /// Decides how the body is covered, by its declared length alone, and takes it into that form. Call it once, when all other fields
    /// are set; then call [`Stamp::sign`] before each attempt to send.
    pub fn cover<B>(&self, _headers: &mut HeaderMap, _body: B) -> Covering<B>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        todo!()
    }
}

impl SignerBuilder {
    /// Leaves bodies uncovered that would be covered by trailers or at all. The verifier must be told as well.
    pub fn dangerous_uncovered(self, _which: Uncovered) -> Self {
        self
    }

    /// # Errors
    /// `Secret` if the system has no randomness to give.
    pub fn build(self) -> Result<Signer, ConfigError> {
        todo!()
    }
}

/// Signs the head of one request, as often as it is sent.
#[derive(Clone, Debug)]
pub struct Stamp {}

impl Stamp {
    /// Signs the head as it is now, in place of any earlier signature of ours. A new nonce each time.
    ///
    /// # Errors
    /// `Target` if the request has no authority; `Internal` if there is no key or `now` is before 1970.
    pub fn sign(&self, _parts: &mut Parts, _now: SystemTime) -> Result<(), Error> {
        todo!()
    }
}
