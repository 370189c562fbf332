//! [`Progress`]: what is noted of an exchange where its record is not at hand.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::error::Phase;

/// The steps to a connection, and the bytes of a body that may be sent by a task of its own.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    sent: AtomicU64,
    steps: Mutex<Steps>,
}

/// How long each step took so far; none for a step that was not needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) resolve: Option<Duration>,
    pub(crate) connect: Option<Duration>,
    pub(crate) tls: Option<Duration>,
    /// The one that was begun last.
    pub(crate) at: Option<Phase>,
}

impl Steps {
    pub(crate) fn sum(&self) -> Duration {
        [self.resolve, self.connect, self.tls].into_iter().flatten().sum()
    }
}

impl Progress {
    /// Awaits a step, and notes how long it took.
    pub(crate) async fn during<T>(&self, phase: Phase, step: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        self.lock().at = Some(phase);
        let done = step.await;
        let mut steps = self.lock();
        let spent = match phase {
            Phase::Resolve => &mut steps.resolve,
            Phase::Tls => &mut steps.tls,
            _ => &mut steps.connect,
        };
        *spent = Some(spent.unwrap_or_default() + begun.elapsed());
        done
    }

    /// Another attempt begins.
    pub(crate) fn begin_again(&self) {
        self.lock().at = None;
    }

    pub(crate) fn steps(&self) -> Steps {
        *self.lock()
    }

    /// Counts bytes of the request's body.
    pub(crate) fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// A poisoned lock guards plain values.
    fn lock(&self) -> MutexGuard<'_, Steps> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
