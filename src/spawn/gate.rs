//! [`Gate`]: who is on the way to a child, and whether anybody else may go. All that a request on a running child touches.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use super::shared::Front;
use crate::app::ProxyApp;

/// Counts requests in and out, in one word: those that are inside, whether it is closed, and how many have ever entered.
#[derive(Debug, Default)]
pub(super) struct Gate {
    word: AtomicU64,
    empty: Notify,
    is_dead: AtomicBool,
    death: Notify,
}

/// The lowest 31 bits count who is inside, the upper 32 who has entered, modulo 2³².
const INSIDE: u64 = CLOSED - 1;
const CLOSED: u64 = 1 << 31;
const ENTERED: u64 = 1 << 32;

/// What is seen of a gate at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) inside: u32,
    pub(super) entered: u32,
}

impl Gate {
    /// The number of this entry, from 1; none if the gate is closed.
    fn enter(&self) -> Option<u32> {
        let before = self.word.fetch_add(ENTERED + 1, Ordering::AcqRel);
        if before & CLOSED != 0 {
            self.leave();
            return None;
        }
        Some(((before >> 32) as u32).wrapping_add(1))
    }

    fn leave(&self) {
        let before = self.word.fetch_sub(1, Ordering::AcqRel);
        if before & (CLOSED | INSIDE) == CLOSED | 1 {
            self.empty.notify_waiters();
        }
    }

    pub(super) fn traffic(&self) -> Traffic {
        let word = self.word.load(Ordering::Acquire);
        Traffic { inside: (word & INSIDE) as u32, entered: (word >> 32) as u32 }
    }

    /// Lets nobody in any more.
    pub(super) fn close(&self) {
        self.word.fetch_or(CLOSED, Ordering::AcqRel);
    }

    pub(super) fn open(&self) {
        self.word.fetch_and(!CLOSED, Ordering::AcqRel);
    }

    /// Closes, if nobody is inside: in one step, so that no request is between the look and the deed.
    pub(super) fn close_if_empty(&self) -> bool {
        let close = |word| if word & INSIDE == 0 { Some(word | CLOSED) } else { None };
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, close).is_ok()
    }

    /// Waits until nobody is inside a closed gate.
    pub(super) async fn emptied(&self) {
        loop {
            let empty = self.empty.notified();
            if self.traffic().inside == 0 {
                return;
            }
            empty.await;
        }
    }

    /// The child has exited, or cannot be reached any more.
    pub(super) fn die(&self) {
        self.close();
        self.is_dead.store(true, Ordering::Release);
        self.death.notify_waiters();
    }

    pub(super) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Acquire)
    }

    /// Waits until the child has exited, or cannot be reached any more.
    pub(super) async fn died(&self) {
        let death = self.death.notified();
        if !self.is_dead() {
            death.await;
        }
    }

    /// True if the child has exited, or does so in a moment: a connection that broke may be seen before its end.
    pub(super) async fn is_dying(&self) -> bool {
        let death = self.death.notified();
        self.is_dead() || timeout(MOMENT, death).await.is_ok()
    }
}

/// How much earlier a connection is seen to break than the exit that broke it.
const MOMENT: Duration = Duration::from_millis(200);

/// A child that serves, and the proxy to it, whose pool ends with it.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) gate: Arc<Gate>,
    pub(super) app: ProxyApp,
    /// The entry at which its supervisor is told that it has served enough.
    pub(super) enough: Option<u32>,
    pub(super) front: Weak<Front>,
}

/// A request's being on its way to a child, or a body's, or a tunnel's.
#[derive(Debug)]
pub(crate) struct Lease(Arc<Backend>);

impl Lease {
    pub(super) fn take(backend: &Arc<Backend>) -> Option<Self> {
        let number = backend.gate.enter()?;
        if backend.enough.is_some_and(|enough| number == enough)
            && let Some(front) = backend.front.upgrade()
        {
            front.look.notify_one();
        }
        Some(Self(backend.clone()))
    }

    pub(super) fn backend(&self) -> &Backend {
        &self.0
    }

    /// Another for what outlives the request.
    pub(super) fn again(&self) -> Self {
        self.0.gate.word.fetch_add(1, Ordering::AcqRel);
        Self(self.0.clone())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.gate.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_enters_a_closed_gate_and_everybody_is_counted() {
        let gate = Gate::default();
        assert_eq!((gate.enter(), gate.enter()), (Some(1), Some(2)));
        assert!(!gate.close_if_empty());
        gate.leave();
        gate.leave();
        assert!(gate.close_if_empty());
        assert_eq!(gate.enter(), None);
        gate.open();
        // Who was turned away has entered, too, as far as idleness goes.
        assert_eq!((gate.enter(), gate.traffic()), (Some(4), Traffic { inside: 1, entered: 4 }));
    }

    #[test]
    fn the_count_of_entries_wraps_around_without_closing_the_gate() {
        let gate = Gate { word: AtomicU64::new(u64::from(u32::MAX) << 32), ..Gate::default() };
        assert_eq!(gate.enter(), Some(0));
        assert_eq!(gate.traffic(), Traffic { inside: 1, entered: 0 });
    }

    #[tokio::test]
    async fn a_closed_gate_tells_when_the_last_has_left() {
        let gate = Arc::new(Gate::default());
        gate.enter();
        gate.close();
        let emptied = tokio::spawn({
            let gate = gate.clone();
            async move { gate.emptied().await }
        });
        tokio::task::yield_now().await;
        assert!(!emptied.is_finished());
        gate.leave();
        emptied.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_death_is_waited_for_a_moment_only() {
        let gate = Arc::new(Gate::default());
        assert!(!gate.is_dying().await);
        let dying = tokio::spawn({
            let gate = gate.clone();
            async move { gate.is_dying().await }
        });
        tokio::task::yield_now().await;
        gate.die();
        assert!(dying.await.unwrap());
        assert!(gate.is_dying().await);
    }
}
