//! [`Pool`]: out of it and back into it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Extensions;
use tokio::{runtime, time::Instant};

use super::{
    event::{CloseReason, Listener, PoolChange, PoolEvent},
    home::Home,
    places::{Closing, Found, Idle, Places, Reaped, Shard, Want},
    reaper::Reaper,
    stats::PoolStats,
    waiting::{Grant, Waiting, unavailable},
};
#[cfg(feature = "http2")]
use crate::transport::http2::Stream;
use crate::{
    error::Error,
    ext::ConnectionId,
    transport::{destination::Destination, http1::Conn, limits::Limits},
};

/// The connections of a service.
///
/// Idle ones are sharded by thread, so that no lock is shared on the way of a request: a thread looks in its own shard, then in the
/// others before anybody connects. With a maximum of connections there is one shard, because what is counted is counted of the whole.
///
/// A connection is only handed out on the runtime it was opened on, because its socket dies with that runtime's reactor.
pub(crate) struct Pool {
    pub(super) shards: Box<[Shard]>,
    pub(super) limits: Arc<Limits>,
    listener: Option<Listener>,
    tickets: AtomicU64,
    /// True once a connection was bound to a client connection, so that nobody looks for one before.
    has_bound: AtomicBool,
}

/// What the pool has for a request.
pub(crate) enum Taken {
    /// A connection that serves this request alone.
    Idle(Box<Conn>),
    /// The right to open one.
    Dial(Home),
    /// A place in the queue for one of these.
    Wait(Box<Waiting>),
    /// A place on a connection that others use, too: only from the queue, and for those who said that it would do.
    #[cfg(feature = "http2")]
    Stream(Stream),
}

impl Pool {
    pub(crate) fn new(limits: Arc<Limits>, listener: Option<Listener>) -> Self {
        let threads = || std::thread::available_parallelism().map_or(1, usize::from).next_power_of_two();
        let shards = if limits.max_connections.is_some() { 1 } else { threads() };
        let shards = (0..shards).map(|_| Shard::new(limits.max_connections.is_some())).collect();
        Self { shards, limits, listener, tickets: AtomicU64::new(0), has_bound: AtomicBool::new(false) }
    }

    /// The connection to `to` that was used last, if it is still quiet, else what there is instead of it. Closes those it finds closed by
    /// the peer.
    ///
    /// With `fresh`, for a request that must not be lost: only a connection idle for less than that, and the kernel is asked whether the
    /// peer has closed it in this moment. With `shares`, what is waited for may be a stream, too. A request of a `client` connection to
    /// which connections are bound takes one of these first.
    ///
    /// # Errors
    /// `Unavailable` (503) if too many wait already.
    pub(crate) fn take(
        self: &Arc<Self>,
        to: &Destination,
        now: Instant,
        fresh: Option<Duration>,
        shares: bool,
        client: Option<u64>,
    ) -> Result<Taken, Error> {
        // tokio tells the runtime only by cloning its handle. Not asked, a connection of one that nobody drives now would hang.
        let Ok(runtime) = runtime::Handle::try_current() else {
            return Ok(Taken::Dial(Home::new(self, to, false)));
        };
        let want = Want { runtime: runtime.id(), now, fresh, shares, client };
        if client.is_some()
            && let Some(conn) = self.take_with(to, |places, closing| places.take_bound(to, &want, closing))
        {
            return Ok(Taken::Idle(conn));
        }
        if let Some(max) = self.limits.max_connections {
            return self.take_one_of(max, to, want);
        }
        Ok(match self.take_with(to, |places, closing| places.take(to, &want, closing)) {
            Some(conn) => Taken::Idle(conn),
            None => Taken::Dial(Home::new(self, to, false)),
        })
    }

    /// The connection to `to` that is bound to this client connection, if it is idle. Whether the peer has closed it in this moment is
    /// asked with `fresh`, as for [`take`](Self::take).
    #[cfg(feature = "http2")]
    pub(crate) fn take_bound(
        &self,
        to: &Destination,
        now: Instant,
        fresh: Option<Duration>,
        client: u64,
    ) -> Option<Box<Conn>> {
        let runtime = runtime::Handle::try_current().ok()?.id();
        let want = Want { runtime, now, fresh, shares: false, client: Some(client) };
        self.take_with(to, |places, closing| places.take_bound(to, &want, closing))
    }

