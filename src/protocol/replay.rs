//! Remembers which signatures were seen, so that a copied request is refused.
//!
//! [`ReplayStore`] is what a verifier asks; [`InMemoryReplayStore`] answers it from this process's memory. A store of a fleet's own answers
//! later, and everything else stays the same:
//!
//! ```
//! use nexthop::protocol::replay::{NonceCheck, InMemoryReplayStore, Nonce, ReplayStore, NonceStatus};
//!
//! /// Asks memory first, so that most replays never leave the machine.
//! #[derive(Debug, Default)]
//! struct Fleet(InMemoryReplayStore);
//!
//! impl ReplayStore for Fleet {
//!     fn remember(&self, nonce: Nonce<'_>) -> NonceCheck {
//!         match self.0.remember(nonce) {
//!             NonceCheck::Now(NonceStatus::Fresh) => NonceCheck::Later(Box::pin(async { NonceStatus::Fresh /* SET NX EXAT … */ })),
//!             answer => answer,
//!         }
//!     }
//! }
//! ```

mod foreign;
mod local;
mod senders;

use std::{fmt, pin::Pin};

pub use self::local::{InMemoryReplayStore, InMemoryReplayStoreBuilder};

/// Where a [`Verifier`](super::signature::Verifier) remembers nonces. One for each process, or one that a fleet shares.
///
/// Asked only after a signature's MAC held and its time was good, so strangers cannot fill it.
pub trait ReplayStore: fmt::Debug + Send + Sync + 'static {
    /// Remembers a nonce until `nonce.until`, and says whether it was new. Must be atomic: of two calls with the same key id and text,
    /// one at most may be told [`Fresh`](NonceStatus::Fresh). Must not forget before `until`: a full store says [`Unavailable`](NonceStatus::Unavailable).
    fn remember(&self, nonce: Nonce<'_>) -> NonceCheck;
}

/// A nonce to remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Nonce<'a> {
    /// The id of the key that signed. The same text under two keys is two nonces.
    pub key_id: &'a str,
    /// The nonce: 1 to 256 visible ASCII characters and spaces.
    pub text: &'a str,
    /// From when on the message that bears it is refused for its age, in seconds of Unix time. Depends on the message alone, so that a
    /// replayed message names the same time.
    pub until: u64,
    /// The verifier's clock, in seconds of Unix time.
    pub now: u64,
}

/// A store's answer, now or later.
#[non_exhaustive]
pub enum NonceCheck {
    /// Known at once, as in memory.
    Now(NonceStatus),
    /// Known when the future ends, as from another machine.
    Later(Pin<Box<dyn Future<Output = NonceStatus> + Send>>),
}

/// What a store knows of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NonceStatus {
    /// It is new, and remembered now.
    Fresh,
    /// It was there: the request is refused (403).
    Replayed,
    /// It cannot be remembered, since the store is full or out of reach: the request is refused (503).
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
