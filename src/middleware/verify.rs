//! The signatures a policy knows of.

use std::time::SystemTime;

use http::request::Parts;

#[cfg(feature = "classic-signature")]
use crate::protocol::signature::classic::ClassicVerifier;
use crate::{
    error::Error,
    protocol::signature::{Refusal, Verification, Verifier},
};

/// How a request is signed for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signed {
    /// By the profile of RFC 9421.
    Profile,
    /// By `X-WSGIProxy-Signature`.
    #[cfg(feature = "classic-signature")]
    Classic,
}

/// The verifiers of a policy: at most one of each kind.
#[derive(Debug, Default)]
pub(super) struct Verifiers {
    pub(super) profile: Option<Verifier>,
    #[cfg(feature = "classic-signature")]
    pub(super) classic: Option<ClassicVerifier>,
}

impl Verifiers {
    pub(super) fn is_empty(&self) -> bool {
        #[cfg(feature = "classic-signature")]
        if self.classic.is_some() {
            return false;
        }
        self.profile.is_none()
    }

    /// Verifies the signature that a request bears; `None` if it bears none, or only one that is meant for somebody else.
    ///
    /// The stronger kind first: where it is there, it must hold, whatever the weaker one says.
    pub(super) fn verify<B: http_body::Body>(
        &self,
        parts: &Parts,
        body: &B,
        now: SystemTime,
    ) -> Result<Option<(Signed, Verification)>, Error> {
        if let Some(verifier) = self.profile.as_ref().filter(|verifier| verifier.is_signed(&parts.headers))
            && let Some(verdict) = present(verifier.verify(parts, body, now))?
        {
            return Ok(Some((Signed::Profile, verdict)));
        }
        #[cfg(feature = "classic-signature")]
        if let Some(verifier) = &self.classic
            && let Some(verdict) = present(verifier.verify(parts, now))?
        {
            return Ok(Some((Signed::Classic, verdict)));
        }
        Ok(None)
    }
}

/// A signature that is missing is no bad one.
fn present(verdict: Result<Verification, Error>) -> Result<Option<Verification>, Error> {
    match verdict {
        Err(error) => {
            let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<Refusal>());
            if source == Some(&Refusal::Missing) { Ok(None) } else { Err(error) }
        }
        Ok(verdict) => Ok(Some(verdict)),
    }
}
