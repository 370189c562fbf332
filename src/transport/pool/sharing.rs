//! [`Queue`]: streams of shared connections go to those who wait in the pool's queue, in their order.

use std::sync::{Arc, Weak};

use tokio::runtime;

use super::{
    checkout::Pool,
    home::Home,
    places::Want,
    waiting::{Grant, Waiter},
};
use crate::transport::{destination::Destination, http2::Stream};

/// Those who wait for a connection to one destination.
#[derive(Debug)]
pub(crate) struct Queue {
    pool: Weak<Pool>,
    to: Destination,
}

impl Queue {
    /// Behind a connection; `None` where there is no maximum, and so nobody ever waits.
    pub(crate) fn behind(home: &Home) -> Option<Self> {
        home.permit.then(|| Self { pool: home.pool.clone(), to: home.destination.clone() })
    }

    /// True if somebody waits who would take a stream of a connection on `runtime`.
    pub(crate) fn wants_stream(&self, runtime: runtime::Id) -> bool {
        self.pool().is_some_and(|pool| pool.is_awaited(&self.to, |want| want.shares_on(runtime)))
    }

    /// True if somebody waits to whom such a stream is of no use: for HTTP/1.1, or on another runtime.
    pub(crate) fn wants_connection(&self, runtime: runtime::Id) -> bool {
        self.pool().is_some_and(|pool| pool.is_awaited(&self.to, |want| !want.shares_on(runtime)))
    }

    /// Gives a stream to the first who would take it. Where nobody is left, it is dropped, and free again.
    pub(crate) fn give(&self, mut stream: Stream) {
        let Some(pool) = self.pool() else { return };
        while let Some(waiter) = pool.next_to_share(&self.to, stream.runtime()) {
            match waiter.grant.send(Grant::Stream(stream)) {
                // That one has just left.
                Err(Grant::Stream(back)) => stream = back,
                Ok(()) | Err(_) => return,
            }
        }
    }

    fn pool(&self) -> Option<Arc<Pool>> {
        self.pool.upgrade()
    }
}

impl Pool {
    /// True if somebody waits for a connection to `to`: who comes now stands behind.
    pub(crate) fn has_queue(&self, to: &Destination) -> bool {
        self.is_awaited(to, |_| true)
    }

    fn is_awaited(&self, to: &Destination, by: impl Fn(&Want) -> bool) -> bool {
        if self.limits.max_connections.is_none() {
            return false;
        }
        let Some(shard) = self.shards.first() else { return false };
        shard.lock().map.get(to).is_some_and(|place| place.waiting.values().any(|waiter| by(&waiter.want)))
    }

    fn next_to_share(&self, to: &Destination, runtime: runtime::Id) -> Option<Waiter> {
        self.shards.first()?.lock().next_to_share(to, runtime)
    }
}
