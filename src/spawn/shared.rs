//! [`Front`]: what requests, handles and the supervisor share.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{HeaderValue, Response, header::RETRY_AFTER};
use tokio::{
    sync::{Notify, broadcast, mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};

use super::{
    gate::{Backend, Lease},
    spec::Spec,
    state::{ChildStatus, Event, Exit, State, Status},
    supervisor::Supervisor,
};
use crate::{
    app::ProxyApp,
    body::Body,
    error::{Error, ErrorKind, Phase},
    exact::answer,
};

/// Held by every service and handle of one app; with the last of them, its children are stopped.
pub(super) struct Front {
    pub(super) public: Arc<Public>,
    /// To the supervisor, which is started when there is something to do.
    orders: Mutex<Option<mpsc::Sender<Order>>>,
    /// What the supervisor is to look at: a request without a child, a child that has served enough.
    pub(super) look: Arc<Notify>,
}

/// What the supervisor shows.
pub(super) struct Public {
    pub(super) spec: Arc<Spec>,
    /// The children that requests go to.
    pub(super) fleet: ArcSwap<Vec<Arc<Backend>>>,
    pub(super) moment: watch::Sender<Moment>,
    pub(super) board: Mutex<Board>,
    pub(super) events: broadcast::Sender<Event>,
    /// True if a request has found no child.
    pub(super) demand: AtomicBool,
    waiting: AtomicUsize,
}

/// What an app does, and until when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) state: State,
    pub(super) since: Instant,
    pub(super) until: Option<Instant>,
    /// It was shut down.
    pub(super) closed: bool,
    /// Changes with the fleet.
    pub(super) fleet: u64,
}

/// The rest of a [`Status`].
#[derive(Default)]
pub(super) struct Board {
    pub(super) generation: u64,
    pub(super) started: u64,
    pub(super) restarts: u64,
    pub(super) children: Vec<Seen>,
    pub(super) last_exit: Option<Exit>,
}

/// A child, as it is on the board.
pub(super) struct Seen {
    pub(super) id: u64,
    pub(super) generation: u64,
    pub(super) pid: Option<u32>,
    pub(super) state: State,
    pub(super) since: Instant,
    pub(super) backend: Option<Arc<Backend>>,
}

/// What a handle asks for, and where the outcome goes.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) what: What,
    pub(super) reply: Reply,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Start,
    Stop,
    Kill,
    Restart,
    Reload,
    ShutDown,
}

pub(super) type Reply = oneshot::Sender<Result<(), Error>>;

/// Why a request gets no child.
#[derive(Debug)]
pub(super) struct Refused {
    error: Error,
    retry_after: Duration,
}

impl Front {
    pub(super) fn new(spec: Spec) -> Self {
        let moment = Moment { state: State::Stopped, since: Instant::now(), until: None, closed: false, fleet: 0 };
        let public = Public {
            spec: Arc::new(spec),
            fleet: ArcSwap::default(),
            moment: watch::Sender::new(moment),
            board: Mutex::new(Board { generation: 1, ..Board::default() }),
            events: broadcast::Sender::new(EVENTS),
            demand: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
        };
        Self { public: Arc::new(public), orders: Mutex::default(), look: Arc::default() }
    }

