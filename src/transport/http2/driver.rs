//! The task behind a connection: it reads and writes, asks a silent upstream whether it is still there, and closes what nobody uses.

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    ops::ControlFlow,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{Ping, PingPong, client::Connection};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, timeout},
};

use super::conn::{State, UNSETTLED};
use crate::transport::{
    CloseReason,
    alarm::Alarm,
    io::{Io, write_by},
    limits::Limits,
};

/// Drives `connection` to its end. `ended` is called once it takes no more streams, also where this task is dropped.
pub(super) fn run(
    mut connection: Connection<Watched, Bytes>,
    heard: Arc<Heard>,
    state: Arc<State>,
    limits: &Limits,
    ended: impl FnOnce(&Arc<State>) + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    let mut driver = Driver {
        watch: Watch {
            ping: connection.ping_pong(),
            heard,
            interval: limits.http2.ping_interval,
            patience: limits.http2.ping_timeout,
            in_use: true,
            awaited: true,
            last: state.opened,
            asked: None,
            waiting: None,
        },
        connection,
        alarm: Alarm::default(),
        idle: if limits.max_idle == 0 { Some(Duration::ZERO) } else { limits.pool_idle },
        retire: limits.max_age.map(|age| state.opened + age),
        idle_since: None,
        streams: UNSETTLED,
        settled: false,
        began: false,
    };
    let guard = Guard { state, ended: Some(ended) };
    async move {
        if driver.work(&guard.state).await.is_break() {
            guard.state.close_for(CloseReason::Broken);
        } else {
            // With this, the last handle may go, upon which the connection says goodbye by itself.
            drop(guard);
            let _ = timeout(GOODBYE_TIME, driver.connection).await;
        }
    }
}

struct Driver {
    connection: Connection<Watched, Bytes>,
    watch: Watch,
    alarm: Alarm,
    /// How long it is kept unused.
    idle: Option<Duration>,
    /// When it is too old for another stream.
    retire: Option<Instant>,
    idle_since: Option<Instant>,
    /// How many streams the upstream takes, as was noted last.
    streams: usize,
    /// True if what becomes possible by knowing that was done.
    settled: bool,
    /// True once a stream may have been opened.
    began: bool,
}

impl Driver {
    /// Breaks when the connection has ended or is to be cut, continues where it is to be closed in peace.
    async fn work(&mut self, state: &State) -> ControlFlow<()> {
        let mut told = pin!(state.drive.notified());
        poll_fn(|cx| {
            while told.as_mut().poll(cx).is_ready() {
                told.set(state.drive.notified());
            }
            self.poll(state, cx)
        })
        .await
    }

    fn poll(&mut self, state: &State, cx: &mut Context<'_>) -> Poll<ControlFlow<()>> {
        loop {
            let unused = state.streams() == 0;
            let asked = state.asked.load(Ordering::Acquire);
            if let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(cx) {
                if let Err(error) = &ended {
                    state.note(error);
                }
                if unused {
                    state.close_for(CloseReason::ClosedByPeer);
                }
                return Poll::Ready(ControlFlow::Break(()));
            }
            if self.watch.heard.end.load(Ordering::Relaxed) {
                state.note_go_away();
            }
            let now = Instant::now();
            self.note_streams(state, asked, now);
            let in_use = state.streams() > 0;
            self.watch.note(now, in_use, cx);
            self.idle_since = if in_use { None } else { self.idle_since.or(Some(now)) };
            if self.is_over(state, now) {
                return Poll::Ready(ControlFlow::Continue(()));
            }
            let idle = self.idle_since.zip(self.idle).map(|(since, idle)| since + idle);
            let ask = self.watch.next();
            let settles = (!self.settled).then(|| state.settles());
            self.alarm.set([self.retire, idle, ask, settles].into_iter().flatten().min());
            ready!(self.alarm.poll(cx));
            if ask.is_some_and(|at| at <= Instant::now()) && self.watch.ask().is_break() {
                tracing::debug!("closing an HTTP/2 connection: no PING acknowledgement in time");
                return Poll::Ready(ControlFlow::Break(()));
            }
        }
    }

    /// Notes how many streams the upstream takes, and has those served who wait for them.
    fn note_streams(&mut self, state: &State, asked: bool, now: Instant) {
        if self.settled && self.began && !state.has_queue() {
            return;
        }
        let streams = self.connection.max_concurrent_send_streams();
        // What was asked for before the connection was polled has been opened by that, if it was allowed.
        if asked && streams > 0 && !self.began {
            self.began = true;
            state.began.store(true, Ordering::Release);
        }
        if streams == self.streams && (self.settled || now < state.settles()) {
            return;
        }
        self.streams = streams;
        self.settled = true;
        state.settle();
        state.serve_queue();
    }

