//! Nonces of other signers: any text, remembered in buckets of time.

use std::collections::{BTreeMap, HashSet};

use super::{
    local::{Hasher, Room},
    senders::Fresh,
};

/// One shard of the foreign nonces.
///
/// A nonce is kept as a 64-bit hash with a key of this process: two nonces that differ fall together once in 2^44 requests when a
/// million are kept, and then an honest request is refused, never a replayed one admitted.
#[derive(Default)]
pub(super) struct Foreign {
    buckets: BTreeMap<u64, HashSet<u64, Hasher>>,
    /// The greatest time until which a forgotten nonce had to be remembered: what is not good for longer may have been seen.
    forgotten: u64,
}

impl Foreign {
    pub(super) fn remember(&mut self, nonce: u64, until: u64, room: &Room) -> Fresh {
        if until <= self.forgotten {
            return Some(false);
        }
        // A replayed message has the same `until`, so it falls into the same bucket.
        let bucket = self.buckets.entry(until / BUCKET_SECONDS).or_default();
        if bucket.contains(&nonce) {
            return Some(false);
        }
        if !room.take() {
            return None;
        }
        bucket.insert(nonce);
        Some(true)
    }

    /// Forgets the buckets of which nothing is good any more.
    pub(super) fn sweep(&mut self, now: u64, room: &Room) {
        while let Some(first) = self.buckets.first_entry() {
            let last_second = *first.key() * BUCKET_SECONDS + (BUCKET_SECONDS - 1);
            if last_second >= now {
                return;
            }
            room.give(first.remove().len());
            self.forgotten = self.forgotten.max(last_second);
        }
    }
}

const BUCKET_SECONDS: u64 = 8;
