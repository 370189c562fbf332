//! What an exchange ends in: a response and its body, or a tunnel.

use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, Response, StatusCode, header, request::Parts};
use http_body::Body;

use super::{
    super::{
        body::Incoming,
        conn::Conn,
        decode::{Framing, Head},
        framing::{Chunked, Remaining},
        relay,
    },
    Exchange,
};
use crate::{
    error::{BoxError, Error, ErrorKind, Phase},
    ext::{ConnectionId, ReceivedHttp10, is_of_connection},
    message::{
        extended::{self, Extended},
        hop, upgrade,
    },
    transport::{CloseReason, observe::Watch, tunnel},
};

impl Exchange {
    /// Makes the response out of its head, and decides what becomes of the connection.
    ///
    /// What is left of `body` goes on in a task where the response came before all of it was sent.
    pub(crate) fn respond<B>(
        mut self,
        head: Head,
        parts: &mut Parts,
        body: B,
        watch: &mut Watch,
    ) -> Result<Response<crate::Body>, Error>
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(head, parts, watch);
        }
        if head.status.is_success() {
            if self.is_connect {
                return self.tunnel(&head, parts, watch);
            }
            // RFC 8441 §5: to the client, any 2xx would say that the tunnel is there.
            if self.handshake.is_some() && parts.extensions.get::<Extended>().is_some() {
                let error =
                    Error::new(ErrorKind::Upstream, "the upstream answered the upgrade request with 2xx, expected 101");
                return Err(error.in_phase(Phase::ResponseHead).after_send());
            }
        }
        let remaining = self.remaining(&head);
        let Head { status, reason, http11, framing, mut keep, keep_alive, keep_alive_max, binds } = head;
        keep &= !(self.binds || binds) || self.bind(&parts.extensions);
        let mut response = Response::new(crate::Body::empty());
        *response.status_mut() = status;
        *response.headers_mut() = std::mem::take(&mut parts.headers);
        // `serve` puts the memory to use for the connection's next request, and what it says of the connection itself.
        if !is_of_connection(&parts.extensions) {
            parts.extensions.clear();
        }
        *response.extensions_mut() = std::mem::take(&mut parts.extensions);
        if !http11 {
            response.extensions_mut().insert(ReceivedHttp10);
        }
        if status == StatusCode::NO_CONTENT {
            response.headers_mut().remove(header::CONTENT_LENGTH);
            // RFC 9112 §6.1: framing fields must not be there. Who sends them may send a body after them, too.
            keep &= matches!(framing, Framing::Unsaid | Framing::Length(0));
        }
        if let Some(reason) = reason.and_then(|reason| hyper::ext::ReasonPhrase::try_from(reason).ok()) {
            response.extensions_mut().insert(reason);
        }
        // A second off, because a request may be on its way when the upstream's own time is up.
        self.conn.keep_alive = keep_alive.map(|seconds| Duration::from_secs(seconds.saturating_sub(1)));
        // Some count down and some always say the same: either way, this response is the first of those.
        let max_requests = keep_alive_max.map(|max| self.conn.uses.saturating_add(max));
        self.conn.max_requests = [self.conn.max_requests, max_requests].into_iter().flatten().min();
        let keep = keep && !self.is_last && !matches!(remaining, Remaining::UntilClose);
        *response.body_mut() = if self.upload.is_unfinished() || !self.conn.is_written() {
            relay::start(self, body, remaining, keep).into()
        } else {
            let keep = keep && self.is_sent();
            Incoming::new(self.conn, remaining, keep).into()
        };
        Ok(response)
    }

    /// Binds the connection, which the upstream may have authenticated, to that of the client. False if nobody knows which that is.
    fn bind(&mut self, extensions: &Extensions) -> bool {
        let Some(client) = extensions.get::<ConnectionId>() else { return false };
        self.conn.bound.get_or_insert_with(|| client.bind());
        true
    }

    /// RFC 9112 §6.3: which responses have no body, whatever their fields say, and where that of the others ends.
    fn remaining(&self, head: &Head) -> Remaining {
        let bodiless = self.is_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        match head.framing {
            _ if bodiless => Remaining::Length(0),
            Framing::Length(length) => Remaining::Length(length),
            Framing::Chunked => Remaining::Chunked(Chunked::default()),
            Framing::Unsaid => Remaining::UntilClose,
        }
    }

    /// A 101: what was asked for becomes a tunnel, anything else is refused.
    fn switch(self, mut head: Head, parts: &mut Parts, watch: &mut Watch) -> Result<Response<crate::Body>, Error> {
        upgrade::check_switch(self.handshake.as_deref(), &parts.headers).map_err(Error::after_send)?;
        if parts.extensions.remove::<Extended>().is_some() {
            head.status = StatusCode::OK;
            extended::accept(&mut parts.headers);
        }
        self.tunnel(&head, parts, watch)
    }

    /// What comes after the head is another protocol's (RFC 9110 §7.8, §9.3.6).
    fn tunnel(self, head: &Head, parts: &mut Parts, watch: &mut Watch) -> Result<Response<crate::Body>, Error> {
        if !self.is_sent() {
            let error =
                Error::new(ErrorKind::Upstream, "the upstream switched protocols before the end of the request");
            return Err(error.in_phase(Phase::ResponseHead).after_send());
        }
        let mut response = Response::new(crate::Body::empty());
        *response.status_mut() = head.status;
        *response.headers_mut() = std::mem::take(&mut parts.headers);
        hop::strip_response(response.headers_mut(), head.status == StatusCode::SWITCHING_PROTOCOLS);
        // RFC 9110 §8.6: no length in a 1xx, nor in a 2xx to CONNECT.
        response.headers_mut().remove(header::CONTENT_LENGTH);
        let Conn { io, read, mut home, limits, .. } = *self.conn;
        home.reason = CloseReason::Upgraded;
        watch.tunnel(head.status);
        let upgraded = tunnel::Upgraded::new(io, read, Some(home), std::mem::take(watch));
        tunnel::open(upgraded, &mut parts.extensions, &mut response, limits.tunnel_idle);
        Ok(response)
    }
}
