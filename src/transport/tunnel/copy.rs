//! [`Tunnel`]: bytes both ways between two streams, until both have ended.

use std::{
    fmt, io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::coop::{has_budget_remaining, unconstrained},
    time::{Instant, Sleep, sleep_until},
};

use super::scratch::{Kept, Scratch};
use crate::timeout;

/// Copies both ways, carrying each end across, until both ways have ended, one side fails or nothing moves for too long. Where one side
/// takes no more, what has arrived from it is still delivered to the other, which has a minute for it.
pub(super) struct Tunnel<C, U> {
    client: C,
    upstream: U,
    there: Way,
    back: Way,
    idle: Option<Idle>,
    /// Set once a side takes no more.
    cut: Option<Cut>,
}

/// What a tunnel has carried: bytes from the client, and bytes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) there: u64,
    pub(super) back: u64,
}

/// Why a tunnel did not come to its end.
#[derive(Debug)]
pub(super) enum Cut {
    Client(io::Error),
    Upstream(io::Error),
    Idle(Duration),
}

impl<C, U> Tunnel<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    /// Each side with the bytes of it that were read already.
    pub(super) fn new((client, ahead): (C, &[u8]), (upstream, glued): (U, &[u8]), idle: Option<Duration>) -> Self {
        let (there, back) = (Way::beginning_with(ahead), Way::beginning_with(glued));
        Self { client, upstream, there, back, idle: idle.and_then(Idle::new), cut: None }
    }

    /// Returns the upstream's side, of which nothing more is read.
    pub(super) fn into_upstream(self) -> U {
        self.upstream
    }

    pub(super) fn carried(&self) -> Carried {
        Carried { there: self.there.moved, back: self.back.moved }
    }
}

impl<C, U> Future for Tunnel<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    type Output = Result<(), Cut>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { client, upstream, there, back, idle, cut } = &mut *self;
        let mut scratch = Scratch::lend();
        loop {
            // Both before either's error counts: what arrived before a side was lost still goes on.
            let sent = there.poll(cx, client, upstream, &mut scratch);
            let received = back.poll(cx, upstream, client, &mut scratch);
            let ended = match (sent, received) {
                (Poll::Ready(Err(Failed::Reading(error))), _) => Err(Cut::Client(error)),
                (_, Poll::Ready(Err(Failed::Reading(error)))) => Err(Cut::Upstream(error)),
                (Poll::Ready(Err(Failed::Writing(error))), _) if cut.is_none() => {
                    *cut = Some(Cut::Upstream(error));
                    (there.state, back.is_last) = (State::Closed, true);
                    Idle::hurry(idle);
                    continue;
                }
                (_, Poll::Ready(Err(Failed::Writing(error)))) if cut.is_none() => {
                    *cut = Some(Cut::Client(error));
                    (back.state, there.is_last) = (State::Closed, true);
                    Idle::hurry(idle);
                    continue;
                }
                (Poll::Ready(_), Poll::Ready(_)) => Ok(()),
                (Poll::Pending, _) | (_, Poll::Pending) => break,
            };
            return Poll::Ready(cut.take().map_or(ended, Err));
        }
        drop(scratch);
        let is_lost = there.lost.is_some() || back.lost.is_some();
        if is_lost && idle.is_none() {
            Idle::hurry(idle);
        }
        let Some(idle) = idle else { return Poll::Pending };
        if is_lost || there.state == State::Closed || back.state == State::Closed {
            idle.shorten(HALF_CLOSED);
        }
        ready!(idle.poll(there.moved.wrapping_add(back.moved), cx));
        let lost = || there.lost.take().map(Cut::Client).or_else(|| back.lost.take().map(Cut::Upstream));
        Poll::Ready(Err(cut.take().or_else(lost).unwrap_or(Cut::Idle(idle.limit))))
    }
}

/// One direction.
struct Way {
    kept: Option<Kept>,
    state: State,
    /// Nothing more is waited for than what has arrived.
    is_last: bool,
    /// True while what was written may still be held by the stream, as TLS does.
    unflushed: bool,
    /// Why nothing more can be read, until what was read before is flushed.
    lost: Option<io::Error>,
    /// Bytes written.
    moved: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing more comes.
    Ended,
    /// And the other side was told.
    Closed,
}

enum Failed {
    Reading(io::Error),
    Writing(io::Error),
}

impl Way {
    fn beginning_with(bytes: &[u8]) -> Self {
        let kept = (!bytes.is_empty()).then(|| Kept::copy(bytes));
        Self { kept, state: State::Open, is_last: false, unflushed: false, lost: None, moved: 0 }
    }

