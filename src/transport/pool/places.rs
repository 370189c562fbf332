//! [`Places`]: what one shard of the pool holds, by destination.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime,
    sync::oneshot::{self, Receiver},
    time::Instant,
};

use super::{
    event::CloseReason,
    stats::{Counts, PoolStats},
    waiting::{Grant, Waiter},
};
use crate::{
    ext::Binding,
    transport::{destination::Destination, http1::Conn, limits::Limits},
};

/// A part of the pool with a lock of its own, on cache lines of its own.
#[repr(align(128))]
pub(super) struct Shard {
    places: Mutex<Places>,
    pub(super) counts: Counts,
}

impl Shard {
    pub(super) fn new(bounded: bool) -> Self {
        Self { places: Mutex::new(Places { bounded, ..Places::default() }), counts: Counts::default() }
    }

    /// A poisoned lock guards maps that are whole between any two statements.
    pub(super) fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_to(&self, stats: &mut PoolStats) {
        let places = self.lock();
        stats.idle += places.idle;
        stats.waiting += places.map.values().map(|place| place.waiting.len()).sum::<usize>();
        drop(places);
        self.counts.add_to(stats);
    }
}

/// Connections that are closed once the lock is released: closing takes it again, and calls the user's listener.
pub(super) type Closing = Vec<Box<Conn>>;

#[derive(Default)]
pub(super) struct Places {
    pub(super) map: BTreeMap<Destination, Place>,
    /// Idle connections to all destinations together.
    pub(super) idle: usize,
    /// True if there is a maximum of connections.
    bounded: bool,
    /// The runtimes on which a reaper looks after this shard.
    pub(super) reapers: Vec<runtime::Id>,
}

/// What is kept for one destination. Somebody waits only where nothing is idle and there are as many connections as there may be.
#[derive(Default)]
pub(super) struct Place {
    /// The one used last is at the back.
    pub(super) idle: VecDeque<Idle>,
    /// Connections and dials, if there is a maximum; else not counted.
    pub(super) live: usize,
    /// By ticket, the lowest is the first to be served.
    pub(super) waiting: BTreeMap<u64, Waiter>,
}

pub(super) struct Idle {
    pub(super) conn: Box<Conn>,
    pub(super) since: Instant,
    /// When it is closed unused: the pool's own limit, or a shorter one that the upstream named.
    pub(super) until: Option<Instant>,
}

/// What there is for a request where there is a maximum of connections.
pub(super) enum Found {
    Alive(Box<Conn>),
    /// There are fewer than there may be, and now one more.
    Room,
    /// This one is of no use, but another may be opened for it.
    InPlaceOf(Box<Conn>),
    Nothing,
}

/// Whether connections of a runtime are looked after.
pub(super) enum Reaped {
    Already,
    /// By a task that is to be spawned there.
    Needed(runtime::Handle),
    /// We are elsewhere and cannot see to it.
    Never,
}

/// What a request asks of an idle connection.
#[derive(Clone, Copy)]
pub(super) struct Want {
    pub(super) runtime: runtime::Id,
    pub(super) now: Instant,
    /// For a request that must not be lost: idle for less than this, and the kernel is asked whether the peer has closed it in this moment.
    pub(super) fresh: Option<Duration>,
    /// A stream of a connection that others use would do, too.
    #[cfg_attr(not(feature = "http2"), expect(dead_code, reason = "nothing is shared over HTTP/1.1"))]
    pub(super) shares: bool,
    /// The client connection that the request is from, if connections are bound to it.
    pub(super) client: Option<u64>,
}

impl Want {
    fn fits(&self, idle: &Idle) -> bool {
        idle.conn.runtime == self.runtime
            && idle.conn.bound.is_none()
            && idle.until.is_none_or(|until| self.now < until)
            && self.fresh.is_none_or(|fresh| self.now.saturating_duration_since(idle.since) < fresh)
    }

    /// True for a connection that is bound to the request's client connection. Its age does not matter: the client would have to
    /// authenticate another one.
    fn owns(&self, idle: &Idle) -> bool {
        idle.conn.runtime == self.runtime
            && idle.conn.bound.as_ref().is_some_and(|binding| binding.is_to(self.client))
            && idle.until.is_none_or(|until| self.now < until)
    }

