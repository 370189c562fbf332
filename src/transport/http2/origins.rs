//! [`Origins`]: where the connections to each destination are found, and opened by one request for all that wait.

use std::{
    collections::BTreeMap,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use tokio::{
    runtime,
    sync::{Notify, watch},
};

use super::conn::{Conn, Mark, State, Stream};
use crate::{
    error::Error,
    transport::{
        CloseReason,
        destination::Destination,
        http1,
        io::Io,
        limits::Limits,
        pool::{Home, Taken},
    },
};

/// The HTTP/2 connections to each destination. Requests over HTTP/1.1 alone never come here.
#[derive(Default)]
pub(crate) struct Origins {
    map: RwLock<BTreeMap<Destination, Arc<Origin>>>,
    /// Connections in all, so that nobody looks where there is nothing.
    open: AtomicUsize,
}

/// What a request is sent on.
pub(crate) enum Opened {
    Http1(Io, Home),
    /// From the pool.
    Idle(Box<http1::Conn>),
    Http2(Stream),
}

struct Origin {
    inner: Mutex<Inner>,
    /// Told when a stream has ended.
    freed: Arc<Notify>,
}

struct Inner {
    conns: Vec<Conn>,
    /// Connections on their way, each with the requests that wait for it.
    opening: Vec<Opening>,
    /// Streams that a connection is likely to take.
    expects: usize,
    /// It spoke HTTP/1.1 last, so that nobody waits for a connection that will not be shared.
    is_http1: bool,
    /// It took no extended `CONNECT` when it was asked last.
    upgrades_over_http1: bool,
}

struct Opening {
    outcome: watch::Receiver<Option<Outcome>>,
    runtime: runtime::Id,
    waiting: usize,
}

#[derive(Clone)]
enum Outcome {
    Open,
    Failed(Error),
}

/// What a request without a stream is to do.
enum Step {
    Take(Stream),
    Settle(Conn),
    Wait(watch::Receiver<Option<Outcome>>),
    Open(watch::Sender<Option<Outcome>>),
}

impl Origins {
    /// A stream on a connection that is open.
    pub(crate) fn take(&self, to: &Destination) -> Option<Stream> {
        if self.open.load(Ordering::Acquire) == 0 {
            return None;
        }
        let runtime = runtime::Handle::try_current().ok()?.id();
        self.find(to)?.lock().take(runtime, None)
    }

    /// Closes a connection to `to` that nobody uses, for a request that waits for one and cannot use this: one over HTTP/1.1, or on another
    /// runtime.
    pub(crate) fn make_room(&self, to: &Destination) {
        if self.open.load(Ordering::Acquire) > 0
            && let Some(origin) = self.find(to)
        {
            origin.lock().make_room(None);
        }
    }

    /// Finds a stream or opens a connection: one for all requests that come meanwhile, as far as its streams are likely to do. `connect`
    /// opens a byte stream, and says whether HTTP/2 is spoken on it. `first` is the pool's permit to do so, `permit` asks for another.
    ///
    /// Where an origin is unknown, the others wait for the first to find out, because it most likely speaks HTTP/2; where it spoke
    /// HTTP/1.1 last, each opens its own. The caller bounds the time. The connection that is marked is avoided.
    ///
    /// # Cancel safety
    /// If the one that connects is dropped, another one of those that wait connects.
    pub(crate) async fn acquire<F>(
        self: &Arc<Self>,
        to: &Destination,
        limits: &Limits,
        avoid: Option<&Mark>,
        first: Taken,
        permit: impl Fn() -> Result<Taken, Error>,
        connect: impl Fn() -> F,
    ) -> Result<Opened, Error>
    where
        F: Future<Output = Result<(Io, bool), Error>>,
    {
        let runtime = runtime::Handle::current().id();
        let mut permitted = Some(first);
        let mut has_turn = false;
        loop {
            let origin = self.origin(to);
            // Before it is looked for one, so that none is missed.
            let freed = origin.freed.notified();
            let step = origin.lock().step(runtime, avoid, has_turn);
            match step {
                Step::Take(stream) => return Ok(Opened::Http2(stream)),
                Step::Settle(conn) => conn.settled().await,
                Step::Wait(mut outcome) => match turn_or(&mut permitted, outcome.wait_for(Option::is_some)).await {
                    // Whoever was waited for may stand behind this one in the queue, and the turn would be lost on both.
                    Some(turn) => {
                        permitted = Some(turn?);
                        has_turn = true;
                    }
                    None => {
                        if let Some(Outcome::Failed(error)) = &*outcome.borrow() {
                            return Err(error.clone());
                        }
                    }
                },
                Step::Open(tell) => {
                    let mut taken = match permitted.take() {
                        Some(taken) => taken,
                        None => permit()?,
                    };
                    if let Taken::Wait(waiting) = &mut taken {
                        origin.lock().make_room(Some(runtime));
                        match either(poll_fn(|cx| waiting.poll(cx)), freed).await {
                            Some(granted) => taken = granted?,
                            // Instead of a connection, there is a stream.
                            None => {
                                permitted = Some(taken);
                                continue;
                            }
                        }
                    }
                    let opened = match taken {
                        Taken::Idle(conn) => Ok(Opened::Idle(conn)),
                        Taken::Dial(home) => self.open(&origin, limits, home, connect()).await,
                        Taken::Wait(_) => continue,
                    };
                    tell.send_replace(Some(match &opened {
                        Ok(_) => Outcome::Open,
                        Err(error) => Outcome::Failed(error.clone()),
                    }));
                    return opened;
                }
            }
        }
    }

    async fn open(
        self: &Arc<Self>,
        origin: &Origin,
        limits: &Limits,
        mut home: Home,
        connecting: impl Future<Output = Result<(Io, bool), Error>>,
    ) -> Result<Opened, Error> {
        let (io, is_http2) = connecting.await?;
        if !is_http2 {
            origin.lock().is_http1 = true;
            return Ok(Opened::Http1(io, home));
        }
        home.opened();
        let origins = Arc::downgrade(self);
        let ended = move |state: &Arc<State>| {
            let gone = Self::forget(&origins, &home.destination, state);
            home.reason = match state.close_reason() {
                CloseReason::Broken if gone.is_some_and(|conn| conn.said_goodbye()) => CloseReason::Peer,
                reason => reason,
            };
        };
        let (conn, stream) = Conn::open(io, limits, origin.freed.clone(), ended).await?;
        self.open.fetch_add(1, Ordering::AcqRel);
        let mut inner = origin.lock();
        inner.is_http1 = false;
        // One that has ended meanwhile was looked for in vain, and would stay for ever.
        if !conn.state().is_closed() {
            inner.conns.push(conn);
        }
        drop(inner);
        // Who waits for leave to open another may find a stream here.
        origin.freed.notify_waiters();
        Ok(Opened::Http2(stream))
    }
}

impl Origins {
    /// True if the origin took no extended `CONNECT` when it was asked last.
    pub(crate) fn upgrades_over_http1(&self, to: &Destination) -> bool {
        self.find(to).is_some_and(|origin| origin.lock().upgrades_over_http1)
    }

    /// Notes whether it takes none.
    pub(crate) fn note_upgrades(&self, to: &Destination, over_http1: bool) {
        if let Some(origin) = self.find(to) {
            origin.lock().upgrades_over_http1 = over_http1;
        }
    }

    /// Connections without a stream.
    pub(crate) fn idle(&self) -> usize {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let idle = |conn: &&Conn| conn.state().streams() == 0 && !conn.state().is_closed();
        map.values().map(|origin| origin.lock().conns.iter().filter(idle).count()).sum()
    }

    fn find(&self, to: &Destination) -> Option<Arc<Origin>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).get(to).cloned()
    }

    fn origin(&self, to: &Destination) -> Arc<Origin> {
        if let Some(origin) = self.find(to) {
            return origin;
        }
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= MAX_REMEMBERED {
            // Those that are only remembered. An origin that is in use under a request's hands is found anew by the next one.
            map.retain(|_, origin| !origin.lock().is_unused());
        }
        map.entry(to.clone()).or_default().clone()
    }

    /// A connection takes no more streams.
    fn forget(origins: &Weak<Self>, to: &Destination, state: &Arc<State>) -> Option<Conn> {
        let origins = origins.upgrade()?;
        origins.open.fetch_sub(1, Ordering::AcqRel);
        // To be dropped outside the lock.
        origins.find(to)?.lock().remove(state)
    }
}

