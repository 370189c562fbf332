//! The same over HTTP/2: a stream on a shared connection instead of a connection.

mod search;

use http::{
    Extensions, HeaderMap, Method, Version,
    header::{HOST, UPGRADE},
};
use http_body::Body as _;
use tokio::time::Instant;

use self::search::Search;
use super::{Exchange, Keep, Opened, Prepare, State, again::RETRIES};
use crate::{
    error::{Error, ErrorKind},
    exact::service::Inner,
    message::upgrade,
    transport::{
        Destination, Home, HttpVersions, Offer, Taken,
        http1::RequestFraming,
        http2::{self, Failure, Mark},
    },
};

impl Inner {
    /// A stream on a connection that is open, unless others wait for one.
    fn take_stream(&self, to: &Destination) -> Option<http2::Stream> {
        if self.pool.has_queue(to) {
            return None;
        }
        let stream = self.origins.take(to)?;
        self.pool.shared(to);
        Some(stream)
    }
}

/// What a request asks to be made of its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// Nothing, or by `CONNECT`, which both versions have.
    Nothing,
    /// Another protocol, for which HTTP/2 has extended `CONNECT` (RFC 8441).
    Upgrade,
    /// Something that HTTP/2 has no words for: a choice of protocols, another method than `GET`, a body.
    OverHttp1,
}

impl<P: Prepare> Exchange<P> {
    /// What may be spoken with `to` for this request; where that may be HTTP/2, what it asks.
    pub(super) fn offer(&self, to: &Destination) -> Result<(Offer, Asks), Error> {
        let offer = match self.proxy.versions {
            HttpVersions::Http2Only => Offer::Http2,
            HttpVersions::Auto if to.is_tls() => Offer::Either,
            HttpVersions::Auto | HttpVersions::Http1Only => return Ok((Offer::Http1, Asks::Nothing)),
        };
        // On no connection that is shared, but on one of the pool, or a new one.
        if self.authenticates() {
            return Ok((Offer::Http1, Asks::Nothing));
        }
        match (self.asks(), offer) {
            (Asks::OverHttp1, Offer::Http2) => {
                Err(Error::new(ErrorKind::Unsupported, "this upgrade request cannot be sent over HTTP/2"))
            }
            (Asks::OverHttp1, _) => Ok((Offer::Http1, Asks::OverHttp1)),
            (asks, offer) => Ok((offer, asks)),
        }
    }

    fn asks(&self) -> Asks {
        if self.parts.method == Method::CONNECT || !self.parts.headers.contains_key(UPGRADE) {
            return Asks::Nothing;
        }
        match upgrade::handshake(&self.parts.headers, Version::HTTP_11) {
            None => Asks::Nothing,
            Some(asked) if self.parts.method == Method::GET && asked.names_one() && self.body.is_end_stream() => {
                Asks::Upgrade
            }
            Some(_) => Asks::OverHttp1,
        }
    }

    /// A stream on an open connection, a connection of HTTP/1.1 from the pool, or either on its way.
    pub(super) fn start_on_stream(
        &mut self,
        to: Destination,
        (offer, asks): (Offer, Asks),
        framing: RequestFraming,
        now: Instant,
    ) -> Result<State, Error> {
        let client = self.proxy.pool.bound_client(&self.parts.extensions);
        if let Some(client) = client
            && let Some(conn) = self.proxy.pool.take_bound(&to, now, self.freshness(), client)
        {
            return self.send_on(conn, framing, now);
        }
        if asks == Asks::Upgrade {
            return Ok(self.open_for_upgrade(to, offer, framing, None));
        }
        if let Some(stream) = self.proxy.take_stream(&to) {
            return self.send_on_stream(stream, framing, now);
        }
        match self.proxy.pool.take(&to, now, self.freshness(), true, client)? {
            Taken::Idle(conn) => self.send_on(conn, framing, now),
            first => Ok(self.open_on_stream(to, offer, framing, None, first)),
        }
    }

    fn open_on_stream(
        &mut self,
        to: Destination,
        offer: Offer,
        framing: RequestFraming,
        avoid: Option<Mark>,
        first: Taken,
    ) -> State {
        if matches!(first, Taken::Wait(_)) {
            self.watch.waits();
        } else {
            self.watch.may_wait();
        }
        let progress = self.watch.progress();
        let search = Search { proxy: self.proxy.clone(), to, offer, fresh: self.freshness(), avoid, progress };
        State::Connecting(framing, Box::pin(async move { search.any(first).await }))
    }

