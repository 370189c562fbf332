//! [`Conn`]: one connection that many requests share.

use std::{
    fmt,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::{
    runtime,
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    MAX_STREAMS, driver,
    stream::{Mark, Stream},
};
use crate::{
    error::{Error, ErrorKind, Phase},
    transport::{
        CloseReason,
        io::Io,
        limits::Limits,
        pool::{Home, Queue},
    },
};

/// A connection on which requests open streams. Cheap to clone; it is closed once neither a clone nor a stream is left.
#[derive(Clone, Debug)]
pub(crate) struct Conn(Arc<Handle>);

struct Handle {
    sender: SendRequest<Bytes>,
    state: Arc<State>,
}

/// What the handle of a connection, its streams and its driver tell each other.
#[derive(Debug)]
pub(super) struct State {
    /// Streams in flight; with [`CLOSED`], no more are opened.
    streams: AtomicUsize,
    /// Why no more are opened: what was noted first.
    reason: OnceLock<CloseReason>,
    /// Streams that may still be opened.
    left: AtomicU64,
    pub(super) opened: Instant,
    pub(super) runtime: runtime::Id,
    /// True once it has answered a request.
    pub(super) used: AtomicBool,
    /// True once it is known how many streams the upstream takes.
    settled: AtomicBool,
    /// True once a first stream is asked for.
    pub(super) asked: AtomicBool,
    /// True once that one may have been seen by the upstream.
    pub(super) began: AtomicBool,
    /// Told when `settled` or `streams` changes for those who wait for it.
    changed: Notify,
    /// Told when there is something for the driver to do that its connection does not tell it.
    pub(super) drive: Notify,
    /// Those who wait for a connection where there may be so many; they are given the streams that become free.
    queue: Option<Queue>,
    handle: OnceLock<Weak<Handle>>,
    /// `None` with prior knowledge of HTTP/2, where HTTP/1.1 is no choice.
    http1_required: Option<Http1Required>,
    /// True once a `GOAWAY` required HTTP/1.1.
    left_for_http1: AtomicBool,
}

/// Set once an origin requires HTTP/1.1 (`HTTP_1_1_REQUIRED`, RFC 9113 §7). All connections to the origin share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Http1Required(Arc<AtomicBool>);

impl Http1Required {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self) {
        if !self.0.swap(true, Ordering::Relaxed) {
            tracing::debug!("an upstream requires HTTP/1.1: HTTP/2 is no longer offered to it");
        }
    }

    /// Returns true for an `RST_STREAM` or `GOAWAY` of the upstream with this code.
    pub(super) fn is_meant(error: &h2::Error) -> bool {
        error.is_remote() && error.reason() == Some(h2::Reason::HTTP_1_1_REQUIRED)
    }
}

impl Conn {
    /// Speaks the preface on `io` and starts the task that drives the connection, which calls `ended` when no stream can be opened any
    /// more. The upstream's word is not waited for. Returns the place of the first stream, too; `queue` is where free ones go.
    pub(super) async fn open(
        io: Io,
        limits: &Limits,
        until: Option<Instant>,
        queue: Option<Queue>,
        http1_required: Option<Http1Required>,
        ended: impl FnOnce(&Arc<State>) + Send + 'static,
    ) -> Result<(Self, Stream), Error> {
        let (io, heard) = driver::Watched::new(io);
        let speaking = builder(limits).handshake(io);
        let spoken = match until {
            None => speaking.await,
            Some(until) => timeout_at(until, speaking).await.map_err(|_| {
                Error::new(ErrorKind::Timeout, "timeout in the HTTP/2 handshake with the upstream")
                    .in_phase(Phase::Connect)
            })?,
        };
        let (sender, connection) = spoken.map_err(|error| {
            let error = Error::new(ErrorKind::Connect, "HTTP/2 handshake with the upstream failed").with_source(error);
            error.in_phase(Phase::Connect)
        })?;
        let state = Arc::new(State {
            streams: AtomicUsize::new(0),
            reason: OnceLock::new(),
            left: AtomicU64::new(limits.max_requests.unwrap_or(u64::MAX)),
            opened: Instant::now(),
            runtime: runtime::Handle::current().id(),
            used: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            began: AtomicBool::new(false),
            changed: Notify::new(),
            drive: Notify::new(),
            queue,
            handle: OnceLock::new(),
            http1_required,
            left_for_http1: AtomicBool::new(false),
        });
        state.take(1);
        let conn = Self(Arc::new(Handle { sender: sender.clone(), state }));
        let state = conn.state();
        let _ = state.handle.set(Arc::downgrade(&conn.0));
        tokio::spawn(driver::run(connection, heard, state.clone(), limits, ended));
        Ok((conn.clone(), Stream::new(sender, conn, true)))
    }

