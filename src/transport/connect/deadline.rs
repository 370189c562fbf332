//! [`Deadline`]: one limit of time over all steps to a connection.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::{
    error::{Error, ErrorKind, Phase},
    timeout,
    transport::observe::Progress,
};

/// The time that is left to a connection, and who asks where it went. Whichever step it runs out in is the phase of the error.
#[derive(Debug)]
pub(super) struct Deadline<'a> {
    at: Option<Instant>,
    progress: Option<&'a Progress>,
}

impl<'a> Deadline<'a> {
    /// Begins now; without a limit, at no time.
    pub(super) fn after(limit: Option<Duration>, progress: Option<&'a Progress>) -> Self {
        let at = timeout::or_none(limit).map(|limit| Instant::now() + limit);
        Self { at, progress }
    }

    /// Awaits one step.
    ///
    /// # Errors
    /// The step's own; `Timeout` (504) in its phase once the time is over.
    pub(super) async fn within<T>(
        &self,
        phase: Phase,
        step: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let at = self.at;
        let step = async {
            match at {
                None => step.await,
                Some(at) => timeout_at(at, step).await.unwrap_or_else(|_| {
                    Err(Error::new(ErrorKind::Timeout, "timeout connecting to the upstream").in_phase(phase))
                }),
            }
        };
        match self.progress {
            None => step.await,
            Some(progress) => progress.during(phase, step).await,
        }
    }
}