    /// Instead of a lost connection of HTTP/1.1: the upstream may choose anew, but for an upgrade, which was on its way over that.
    pub(super) fn dial_either(&mut self, home: Home, framing: RequestFraming) -> State {
        if self.asks() == Asks::Upgrade {
            return self.dial(home, framing);
        }
        self.open_on_stream(home.destination.clone(), Offer::Either, framing, None, Taken::Dial(home))
    }

    fn open_for_upgrade(
        &mut self,
        to: Destination,
        offer: Offer,
        framing: RequestFraming,
        avoid: Option<Mark>,
    ) -> State {
        self.watch.may_wait();
        let progress = self.watch.progress();
        let search = Search { proxy: self.proxy.clone(), to, offer, fresh: self.freshness(), avoid, progress };
        State::Connecting(framing, Box::pin(async move { search.for_upgrade().await }))
    }

    pub(super) fn send_on_stream(
        &mut self,
        stream: http2::Stream,
        framing: RequestFraming,
        now: Instant,
    ) -> Result<State, Error> {
        self.watch.on_stream();
        // What signs the request is to see the method that the upstream will see.
        let upgrade = self.asks() == Asks::Upgrade;
        if upgrade {
            self.parts.method = Method::CONNECT;
        }
        let prepared = self.prepare.prepare(self.attempt, &mut self.parts);
        if upgrade {
            self.parts.method = Method::GET;
        }
        prepared?;
        // What is refused unread is sent again whatever its method.
        if self.attempt <= RETRIES {
            self.body.keep(Keep::UntilAnswered, &self.proxy.replay);
        }
        let ended = self.body.is_end_stream();
        let (limits, strip) = (self.proxy.limits.clone(), !self.proxy.keep_hop_by_hop);
        let prepare = &self.prepare;
        let more = |extensions: &Extensions, out: &mut HeaderMap| {
            if let Some(host) = prepare.host() {
                out.insert(HOST, host.clone());
            }
            prepare.add_fields(extensions, out);
        };
        match http2::Exchange::new(stream, &self.parts, framing, ended, limits, strip, now, more) {
            Ok(sending) => Ok(State::SendingOnStream(Box::new(sending))),
            // It was closed since it was taken; nothing was taken from the body.
            Err(failure) if failure.unprocessed && self.may_go_again(true, most_retries(&failure)) => {
                self.once_more(&failure.error, framing, None)
            }
            Err(failure) => Err(failure.error),
        }
    }

    /// What becomes of a failed attempt: another one, or the error.
    ///
    /// What the upstream has not processed is sent again whatever its method (RFC 9113 §8.7), as far as its body is still to be had.
    pub(super) fn again_on_stream(&mut self, sending: &http2::Exchange, failure: &Failure) -> Result<State, Error> {
        let again = match self.proxy.versions {
            HttpVersions::Http2Only if failure.http1_required => false,
            _ => failure.unprocessed || failure.http1_required || sending.is_stale(failure),
        };
        let framing = self.framing.filter(|_| again);
        let framing = framing.filter(|_| self.may_go_again(failure.unprocessed, most_retries(failure)));
        let Some(framing) = framing else {
            self.give_up(failure.lost, failure.unprocessed);
            return Err(failure.error.clone());
        };
        self.once_more(&failure.error, framing, Some(sending.mark()))
    }

    /// Another attempt, on another connection than the one that is to be avoided, if there may be another.
    fn once_more(&mut self, error: &Error, framing: RequestFraming, avoid: Option<Mark>) -> Result<State, Error> {
        tracing::debug!(%error, "retrying on another connection");
        let now = Instant::now();
        let to = self.proxy.connector.destination(&self.parts, self.prepare.destination())?.into_owned();
        let (offer, asks) = self.offer(&to)?;
        if asks == Asks::Upgrade {
            return Ok(self.open_for_upgrade(to, offer, framing, avoid));
        }
        let client = self.proxy.pool.bound_client(&self.parts.extensions);
        let shares = offer != Offer::Http1;
        match self.proxy.pool.take(&to, now, self.freshness(), shares, client)? {
            taken if !shares => self.go_on(taken, framing, now),
            Taken::Idle(conn) => self.send_on(conn, framing, now),
            first => Ok(self.open_on_stream(to, offer, framing, avoid, first)),
        }
    }
}

/// An upstream that requires HTTP/1.1 does so once: what was retried before it did is retried over HTTP/1.1, too.
fn most_retries(failure: &Failure) -> u32 {
    RETRIES + u32::from(failure.http1_required)
}