impl Origin {
    /// A poisoned lock guards lists that are whole between any two statements.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn take(&mut self, runtime: runtime::Id, avoid: Option<&Mark>) -> Option<Stream> {
        self.conns.retain(|conn| !conn.state().is_closed());
        let ours = |conn: &&Conn| conn.state().runtime == runtime && !avoid.is_some_and(|avoid| conn.is(avoid));
        self.conns.iter().filter(ours).find_map(Conn::try_take)
    }

    /// One that has its turn to open a connection does not wait for others that open one.
    fn step(&mut self, runtime: runtime::Id, avoid: Option<&Mark>, has_turn: bool) -> Step {
        if let Some(stream) = self.take(runtime, avoid) {
            return Step::Take(stream);
        }
        let (tell, outcome) = watch::channel(None);
        if self.is_http1 {
            return Step::Open(tell);
        }
        let ours = |conn: &&Conn| conn.state().runtime == runtime && !avoid.is_some_and(|avoid| conn.is(avoid));
        let mut ours = self.conns.iter().filter(ours);
        if let Some(conn) = ours.clone().find(|conn| !conn.state().is_settled() && !conn.state().is_closed()) {
            return Step::Settle(conn.clone());
        }
        if let Some(conn) = ours.next_back() {
            self.expects = conn.max_streams().max(1);
        }
        // What is over, or was given up, is not waited for.
        self.opening.retain(|opening| opening.outcome.borrow().is_none() && opening.outcome.has_changed().is_ok());
        let expects = self.expects;
        let fits = |opening: &&mut Opening| opening.runtime == runtime && opening.waiting < expects;
        if let Some(opening) = self.opening.iter_mut().find(fits).filter(|_| !has_turn) {
            opening.waiting += 1;
            return Step::Wait(opening.outcome.clone());
        }
        self.opening.push(Opening { outcome, runtime, waiting: 1 });
        Step::Open(tell)
    }

    /// Closes an unused connection, unless it is on this runtime.
    fn make_room(&self, but: Option<runtime::Id>) {
        let others = self.conns.iter().map(Conn::state).filter(|state| but != Some(state.runtime));
        let _one = others.filter(|state| !state.is_closed()).find(|state| state.retire_unused());
    }

    fn remove(&mut self, state: &Arc<State>) -> Option<Conn> {
        let at = self.conns.iter().position(|conn| Arc::ptr_eq(conn.state(), state))?;
        Some(self.conns.swap_remove(at))
    }

    fn is_unused(&self) -> bool {
        self.conns.is_empty() && self.opening.iter().all(|opening| opening.outcome.has_changed().is_err())
    }
}

