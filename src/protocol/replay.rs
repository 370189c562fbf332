//! Remembers the nonces of signatures, so that a copied request is refused.
//!
//! A [`Verifier`](super::signature::Verifier) asks a [`ReplayStore`]; the default is [`InMemoryReplayStore`], the memory of one process.
//! Several processes that verify under one key need a shared store, which may answer asynchronously:
//!
//! ```
//! use nexthop::protocol::replay::{
//!     InMemoryReplayStore, Nonce, NonceCheck, NonceStatus, ReplayStore,
//! };
//!
//! /// Asks the local memory first, so that it refuses most replays without a request.
//! #[derive(Debug, Default)]
//! struct SharedStore(InMemoryReplayStore);
//!
//! impl ReplayStore for SharedStore {
//!     fn remember(&self, nonce: Nonce<'_>) -> NonceCheck {
//!         match self.0.remember(nonce) {
//!             NonceCheck::Now(NonceStatus::Fresh) => NonceCheck::Later(Box::pin(async {
//!                 NonceStatus::Fresh // the answer of `SET key value NX EXAT until`
//!             })),
//!             known => known,
//!         }
//!     }
//! }
//!
//! let store = SharedStore::default();
//! assert!(format!("{store:?}").starts_with("SharedStore"));
//! ```

mod foreign;
mod local;
mod senders;

use std::{fmt, pin::Pin};

pub use self::local::{InMemoryReplayStore, InMemoryReplayStoreBuilder};

/// Remembers the nonces of verified requests, in one process or for several processes.
///
/// Set with [`VerifierBuilder::replay`](super::signature::VerifierBuilder::replay). The verifier calls it only after the MAC and the time
/// of a signature are valid, so clients without a key cannot fill it.
#[doc(alias = "replay protection")]
pub trait ReplayStore: fmt::Debug + Send + Sync + 'static {
    /// Remembers a nonce until `nonce.until`, and returns whether the nonce is new.
    ///
    /// Must be atomic: of two calls with the same key id and text, at most one may return [`Fresh`](NonceStatus::Fresh). Must not forget a
    /// nonce before `until`: a full store returns [`Unavailable`](NonceStatus::Unavailable). [`ProxyMiddleware`](crate::ProxyMiddleware)
    /// waits at most 10 s for an asynchronous answer, and then refuses the request (503).
    fn remember(&self, nonce: Nonce<'_>) -> NonceCheck;
}

/// Identifies one signature by its key and nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Nonce<'a> {
    /// The id of the signing key. The same text under two keys is two nonces.
    pub key_id: &'a str,
    /// The text of the nonce: 1 to 256 visible ASCII characters and spaces.
    pub text: &'a str,
    /// The last second in which the signature is valid, in Unix time. The same for every copy of a request.
    pub until: u64,
    /// The current time of the verifier, in seconds of Unix time.
    pub now: u64,
}

/// The result of [`ReplayStore::remember`], immediate or asynchronous.
#[non_exhaustive]
pub enum NonceCheck {
    /// The status is known at once, as in memory.
    Now(NonceStatus),
    /// The future returns the status, as from another machine.
    Later(Pin<Box<dyn Future<Output = NonceStatus> + Send>>),
}

/// The status of a nonce in a [`ReplayStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NonceStatus {
    /// The nonce is new and is remembered now.
    Fresh,
    /// The nonce was used before. The request is refused (403).
    Replayed,
    /// The store is full or unreachable. The request is refused (503).
    Unavailable,
}

impl fmt::Debug for NonceCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(seen) => f.debug_tuple("Now").field(seen).finish(),
            Self::Later(_) => f.write_str("Later(..)"),
        }
    }
}
