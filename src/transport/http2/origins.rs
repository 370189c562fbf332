//! [`Origins`]: where the connections to each destination are found, and opened by one request for all that wait.

use std::{
    collections::BTreeMap,
    fmt,
    future::{Future, poll_fn},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    runtime,
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    conn::{Conn, Http1Required, State},
    failure::no_streams,
    stream::{Mark, Stream},
};
use crate::{
    error::{Error, ErrorKind, Phase},
    transport::{
        CloseReason,
        destination::Destination,
        http1,
        io::Io,
        limits::Limits,
        pool::{Home, Queue, Taken},
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

#[derive(Default)]
struct Origin(Mutex<Inner>);

struct Inner {
    conns: Vec<Conn>,
    /// Connections on their way, each with the requests that wait for it.
    opening: Vec<Opening>,
    /// Streams that a connection is likely to take.
    expects: usize,
    /// It spoke HTTP/1.1 last, so that nobody waits for a connection that will not be shared.
    is_http1: bool,
    http1_required: Http1Required,
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
    /// The upstream takes no streams, and would take none on another connection.
    Barred,
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
            origin.lock().make_room();
        }
    }

    /// Finds a stream or opens a connection: one for all requests that come meanwhile, as far as its streams are likely to do. `connect`
    /// opens a byte stream, for HTTP/1.1 alone if it is called with true, and says whether HTTP/2 is spoken on it. `falls_back`: HTTP/1.1 may
    /// be spoken where the origin requires it. `taken` is what the pool had: where it is a place in the queue, what
    /// comes first is taken, a connection or a stream.
    ///
    /// Where an origin is unknown, the others wait for the first to find out, because it most likely speaks HTTP/2; where it spoke
    /// HTTP/1.1 last, each opens its own. The connection that is marked is avoided.
    ///
    /// # Errors
    /// `Unavailable` (503) after the limit on waiting in the queue, `Timeout` (504) after that on connecting for who waits for others to
    /// connect, `Upstream` (502) where the upstream takes no streams.
    ///
    /// # Cancel safety
    /// If the one that connects is dropped, another one of those that wait connects.
    pub(crate) async fn acquire<F>(
        self: &Arc<Self>,
        to: &Destination,
        limits: &Limits,
        avoid: Option<&Mark>,
        mut taken: Taken,
        falls_back: bool,
        connect: impl Fn(bool) -> F,
    ) -> Result<Opened, Error>
    where
        F: Future<Output = Result<(Io, bool), Error>>,
    {
        let runtime = runtime::Handle::current().id();
        let mut has_turn = false;
        let home = loop {
            taken = match taken {
                Taken::Idle(conn) => return Ok(Opened::Idle(conn)),
                Taken::Stream(stream) => return Ok(Opened::Http2(stream)),
                Taken::Dial(home) => break home,
                Taken::Wait(mut waiting) => {
                    has_turn = true;
                    self.serve_queue(to);
                    poll_fn(|cx| waiting.poll(cx)).await?
                }
            };
        };
        let until = limits.connect.map(|limit| Instant::now() + limit);
        loop {
            let origin = self.origin(to);
            let step = origin.lock().step(runtime, avoid, has_turn);
            match step {
                Step::Take(stream) => return Ok(Opened::Http2(stream)),
                Step::Settle(conn) => conn.settled().await,
                Step::Wait(mut outcome) => {
                    // Without an outcome, whoever was waited for has given up.
                    let _ = in_time(until, outcome.wait_for(Option::is_some)).await?;
                    if let Some(Outcome::Failed(error)) = &*outcome.borrow() {
                        return Err(error.clone());
                    }
                }
                Step::Barred => return Err(no_streams()),
                Step::Open(tell) => {
                    let opened = self.open(&origin, limits, home, falls_back, &connect).await;
                    tell.send_replace(Some(match &opened {
                        Ok(_) => Outcome::Open,
                        Err(error) => Outcome::Failed(error.clone()),
                    }));
                    return opened;
                }
            }
        }
    }

    async fn open<F>(
        self: &Arc<Self>,
        origin: &Origin,
        limits: &Limits,
        mut home: Home,
        falls_back: bool,
        connect: impl Fn(bool) -> F,
    ) -> Result<Opened, Error>
    where
        F: Future<Output = Result<(Io, bool), Error>>,
    {
        let until = limits.connect.map(|limit| Instant::now() + limit);
        let required = falls_back.then(|| origin.lock().http1_required.clone());
        let (io, is_http2) = connect(required.as_ref().is_some_and(Http1Required::is_set)).await?;
        if !is_http2 {
            origin.lock().is_http1 = true;
            return Ok(Opened::Http1(io, home));
        }
        home.opened();
        let queue = Queue::behind(&home);
        let origins = Arc::downgrade(self);
        let ended = move |state: &Arc<State>| {
            let gone = Self::forget(&origins, &home.destination, state);
            home.reason = match state.close_reason() {
                CloseReason::Broken if gone.is_some_and(|conn| conn.said_goodbye()) => CloseReason::ClosedByPeer,
                reason => reason,
            };
        };
        let (conn, stream) = Conn::open(io, limits, until, queue, required, ended).await?;
        self.open.fetch_add(1, Ordering::AcqRel);
        let mut inner = origin.lock();
        inner.is_http1 = false;
        // One that has ended meanwhile was looked for in vain, and would stay for ever.
        if !conn.state().is_closed() {
            inner.conns.push(conn);
        }
        drop(inner);
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

    /// For one that has begun to wait: what became free before is not told of any more.
    fn serve_queue(&self, to: &Destination) {
        let Some(origin) = self.find(to) else { return };
        let conns = origin.lock().conns.clone();
        conns.iter().for_each(Conn::serve_queue);
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
        map.entry(to.to_keep()).or_default().clone()
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        if self.is_http1 || self.http1_required.is_set() {
            return Step::Open(tell);
        }
        let ours = |conn: &&Conn| conn.state().runtime == runtime && !avoid.is_some_and(|avoid| conn.is(avoid));
        let mut ours = self.conns.iter().filter(ours);
        if let Some(conn) = ours.clone().find(|conn| !conn.state().is_settled() && !conn.state().is_closed()) {
            return Step::Settle(conn.clone());
        }
        // RFC 9113 §6.5.2: a limit of none is one like any other, and another connection would be told the same.
        if self.conns.iter().any(|conn| conn.state().runtime == runtime && conn.is_barred()) {
            return Step::Barred;
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

    /// Closes an unused connection.
    fn make_room(&self) {
        let open = self.conns.iter().map(Conn::state).filter(|state| !state.is_closed());
        let _one = open.into_iter().find(|state| state.retire_unused());
    }

    fn remove(&mut self, state: &Arc<State>) -> Option<Conn> {
        let at = self.conns.iter().position(|conn| Arc::ptr_eq(conn.state(), state))?;
        Some(self.conns.swap_remove(at))
    }

    fn is_unused(&self) -> bool {
        self.conns.is_empty() && self.opening.iter().all(|opening| opening.outcome.has_changed().is_err())
    }
}

impl Default for Inner {
    fn default() -> Self {
        let expects = super::MAX_STREAMS as usize;
        let (conns, opening) = (Vec::new(), Vec::new());
        let http1_required = Http1Required::default();
        Self { conns, opening, expects, is_http1: false, http1_required, upgrades_over_http1: false }
    }
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origins").field("open", &self.open.load(Ordering::Relaxed)).finish_non_exhaustive()
    }
}

/// Awaits what another request is at. That one has a limit of its own, but may give up, and another one begin anew.
async fn in_time<T>(until: Option<Instant>, waiting: impl Future<Output = T>) -> Result<T, Error> {
    let Some(until) = until else { return Ok(waiting.await) };
    timeout_at(until, waiting).await.map_err(|_| {
        Error::new(ErrorKind::Timeout, "timeout waiting for another request to open the HTTP/2 connection")
            .in_phase(Phase::Queue)
    })
}

/// Destinations of which it is remembered what they speak.
const MAX_REMEMBERED: usize = 1024;

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

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

    #[test]
    fn origins_that_require_http_1_1_are_remembered_within_a_bound() {
        let origins = Origins::default();
        let origin =
            |n: usize| origins.origin(&Destination::of(&format!("https://h{n}/").parse().unwrap(), None).unwrap());
        for n in 0..3 * MAX_REMEMBERED {
            origin(n).lock().http1_required.set();
            assert!(origins.map.read().unwrap().len() <= MAX_REMEMBERED);
            assert!(origin(n).lock().http1_required.is_set());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_in_the_queue_connects_and_the_next_is_given_a_stream() {
        let limits = Arc::new(Limits { max_connections: Some(1), ..Limits::default() });
        let (pool, origins) = (Arc::new(Pool::new(limits.clone(), None)), Arc::new(Origins::default()));
        let to = Destination::of(&"http://h/".parse().unwrap(), None).unwrap();
        let take = || pool.take(&to, Instant::now(), None, true, None);
        let Ok(Taken::Dial(in_use)) = take() else { panic!("no room") };
        let (before, behind) = (take().unwrap(), take().unwrap());
        let dialled = AtomicUsize::new(0);
        let connect = |_| async {
            dialled.fetch_add(1, Ordering::Relaxed);
            Ok((server(), true))
        };
        // The one whose turn is later looks first.
        let mut waits = pin!(origins.acquire(&to, &limits, None, behind, false, connect));
        assert!(poll_once(waits.as_mut()).is_pending());
        let mut connects = pin!(origins.acquire(&to, &limits, None, before, false, connect));
        assert!(poll_once(connects.as_mut()).is_pending());
        drop(in_use);
        let begin = Instant::now();
        let (connects, waits) = tokio::join!(connects, waits);
        assert!(matches!((connects, waits), (Ok(Opened::Http2(_)), Ok(Opened::Http2(_)))));
        assert_eq!((dialled.load(Ordering::Relaxed), begin.elapsed()), (1, std::time::Duration::ZERO));
    }
}