    /// Looks with `take` in one shard after the other, in this thread's first.
    fn take_with(
        &self,
        to: &Destination,
        take: impl Fn(&mut Places, &mut Closing) -> Option<Box<Conn>>,
    ) -> Option<Box<Conn>> {
        let mut closing = Closing::new();
        let first = shard_of_this_thread();
        let mut shards = (0..self.shards.len()).filter_map(|step| self.shards.get((first + step) % self.shards.len()));
        let found = shards.find_map(|shard| {
            let mut places = shard.lock();
            take(&mut places, &mut closing).inspect(|_| shard.counts.count_reused())
        });
        if found.is_some() {
            self.tell(to, PoolChange::CheckedOut);
        }
        found
    }

    /// The same where there may be `max` connections to a destination.
    fn take_one_of(self: &Arc<Self>, max: usize, to: &Destination, want: Want) -> Result<Taken, Error> {
        let Some(shard) = self.shards.first() else { return Ok(Taken::Dial(Home::new(self, to, false))) };
        let mut closing = Closing::new();
        let mut places = shard.lock();
        let found = places.take_one_of(max, to, &want, &mut closing);
        let waits = match found {
            Found::Alive(_) => {
                shard.counts.count_reused();
                None
            }
            Found::Nothing => {
                let ticket = self.tickets.fetch_add(1, Relaxed);
                places.enqueue(to, ticket, want, self.limits.max_waiting).map(|granted| (ticket, granted))
            }
            _ => None,
        };
        drop(places);
        match (found, waits) {
            (Found::Alive(conn), _) => {
                self.tell(to, PoolChange::CheckedOut);
                Ok(Taken::Idle(conn))
            }
            (Found::Room, _) => Ok(Taken::Dial(Home::new(self, to, true))),
            (Found::InPlaceOf(conn), _) => Ok(Taken::Dial(conn.into_home())),
            (Found::Nothing, Some((ticket, granted))) => {
                self.tell(to, PoolChange::Waiting);
                Ok(Taken::Wait(Box::new(Waiting::new(self.clone(), to.clone(), ticket, want, granted))))
            }
            (Found::Nothing, None) => {
                self.refused(to);
                Err(unavailable("too many requests are waiting for a connection to the upstream"))
            }
        }
    }

    /// The number of the client connection that a request is from, if connections are bound to it.
    pub(crate) fn bound_client(&self, extensions: &Extensions) -> Option<u64> {
        // The next request of a client comes after the response to this one, which orders the two.
        if self.has_bound.load(Relaxed) { ConnectionId::with_bound(extensions) } else { None }
    }

    /// Takes a connection back after a response that was read to its end: for whoever waits, or to be kept, if it may serve again.
    pub(crate) fn put(self: &Arc<Self>, mut conn: Box<Conn>) {
        let now = Instant::now();
        if let Some(reason) = self.is_over(&conn, now) {
            conn.home.reason = reason;
            return;
        }
        if conn.bound.is_some() {
            self.has_bound.store(true, Relaxed);
        }
        self.tell(&conn.home.destination, PoolChange::CheckedIn);
        self.keep(conn, now);
    }

    /// Why `conn` cannot serve another request, if so.
    fn is_over(&self, conn: &Conn, now: Instant) -> Option<CloseReason> {
        let limits = &self.limits;
        if limits.max_idle == 0 || limits.max_idle_total == 0 {
            return Some(CloseReason::MaxIdle);
        }
        if conn.max_requests.is_some_and(|max| conn.uses >= max) {
            return Some(CloseReason::MaxRequests);
        }
        if limits.max_age.is_some_and(|age| conn.opened + age <= now) {
            return Some(CloseReason::Age);
        }
        let waits = [limits.pool_idle, conn.keep_alive];
        waits.contains(&Some(Duration::ZERO)).then_some(CloseReason::Idle)
    }