    /// The same for one stream, after which the connection is closed.
    pub(crate) async fn open_for_one(io: Io, mut home: Home, limits: &Limits) -> Result<Stream, Error> {
        home.opened();
        let until = limits.connect.map(|limit| Instant::now() + limit);
        let ended = move |state: &Arc<State>| {
            let mut home = home;
            home.reason = state.close_reason();
        };
        let (conn, stream) = Self::open(io, limits, until, None, None, ended).await?;
        conn.state().close_for(CloseReason::Finished);
        Ok(stream)
    }

    /// Takes the place of one stream, if the connection takes more.
    pub(super) fn try_take(&self) -> Option<Stream> {
        let Handle { sender, state } = &*self.0;
        let max = if state.is_settled() { self.max_streams() } else { 1 };
        if !state.take(max) {
            return None;
        }
        let mut sender = sender.clone();
        // After a GOAWAY, its streams go on, but no others.
        if let Poll::Ready(Err(error)) = sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
            state.note(&error);
            state.close_for(CloseReason::ClosedByPeer);
            state.release();
            return None;
        }
        Some(Stream::new(sender, self.clone(), false))
    }

    /// Gives its free streams to those who wait, in their order. One that nobody uses is closed where it is of no use to who waits.
    pub(super) fn serve_queue(&self) {
        let state = self.state();
        let Some(queue) = &state.queue else { return };
        while queue.wants_stream(state.runtime) {
            let Some(stream) = self.try_take() else { break };
            queue.give(stream);
        }
        if state.streams() == 0 && !state.is_closed() && queue.wants_connection(state.runtime) {
            state.retire_unused();
        }
    }

    /// True if the upstream takes no streams at all for now.
    pub(super) fn is_barred(&self) -> bool {
        self.state().is_settled() && !self.state().is_closed() && self.max_streams() == 0
    }

    pub(super) fn is(&self, mark: &Mark) -> bool {
        mark.is(self.state())
    }

    /// How many streams the upstream takes at once, and we open.
    pub(super) fn max_streams(&self) -> usize {
        self.0.sender.current_max_send_streams().min(MAX_STREAMS as usize)
    }

    /// True if the upstream has said that it takes no more streams, in peace.
    pub(super) fn said_goodbye(&self) -> bool {
        let ready = self.0.sender.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Err(error)) = ready else { return false };
        error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
    }

    pub(super) fn state(&self) -> &Arc<State> {
        &self.0.state
    }

    /// Waits until the upstream's first SETTINGS have come, for one second at the most, and then goes on without them.
    pub(super) async fn settled(&self) {
        let state = &self.0.state;
        let free = || state.is_settled() || state.streams.load(Ordering::Acquire) != 1;
        if state.wait_for(free).await.is_err() {
            state.settle();
        }
    }
}

