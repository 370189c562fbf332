//! [`Home`]: where a connection belongs, and what is counted of it.

use std::sync::{Arc, Weak, atomic::Ordering::Relaxed};

use super::{
    checkout::Pool,
    event::{CloseReason, PoolChange},
};
use crate::transport::destination::Destination;

/// The right to one connection, and its way back into its pool, which it does not keep alive.
///
/// Made by the pool before dialling and dropped with the connection, whatever ends it. Under a maximum of connections it is the permit,
/// and goes to the next who waits.
#[derive(Debug)]
pub(crate) struct Home {
    pub(super) pool: Weak<Pool>,
    pub(crate) destination: Destination,
    /// True if it counts against a maximum.
    pub(super) permit: bool,
    /// True from when the connection was opened.
    open: bool,
    /// Why the connection is closed, should that happen now.
    pub(crate) reason: CloseReason,
}

impl Home {
    pub(super) fn new(pool: &Arc<Pool>, destination: &Destination, permit: bool) -> Self {
        let destination = destination.to_keep();
        Self { pool: Arc::downgrade(pool), destination, permit, open: false, reason: CloseReason::Broken }
    }

    /// Of a connection that belongs to no pool.
    pub(crate) fn none(destination: Destination) -> Self {
        Self { pool: Weak::new(), destination, permit: false, open: false, reason: CloseReason::Broken }
    }

    /// Notes that the connection is there.
    pub(crate) fn opened(&mut self) {
        self.open = true;
        if let Some(pool) = self.pool.upgrade() {
            if let Some(shard) = pool.shard() {
                shard.counts.opened.fetch_add(1, Relaxed);
            }
            pool.tell(&self.destination, PoolChange::Opened);
        }
    }

    /// Notes that its connection is closed; what remains is the right to another.
    pub(crate) fn closed(mut self) -> Self {
        if let Some(pool) = self.pool.upgrade() {
            self.note_closed(&pool);
        }
        self.reason = CloseReason::Broken;
        self
    }

    /// How many requests its connection may serve: one, where nothing is kept.
    pub(crate) fn max_requests(&self) -> Option<u64> {
        let Some(pool) = self.pool.upgrade() else { return Some(1) };
        let nothing_is_kept = pool.limits.max_idle == 0 || pool.limits.max_idle_total == 0;
        if nothing_is_kept { Some(1) } else { pool.limits.max_requests }
    }

    pub(crate) fn pool(&self) -> Option<Arc<Pool>> {
        self.pool.upgrade()
    }

    fn note_closed(&mut self, pool: &Pool) {
        if std::mem::take(&mut self.open) {
            if let Some(shard) = pool.shard() {
                shard.counts.count_closed(self.reason);
            }
            pool.tell(&self.destination, PoolChange::Closed(self.reason));
        }
    }
}

impl Drop for Home {
    /// Takes the pool's lock where there is a maximum: never while it is held.
    fn drop(&mut self) {
        if !self.open && !self.permit {
            return;
        }
        let Some(pool) = self.pool.upgrade() else { return };
        self.note_closed(&pool);
        if std::mem::take(&mut self.permit) {
            pool.pass_on(Self::new(&pool, &self.destination, true));
        }
    }
}