    /// Gives a connection to the first who waits, or keeps it.
    pub(super) fn keep(self: &Arc<Self>, mut conn: Box<Conn>, now: Instant) {
        let index = shard_of_this_thread() % self.shards.len();
        let Some(shard) = self.shards.get(index) else { return };
        let mut closing = Closing::new();
        loop {
            // One lock for looking who waits and for keeping: nobody begins to wait in between.
            let mut places = shard.lock();
            let Some(waiter) = places.next_waiter(&conn.home.destination) else {
                let reaped = places.reaper(conn.runtime);
                if let Reaped::Never = reaped {
                    conn.home.reason = CloseReason::Runtime;
                    closing.push(conn);
                } else {
                    places.put(self.until(conn, now), &self.limits, &mut closing);
                }
                // A runtime that shuts down drops the task on the spot, and that takes the lock.
                drop(places);
                if let Reaped::Needed(runtime) = reaped {
                    runtime.spawn(Reaper::new(self, index, runtime.id()).run());
                }
                return;
            };
            drop(places);
            if !waiter.want.may_use(&conn) {
                conn.home.reason = CloseReason::MaxIdle;
                if let Err(Grant::Dial(home)) = waiter.grant.send(Grant::Dial(conn.into_home())) {
                    self.pass_on(home);
                }
                return;
            }
            match waiter.grant.send(Grant::Idle(conn)) {
                // That one has just left.
                Err(Grant::Idle(back)) => conn = back,
                Ok(()) | Err(_) => return,
            }
        }
    }

    fn until(&self, conn: Box<Conn>, now: Instant) -> Idle {
        let limits = [
            self.limits.pool_idle.map(|limit| now + limit),
            // The upstream's word, which may be longer than any clock counts.
            conn.keep_alive.and_then(|limit| now.checked_add(limit)),
            self.limits.max_age.map(|limit| conn.opened + limit),
        ];
        Idle { conn, since: now, until: limits.into_iter().flatten().min() }
    }

    /// Gives a permit to the first who waits, or notes that it is free.
    pub(super) fn pass_on(&self, mut home: Home) {
        let Some(shard) = self.shards.first() else { return };
        loop {
            let mut places = shard.lock();
            let Some(waiter) = places.next_waiter(&home.destination) else {
                places.release(&home.destination);
                home.permit = false;
                return drop(places);
            };
            drop(places);
            match waiter.grant.send(Grant::Dial(home)) {
                Err(Grant::Dial(back)) => home = back,
                Ok(()) | Err(_) => return,
            }
        }
    }

    pub(super) fn forget_waiter(&self, to: &Destination, ticket: u64) {
        let Some(shard) = self.shards.first() else { return };
        let waiter = shard.lock().map.get_mut(to).and_then(|place| place.waiting.remove(&ticket));
        // Nobody else has its sender now.
        drop(waiter);
    }

    /// Requests so far on connections that were there already. Takes no lock.
    pub(crate) fn reused(&self) -> u64 {
        self.shards.iter().map(|shard| shard.counts.reused()).sum()
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let mut stats = PoolStats::default();
        for shard in &self.shards {
            shard.add_to(&mut stats);
        }
        // What happens meanwhile must not make it negative.
        let live = stats.opened.saturating_sub(stats.closed());
        stats.in_use = usize::try_from(live).unwrap_or(usize::MAX).saturating_sub(stats.idle);
        stats
    }

    pub(super) fn tell(&self, destination: &Destination, change: PoolChange) {
        // Told again while its own panic unwinds, it could end the process by a second one.
        if let Some(listener) = &self.listener
            && !std::thread::panicking()
        {
            listener(&PoolEvent { destination, change });
        }
    }

    /// Notes a request on a connection that others use, too.
    #[cfg(feature = "http2")]
    pub(crate) fn shared(&self, to: &Destination) {
        if let Some(shard) = self.shard() {
            shard.counts.shared.fetch_add(1, Relaxed);
        }
        self.tell(to, PoolChange::CheckedOut);
    }

    pub(super) fn refused(&self, to: &Destination) {
        if let Some(shard) = self.shard() {
            shard.counts.refused.fetch_add(1, Relaxed);
        }
        self.tell(to, PoolChange::Refused);
    }

    /// The shard of this thread.
    pub(super) fn shard(&self) -> Option<&Shard> {
        self.shards.get(shard_of_this_thread() % self.shards.len())
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

fn shard_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Relaxed);
    }
    // None while the thread ends, where a connection may still be dropped.
    MINE.try_with(|mine| *mine).unwrap_or_default()
}