    /// True if it is to be closed: too old, unused for too long, or closed to new streams and the last one has ended.
    fn is_over(&mut self, state: &State, now: Instant) -> bool {
        if self.retire.is_some_and(|at| at <= now) {
            self.retire = None;
            state.close_for(CloseReason::Age);
        }
        let Some(since) = self.idle_since else { return false };
        let enough = self.idle.is_some_and(|idle| since + idle <= now);
        let over = (enough || state.is_closed()) && state.close_unused();
        if over && enough {
            state.close_for(CloseReason::Idle);
        }
        over
    }
}

/// What is known of the upstream's being there.
struct Watch {
    ping: Option<PingPong>,
    heard: Arc<Heard>,
    interval: Option<Duration>,
    patience: Duration,
    in_use: bool,
    /// True once a stream was opened in this silence, be it given up since.
    awaited: bool,
    /// When the silence began: with the last byte read that was no answer of ours, or with the first stream.
    last: Instant,
    /// When it was last asked in this silence.
    asked: Option<Instant>,
    /// The same, until it answers.
    waiting: Option<Instant>,
}

impl Watch {
    fn note(&mut self, now: Instant, in_use: bool, cx: &mut Context<'_>) {
        // Where nobody waits for long, one stream after the other is given up. None of them begins the silence anew.
        if in_use && !self.in_use && !std::mem::replace(&mut self.awaited, true) {
            self.restart(now);
        }
        self.in_use = in_use;
        if self.waiting.is_some() && self.ping.as_mut().is_some_and(|ping| ping.poll_pong(cx).is_ready()) {
            self.waiting = None;
            self.heard.any.store(false, Ordering::Relaxed);
        } else if self.heard.any.swap(false, Ordering::Relaxed) {
            self.awaited = false;
            self.restart(now);
        }
    }

    fn restart(&mut self, now: Instant) {
        self.last = now;
        self.asked = None;
        self.waiting = self.waiting.map(|_| now);
    }

    /// When it is to be asked, or its time to answer is up, which is waited for without a stream, too.
    fn next(&self) -> Option<Instant> {
        match (self.waiting, self.interval) {
            (Some(waiting), _) => Some(waiting + self.patience),
            (None, Some(interval)) if self.in_use => {
                Some(self.asked.map_or(self.last + interval, |asked| asked + interval.max(APART)))
            }
            (None, _) => None,
        }
    }

    /// Asks; breaks if it was asked before and did not answer.
    fn ask(&mut self) -> ControlFlow<()> {
        if self.waiting.is_some() {
            return ControlFlow::Break(());
        }
        let now = Instant::now();
        self.asked = Some(now);
        let asked = self.ping.as_mut().is_some_and(|ping| ping.send_ping(Ping::opaque()).is_ok());
        self.waiting = asked.then_some(now);
        ControlFlow::Continue(())
    }
}

/// Says that the connection takes no more streams.
struct Guard<F: FnOnce(&Arc<State>)> {
    state: Arc<State>,
    ended: Option<F>,
}

impl<F: FnOnce(&Arc<State>)> Drop for Guard<F> {
    fn drop(&mut self) {
        self.state.close_for(CloseReason::Runtime);
        // Nobody is to wait for a word that does not come.
        self.state.settle();
        if let Some(ended) = self.ended.take() {
            ended(&self.state);
        }
    }
}

/// A stream that notes when something was read from it. It holds its end back for one turn of the driver, which looks for a `GOAWAY` then.
pub(super) struct Watched {
    io: Io,
    heard: Arc<Heard>,
    end: Option<io::Result<()>>,
}

/// The result of reading from a stream, since the driver last looked.
#[derive(Default)]
pub(super) struct Heard {
    /// Something was read.
    any: AtomicBool,
    /// The stream has ended, or failed.
    end: AtomicBool,
}

impl Watched {
    pub(super) fn new(io: Io) -> (Self, Arc<Heard>) {
        let heard = Arc::<Heard>::default();
        (Self { io, heard: heard.clone(), end: None }, heard)
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(end) = self.end.take() {
            return Poll::Ready(end);
        }
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        self.heard.any.store(true, Ordering::Relaxed);
        if read.is_ok() && buf.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        self.end = Some(read);
        self.heard.end.store(true, Ordering::Relaxed);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

macro_rules! inside {
    ($watched:expr, $io:ident => $call:expr) => {
        match $watched {
            Watched { io: $io, .. } => $call,
        }
    };
}

impl AsyncWrite for Watched {
    write_by!(inside);
}

/// Between two questions in one silence: gRPC servers take a third one within 5 minutes for an attack, and cut the connection.
const APART: Duration = Duration::from_secs(310);
/// For what is still to be written when a connection is closed.
const GOODBYE_TIME: Duration = Duration::from_secs(5);