    /// True if a connection that has just become free can serve the request.
    pub(super) fn may_use(&self, conn: &Conn) -> bool {
        conn.runtime == self.runtime && conn.bound.as_ref().is_none_or(|binding| binding.is_to(self.client))
    }

    /// True if a stream of a connection on `runtime` would do.
    #[cfg(feature = "http2")]
    pub(super) fn shares_on(&self, runtime: runtime::Id) -> bool {
        self.shares && self.runtime == runtime
    }

    /// True if the peer has not closed `conn`, as far as can be known.
    pub(super) fn is_alive(&self, conn: &mut Conn) -> bool {
        conn.is_quiet() && (self.fresh.is_none() || conn.io.is_quiet_in_kernel())
    }
}

impl Places {
    /// The connection to `to` that was used last, if it is still alive. Those found dead go to `closing`.
    pub(super) fn take(&mut self, to: &Destination, want: &Want, closing: &mut Closing) -> Option<Box<Conn>> {
        self.take_where(to, want, closing, |idle| want.fits(idle))
    }

    /// The same of those that are bound to the request's client connection.
    pub(super) fn take_bound(&mut self, to: &Destination, want: &Want, closing: &mut Closing) -> Option<Box<Conn>> {
        self.take_where(to, want, closing, |idle| want.owns(idle))
    }

    fn take_where(
        &mut self,
        to: &Destination,
        want: &Want,
        closing: &mut Closing,
        fits: impl Fn(&Idle) -> bool,
    ) -> Option<Box<Conn>> {
        let place = self.map.get_mut(to)?;
        let mut at = place.idle.len();
        while at > 0 {
            at -= 1;
            if !place.idle.get(at).is_some_and(&fits) {
                continue;
            }
            let Some(Idle { mut conn, .. }) = place.idle.remove(at) else { continue };
            self.idle -= 1;
            if want.is_alive(&mut conn) {
                return Some(conn);
            }
            conn.home.reason = CloseReason::ClosedByPeer;
            closing.push(conn);
        }
        None
    }

    /// The same where there may be `max` connections: one, or room for one, or nothing.
    pub(super) fn take_one_of(&mut self, max: usize, to: &Destination, want: &Want, closing: &mut Closing) -> Found {
        if self.map.get(to).is_some_and(|place| !place.waiting.is_empty()) {
            return Found::Nothing;
        }
        if let Some(conn) = self.take(to, want, closing) {
            return Found::Alive(conn);
        }
        if let Some(dead) = closing.pop() {
            return Found::InPlaceOf(dead);
        }
        let place = self.map.entry(to.clone()).or_default();
        if place.live < max {
            place.live += 1;
            return Found::Room;
        }
        // One that is of no use to this request, of another runtime or bound to another client, is one of the `max` all the same.
        let Some(Idle { mut conn, .. }) = place.idle.pop_front() else { return Found::Nothing };
        self.idle -= 1;
        conn.home.reason = CloseReason::MaxIdle;
        Found::InPlaceOf(conn)
    }

    /// Lets a request wait, unless `max` do already.
    pub(super) fn enqueue(&mut self, to: &Destination, ticket: u64, want: Want, max: usize) -> Option<Receiver<Grant>> {
        let place = self.map.get_mut(to).filter(|place| place.waiting.len() < max)?;
        let (grant, granted) = oneshot::channel();
        place.waiting.insert(ticket, Waiter { want, grant });
        Some(granted)
    }

    pub(super) fn next_waiter(&mut self, to: &Destination) -> Option<Waiter> {
        // Without a maximum, nobody ever waits.
        if !self.bounded {
            return None;
        }
        self.map.get_mut(to)?.waiting.pop_first().map(|(_, waiter)| waiter)
    }

    /// The first who would do with a stream of a connection on `runtime`.
    #[cfg(feature = "http2")]
    pub(super) fn next_to_share(&mut self, to: &Destination, runtime: runtime::Id) -> Option<Waiter> {
        let waiting = &mut self.map.get_mut(to)?.waiting;
        let ticket = waiting.iter().find(|(_, waiter)| waiter.want.shares_on(runtime)).map(|(ticket, _)| *ticket)?;
        waiting.remove(&ticket)
    }

