//! [`drive`]: polls a connection to its end, and knows when to end it.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use http_body::Body;
#[cfg(feature = "http2")]
use hyper::server::conn::http2;
use hyper::{body::Incoming, server::conn::http1};
use tokio::{
    task::coop::unconstrained,
    time::{Instant, Sleep, sleep},
};

use super::{
    activity::Activity,
    watch::{Phase, Watch},
};
use crate::error::BoxError;

/// A connection of hyper's that can be asked to finish.
pub(super) trait Graceful: Future<Output = hyper::Result<()>> {
    /// Carries several requests at once, holds responses up by windows of its own, and ends by itself when it was asked to and all is
    /// done.
    const MULTIPLEXED: bool;

    fn graceful_shutdown(self: Pin<&mut Self>);
}

/// Drives a connection to its end: asks it to finish when the drain begins, drops it when the drain cuts, and when its client keeps it
/// waiting for too long.
pub(super) async fn drive<C: Graceful>(
    mut connection: Pin<&mut C>,
    limits: Limits,
    activity: &Activity,
    watch: &Watch,
) -> Result<(), BoxError> {
    let timer = pin!(sleep(limits.head.min(limits.write)));
    let mut clock = Clock { limits, activity, timer, armed: false, leaving: false, writes: 0, moved: Instant::now() };
    poll_fn(|cx| {
        if !clock.armed {
            watch.wake(cx.waker()); // once: it is always the same task
            activity.delivery.is_driven_by(cx.waker());
        }
        activity.sending.turn(|| activity.is_idle());
        loop {
            let turn = activity.delivery.begin();
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended.map_err(Into::into));
            }
            activity.delivery.end(turn);
            let phase = watch.phase();
            let overdue = clock.overdue::<C>(cx);
            match overdue {
                _ if phase == Phase::Cut => {
                    return Poll::Ready(Err("the connection was cut by the server's shutdown".into()));
                }
                Some(Overdue::Reader) => {
                    return Poll::Ready(Err("the client accepted no bytes within the write timeout".into()));
                }
                Some(Overdue::Head) if !C::MULTIPLEXED => {
                    return Poll::Ready(Err("no complete request head arrived within the header timeout".into()));
                }
                _ => {}
            }
            if clock.leaving || (phase == Phase::Open && overdue.is_none()) {
                return Poll::Pending;
            }
            clock.leave();
            connection.as_mut().graceful_shutdown();
        }
    })
    .await
}

/// How long a client may keep its connection waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For a request's head.
    pub(super) head: Duration,
    /// For room for what is being written.
    pub(super) write: Duration,
}

/// What did not come in time.
#[derive(Clone, Copy, Debug)]
enum Overdue {
    Head,
    Reader,
}

/// Finds out when a limit is reached, with one timer that is only ever pushed later, and only when it fires.
///
/// Room in the socket is the stream's own matter (`Guarded`), since it is so in a tunnel, too. Here it is about what an HTTP/2 client
/// withholds otherwise: windows for its responses (RFC 9113 §5.2), and the answer to being told to go.
struct Clock<'a> {
    limits: Limits,
    activity: &'a Activity,
    timer: Pin<&'a mut Sleep>,
    /// The timer will wake the task.
    armed: bool,
    /// The connection was asked to finish.
    leaving: bool,
    /// What `Activity::writes` was when `moved` was set.
    writes: u32,
    /// When something was last written that had been waited for.
    moved: Instant,
}

impl Clock<'_> {
    fn overdue<C: Graceful>(&mut self, cx: &mut Context<'_>) -> Option<Overdue> {
        if C::MULTIPLEXED {
            self.note_progress();
        }
        if self.armed && !self.timer.is_elapsed() {
            return None; // spares most wake-ups the registration
        }
        // Unconstrained, as it would not be armed if the budget were spent.
        while pin!(unconstrained(self.timer.as_mut())).poll(cx).is_ready() {
            let now = Instant::now();
            // Told to go, an HTTP/2 connection goes when all is done.
            let heads = !(C::MULTIPLEXED && self.leaving);
            let head = self.activity.deadline(self.limits.head).filter(|_| heads);
            let mut next = head.unwrap_or(now + self.limits.head);
            if next <= now {
                return Some(Overdue::Head);
            }
            if C::MULTIPLEXED {
                // At least once per limit, so that a wait that begins in between is seen before it is over.
                let reader = self.waits_since().unwrap_or(now) + self.limits.write;
                if reader <= now {
                    return Some(Overdue::Reader);
                }
                next = next.min(reader);
            }
            self.timer.as_mut().reset(next);
        }
        self.armed = true;
        None
    }

    fn note_progress(&mut self) {
        let writes = self.activity.writes();
        if writes != self.writes {
            self.writes = writes;
            if self.waits_since().is_some() {
                self.moved = Instant::now();
            }
        }
    }

    /// Since when an HTTP/2 client has taken nothing although there was something for it.
    fn waits_since(&self) -> Option<Instant> {
        let farewell = || (self.leaving && self.activity.is_idle()).then_some(self.moved);
        self.activity.held_up_since().or_else(farewell).map(|since| since.max(self.moved))
    }

    fn leave(&mut self) {
        self.leaving = true;
        self.moved = Instant::now();
    }
}

impl<I, S, B> Graceful for http1::UpgradeableConnection<I, S>
where
    Self: Future<Output = hyper::Result<()>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<BoxError>,
    B: Body + 'static,
    B::Error: Into<BoxError>,
{
    const MULTIPLEXED: bool = false;

    fn graceful_shutdown(self: Pin<&mut Self>) {
        Self::graceful_shutdown(self);
    }
}

#[cfg(feature = "http2")]
impl<I, S, B, E> Graceful for http2::Connection<I, S, E>
where
    Self: Future<Output = hyper::Result<()>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<BoxError>,
    B: Body + 'static,
    B::Error: Into<BoxError>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    const MULTIPLEXED: bool = true;

    fn graceful_shutdown(self: Pin<&mut Self>) {
        Self::graceful_shutdown(self);
    }
}
