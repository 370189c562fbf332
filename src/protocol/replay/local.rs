//! [`InMemoryReplayStore`]: the replay memory of one process.

use std::{
    fmt,
    hash::{BuildHasher, BuildHasherDefault, RandomState},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::{
    Nonce, NonceCheck, NonceStatus, ReplayStore,
    foreign::Foreign,
    senders::{self, Fresh, Senders},
};

/// Remembers nonces in the memory of this process, with bounded size.
///
/// * Nonces of this crate's signers (`SENDER-COUNTER`, 16 hex digits each) take a fixed 8 KiB for each sender, at any request rate: the
///   store remembers the last 65,536 counters and refuses older ones. At most 4,096 senders.
/// * Other nonces are kept until their signatures expire: at most 1,000,000 nonces, about 10 bytes each.
///
/// A full store forgets nothing: it returns [`NonceStatus::Unavailable`] (503) until nonces expire. It logs a warning at 80 %.
///
/// # Deployment
/// The memory is lost when the process ends: a request that was copied before a restart can be replayed once after it, while its signature
/// is valid. If that matters, or if several processes verify under one key, use a shared [`ReplayStore`].
///
/// ```
/// use nexthop::protocol::replay::InMemoryReplayStore;
///
/// let store = InMemoryReplayStore::builder().max_other_nonces(100_000).build();
/// assert!(format!("{store:?}").contains("100000"));
/// ```
pub struct InMemoryReplayStore {
    shards: Box<[Shard]>,
    hash: RandomState,
    senders: Room,
    foreign: Room,
}

#[derive(Default)]
struct Shard {
    senders: Mutex<Senders>,
    foreign: Mutex<Foreign>,
}

/// Builds an [`InMemoryReplayStore`]; see [`InMemoryReplayStore::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct InMemoryReplayStoreBuilder {
    max_senders: usize,
    max_other_nonces: usize,
}

impl InMemoryReplayStore {
    /// Returns an empty store with the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Returns a builder for a store with other limits.
    pub fn builder() -> InMemoryReplayStoreBuilder {
        InMemoryReplayStoreBuilder { max_senders: 4_096, max_other_nonces: 1_000_000 }
    }

    fn look_up(&self, nonce: Nonce<'_>, key: u64) -> NonceStatus {
        match senders::parse(nonce.text) {
            Some((sender, counter)) => {
                let remember =
                    |shard: &Shard| lock(&shard.senders).remember(key, sender, counter, nonce.until, &self.senders);
                self.with_room(sender ^ key, nonce.now, remember)
            }
            None => {
                let hash = self.hash.hash_one((key, nonce.text));
                let remember = |shard: &Shard| {
                    let mut foreign = lock(&shard.foreign);
                    foreign.sweep(nonce.now, &self.foreign);
                    foreign.remember(hash, nonce.until, &self.foreign)
                };
                self.with_room(hash, nonce.now, remember)
            }
        }
    }

    /// Tries once more after a sweep of everything if there was no room.
    fn with_room(&self, hash: u64, now: u64, remember: impl Fn(&Shard) -> Fresh) -> NonceStatus {
        let at = usize::try_from(hash >> 32).unwrap_or(0) % SHARDS;
        let Some(shard) = self.shards.get(at) else { return NonceStatus::Unavailable };
        let fresh = remember(shard).or_else(|| {
            for shard in &self.shards {
                lock(&shard.senders).sweep(now, &self.senders);
                lock(&shard.foreign).sweep(now, &self.foreign);
            }
            remember(shard)
        });
        match fresh {
            Some(true) => NonceStatus::Fresh,
            Some(false) => NonceStatus::Replayed,
            None => NonceStatus::Unavailable,
        }
    }
}

impl InMemoryReplayStoreBuilder {
    /// Sets the largest number of senders of this crate, 8 KiB each. Default: 4,096.
    pub fn max_senders(mut self, max: usize) -> Self {
        self.max_senders = max;
        self
    }

    /// Sets the largest number of nonces of other signers, about 10 bytes each. Default: 1,000,000.
    pub fn max_other_nonces(mut self, max: usize) -> Self {
        self.max_other_nonces = max;
        self
    }

    /// Returns the store, empty.
    #[must_use]
    pub fn build(self) -> InMemoryReplayStore {
        InMemoryReplayStore {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hash: RandomState::new(),
            senders: Room::new("senders", self.max_senders),
            foreign: Room::new("nonces", self.max_other_nonces),
        }
    }
}

impl ReplayStore for InMemoryReplayStore {
    fn remember(&self, nonce: Nonce<'_>) -> NonceCheck {
        // Hashed with a key of this process: nobody can choose a key id or nonce that meets another's.
        let key = self.hash.hash_one(nonce.key_id);
        NonceCheck::Now(self.look_up(nonce, key))
    }
}

impl Default for InMemoryReplayStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for InMemoryReplayStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryReplayStore").field("senders", &self.senders).field("foreign", &self.foreign).finish()
    }
}

