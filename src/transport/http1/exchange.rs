//! [`Exchange`]: one request and its response on one connection, driven by whoever awaits it.

mod respond;

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Extensions, HeaderValue, Method, Response, StatusCode, Version, header, request::Parts};
use http_body::Body;
use tokio::time::Instant;

use super::{
    conn::Conn,
    decode::{self, Head},
    encode::{self, Lines},
    framing::RequestFraming,
    upload::Upload,
};
use crate::{
    error::{BoxError, Error, ErrorKind, Phase},
    ext::OnInformational,
    message::{
        hop,
        upgrade::{self, Handshake},
    },
    transport::{
        CloseReason, Home,
        awaits::{Awaits, Interim},
    },
};

/// A request on its way and its response awaited. No task and no channel: [`poll`](Self::poll) writes and reads.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(super) conn: Box<Conn>,
    pub(super) upload: Upload,
    /// When something last moved.
    pub(super) clock: Instant,
    /// Why writing ended before its time. What the upstream may have answered before that is still read.
    write_error: Option<std::io::Error>,
    written: u64,
    /// True once a byte of a response was read.
    answered: bool,
    /// Bytes of a head that were parsed and are not all of it.
    partial: usize,
    interim: Interim,
    /// True if the connection ended before that.
    lost: bool,
    is_head: bool,
    /// Boxed: most requests make none.
    handshake: Option<Box<Handshake>>,
    is_connect: bool,
    keep_hop_by_hop: bool,
    /// The request says itself that it is the last one.
    is_last: bool,
    /// The head was made for a connection that serves no other request.
    says_close: bool,
    /// The request authenticates its connection.
    binds: bool,
}

