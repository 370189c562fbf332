//! [`PoolStats`]: how many connections there are, and what became of the others.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::event::CloseReason;

/// Holds the statistics of a connection pool, from [`ExactProxy::pool_stats`](crate::ExactProxy::pool_stats).
///
/// `opened` is the sum of `closed()`, `idle` and `in_use`. The values are read one after the other, so the sum is exact
/// only while no connection changes its state.
///
/// ```
/// use nexthop::{ExactProxy, pool::CloseReason};
///
/// let stats = ExactProxy::new().pool_stats();
/// assert_eq!((stats.opened, stats.idle, stats.closed_by(CloseReason::ClosedByPeer)), (0, 0, 0));
/// ```
#[doc(alias = "metrics")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Idle connections, now.
    pub idle: usize,
    /// Connections used by an exchange or a tunnel, now.
    pub in_use: usize,
    /// Requests waiting for a connection, now.
    pub waiting: usize,
    /// Connections opened, in total.
    pub opened: u64,
    /// Requests sent on a reused connection, in total.
    pub reused: u64,
    /// Requests that failed with `Unavailable` (503) because all connections were in use, in total.
    pub refused: u64,
    pub(super) closed: [u64; CloseReason::COUNT],
}

impl PoolStats {
    /// Returns the number of connections closed, in total.
    #[must_use]
    pub fn closed(&self) -> u64 {
        self.closed.iter().sum()
    }

    /// Returns the number of connections closed for this reason, in total.
    #[must_use]
    pub fn closed_by(&self, reason: CloseReason) -> u64 {
        self.closed.get(reason as usize).copied().unwrap_or_default()
    }
}

/// What a shard counts. Read without its lock.
#[derive(Default)]
pub(super) struct Counts {
    /// Requests on connections that had served before; written under the shard's lock alone.
    reused: AtomicU64,
    pub(super) opened: AtomicU64,
    pub(super) refused: AtomicU64,
    /// Requests on connections that are shared.
    #[cfg(feature = "http2")]
    pub(super) shared: AtomicU64,
    closed: [AtomicU64; CloseReason::COUNT],
}

impl Counts {
    /// Under the shard's lock, where nobody else counts: no locked instruction on the way of every request.
    pub(super) fn count_reused(&self) {
        self.reused.store(self.reused.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Requests on connections that were there already.
    pub(super) fn reused(&self) -> u64 {
        #[cfg(feature = "http2")]
        return self.reused.load(Relaxed) + self.shared.load(Relaxed);
        #[cfg(not(feature = "http2"))]
        self.reused.load(Relaxed)
    }

    pub(super) fn count_closed(&self, reason: CloseReason) {
        if let Some(count) = self.closed.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn add_to(&self, stats: &mut PoolStats) {
        for (sum, count) in stats.closed.iter_mut().zip(&self.closed) {
            *sum += count.load(Relaxed);
        }
        stats.opened += self.opened.load(Relaxed);
        stats.refused += self.refused.load(Relaxed);
        stats.reused += self.reused();
    }
}