    /// Ready once the end of `from` was carried to `to`.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        scratch: &mut Scratch,
    ) -> Poll<Result<(), Failed>> {
        for _ in 0..ROUNDS {
            ready!(self.poll_kept(cx, to, scratch)).map_err(Failed::Writing)?;
            if self.state != State::Open {
                return self.poll_end(cx, to).map_err(Failed::Writing);
            }
            if self.lost.is_some() {
                // Of two errors, the first tells more.
                let _ = ready!(self.poll_flush(cx, to));
            }
            if let Some(error) = self.lost.take() {
                return Poll::Ready(Err(Failed::Reading(error)));
            }
            let mut buf = ReadBuf::new(scratch.buffer());
            let Poll::Ready(read) = Pin::new(&mut *from).poll_read(cx, &mut buf) else {
                // What was written must not wait in the stream for what is not there yet.
                ready!(self.poll_flush(cx, to)).map_err(Failed::Writing)?;
                // A task that has used up its budget finds nothing in any stream, and is woken for another look.
                return if self.is_last && has_budget_remaining() { Poll::Ready(Ok(())) } else { Poll::Pending };
            };
            if let Err(error) = read {
                self.lost = Some(error);
                continue;
            }
            let read = buf.filled().len();
            if read == 0 {
                self.state = State::Ended;
                continue;
            }
            if let Some(left) = self.write(cx, to, buf.filled()).map_err(Failed::Writing)? {
                self.kept = Some(scratch.keep(left..read));
                return Poll::Pending;
            }
        }
        // Streams that are always ready would keep their thread from everything else.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes `bytes`; from where on `to` did not take them.
    fn write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
        bytes: &[u8],
    ) -> io::Result<Option<usize>> {
        let mut at = 0;
        while let Some(left) = bytes.get(at..).filter(|left| !left.is_empty()) {
            match Pin::new(&mut *to).poll_write(cx, left)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => {
                    at += written;
                    self.moved += written as u64;
                    self.unflushed = true;
                }
                Poll::Pending => return Ok(Some(at)),
            }
        }
        Ok(None)
    }

    fn poll_kept(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
        scratch: &mut Scratch,
    ) -> Poll<io::Result<()>> {
        let Some(mut kept) = self.kept.take() else { return Poll::Ready(Ok(())) };
        if let Some(at) = self.write(cx, to, kept.left())? {
            kept.advance(at);
            self.kept = Some(kept);
            return Poll::Pending;
        }
        scratch.take_back(kept);
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin)) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_end(&mut self, cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin)) -> Poll<io::Result<()>> {
        if self.state == State::Ended {
            match ready!(Pin::new(to).poll_shutdown(cx)) {
                // A peer that has gone already has seen the end.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                ended => ended?,
            }
            self.state = State::Closed;
        }
        Poll::Ready(Ok(()))
    }
}

/// The limit without progress: one timer, which asks when it fires whether anything has moved since, four times within the limit.
struct Idle {
    limit: Duration,
    timer: Pin<Box<Sleep>>,
    /// The timer will wake the task.
    armed: bool,
    /// When progress was last seen, and how much there had been.
    since: Instant,
    moved: u64,
}

impl Idle {
    /// `None` for a limit that no clock reaches.
    fn new(limit: Duration) -> Option<Self> {
        let (limit, since) = (timeout::or_none(Some(limit))?, Instant::now());
        let timer = Box::pin(sleep_until(since + limit / CHECKS));
        Some(Self { limit, timer, armed: false, since, moved: 0 })
    }

    /// Leaves no more time than for what is delivered at the end.
    fn hurry(idle: &mut Option<Self>) {
        *idle = Self::new(idle.as_ref().map_or(LAST_WORDS, |idle| idle.limit.min(LAST_WORDS)));
    }

    /// From now on, this is the limit, if it is less.
    fn shorten(&mut self, limit: Duration) {
        if limit < self.limit {
            let now = Instant::now();
            (self.limit, self.since, self.armed) = (limit, now, false);
            self.timer.as_mut().reset(now + limit / CHECKS);
        }
    }

    fn poll(&mut self, moved: u64, cx: &mut Context<'_>) -> Poll<()> {
        if self.armed && !self.timer.is_elapsed() {
            return Poll::Pending; // it is always the same task
        }
        // Unconstrained, as it would not be armed if the budget were spent.
        while pin!(unconstrained(self.timer.as_mut())).poll(cx).is_ready() {
            let now = Instant::now();
            if moved != self.moved {
                (self.since, self.moved) = (now, moved);
            }
            let end = self.since + self.limit;
            if end <= now {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(end.min(now + self.limit / CHECKS));
        }
        self.armed = true;
        Poll::Pending
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => write!(f, "client: {error}"),
            Self::Upstream(error) => write!(f, "upstream: {error}"),
            Self::Idle(limit) => write!(f, "no data for {limit:?}"),
        }
    }
}

/// Reads of one direction before others have their turn.
const ROUNDS: u32 = 8;
/// The limit once one side has said all that it has to say: what waits for the other then is most often forgotten.
const HALF_CLOSED: Duration = Duration::from_secs(60);
/// How often within its limit the timer asks.
const CHECKS: u32 = 4;
/// For one side to take what has arrived from the other, which is lost.
const LAST_WORDS: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