impl Default for Origin {
    fn default() -> Self {
        let expects = super::MAX_STREAMS as usize;
        let (conns, opening) = (Vec::new(), Vec::new());
        let inner = Inner { conns, opening, expects, is_http1: false, upgrades_over_http1: false };
        Self { inner: Mutex::new(inner), freed: Arc::default() }
    }
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origins").field("open", &self.open.load(Ordering::Relaxed)).finish_non_exhaustive()
    }
}

/// Awaits the turn of one that stands in the pool's queue, unless `other` is ready before it.
async fn turn_or(permitted: &mut Option<Taken>, other: impl Future) -> Option<Result<Taken, Error>> {
    let turn = poll_fn(|cx| match permitted {
        Some(Taken::Wait(waiting)) => waiting.poll(cx),
        _ => Poll::Pending,
    });
    either(turn, async {
        other.await;
    })
    .await
}

/// Awaits `first`, unless `other` is ready before it.
async fn either<T>(first: impl Future<Output = T>, other: impl Future<Output = ()>) -> Option<T> {
    let (mut first, mut other) = (pin!(first), pin!(other));
    poll_fn(|cx| match first.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => other.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// Destinations of which it is remembered what they speak.
const MAX_REMEMBERED: usize = 1024;

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Waker},
    };

    use tokio::time::Instant;

    use super::*;
    use crate::transport::pool::Pool;

    /// A stream to a server that takes whatever comes.
    fn server() -> Io {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(theirs).await.unwrap();
            while connection.accept().await.is_some() {}
        });
        Io::Custom(Box::new(ours))
    }

    fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_connection_does_not_keep_the_right_to_open_it() {
        let limits = Arc::new(Limits { max_connections: Some(1), ..Limits::default() });
        let (pool, origins) = (Arc::new(Pool::new(limits.clone(), None)), Arc::new(Origins::default()));
        let to = Destination::of(&"http://h/".parse().unwrap(), None).unwrap();
        let take = || pool.take(to.clone(), Instant::now(), None);
        let Ok(Taken::Dial(in_use)) = take() else { panic!("no room") };
        let (before, behind) = (take().unwrap(), take().unwrap());
        let dialled = AtomicUsize::new(0);
        let connect = || async {
            dialled.fetch_add(1, Ordering::Relaxed);
            Ok((server(), true))
        };
        // The one whose turn is later looks first, and is to connect for both.
        let mut connects = pin!(origins.acquire(&to, &limits, None, behind, take, connect));
        assert!(poll_once(connects.as_mut()).is_pending());
        let mut waits = pin!(origins.acquire(&to, &limits, None, before, take, connect));
        assert!(poll_once(waits.as_mut()).is_pending());
        drop(in_use);
        let begin = Instant::now();
        let (connects, waits) = tokio::join!(connects, waits);
        assert!(matches!((connects, waits), (Ok(Opened::Http2(_)), Ok(Opened::Http2(_)))));
        assert_eq!((dialled.load(Ordering::Relaxed), begin.elapsed()), (1, std::time::Duration::ZERO));
    }
}
