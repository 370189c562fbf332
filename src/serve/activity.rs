//! [`Activity`]: whether a connection is at a request, and since when not.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::Extensions;
use tokio::time::Instant;

use super::{delivery::Delivery, sending::Sending};
use crate::ext::is_of_connection;

/// What the timers of a connection go by. Times are milliseconds from its acceptance.
///
/// hyper has a head timer of its own, but makes it anew for every request; ours is one timer per connection that is only looked at
/// when it fires, so that a request costs one clock reading.
#[derive(Debug)]
pub(super) struct Activity {
    accepted: Instant,
    in_flight: AtomicU32,
    /// When the last request ended, or the connection was ready for the first.
    idle_since: AtomicU64,
    /// How many responses of HTTP/2 wait for their client to make room for them.
    held_up: AtomicU32,
    /// When the last of them began to wait.
    held_up_since: AtomicU64,
    /// How often the socket took something. Wraps around.
    writes: AtomicU32,
    pub(super) sending: Sending,
    pub(super) delivery: Delivery,
    /// A map of the last request, of which the next makes use.
    spare: Mutex<Extensions>,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            accepted: Instant::now(),
            in_flight: AtomicU32::new(0),
            idle_since: AtomicU64::new(0),
            held_up: AtomicU32::new(0),
            held_up_since: AtomicU64::new(0),
            writes: AtomicU32::new(0),
            sending: Sending::default(),
            delivery: Delivery::default(),
            spare: Mutex::default(),
        })
    }

    /// A request's head is here. The request ends when the value is dropped.
    pub(super) fn begin(self: &Arc<Self>, multiplexed: bool) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { activity: self.clone(), held_up: multiplexed.then_some(false) }
    }

    /// A map in which nothing stands but what was said of a connection, if anything.
    pub(super) fn extensions(&self) -> Extensions {
        std::mem::take(&mut self.spare.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The wait for a request's head starts now.
    pub(super) fn touch(&self) {
        self.idle_since.store(self.now(), Ordering::Relaxed);
    }

    /// When a connection that may wait `limit` for a head has waited too long; `None` while a request is in flight.
    pub(super) fn deadline(&self, limit: Duration) -> Option<Instant> {
        self.is_idle().then(|| self.at(&self.idle_since) + limit)
    }

    pub(super) fn is_idle(&self) -> bool {
        // Pairs with the release below: who sees the request ended sees when.
        self.in_flight.load(Ordering::Acquire) == 0
    }

    /// Since when a response of HTTP/2 has waited for its client, if one does.
    pub(super) fn held_up_since(&self) -> Option<Instant> {
        (self.held_up.load(Ordering::Acquire) > 0).then(|| self.at(&self.held_up_since))
    }

    /// The socket has taken something.
    pub(super) fn wrote(&self) {
        // Only the one owner of the socket counts.
        self.writes.store(self.writes.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Another number whenever the socket has taken something since.
    pub(super) fn writes(&self) -> u32 {
        self.writes.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.accepted.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn at(&self, since: &AtomicU64) -> Instant {
        self.accepted + Duration::from_millis(since.load(Ordering::Relaxed))
    }
}

/// One request from its head to the end of its response.
#[derive(Debug)]
pub(super) struct InFlight {
    activity: Arc<Activity>,
    /// `None` where that is seen on the socket.
    held_up: Option<bool>,
}

impl InFlight {
    /// Whether a piece of the response was handed over last, rather than the application asked for one and had none: if so, the
    /// response is held up until the next is asked for.
    pub(super) fn hold_up(&mut self, now: bool) {
        let Some(held_up) = &mut self.held_up else { return };
        if std::mem::replace(held_up, now) == now {
            return;
        }
        if now {
            self.activity.held_up_since.store(self.activity.now(), Ordering::Relaxed);
            self.activity.held_up.fetch_add(1, Ordering::Release);
        } else {
            self.activity.held_up.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn delivery(&self) -> &Delivery {
        &self.activity.delivery
    }

    /// Keeps the map for the next request, if nothing stands in it that is of this one.
    pub(super) fn spare(&self, extensions: &mut Extensions) {
        if is_of_connection(extensions) {
            let mut spare = self.activity.spare.lock().unwrap_or_else(PoisonError::into_inner);
            *spare = std::mem::take(extensions);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.hold_up(false);
        self.activity.touch();
        self.activity.in_flight.fetch_sub(1, Ordering::Release);
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
        let (first, second) = (activity.begin(false), activity.begin(false));
        tokio::time::advance(Duration::from_secs(100)).await;
        drop(first);
        assert_eq!(activity.deadline(limit), None);
        drop(second);
        assert_eq!(activity.deadline(limit), Some(start + Duration::from_secs(130)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_is_held_up_until_its_body_is_asked_for_more_or_dropped() {
        let (activity, start) = (Activity::new(), Instant::now());
        let mut response = activity.begin(true);
        assert_eq!(activity.held_up_since(), None);
        tokio::time::advance(Duration::from_secs(5)).await;
        for _ in 0..2 {
            response.hold_up(true);
            assert_eq!(activity.held_up_since(), Some(start + Duration::from_secs(5)));
        }
        response.hold_up(false);
        assert_eq!(activity.held_up_since(), None);
        response.hold_up(true);
        drop(response);
        assert_eq!(activity.held_up_since(), None);
    }
}
