//! [`Watch`]: how a connection learns of the drain.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tokio::sync::Notify;

use crate::transport::Shutdown;

/// How far a shutdown has come. Only ever moves on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    #[default]
    Open,
    Draining,
    Cut,
}

/// One member's view of the phase: reading it is one atomic load, so that a connection may look at every wake-up.
pub(super) struct Watch {
    phase: AtomicU8,
    waker: Mutex<Option<Waker>>,
    /// For tunnels, of which a connection of HTTP/2 may have many.
    cut: Notify,
}

impl Watch {
    pub(super) fn new(phase: Phase) -> Self {
        Self { phase: AtomicU8::new(phase as u8), waker: Mutex::new(None), cut: Notify::new() }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Open,
            1 => Phase::Draining,
            _ => Phase::Cut,
        }
    }

    /// Has `waker` woken when the phase moves on. One is kept, the last. To be called before the phase is read.
    pub(super) fn wake(&self, waker: &Waker) {
        let mut kept = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }

    pub(super) fn poll_reached(&self, phase: Phase, cx: &Context<'_>) -> Poll<()> {
        self.wake(cx.waker());
        if self.phase() >= phase { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(super) fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        waker.iter().for_each(Waker::wake_by_ref);
        if phase == Phase::Cut {
            self.cut.notify_waiters();
        }
    }
}

impl Shutdown for Watch {
    fn cut(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            // Counts from its making: a cut between the look and the wait is not lost.
            let cut = self.cut.notified();
            if !self.is_cut() {
                cut.await;
            }
        })
    }

    fn is_cut(&self) -> bool {
        self.phase() == Phase::Cut
    }
}