fn builder(limits: &Limits) -> Builder {
    let window = limits.http2.stream_window;
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(window)
        .initial_connection_window_size(window.saturating_mul(MAX_STREAMS))
        .max_header_list_size(u32::try_from(limits.max_head).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(MAX_RESET)
        .max_local_error_reset_streams(Some(MAX_LOCAL_ERRORS))
        .initial_max_send_streams(UNSETTLED);
    builder
}

impl State {
    fn take(&self, max: usize) -> bool {
        if self.http1_required.as_ref().is_some_and(Http1Required::is_set) {
            self.close_for(CloseReason::ClosedByPeer);
        }
        let more = |streams: usize| (streams & CLOSED == 0 && streams < max).then_some(streams + 1);
        let taken = self.streams.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok();
        if taken && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.close_for(CloseReason::MaxRequests);
        }
        taken
    }

    /// Gives the place of a stream back.
    pub(super) fn release(&self) {
        let left = (self.streams.fetch_sub(1, Ordering::AcqRel) & !CLOSED) - 1;
        if left == 0 {
            self.drive.notify_one();
        }
        if !self.is_settled() {
            self.changed.notify_waiters();
        }
    }

    /// Opens no more streams, for this reason unless there was another before.
    pub(super) fn close_for(&self, reason: CloseReason) {
        let _ = self.reason.set(reason);
        self.close();
    }

    /// Opens no more streams, here and on the other connections to the origin, if the upstream requires HTTP/1.1.
    pub(super) fn note(&self, error: &h2::Error) {
        if !Http1Required::is_meant(error) {
            return;
        }
        if error.is_go_away() {
            self.left_for_http1.store(true, Ordering::Release);
        }
        if let Some(required) = &self.http1_required {
            required.set();
            self.close_for(CloseReason::ClosedByPeer);
        }
    }

    /// The same for what a `GOAWAY` said, if one was read. `h2` forgets it if the connection ends in an error.
    pub(super) fn note_go_away(&self) {
        let Some(handle) = self.handle.get().and_then(Weak::upgrade) else { return };
        if let Poll::Ready(Err(error)) = handle.sender.clone().poll_ready(&mut Context::from_waker(Waker::noop())) {
            self.note(&error);
        }
    }

    /// Returns true if a `GOAWAY` required HTTP/1.1.
    pub(super) fn left_for_http1(&self) -> bool {
        self.left_for_http1.load(Ordering::Acquire)
    }

    pub(super) fn close_reason(&self) -> CloseReason {
        self.reason.get().copied().unwrap_or(CloseReason::Broken)
    }

    /// Streams in flight.
    pub(super) fn streams(&self) -> usize {
        self.streams.load(Ordering::Acquire) & !CLOSED
    }

    /// True if no stream will be opened any more.
    pub(super) fn is_closed(&self) -> bool {
        self.streams.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Opens no more streams.
    pub(super) fn close(&self) {
        self.streams.fetch_or(CLOSED, Ordering::AcqRel);
        self.changed.notify_waiters();
        self.drive.notify_one();
    }

    /// The same, unless a stream is in flight.
    pub(super) fn close_unused(&self) -> bool {
        let unused = |streams: usize| (streams & !CLOSED == 0).then_some(CLOSED);
        self.streams.fetch_update(Ordering::AcqRel, Ordering::Acquire, unused).is_ok()
    }

    /// The same, and has the driver close the connection.
    pub(super) fn retire_unused(&self) -> bool {
        let unused = self.close_unused();
        if unused {
            self.drive.notify_one();
        }
        unused
    }

    /// True if others may wait for its streams.
    pub(super) fn has_queue(&self) -> bool {
        self.queue.is_some()
    }

    /// Its streams may have become more: they go to those who wait.
    pub(super) fn serve_queue(&self) {
        if let Some(handle) = self.handle.get().and_then(Weak::upgrade) {
            Conn(handle).serve_queue();
        }
    }

    /// When the upstream's first SETTINGS are waited for no longer.
    pub(super) fn settles(&self) -> Instant {
        self.opened + SETTLE_TIME
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// Notes that the upstream's SETTINGS are known, or that they are not waited for any longer.
    pub(super) fn settle(&self) {
        self.settled.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Waits for that. The driver sees to it that it comes.
    pub(super) async fn settled(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_settled() {
                return;
            }
            changed.await;
        }
    }

    /// Waits for `done`, until the connection is one second old.
    pub(super) async fn wait_for(&self, done: impl Fn() -> bool) -> Result<(), tokio::time::error::Elapsed> {
        loop {
            let changed = self.changed.notified();
            if done() {
                return Ok(());
            }
            timeout_at(self.settles(), changed).await?;
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.state.close();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("state", &self.state).finish_non_exhaustive()
    }
}

const CLOSED: usize = 1 << (usize::BITS - 1);
/// What `h2` takes for the upstream's limit before its SETTINGS: a number that none of them names.
pub(super) const UNSETTLED: usize = usize::MAX - 1;
const SETTLE_TIME: Duration = Duration::from_secs(1);
/// Bytes of a request's body that wait for the connection to take them.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams cancelled here of which late frames are still expected.
const MAX_RESET: usize = 128;
/// Errors of the upstream that cost it one stream each; more cost it the connection.
const MAX_LOCAL_ERRORS: usize = 128;