/// What all shards together may still take.
#[derive(Debug)]
pub(super) struct Room {
    what: &'static str,
    max: usize,
    taken: AtomicUsize,
    warned: AtomicBool,
}

impl Room {
    fn new(what: &'static str, max: usize) -> Self {
        Self { what, max, taken: AtomicUsize::new(0), warned: AtomicBool::new(false) }
    }

    pub(super) fn take(&self) -> bool {
        let more = |taken: usize| (taken < self.max).then_some(taken + 1);
        let Ok(before) = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) else { return false };
        if before >= self.max / 5 * 4 && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                what = self.what,
                max = self.max,
                "replay memory is 80 % full; a full memory refuses requests"
            );
        }
        true
    }

    pub(super) fn give(&self, number: usize) {
        let before = self.taken.fetch_sub(number, Ordering::Relaxed);
        if before.saturating_sub(number) < self.max / 2 {
            self.warned.store(false, Ordering::Relaxed);
        }
    }
}

/// For keys that are random already.
pub(super) type Hasher = BuildHasherDefault<Fold>;

#[derive(Default)]
pub(super) struct Fold(u64);

impl std::hash::Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const SHARDS: usize = 16;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn remember(replay: &InMemoryReplayStore, text: &str, until: u64, now: u64) -> NonceStatus {
        match replay.remember(Nonce { key_id: "k", text, until, now }) {
            NonceCheck::Now(seen) => seen,
            NonceCheck::Later(_) => panic!("a local memory knows at once"),
        }
    }

    fn ours(sender: u64, counter: u64) -> String {
        format!("{sender:016x}-{counter:016x}")
    }

    #[test]
    fn a_nonce_is_fresh_once_for_each_key() {
        let replay = InMemoryReplayStore::new();
        for text in [&*ours(7, 1), "anything"] {
            assert_eq!(remember(&replay, text, NOW + 90, NOW), NonceStatus::Fresh);
            assert_eq!(remember(&replay, text, NOW + 90, NOW), NonceStatus::Replayed);
            let other = replay.remember(Nonce { key_id: "other", text, until: NOW + 90, now: NOW });
            assert!(matches!(other, NonceCheck::Now(NonceStatus::Fresh)), "{text}");
        }
    }

    #[test]
    fn a_full_memory_forgets_nothing_that_is_still_good() {
        let replay = InMemoryReplayStore::builder().max_other_nonces(2).max_senders(2).build();
        for text in ["a", "b"] {
            assert_eq!(remember(&replay, text, NOW + 90, NOW), NonceStatus::Fresh);
        }
        for sender in [1, 2] {
            assert_eq!(remember(&replay, &ours(sender, 0), NOW + 90, NOW), NonceStatus::Fresh);
        }
        assert_eq!(remember(&replay, "c", NOW + 90, NOW), NonceStatus::Unavailable);
        assert_eq!(remember(&replay, "a", NOW + 90, NOW), NonceStatus::Replayed);
        assert_eq!(remember(&replay, &ours(3, 0), NOW + 90, NOW), NonceStatus::Unavailable);
        assert_eq!(remember(&replay, &ours(2, 0), NOW + 90, NOW), NonceStatus::Replayed);
        assert_eq!(remember(&replay, &ours(2, 1), NOW + 90, NOW), NonceStatus::Fresh, "a known sender needs no room");

        let later = NOW + 100;
        assert_eq!(remember(&replay, "c", later + 90, later), NonceStatus::Fresh);
        assert_eq!(remember(&replay, &ours(3, 0), later + 90, later), NonceStatus::Fresh);
    }

    #[test]
    fn what_was_forgotten_stays_refused_when_the_clock_is_set_back() {
        let replay = InMemoryReplayStore::builder().max_other_nonces(1).max_senders(1).build();
        assert_eq!(remember(&replay, "a", NOW + 90, NOW), NonceStatus::Fresh);
        assert_eq!(remember(&replay, &ours(1, 0), NOW + 90, NOW), NonceStatus::Fresh);
        assert_eq!(remember(&replay, "b", NOW + 290, NOW + 200), NonceStatus::Fresh);
        assert_eq!(remember(&replay, &ours(2, 0), NOW + 290, NOW + 200), NonceStatus::Fresh);
        assert_eq!(remember(&replay, "a", NOW + 90, NOW), NonceStatus::Replayed);
        assert_eq!(remember(&replay, &ours(1, 0), NOW + 90, NOW), NonceStatus::Replayed);
    }

    #[test]
    fn of_many_at_once_one_is_fresh() {
        let replay = Arc::new(InMemoryReplayStore::new());
        let fresh = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for counter in (0..2_000).rev() {
                        let seen = remember(&replay, &ours(9, counter), NOW + 90, NOW);
                        fresh.fetch_add(usize::from(seen == NonceStatus::Fresh), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(fresh.into_inner(), 2_000);
    }
}
