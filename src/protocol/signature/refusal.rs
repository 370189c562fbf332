//! Why a signature is refused: for the log, never for the client.

use std::fmt;

use crate::error::{Error, ErrorKind};

/// The source of every [`Error`] of kind [`Signature`](ErrorKind::Signature). Never says which part of a MAC or digest differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No signature of ours is there.
    Missing,
    /// A field or parameter cannot be read; the text says which.
    Malformed(&'static str),
    /// Our label or tag is there more than once.
    Ambiguous,
    /// The one signature with our tag has another label.
    Label,
    /// A component is covered that this profile does not know, or that the message does not have.
    Component(&'static str),
    /// A component that must be covered is not.
    Uncovered(&'static str),
    /// No key has the id that the message names.
    UnknownKey,
    /// The message names an algorithm that its key is not for.
    Algorithm,
    /// The MAC is not that of this message.
    Mismatch,
    /// Made too long ago, or expired.
    Stale,
    /// Made in the future.
    Early,
    /// Seen before, or too far behind its sender's newest.
    Replayed,
    /// The body is not the one that was signed.
    Body(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("no signature"),
            Self::Malformed(what) => write!(f, "missing or malformed: {what}"),
            Self::Ambiguous => f.write_str("more than one signature for this hop"),
            Self::Label => {
                f.write_str("wrong label: the signature with the tag of this protocol must have the label nexthop")
            }
            Self::Component(what) => write!(f, "invalid component: {what}"),
            Self::Uncovered(what) => write!(f, "not covered by the signature: {what}"),
            Self::UnknownKey => f.write_str("unknown key id"),
            Self::Algorithm => f.write_str("algorithm does not match the key"),
            Self::Mismatch => f.write_str("signature does not match the message"),
            Self::Stale => f.write_str("signature expired"),
            Self::Early => f.write_str("signature created in the future"),
            Self::Replayed => f.write_str("nonce seen before"),
            Self::Body(what) => write!(f, "body does not match the signature: {what}"),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::new(ErrorKind::Signature, "signature verification failed").with_source(refusal)
    }
}