impl Exchange {
    /// Writes the request's head to the connection's buffer; nothing is sent before the first poll. `ended` if the body is at its end.
    #[expect(clippy::too_many_arguments, reason = "each is one fact of the request")]
    pub(crate) fn new(
        mut conn: Box<Conn>,
        parts: &Parts,
        framing: RequestFraming,
        ended: bool,
        keep_hop_by_hop: bool,
        now: Instant,
        host: Option<&HeaderValue>,
        more: impl FnOnce(&Extensions, &mut Lines<'_>),
    ) -> Self {
        // A bare client says itself what becomes of its connection.
        let last = conn.is_last_use() && !keep_hop_by_hop;
        let seen = encode::request_head(conn.out.room(), parts, framing, host, last, more);
        let expect = if seen.expect && !ended { parts.headers.get(header::EXPECT) } else { None };
        let expects = expect.is_some_and(encode::is_continue);
        let handshake = if seen.upgrade { upgrade::handshake(&parts.headers, Version::HTTP_11) } else { None };
        Self {
            handshake: handshake.map(Box::new),
            is_connect: parts.method == Method::CONNECT,
            keep_hop_by_hop,
            is_last: keep_hop_by_hop && hop::has_token(&parts.headers, &header::CONNECTION, b"close"),
            says_close: seen.close,
            binds: seen.binds,
            ..Self::on(conn, &parts.method, Upload::new(framing, expects, ended), now)
        }
    }

    /// The same with the head that another was [made of](Self::take_head).
    pub(crate) fn again(mut conn: Box<Conn>, head: Vec<u8>, method: &Method, now: Instant) -> Self {
        conn.out.resend(head);
        Self::on(conn, method, Upload::new(RequestFraming::None, false, true), now)
    }

    fn on(conn: Box<Conn>, method: &Method, upload: Upload, now: Instant) -> Self {
        Self {
            conn,
            upload,
            clock: now,
            write_error: None,
            written: 0,
            answered: false,
            partial: 0,
            interim: Interim::default(),
            lost: false,
            is_head: *method == Method::HEAD,
            handshake: None,
            is_connect: false,
            keep_hop_by_hop: false,
            is_last: false,
            says_close: false,
            binds: false,
        }
    }

    /// True if the head is the whole request, and nothing else must be known of it to read the response.
    pub(crate) fn is_all_written(&self) -> bool {
        let is_plain = self.handshake.is_none() && !self.is_connect && !self.keep_hop_by_hop && !self.says_close;
        self.upload.is_complete() && is_plain && !self.binds
    }

    /// The head, for another connection, of a request that [`is_all_written`](Self::is_all_written).
    pub(crate) fn take_head(&mut self) -> Vec<u8> {
        self.conn.out.take_head()
    }

    /// True if no byte of the request has left this process.
    pub(crate) fn is_unsent(&self) -> bool {
        self.written == 0
    }

    /// True if a connection that had served before ended without a byte of a response: the upstream had closed it when we wrote.
    pub(crate) fn is_stale(&self) -> bool {
        self.conn.uses > 0 && self.lost
    }

    /// True if the connection ended without a byte of a response.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Closes the connection, which the upstream had closed; what remains is the right to another.
    pub(crate) fn into_home(mut self) -> Home {
        self.conn.home.reason = CloseReason::ClosedByPeer;
        self.conn.into_home()
    }

    /// Sends, and reads the head of the response, as far as it goes without waiting.
    ///
    /// `parts` are the request's, whose head was written by [`new`](Self::new): its fields make room for those of the response.
    pub(crate) fn poll<B>(&mut self, cx: &mut Context<'_>, parts: &mut Parts, body: &mut B) -> Poll<Result<Head, Error>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        loop {
            if let Poll::Ready(Err(error)) = self.poll_upload(cx, body) {
                return Poll::Ready(Err(error));
            }
            let gated = self.upload.gated;
            match self.poll_head(cx, parts) {
                Poll::Ready(head) => return Poll::Ready(head),
                Poll::Pending if gated && !self.upload.gated => {}
                Poll::Pending => match self.poll_alarm(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    /// Sends what there is; ready when all is sent, or nothing more can be. An error is the client's: its body failed.
    pub(super) fn poll_upload<B>(&mut self, cx: &mut Context<'_>, body: &mut B) -> Poll<Result<(), Error>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        loop {
            let mut moved = false;
            if self.pulls() {
                let before = self.upload.pulled;
                match self.upload.poll_pull(cx, Pin::new(&mut *body), &mut self.conn.out) {
                    Poll::Ready(pulled) => {
                        pulled?;
                        // A frame without content is no progress.
                        moved = self.upload.pulled > before || !self.upload.wants_more();
                    }
                    Poll::Pending if self.conn.is_written() => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            let before = self.written;
            let flushed = self.conn.poll_flush(cx, &mut self.written);
            if self.written > before {
                moved |= self.upload.pulled > 0;
            }
            if moved {
                self.moved();
            }
            if let Err(error) = ready!(flushed) {
                self.write_error = Some(error);
                self.upload.abandon();
                self.conn.stop_writing();
            }
            if self.upload.gated {
                return Poll::Pending;
            }
            if !self.upload.wants_more() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// True if another frame is to be taken from the body. Before a byte was written, only one, so that another attempt has little to repeat.
    fn pulls(&self) -> bool {
        self.upload.wants_more() && self.conn.out.takes_more() && (self.written > 0 || self.upload.untouched)
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, parts: &mut Parts) -> Poll<Result<Head, Error>> {
        let max = self.conn.limits.max_head;
        loop {
            let Conn { read, layout, .. } = &mut *self.conn;
            if !read.is_empty() && (self.partial == 0 || decode::may_be_whole(read, self.partial, max)) {
                match decode::head(read, &mut parts.headers, layout, max, self.keep_hop_by_hop)? {
                    Some(head) if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS => {
                        self.pass_interim(&head, parts)?;
                        continue;
                    }
                    Some(head) => return Poll::Ready(Ok(head)),
                    None => self.partial = self.conn.read.len(),
                }
            }
            match ready!(self.conn.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(Err(self.no_response(None))),
                Ok(_) => self.answered = true,
                Err(error) => return Poll::Ready(Err(self.no_response(Some(error)))),
            }
        }
    }

    /// Tells whoever wants to know. hyper's server cannot send it on (RFC 9110 §15.2 lets a proxy drop it).
    fn pass_interim(&mut self, head: &Head, parts: &mut Parts) -> Result<(), Error> {
        self.partial = 0;
        self.interim.count()?;
        self.upload.gated &= head.status != StatusCode::CONTINUE;
        self.moved();
        if let Some(on_informational) = parts.extensions.get::<OnInformational>() {
            let mut response = Response::new(());
            *response.status_mut() = head.status;
            *response.headers_mut() = std::mem::take(&mut parts.headers);
            // RFC 9110 §8.6: no length in a 1xx.
            response.headers_mut().remove(header::CONTENT_LENGTH);
            on_informational.call(&response);
        }
        Ok(())
    }

    fn no_response(&mut self, read: Option<std::io::Error>) -> Error {
        self.lost = !self.answered;
        let source = self.write_error.take().or(read);
        let error = Error::new(ErrorKind::Upstream, "the upstream closed the connection before sending a response");
        let error = error.in_phase(if self.upload.is_complete() { Phase::ResponseHead } else { Phase::Send });
        let error = if self.is_unsent() { error } else { error.after_send() };
        match source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }

    /// The limit of the phase we are in. `Ok`: the wait for `100 Continue` is over, the body goes.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let awaits = match (self.conn.is_written(), self.upload.wants_more()) {
            _ if self.upload.gated => Awaits::Continue,
            (true, true) => Awaits::Client,
            (true, false) => Awaits::Head,
            (false, _) => Awaits::Room,
        };
        self.conn.alarm.set(awaits.limit(&self.conn.limits).map(|limit| self.clock + limit));
        ready!(self.conn.alarm.poll(cx));
        if self.upload.gated {
            self.upload.gated = false;
            self.moved();
            return Poll::Ready(Ok(()));
        }
        let error = awaits.too_late();
        Poll::Ready(Err(if self.is_unsent() { error } else { error.after_send() }))
    }

    /// True if the whole request was sent and no byte is left over.
    pub(super) fn is_clean(&self) -> bool {
        self.is_sent() && self.conn.read.is_empty()
    }

    pub(crate) fn is_sent(&self) -> bool {
        self.upload.is_complete() && self.conn.is_written() && self.write_error.is_none()
    }

    pub(super) fn moved(&mut self) {
        self.clock = Instant::now();
    }
}
