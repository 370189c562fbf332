//! [`Handle`]: children in one's own hands.

use std::{fmt, sync::Arc};

use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{
    output::Line,
    shared::{Front, What},
    state::{Event, Status},
};
use crate::error::Error;

/// Starts, stops and observes the children of a [`SpawnApp`](super::SpawnApp). Cheap to clone.
///
/// Each async method completes when its operation is done. The operation continues if the future is dropped.
///
/// # Errors
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the child failed (the text of its [`Exit`](super::Exit)
/// is the error's source), if another operation took precedence, or if the app was shut down.
#[derive(Clone)]
pub struct Handle(pub(super) Arc<Front>);

impl Handle {
    /// Starts the children unless they run, even if the circuit breaker is open. Completes when one child is ready.
    pub async fn start(&self) -> Result<(), Error> {
        self.0.order(What::Start).await
    }

    /// Stops the children gracefully. Completes when all are reaped. The next request starts a child again.
    ///
    /// The children get no new requests. Requests in flight have the
    /// [`drain_timeout`](super::SpawnAppBuilder::drain_timeout) to complete. Then the process groups are sent `SIGTERM`
    /// and, after the [`stop_timeout`](super::SpawnAppBuilder::stop_timeout), `SIGKILL`.
    pub async fn stop(&self) -> Result<(), Error> {
        self.0.order(What::Stop).await
    }

    /// Kills the children at once, including those that are being stopped. Completes when all are reaped.
    pub async fn kill(&self) -> Result<(), Error> {
        self.0.order(What::Kill).await
    }

    /// Stops the children gracefully, then starts new ones; requests wait in between. Completes when one new child is
    /// ready.
    pub async fn restart(&self) -> Result<(), Error> {
        self.0.order(What::Restart).await
    }

    /// Replaces the children without downtime: starts a new generation, and switches to it when all its children are
    /// ready.
    ///
    /// If the new generation does not become ready, the old one keeps serving, and an error is returned. If no child is
    /// ready yet, a start in progress is awaited; if no child runs, nothing is done.
    #[doc(alias = "rolling restart")]
    #[doc(alias = "zero downtime")]
    pub async fn reload(&self) -> Result<(), Error> {
        self.0.order(What::Reload).await
    }

    /// Stops the children gracefully and for good: from now on, requests are answered with 503.
    #[doc(alias = "graceful shutdown")]
    pub async fn shut_down(&self) -> Result<(), Error> {
        self.0.order(What::ShutDown).await
    }

    /// Returns the current status of the app and its children.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// Returns the last 200 lines of output of the children, oldest first.
    #[must_use]
    pub fn output(&self) -> Vec<Line> {
        self.0.public.spec.kept.lines()
    }

    /// Subscribes to the events from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        Events(self.0.public.events.subscribe())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("status", &self.status()).finish()
    }
}

/// Receives the events of an app, in their order. Made by [`Handle::events`].
#[derive(Debug)]
pub struct Events(Receiver<Event>);

impl Events {
    /// Waits for the next event. Returns `None` after the app was dropped.
    ///
    /// A receiver that is more than 1,024 events behind misses the oldest ones.
    ///
    /// # Cancel safety
    /// No event is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(missed)) => tracing::debug!(missed, "a receiver of events missed some of them"),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
