//! HTTP Message Signatures (RFC 9421): the profile that vouches for a hop.

mod base;
#[cfg(feature = "classic-signature")]
pub mod classic;
mod gather;
mod input;
mod refusal;
mod sign;
mod signed_body;
mod trailers;
mod verified_body;
mod verify;

pub use self::{
    sign::{Signer, SignerBuilder, Stamp},
    signed_body::{Covering, ReadSigned, SignedBody},
    verified_body::{Opening, ReadVerified, VerifiedBody},
    verify::{Verdict, Verified, Verifier, VerifierBuilder, VerifyLater},
};

/// Which bodies may go without a digest or trailers: a weakening, chosen on both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Uncovered {
    /// Those whose declared length is above 64 KiB.
    Large,
    /// All.
    All,
}

/// Up to this declared length, a body is read whole and covered by its digest in the head.
const MAX_DIGEST_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests;
