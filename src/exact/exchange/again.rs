//! What becomes of a request that was lost: it is sent again, handed back whole, or failed.

#[cfg(feature = "spawn")]
use http::request::Parts;
use tokio::time::Instant;

use super::{Exchange, Head, Prepare, State};
#[cfg(feature = "spawn")]
use crate::body::Body;
#[cfg(feature = "http2")]
use crate::transport::Offer;
use crate::{error::Error, transport::http1};

/// A request that an upstream has lost.
#[cfg(feature = "spawn")]
pub(crate) struct Salvage {
    pub(crate) parts: Parts,
    pub(crate) body: Body,
    /// Its head as it was written, where it was not held; all of the request then.
    pub(crate) head: Option<Vec<u8>>,
    /// True if bytes of it have left, and may have been processed.
    pub(crate) was_sent: bool,
}

impl<P: Prepare> Exchange<P> {
    /// Makes the request whole again for another attempt, if there may be one. `unsent`: the upstream has not processed it.
    ///
    /// `most` is the number of attempts after which there is no other.
    pub(super) fn may_go_again(&mut self, unsent: bool, most: u32) -> bool {
        let safe = unsent || self.parts.method.is_idempotent();
        let bound = self.prepare.binds_trailers() && self.body.gave_trailers();
        if self.attempt >= most || !safe || bound || !self.body.rewind() {
            return false;
        }
        // What was not sent costs the upstream nothing to be sent.
        if !unsent && !self.proxy.retries.allows(Instant::now(), self.proxy.pool.reused()) {
            tracing::warn!("retry budget exhausted");
            return false;
        }
        self.attempt += 1;
        self.was_sent |= !unsent;
        self.watch.again();
        true
    }

    /// Notes whether another upstream could be sent what this one has lost.
    pub(super) fn give_up(&mut self, lost: bool, unsent: bool) {
        let bound = self.prepare.binds_trailers() && self.body.gave_trailers();
        let safe = lost && (unsent || self.parts.method.is_idempotent());
        self.whole = self.proxy.replaceable && safe && !bound && self.body.rewind();
        self.was_sent |= !unsent;
    }

    /// After a failure: what was to prepare the request, and the request itself, if it can be sent to another upstream.
    #[cfg(feature = "spawn")]
    pub(crate) fn salvage(self) -> (P, Option<Box<Salvage>>) {
        let Self { parts, body, head, was_sent, whole, prepare, .. } = self;
        let head = match head {
            Head::Taken(head) => Some(head),
            Head::Held | Head::Written => None,
        };
        (prepare, whole.then(|| Box::new(Salvage { parts, body: Body::new(body), head, was_sent })))
    }

    /// Sends what another upstream has lost: this head, if there is one.
    #[cfg(feature = "spawn")]
    pub(crate) fn with_head(mut self, head: Option<Vec<u8>>) -> Self {
        self.head = head.map_or(Head::Held, Head::Taken);
        self
    }

    /// What becomes of a failed attempt: another one, or the error.
    pub(super) fn again(&mut self, mut sending: http1::Exchange, error: Error) -> Result<State, Error> {
        let framing = self.framing.filter(|_| sending.is_stale());
        let Some(framing) = framing.filter(|_| self.may_go_again(sending.is_unsent(), RETRIES)) else {
            self.give_up(sending.is_lost(), sending.is_unsent());
            if self.whole
                && let Head::Written = self.head
            {
                self.head = Head::Taken(sending.take_head());
            }
            return Err(error);
        };
        tracing::debug!(%error, "retrying on a new connection");
        if let Head::Written = self.head {
            self.head = Head::Taken(sending.take_head());
        }
        // What was lost on one pooled connection is not tried on another, but on a new one in its place.
        let home = sending.into_home();
        // A head that is written already is one of HTTP/1.1.
        #[cfg(feature = "http2")]
        if let Head::Held = self.head
            && let (Offer::Either, _) = self.offer(&home.destination)?
        {
            return Ok(self.dial_either(home, framing));
        }
        Ok(self.dial(home, framing))
    }
}

/// Attempts after the first.
pub(super) const RETRIES: u32 = 1;
