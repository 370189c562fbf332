//! [`Activity`]: whether a connection is at a request, and since when not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// What the head timer of a connection goes by.
///
/// hyper has a head timer of its own, but makes it anew for every request; ours is one timer per connection that is only looked at
/// when it fires, so that a request costs one clock reading.
#[derive(Debug)]
pub(super) struct Activity {
    accepted: Instant,
    in_flight: AtomicU32,
    /// Milliseconds from `accepted` to the end of the last request, or to the last sign that the client reads.
    idle_since: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { accepted: Instant::now(), in_flight: AtomicU32::new(0), idle_since: AtomicU64::new(0) })
    }

    /// A request's head is here. The request ends when the value is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// The connection has moved although no request is in flight: the client took up more of a buffered response.
    pub(super) fn touch(&self) {
        let now = self.accepted.elapsed().as_millis();
        self.idle_since.store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// When a connection that may wait `limit` for a head has waited too long; `None` while a request is in flight.
    pub(super) fn deadline(&self, limit: Duration) -> Option<Instant> {
        // Pairs with the release below: who sees the request ended sees when.
        (self.in_flight.load(Ordering::Acquire) == 0)
            .then(|| self.accepted + Duration::from_millis(self.idle_since.load(Ordering::Relaxed)) + limit)
    }
}

/// One request from its head to the end of its response.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Activity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.touch();
        self.0.in_flight.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_wait_counts_from_the_end_of_the_last_request() {
        let limit = Duration::from_secs(30);
        let (activity, start) = (Activity::new(), Instant::now());
        assert_eq!(activity.deadline(limit), Some(start + limit));
        let (first, second) = (activity.begin(), activity.begin());
        tokio::time::advance(Duration::from_secs(100)).await;
        drop(first);
        assert_eq!(activity.deadline(limit), None);
        drop(second);
        assert_eq!(activity.deadline(limit), Some(start + Duration::from_secs(130)));
    }
}
