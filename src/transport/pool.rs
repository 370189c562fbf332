//! [`Pool`]: idle connections, by destination.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime,
    time::{Instant, sleep},
};

use super::{destination::Destination, http1::Conn, limits::Limits};

/// Idle connections, sharded by thread so that no lock is shared on the way of a request.
///
/// A thread looks in its own shard, then in the others before anybody connects. A connection is only handed out on the runtime it was
/// opened on, because its socket dies with that runtime's reactor.
pub(crate) struct Pool {
    shards: Box<[Mutex<Shard>]>,
    limits: Limits,
}

#[derive(Default)]
struct Shard {
    idle: BTreeMap<Destination, VecDeque<Idle>>,
    /// Connections handed out so far.
    taken: u64,
    /// The runtimes on which a reaper looks after this shard.
    reapers: Vec<runtime::Id>,
}

struct Idle {
    conn: Box<Conn>,
    since: Instant,
    /// When it is closed unused: the pool's own limit, or a shorter one that the upstream named.
    until: Option<Instant>,
}

/// The way back of a connection into its pool, which it does not keep alive.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    pub(crate) pool: Weak<Pool>,
    pub(crate) destination: Destination,
}

impl Pool {
    pub(crate) fn new(limits: &Limits) -> Self {
        let shards = std::thread::available_parallelism().map_or(1, usize::from).next_power_of_two();
        Self { shards: (0..shards).map(|_| Mutex::default()).collect(), limits: limits.clone() }
    }

    /// Takes the connection to `to` that was used last, if it is still quiet; closes those it finds closed by the peer.
    ///
    /// With `fresh`, for a request that must not be lost: only a connection idle for less than that, and the kernel is asked whether the
    /// peer has closed it in this moment.
    pub(crate) fn take(&self, to: &Destination, now: Instant, fresh: Option<Duration>) -> Option<Box<Conn>> {
        let runtime = runtime::Handle::try_current().ok()?.id();
        let first = shard_of_this_thread();
        for step in 0..self.shards.len() {
            let shard = self.shards.get((first + step) % self.shards.len())?;
            let fits = |idle: &Idle| {
                idle.conn.runtime == runtime
                    && idle.until.is_none_or(|until| now < until)
                    && fresh.is_none_or(|fresh| now.saturating_duration_since(idle.since) < fresh)
            };
            let found = lock(shard).take(to, fits, fresh.is_some());
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Connections handed out so far. Takes every lock: not for each request.
    pub(crate) fn taken(&self) -> u64 {
        self.shards.iter().map(|shard| lock(shard).taken).sum()
    }

    /// Keeps `conn`, unless there are enough idle ones to its destination already, or it is too old.
    pub(crate) fn put(self: &Arc<Self>, conn: Box<Conn>) {
        let now = Instant::now();
        let limits = [
            self.limits.pool_idle.map(|limit| now + limit),
            conn.keep_alive.map(|limit| now + limit),
            self.limits.max_age.map(|limit| conn.opened + limit),
        ];
        let until = limits.into_iter().flatten().min();
        if self.limits.max_idle == 0 || until.is_some_and(|until| until <= now) {
            return;
        }
        // A body that was read on another runtime than that of its connection cannot bring it back.
        let Ok(runtime) = runtime::Handle::try_current() else { return };
        if runtime.id() != conn.runtime {
            return;
        }
        let index = shard_of_this_thread() % self.shards.len();
        let Some(shard) = self.shards.get(index) else { return };
        let mut shard = lock(shard);
        shard.put(Idle { conn, since: now, until }, self.limits.max_idle);
        let reaped = shard.reapers.contains(&runtime.id());
        if !reaped {
            shard.reapers.push(runtime.id());
        }
        // A runtime that shuts down drops the task on the spot, and that takes the lock.
        drop(shard);
        if !reaped {
            let reaper = Reaper { pool: Arc::downgrade(self), index, runtime: runtime.id() };
            runtime.spawn(reaper.run());
        }
    }
}

impl Shard {
    fn take(&mut self, to: &Destination, fits: impl Fn(&Idle) -> bool, surely: bool) -> Option<Box<Conn>> {
        let idle = self.idle.get_mut(to)?;
        let mut at = idle.len();
        while at > 0 {
            at -= 1;
            if !idle.get(at).is_some_and(&fits) {
                continue;
            }
            if let Some(mut found) = idle.remove(at)
                && found.conn.is_quiet()
                && (!surely || found.conn.io.is_quiet_in_kernel())
            {
                self.taken += 1;
                return Some(found.conn);
            }
        }
        None
    }

    fn put(&mut self, new: Idle, max: usize) {
        match self.idle.get_mut(&new.conn.home.destination) {
            Some(idle) => {
                if idle.len() >= max {
                    idle.pop_front();
                }
                idle.push_back(new);
            }
            None => {
                self.idle.insert(new.conn.home.destination.clone(), VecDeque::from([new]));
            }
        }
    }

    /// Closes what is past its time or was closed by the peer. Returns false if nothing of `runtime` is left.
    fn sweep(&mut self, runtime: runtime::Id) -> bool {
        let now = Instant::now();
        let mut left = false;
        self.retain(|idle| {
            let ours = idle.conn.runtime == runtime;
            let keep = !ours || (idle.until.is_none_or(|until| now < until) && idle.conn.is_quiet());
            left |= ours && keep;
            keep
        });
        left
    }

    fn retain(&mut self, mut keep: impl FnMut(&mut Idle) -> bool) {
        for idle in self.idle.values_mut() {
            idle.retain_mut(&mut keep);
        }
        self.idle.retain(|_, idle| !idle.is_empty());
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

/// Looks through a shard once a second while anything of its runtime is idle in it, so that an unused pool has no task.
struct Reaper {
    pool: Weak<Pool>,
    index: usize,
    runtime: runtime::Id,
}

impl Reaper {
    async fn run(mut self) {
        loop {
            sleep(Duration::from_secs(1)).await;
            let Some(pool) = self.pool.upgrade() else { return };
            let Some(shard) = pool.shards.get(self.index) else { return };
            // One lock for looking and for leaving: a connection put back meanwhile finds either this reaper or none.
            let mut shard = lock(shard);
            if !shard.sweep(self.runtime) {
                shard.reapers.retain(|id| *id != self.runtime);
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
        let mut shard = lock(shard);
        if shard.reapers.contains(&self.runtime) {
            shard.reapers.retain(|id| *id != self.runtime);
            shard.retain(|idle| idle.conn.runtime != self.runtime);
        }
    }
}

fn shard_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    MINE.with(|mine| *mine)
}

/// A poisoned lock guards a map that is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