    /// Notes that there is one connection less to `to`.
    pub(super) fn release(&mut self, to: &Destination) {
        let Some(place) = self.map.get_mut(to) else { return };
        place.live = place.live.saturating_sub(1);
        if place.is_empty() {
            self.map.remove(to);
        }
    }

    /// Keeps a connection; those that are too many then go to `closing`, the longest idle first.
    pub(super) fn put(&mut self, mut new: Idle, limits: &Limits, closing: &mut Closing) {
        let mut excess = None;
        // The key itself instead of an equal one: from now on, the connection's place is found by where that lies.
        if new.conn.uses == 1
            && let Some((key, _)) = self.map.get_key_value(&new.conn.home.destination)
        {
            new.conn.home.destination = key.clone();
        }
        match self.map.get_mut(&new.conn.home.destination) {
            Some(place) => {
                if place.idle.len() >= limits.max_idle {
                    excess = place.idle.pop_front();
                }
                place.idle.push_back(new);
            }
            None => {
                let to = new.conn.home.destination.clone();
                self.map.insert(to, Place { idle: VecDeque::from([new]), ..Place::default() });
            }
        }
        if excess.is_none() {
            self.idle += 1;
            if self.idle > limits.max_idle_total {
                // Only one that was opened anew can be too many, so that looking through all is seldom.
                let oldest = self.map.values_mut().filter(|place| !place.idle.is_empty());
                let oldest = oldest.min_by_key(|place| place.idle.front().map(|idle| idle.since));
                excess = oldest.and_then(|place| place.idle.pop_front());
                self.idle -= 1;
            }
        }
        if let Some(Idle { mut conn, .. }) = excess {
            conn.home.reason = CloseReason::MaxIdle;
            closing.push(conn);
        }
    }

    /// Sees to it that a reaper looks after the connections of `runtime`, which must be the one we are on unless one does already.
    pub(super) fn reaper(&mut self, runtime: runtime::Id) -> Reaped {
        if self.reapers.contains(&runtime) {
            return Reaped::Already;
        }
        match runtime::Handle::try_current() {
            Ok(handle) if handle.id() == runtime => {
                self.reapers.push(runtime);
                Reaped::Needed(handle)
            }
            _ => Reaped::Never,
        }
    }

    /// Takes out what is past its time or was closed by the peer. Returns false if nothing of `runtime` is left.
    pub(super) fn sweep(&mut self, runtime: runtime::Id, max_age: Option<Duration>, closing: &mut Closing) -> bool {
        let now = Instant::now();
        let mut left = false;
        self.sift(closing, |Idle { conn, until, .. }| {
            if conn.runtime != runtime {
                return None;
            }
            let old = max_age.is_some_and(|age| conn.opened + age <= now);
            match until {
                _ if old => return Some(CloseReason::Age),
                Some(until) if *until <= now => return Some(CloseReason::Idle),
                _ if conn.bound.as_ref().is_some_and(Binding::is_over) => return Some(CloseReason::Finished),
                _ if !conn.is_quiet() => return Some(CloseReason::ClosedByPeer),
                _ => {}
            }
            left = true;
            None
        });
        left
    }

    /// Takes out all that live on `runtime`, which has ended.
    pub(super) fn forget(&mut self, runtime: runtime::Id, closing: &mut Closing) {
        self.sift(closing, |idle| (idle.conn.runtime == runtime).then_some(CloseReason::Runtime));
    }

    /// Takes out the connections that `judge` has a reason to close, and places where nothing is left.
    fn sift(&mut self, closing: &mut Closing, mut judge: impl FnMut(&mut Idle) -> Option<CloseReason>) {
        let total = &mut self.idle;
        self.map.retain(|_, place| {
            let mut at = 0;
            while let Some(idle) = place.idle.get_mut(at) {
                let Some(reason) = judge(idle) else {
                    at += 1;
                    continue;
                };
                if let Some(Idle { mut conn, .. }) = place.idle.remove(at) {
                    *total -= 1;
                    conn.home.reason = reason;
                    closing.push(conn);
                }
            }
            !place.is_empty()
        });
    }
}

impl Place {
    pub(super) fn is_empty(&self) -> bool {
        self.idle.is_empty() && self.live == 0 && self.waiting.is_empty()
    }
}
