//! [`Deadline`]: one limit of time over all steps to a connection, and how long each took.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::connector::ConnectTimings;
use crate::error::{Error, ErrorKind, Phase};

/// The time that is left to a connection, and where it went. Whichever step it runs out in is the phase of the error.
#[derive(Debug)]
pub(super) struct Deadline {
    at: Option<Instant>,
    pub(super) timings: ConnectTimings,
}

impl Deadline {
    /// Begins now; without a limit, at no time.
    pub(super) fn after(limit: Option<Duration>) -> Self {
        // A limit beyond what the clock can count is none.
        let at = limit.and_then(|limit| Instant::now().checked_add(limit));
        Self { at, timings: ConnectTimings::default() }
    }

    /// Awaits one step.
    ///
    /// # Errors
    /// The step's own; `Timeout` (504) in its phase once the time is over.
    pub(super) async fn within<T>(
        &mut self,
        phase: Phase,
        step: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        let done = match self.at {
            None => step.await,
            Some(at) => timeout_at(at, step).await.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Timeout, "no connection to the upstream in time").in_phase(phase))
            }),
        };
        let spent = match phase {
            Phase::Resolve => &mut self.timings.resolve,
            Phase::Tls => &mut self.timings.tls,
            _ => &mut self.timings.connect,
        };
        *spent = Some(spent.unwrap_or_default() + begun.elapsed());
        done
    }
}
