//! The same over HTTP/2: a stream on a shared connection instead of a connection.

use http::{Extensions, HeaderMap, Method, Version};
use http_body::Body as _;
use tokio::time::{Instant, timeout};

use super::{Exchange, Keep, Opened, Prepare, State};
use crate::{
    error::{Error, ErrorKind, Phase},
    message::upgrade,
    transport::{
        Alpn, Destination, HttpVersions, Offer, Taken,
        http1::{Conn, RequestFraming},
        http2::{self, Failure, Mark},
    },
};

impl<P: Prepare> Exchange<P> {
    /// What may be spoken with `to` for this request.
    pub(super) fn offer(&self, to: &Destination) -> Result<Offer, Error> {
        let upgrades = || {
            self.parts.method == Method::CONNECT || upgrade::handshake(&self.parts.headers, Version::HTTP_11).is_some()
        };
        match self.proxy.versions {
            HttpVersions::Http2Only if upgrades() => {
                Err(Error::new(ErrorKind::Unsupported, "an upgrade is not carried over HTTP/2"))
            }
            HttpVersions::Http2Only => Ok(Offer::Http2),
            HttpVersions::Auto if to.is_tls() && !upgrades() => Ok(Offer::Either),
            HttpVersions::Auto | HttpVersions::Http1Only => Ok(Offer::Http1),
        }
    }

    /// A stream on an open connection, a connection of HTTP/1.1 from the pool, or either on its way.
    pub(super) fn start_on_stream(
        &mut self,
        to: Destination,
        offer: Offer,
        framing: RequestFraming,
        now: Instant,
    ) -> Result<State, Error> {
        if let Some(stream) = self.proxy.origins.take(&to) {
            return self.send_on_stream(stream, framing, now);
        }
        match self.proxy.pool.take(to.clone(), now, self.freshness())? {
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
        let proxy = self.proxy.clone();
        let fresh = self.freshness();
        if matches!(first, Taken::Wait(_)) {
            self.watch.waits()
        } else {
            self.watch.may_wait()
        };
        let progress = self.watch.progress();
        let opening = async move {
            let limits = &proxy.limits;
            let permit = || proxy.pool.take(to.clone(), Instant::now(), fresh);
            let connect = || async {
                let connected = proxy.connector.connect(&to, offer, limits.connect, progress.as_deref()).await?;
                // With prior knowledge, an upstream without ALPN is believed to know, too.
                let is_http2 = offer == Offer::Http2 || connected.alpn == Some(Alpn::Http2);
                Ok((connected.io, is_http2))
            };
            let acquiring = proxy.origins.acquire(&to, limits, avoid.as_ref(), first, permit, connect);
            let acquired = match limits.connect {
                None => acquiring.await?,
                Some(limit) => {
                    let queue = limits.max_connections.and(limits.pool_wait).unwrap_or_default();
                    timeout(limit + queue, acquiring).await.map_err(|_| {
                        Error::new(ErrorKind::Timeout, "no connection to the upstream in time").in_phase(Phase::Connect)
                    })??
                }
            };
            Ok(match acquired {
                http2::Opened::Http1(io, home) => Opened::Http1(Box::new(Conn::new(io, home, Instant::now()))),
                http2::Opened::Idle(conn) => Opened::Http1(conn),
                http2::Opened::Http2(stream) => Opened::Http2(stream),
            })
        };
        State::Connecting(framing, Box::pin(opening))
    }

    pub(super) fn send_on_stream(
        &mut self,
        stream: http2::Stream,
        framing: RequestFraming,
        now: Instant,
    ) -> Result<State, Error> {
        self.watch.on_stream();
        self.prepare.prepare(self.attempt, &mut self.parts)?;
        // What is refused unread is sent again whatever its method.
        if self.attempt == 0 {
            self.body.keep(Keep::UntilAnswered, &self.proxy.replay);
        }
        let ended = self.body.is_end_stream();
        let (limits, strip) = (self.proxy.limits.clone(), !self.proxy.keep_hop_by_hop);
        let prepare = &self.prepare;
        let more = |extensions: &Extensions, out: &mut HeaderMap| prepare.add_fields(extensions, out);
        match http2::Exchange::new(stream, &self.parts, framing, ended, limits, strip, now, more) {
            Ok(sending) => Ok(State::SendingOnStream(Box::new(sending))),
            // It was closed since it was taken; nothing was taken from the body.
            Err(failure) if failure.unprocessed && self.may_go_again(true) => {
                self.once_more(&failure.error, framing, None)
            }
            Err(failure) => Err(failure.error),
        }
    }

    /// What becomes of a failed attempt: another one, or the error.
    ///
    /// What the upstream has not processed is sent again whatever its method (RFC 9113 §8.7), as far as its body is still to be had.
    pub(super) fn again_on_stream(&mut self, sending: &http2::Exchange, failure: &Failure) -> Result<State, Error> {
        let again = failure.unprocessed || sending.is_stale(failure);
        let Some(framing) = self.framing.filter(|_| again) else { return Err(failure.error.clone()) };
        if !self.may_go_again(failure.unprocessed) {
            return Err(failure.error.clone());
        }
        self.once_more(&failure.error, framing, Some(sending.mark()))
    }

    /// The second and last attempt, on another connection than the one that is to be avoided, if there may be another.
    fn once_more(&mut self, error: &Error, framing: RequestFraming, avoid: Option<Mark>) -> Result<State, Error> {
        tracing::debug!(%error, "sending again on another connection");
        let now = Instant::now();
        let to = self.proxy.connector.destination(&self.parts, self.prepare.destination())?;
        let offer = self.offer(&to)?;
        match self.proxy.pool.take(to.clone(), now, self.freshness())? {
            Taken::Idle(conn) => self.send_on(conn, framing, now),
            Taken::Wait(waiting) => match self.proxy.origins.take(&to) {
                Some(stream) => self.send_on_stream(stream, framing, now),
                None => Ok(self.open_on_stream(to, offer, framing, None, Taken::Wait(waiting))),
            },
            first @ Taken::Dial(_) => Ok(self.open_on_stream(to, offer, framing, avoid, first)),
        }
    }
}
