//! [`Handle`]: children in one's own hands.

use std::{fmt, sync::Arc};

use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{
    output::Line,
    shared::{Front, What},
    state::{Event, Status},
};
use crate::error::Error;

/// Starts, stops and watches the children of a [`SpawnApp`](super::SpawnApp). Cheap to clone.
///
/// Each of the orders waits until it is done, and is carried out even if its future is dropped.
///
/// # Errors
/// `Unavailable`: the child failed (its [`Exit`](super::Exit) is the source's text), another order was in the way, or it was shut down.
#[derive(Clone)]
pub struct Handle(pub(super) Arc<Front>);

impl Handle {
    /// Starts the children, unless they run, also where they have failed too often. Done when one of them is ready.
    pub async fn start(&self) -> Result<(), Error> {
        self.0.order(What::Start).await
    }

    /// Stops the children: no new requests, those that are on their way are waited for
    /// ([`drain_timeout`](super::SpawnAppBuilder::drain_timeout)), then the process groups are asked to end
    /// ([`stop_timeout`](super::SpawnAppBuilder::stop_timeout)) and killed. Done when all are reaped. The next request starts one again.
    pub async fn stop(&self) -> Result<(), Error> {
        self.0.order(What::Stop).await
    }

    /// Kills the children, also those that are being stopped. Done when all are reaped.
    pub async fn kill(&self) -> Result<(), Error> {
        self.0.order(What::Kill).await
    }

    /// Stops the children and starts others, one after the other. Requests wait meanwhile.
    pub async fn restart(&self) -> Result<(), Error> {
        self.0.order(What::Restart).await
    }

    /// Starts a new generation beside the one that serves, and has it take over when it is ready. If it does not become ready, the old one
    /// goes on, and this is an error. Where nothing runs, there is nothing to do.
    pub async fn reload(&self) -> Result<(), Error> {
        self.0.order(What::Reload).await
    }

    /// Stops the children for good: from now on requests are answered with 503.
    pub async fn shut_down(&self) -> Result<(), Error> {
        self.0.order(What::ShutDown).await
    }

    /// What there is now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// The last 200 lines that the children printed.
    #[must_use]
    pub fn output(&self) -> Vec<Line> {
        self.0.public.spec.kept.lines()
    }

    /// What happens from now on.
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

/// The events of an app, in their order.
#[derive(Debug)]
pub struct Events(Receiver<Event>);

impl Events {
    /// The next one; none when the app is gone. One who is more than 1,024 behind misses the oldest.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(missed)) => tracing::debug!(missed, "events were not read in time"),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
