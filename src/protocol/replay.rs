//! Remembers which signatures were seen, so that a copied request is refused.

use std::{fmt, future::Future, pin::Pin, time::SystemTime};

/// Where a [`Verifier`](super::signature::Verifier) remembers nonces. One for each process, or one that a fleet shares.
///
/// Asked only after a signature's MAC held and its time was good, so strangers cannot fill it.
pub trait ReplayStore: fmt::Debug + Send + Sync + 'static {
    /// Remembers a nonce until `nonce.until`, and says whether it was new. Must be atomic: of two calls with the same key id and nonce,
    /// one at most may be told [`Fresh`](Seen::Fresh). Must not forget before `until`: a full store says [`Unavailable`](Seen::Unavailable).
    fn remember(&self, nonce: Nonce<'_>, now: SystemTime) -> Answer;
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
}

/// A store's answer, now or later.
#[non_exhaustive]
pub enum Answer {
    /// Known at once, as in memory.
    Now(Seen),
    /// Known when the future ends, as from another machine.
    Later(Pin<Box<dyn Future<Output = Seen> + Send>>),
}

/// What a store knows of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seen {
    /// It is new, and remembered now.
    Fresh,
    /// It was there: the request is refused (403).
    Replayed,
    /// It cannot be remembered, since the store is full or out of reach: the request is refused (503).
    Unavailable,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(seen) => f.debug_tuple("Now").field(seen).finish(),
            Self::Later(_) => f.write_str("Later(..)"),
        }
    }
}

/// A bounded replay memory in this process.
#[derive(Debug, Default)]
pub struct LocalReplay {}

impl ReplayStore for LocalReplay {
    fn remember(&self, _nonce: Nonce<'_>, _now: SystemTime) -> Answer {
        todo!()
    }
}
