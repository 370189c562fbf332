//! [`Drain`]: coming to an end together, with a deadline.

use std::{
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::watch::{Phase, Watch};
use crate::transport::Gauge;

/// Tracks open connections for graceful shutdown, and cuts those that are still open at the deadline.
///
/// Each connection of [`serve`](super::serve()) is registered from its acceptance until its stream is closed, also
/// while the stream is used as a tunnel. Other work that a shutdown should wait for registers itself. Clones share one
/// drain, and several servers may share it.
///
/// ```
/// use nexthop::serve::Drain;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let drain = Drain::new();
/// let guard = drain.register(); // a job that a shutdown waits for
/// assert_eq!(drain.open(), 1);
///
/// tokio::spawn(async move {
///     guard.draining().await; // finish the job, then drop the guard
/// });
/// drain.begin();
/// drain.drained().await;
/// assert_eq!(drain.open(), 0);
/// # }
/// ```
#[doc(alias = "graceful shutdown")]
#[doc(alias = "connection draining")]
#[derive(Clone, Default)]
pub struct Drain(Arc<Shared>);

#[derive(Default)]
struct Shared {
    registry: Mutex<Registry>,
    /// Told whenever `phase` moves on or the last member leaves.
    changed: Notify,
    tunnels: Gauge,
}

#[derive(Default)]
struct Registry {
    phase: Phase,
    next: u64,
    members: BTreeMap<u64, Arc<Watch>>,
}

impl Drain {
    /// Creates a drain on which nothing is registered.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers work that a shutdown waits for until the guard is dropped.
    pub fn register(&self) -> DrainGuard {
        let mut registry = self.0.lock();
        let id = registry.next;
        registry.next += 1;
        let watch = Arc::new(Watch::new(registry.phase));
        registry.members.insert(id, watch.clone());
        DrainGuard { id, watch, drain: self.clone() }
    }

    /// Begins the shutdown: servers stop accepting, connections close after the request in flight, and tunnels continue
    /// until they end or are cut.
    pub fn begin(&self) {
        self.0.advance(Phase::Draining);
    }

    /// Cuts all connections and tunnels that are still open.
    pub fn cut(&self) {
        self.0.advance(Phase::Cut);
    }

    /// Returns true once [`begin`](Self::begin) or [`cut`](Self::cut) was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.lock().phase >= Phase::Draining
    }

    /// Returns the number of registered connections and guards.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.lock().members.len()
    }

    /// Returns the number of tunnels that services of this crate have open with clients of these servers. Each tunnel
    /// belongs to a registered connection; an HTTP/2 connection may hold several.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        self.0.tunnels.count()
    }

    /// Waits until [`begin`](Self::begin) or [`cut`](Self::cut) is called.
    pub async fn draining(&self) {
        self.0.until(|registry| registry.phase >= Phase::Draining).await;
    }

    /// Waits until the shutdown has begun and nothing is registered.
    pub async fn drained(&self) {
        self.0.until(|registry| registry.phase >= Phase::Draining && registry.members.is_empty()).await;
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registry = self.0.lock();
        f.debug_struct("Drain")
            .field("phase", &registry.phase)
            .field("open", &registry.members.len())
            .field("tunnels", &self.tunnels())
            .finish()
    }
}

impl Shared {
    fn advance(&self, phase: Phase) {
        let mut registry = self.lock();
        if registry.phase >= phase {
            return;
        }
        registry.phase = phase;
        // Told after the lock is released: a member that is woken may leave at once.
        let members: Vec<_> = registry.members.values().cloned().collect();
        drop(registry);
        members.iter().for_each(|watch| watch.advance(phase));
        self.changed.notify_waiters();
    }

    async fn until(&self, reached: impl Fn(&Registry) -> bool) {
        loop {
            // Counts from its making: a change between the look and the wait is not lost.
            let changed = self.changed.notified();
            if reached(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In the extensions of a request that asks for an upgrade: what its connection is registered with.
#[derive(Clone)]
pub(crate) struct DrainOf(
    #[cfg_attr(not(feature = "forward"), allow(dead_code, reason = "asked by what serves tunnels"))] pub(crate) Drain,
);

/// Keeps a registration in a [`Drain`] until it is dropped.
#[must_use = "dropping the guard ends the registration"]
pub struct DrainGuard {
    id: u64,
    watch: Arc<Watch>,
    drain: Drain,
}

impl DrainGuard {
    /// Waits until the shutdown begins. At most one task may wait on a guard at a time.
    pub async fn draining(&self) {
        poll_fn(|cx| self.watch.poll_reached(Phase::Draining, cx)).await;
    }

    /// Waits until open connections are cut. At most one task may wait on a guard at a time.
    pub async fn cut(&self) {
        poll_fn(|cx| self.watch.poll_reached(Phase::Cut, cx)).await;
    }

    pub(super) fn gauge(&self) -> Gauge {
        self.drain.0.tunnels.clone()
    }

    pub(super) fn drain(&self) -> DrainOf {
        DrainOf(self.drain.clone())
    }

    pub(super) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        let mut registry = self.drain.0.lock();
        registry.members.remove(&self.id);
        if registry.members.is_empty() && registry.phase >= Phase::Draining {
            drop(registry);
            self.drain.0.changed.notify_waiters();
        }
    }
}

impl fmt::Debug for DrainGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainGuard").field("phase", &self.watch.phase()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_every_member_to_leave() {
        let drain = Drain::new();
        let (first, second) = (drain.register(), drain.register());
        assert_eq!(drain.open(), 2);
        let drained = tokio::spawn({
            let drain = drain.clone();
            async move { drain.drained().await }
        });
        drain.begin();
        first.draining().await;
        drop(first);
        tokio::task::yield_now().await;
        assert!(!drained.is_finished());
        drop(second);
        drained.await.unwrap();
    }

    #[tokio::test]
    async fn who_registers_late_is_told_at_once() {
        let drain = Drain::new();
        drain.begin();
        let late = drain.register();
        late.draining().await;
        drain.cut();
        late.cut().await;
        assert!(drain.is_draining());
    }

    #[tokio::test]
    async fn is_drained_only_after_it_began() {
        let drain = Drain::new();
        let drained = tokio::spawn({
            let drain = drain.clone();
            async move { drain.drained().await }
        });
        tokio::task::yield_now().await;
        assert!(!drained.is_finished());
        drain.begin();
        drained.await.unwrap();
    }
}
