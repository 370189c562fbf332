//! [`Waiting`]: a request's turn in the queue for a connection.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    sync::oneshot::{Receiver, Sender},
    time::Instant,
};

use super::{
    checkout::{Pool, Taken},
    event::{CloseReason, PoolChange},
    home::Home,
    places::Want,
};
#[cfg(feature = "http2")]
use crate::transport::http2::Stream;
use crate::{
    error::{Error, ErrorKind, Phase},
    transport::{alarm::Alarm, destination::Destination, http1::Conn},
};

/// What one who waits is given.
pub(super) enum Grant {
    /// A connection that came back.
    Idle(Box<Conn>),
    /// The right to open one.
    Dial(Home),
    /// A place on a connection that others use, too.
    #[cfg(feature = "http2")]
    Stream(Stream),
}

/// The pool's end of it.
pub(super) struct Waiter {
    pub(super) want: Want,
    pub(super) grant: Sender<Grant>,
}

/// The request's end of it. Dropped, it leaves the queue, and what it was given in this moment goes to the next.
pub(crate) struct Waiting {
    pub(super) pool: Arc<Pool>,
    pub(super) to: Destination,
    pub(super) ticket: u64,
    pub(super) want: Want,
    pub(super) grant: Receiver<Grant>,
    alarm: Alarm,
    over: bool,
}

impl Waiting {
    pub(super) fn new(pool: Arc<Pool>, to: Destination, ticket: u64, want: Want, grant: Receiver<Grant>) -> Self {
        let mut alarm = Alarm::default();
        alarm.set(pool.limits.pool_wait.map(|limit| want.now + limit));
        Self { pool, to, ticket, want, grant, alarm, over: false }
    }

    /// Where the connection goes.
    #[cfg(feature = "http2")]
    pub(crate) fn destination(&self) -> &Destination {
        &self.to
    }

    /// A connection, the right to open one, or a stream.
    ///
    /// # Errors
    /// `Unavailable` (503) after the limit on waiting.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Taken, Error>> {
        let granted = match Pin::new(&mut self.grant).poll(cx) {
            Poll::Ready(granted) => granted.ok(),
            Poll::Pending if self.alarm.poll(cx).is_pending() => return Poll::Pending,
            // What was given at the last moment counts.
            Poll::Pending => self.leave(),
        };
        self.over = true;
        Poll::Ready(match granted {
            Some(Grant::Dial(home)) => Ok(Taken::Dial(home)),
            Some(Grant::Idle(conn)) => Ok(self.use_again(conn)),
            #[cfg(feature = "http2")]
            Some(Grant::Stream(stream)) => Ok(Taken::Stream(stream)),
            None => {
                self.pool.refused(&self.to);
                Err(unavailable("timeout waiting for a free connection to the upstream"))
            }
        })
    }

    /// What came back may have been closed since; then its place is ours all the same.
    fn use_again(&self, mut conn: Box<Conn>) -> Taken {
        if !self.want.is_alive(&mut conn) {
            conn.home.reason = CloseReason::ClosedByPeer;
            return Taken::Dial(conn.into_home());
        }
        if let Some(shard) = self.pool.shard() {
            let _places = shard.lock();
            shard.counts.count_reused();
        }
        self.pool.tell(&self.to, PoolChange::CheckedOut);
        Taken::Idle(conn)
    }

    /// Leaves the queue; what was given already is not lost.
    fn leave(&mut self) -> Option<Grant> {
        self.pool.forget_waiter(&self.to, self.ticket);
        self.grant.close();
        self.grant.try_recv().ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // Dropped, whatever else was given goes to the next.
        if let Some(Grant::Idle(conn)) = self.leave() {
            self.pool.keep(conn, Instant::now());
        }
    }
}

pub(super) fn unavailable(reason: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, reason).in_phase(Phase::Queue)
}