    /// Until when a request waits that begins to wait now.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.public.spec.queue_timeout
    }

    /// Waits for a child, in the queue.
    pub(super) async fn wait(self: &Arc<Self>, deadline: Instant) -> Result<Lease, Refused> {
        let _place = Place::take(&self.public)?;
        let mut moments = self.public.moment.subscribe();
        loop {
            let moment = *moments.borrow_and_update();
            // Looked for after the moment was seen: what changes meanwhile is not missed.
            if let Some((_, lease)) = pick(&self.public.fleet.load()) {
                return Ok(lease);
            }
            let left = moment.until.map(|until| until.saturating_duration_since(Instant::now()));
            match moment.state {
                _ if moment.closed => return Err(refused("the backend was shut down", SECOND)),
                State::Failed if left.is_some_and(|left| !left.is_zero()) => {
                    return Err(
                        self.failing("the backend has failed, and is not started again yet", left.unwrap_or(SECOND))
                    );
                }
                _ => self.demand(),
            }
            let late = |_| self.failing("no backend became ready in time", SECOND);
            timeout_at(deadline, moments.changed()).await.map_err(late)?.map_err(|_| gone())?;
        }
    }

    /// With the last child's end for a reason, which clients do not get to see.
    fn failing(&self, reason: &'static str, retry_after: Duration) -> Refused {
        let Refused { error, retry_after } = refused(reason, retry_after);
        match &self.public.board().last_exit {
            Some(exit) => Refused { error: error.with_source(exit.to_string()), retry_after },
            None => Refused { error, retry_after },
        }
    }

    /// Has a child started, if there is none.
    pub(super) fn demand(self: &Arc<Self>) {
        self.public.demand.store(true, Ordering::Release);
        self.supervisor();
        self.look.notify_one();
    }

    /// Has the supervisor do something, and waits until it is done.
    pub(super) async fn order(self: &Arc<Self>, what: What) -> Result<(), Error> {
        let (reply, done) = oneshot::channel();
        let ended = || Error::new(ErrorKind::Unavailable, "the runtime of the backend's supervisor has ended");
        self.supervisor().send(Order { what, reply }).await.map_err(|_| ended())?;
        done.await.map_err(|_| ended())?
    }

    /// The one there is, or a new one: with its runtime, a supervisor ends.
    fn supervisor(self: &Arc<Self>) -> mpsc::Sender<Order> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        match &*orders {
            Some(sender) if !sender.is_closed() => sender.clone(),
            _ => {
                let (sender, receiver) = mpsc::channel(16);
                tokio::spawn(Supervisor::new(self, receiver).run());
                orders.insert(sender).clone()
            }
        }
    }

    pub(super) fn status(&self) -> Status {
        let moment = *self.public.moment.borrow();
        let board = self.public.board();
        let now = Instant::now();
        let in_flight = |backend: &Option<Arc<Backend>>| {
            backend.as_ref().map_or(0, |backend| backend.gate.traffic().inside as usize)
        };
        let children = board.children.iter().map(|seen| ChildStatus {
            id: seen.id,
            generation: seen.generation,
            pid: seen.pid,
            state: seen.state,
            age: now.saturating_duration_since(seen.since),
            in_flight: in_flight(&seen.backend),
        });
        let children: Vec<_> = children.collect();
        Status {
            state: moment.state,
            since: now.saturating_duration_since(moment.since),
            retry_in: moment.until.map(|until| until.saturating_duration_since(now)),
            generation: board.generation,
            started: board.started,
            restarts: board.restarts,
            in_flight: children.iter().map(|child| child.in_flight).sum(),
            waiting: self.public.waiting.load(Ordering::Relaxed),
            children,
            last_exit: board.last_exit.clone(),
        }
    }
}

impl Public {
    pub(super) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The proxy to the child with the fewest requests, and leave to send one: no lock, no task, no allocation.
pub(super) fn pick(fleet: &[Arc<Backend>]) -> Option<(&ProxyApp, Lease)> {
    let backend = match fleet {
        [only] => only,
        several => several.iter().min_by_key(|backend| backend.gate.traffic().inside)?,
    };
    Some((&backend.app, Lease::take(backend)?))
}

/// A request's place among those that wait; free again when it is dropped, as with a client that leaves.
struct Place<'a>(&'a Public);

impl<'a> Place<'a> {
    fn take(public: &'a Public) -> Result<Self, Refused> {
        let max = public.spec.queue;
        let enter = |waiting| if waiting < max { Some(waiting + 1) } else { None };
        match public.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter) {
            Ok(_) => Ok(Self(public)),
            Err(_) => Err(refused("too many requests are waiting for the backend", SECOND)),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Refused {
    pub(super) fn answer(self) -> Response<Body> {
        let mut response = answer(self.error, None, None);
        let seconds = self.retry_after.as_millis().div_ceil(1000).max(1) as u64;
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        response
    }
}

pub(super) fn refused(reason: &'static str, retry_after: Duration) -> Refused {
    Refused { error: Error::new(ErrorKind::Unavailable, reason).in_phase(Phase::Queue), retry_after }
}

fn gone() -> Refused {
    refused("the backend's supervisor has ended", SECOND)
}

pub(super) const SECOND: Duration = Duration::from_secs(1);
/// How many events a slow reader may be behind.
const EVENTS: usize = 1024;

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("spec", &self.public.spec).finish_non_exhaustive()
    }
}
