//! HTTP Message Signatures (RFC 9421): the profile that vouches for a hop.

mod body;
mod refusal;
mod sign;
mod verify;

pub use self::{
    body::{Covering, Opening, ReadSigned, ReadVerified, SignedBody, VerifiedBody},
    sign::{Signer, SignerBuilder, Stamp},
    verify::{Uncovered, Verdict, Verified, Verifier, VerifierBuilder, VerifyLater},
};
