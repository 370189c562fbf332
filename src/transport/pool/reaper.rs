//! [`Reaper`]: closes what nobody will use any more.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{runtime, time::sleep};

use super::{checkout::Pool, places::Closing};

/// Looks through a shard once a second while anything of its runtime is idle in it, so that an unused pool has no task.
pub(super) struct Reaper {
    pool: Weak<Pool>,
    index: usize,
    runtime: runtime::Id,
}

impl Reaper {
    /// For the shard with this index, which has noted it already.
    pub(super) fn new(pool: &Arc<Pool>, index: usize, runtime: runtime::Id) -> Self {
        Self { pool: Arc::downgrade(pool), index, runtime }
    }

    pub(super) async fn run(mut self) {
        loop {
            sleep(Duration::from_secs(1)).await;
            let Some(pool) = self.pool.upgrade() else { return };
            let Some(shard) = pool.shards.get(self.index) else { return };
            let mut closing = Closing::new();
            // One lock for looking and for leaving: a connection put back meanwhile finds either this reaper or none.
            let mut places = shard.lock();
            let left = places.sweep(self.runtime, pool.limits.max_age, &mut closing);
            if !left {
                places.reapers.retain(|id| *id != self.runtime);
            }
            drop(places);
            if !left {
                self.pool = Weak::new();
                return;
            }
        }
    }
}

impl Drop for Reaper {
    /// Nothing is left to do at its usual end, which takes `pool` away. When the runtime shuts down, its sockets must not stay open in a pool that outlives it.
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        let Some(shard) = pool.shards.get(self.index) else { return };
        let mut closing = Closing::new();
        let mut places = shard.lock();
        if places.reapers.contains(&self.runtime) {
            places.reapers.retain(|id| *id != self.runtime);
            places.forget(self.runtime, &mut closing);
        }
        drop(places);
    }
}
