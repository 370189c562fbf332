//! [`Delivery`]: what hyper holds of a response goes out before the error that its body ends in.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// Counts the turns of a connection while a response waits to fail.
///
/// hyper closes a connection, or resets a stream, at once when a body fails, and drops what it has not written yet: the end of what the
/// upstream sent, or all of it, with the head. So the error is held back until the connection's task has had a whole turn after it, which
/// writes what was handed over before, and the socket has taken all of that. What the windows of an HTTP/2 client hold back is still dropped.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// True while a response waits.
    any: AtomicBool,
    /// True while the socket has no room.
    blocked: AtomicBool,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Turns begun, and the last of them that left nothing unwritten.
    begun: u64,
    written: u64,
    /// Responses that wait, each with the turn it waits for.
    waiting: Vec<(u64, Waker)>,
    /// The connection's task.
    task: Option<Waker>,
}

impl Delivery {
    /// Notes the connection's task, which is always the same.
    pub(super) fn is_driven_by(&self, task: &Waker) {
        self.lock().task = Some(task.clone());
    }

    /// Notes whether the socket has no room.
    pub(super) fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Release);
    }

    /// Begins a turn: the connection is about to be polled. Returns its number, if a response waits.
    pub(super) fn begin(&self) -> Option<u64> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut shared = self.lock();
        shared.begun += 1;
        Some(shared.begun)
    }

    /// Ends a turn: the connection was polled, and has nothing to do until it is woken.
    pub(super) fn end(&self, turn: Option<u64>) {
        let Some(turn) = turn else { return };
        if self.blocked.load(Ordering::Acquire) {
            return; // The socket wakes the task when there is room.
        }
        let mut shared = self.lock();
        shared.written = turn;
        let waiting = std::mem::take(&mut shared.waiting);
        let (written, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(awaited, _)| *awaited <= turn);
        self.any.store(!waiting.is_empty(), Ordering::Release);
        shared.waiting = waiting;
        drop(shared);
        written.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Asks for a turn, for a response whose body has failed. Returns its number.
    pub(super) fn ask(&self, cx: &Context<'_>) -> u64 {
        let mut shared = self.lock();
        let turn = shared.begun + 1;
        shared.waiting.push((turn, cx.waker().clone()));
        self.any.store(true, Ordering::Release);
        let task = shared.task.clone();
        drop(shared);
        task.iter().for_each(Waker::wake_by_ref);
        turn
    }

    /// Ready once this turn, or a later one, has left nothing unwritten.
    pub(super) fn poll_written(&self, turn: u64, cx: &Context<'_>) -> Poll<()> {
        let mut shared = self.lock();
        if shared.written >= turn {
            return Poll::Ready(());
        }
        if !shared.waiting.iter().any(|(_, waker)| waker.will_wake(cx.waker())) {
            shared.waiting.push((turn, cx.waker().clone()));
        }
        Poll::Pending
    }

    /// A poisoned lock guards values that are whole between any two statements.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
