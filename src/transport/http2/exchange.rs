//! [`Exchange`]: one request on a stream of its own, and the head of its response, driven by whoever awaits it.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, client::ResponseFuture};
use http::{Extensions, HeaderMap, Method, Response, StatusCode, header, request::Parts};
use http_body::Body;
use tokio::time::Instant;

use super::{
    body::{Incoming, Place},
    channel::Channel,
    failure::{Failure, padded},
    head::{self, Asked},
    stream::{Mark, Stream},
    two_way,
    upload::Upload,
};
use crate::{
    error::{BoxError, Phase},
    ext::OnInformational,
    message::fields::has_padded_value,
    transport::{
        Upgraded,
        alarm::Alarm,
        awaits::Interim,
        http1::{RequestFraming, is_continue},
        io::Io,
        limits::Limits,
        observe::Watch,
        tunnel,
    },
};

/// A request on its way and its response awaited. The stream is reset where this is dropped.
pub(crate) struct Exchange {
    stream: Stream,
    response: ResponseFuture,
    upload: Upload,
    limits: Arc<Limits>,
    alarm: Alarm,
    /// When something last moved.
    clock: Instant,
    interim: Interim,
    strip: bool,
    is_head: bool,
    /// A `2xx` makes the stream a tunnel.
    asked: Option<Asked>,
    /// Until the upstream has said how many streams it takes, which may be none.
    settling: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Exchange {
    /// Opens a stream with the request's head. `ended` if the body is at its end.
    #[expect(clippy::too_many_arguments, reason = "each is one fact of the request")]
    pub(crate) fn new(
        mut stream: Stream,
        parts: &Parts,
        framing: RequestFraming,
        ended: bool,
        limits: Arc<Limits>,
        strip: bool,
        now: Instant,
        more: impl FnOnce(&Extensions, &mut HeaderMap),
    ) -> Result<Self, Failure> {
        let (request, asked) = head::request(parts, framing, !strip, more).map_err(Failure::ours)?;
        // A body that is over although a length was announced is asked for its end like any other, and found to be short.
        let complete = ended && matches!(framing, RequestFraming::None | RequestFraming::Length(0));
        // What may become a tunnel has no body and stays open.
        let (response, send) = stream.open(request, complete && asked.is_none()).map_err(|error| {
            stream.note(&error);
            Failure::not_opened(error)
        })?;
        let gated = framing.has_content() && parts.headers.get(header::EXPECT).is_some_and(is_continue);
        let upload = Upload::new(send, framing, gated, complete);
        let is_head = parts.method == Method::HEAD;
        let (alarm, settling) = (Alarm::default(), stream.settling());
        Ok(Self {
            stream,
            response,
            upload,
            limits,
            alarm,
            clock: now,
            interim: Interim::default(),
            strip,
            is_head,
            asked,
            settling,
        })
    }

    /// True if a failure may be the end of an old connection, which came as the request was sent.
    pub(crate) fn is_stale(&self, failure: &Failure) -> bool {
        failure.lost && self.stream.is_used()
    }

    /// True if the whole request was handed to the connection.
    pub(crate) fn is_sent(&self) -> bool {
        self.upload.is_complete()
    }

    /// The connection, for another attempt to avoid.
    pub(crate) fn mark(&self) -> Mark {
        self.stream.mark()
    }

    /// Sends, and waits for the head of the response.
    pub(crate) fn poll<B>(
        &mut self,
        cx: &mut Context<'_>,
        extensions: &Extensions,
        body: &mut B,
    ) -> Poll<Result<Response<RecvStream>, Failure>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        loop {
            if let Poll::Ready(Err(error)) = self.upload.poll(cx, body) {
                self.upload.cancel();
                return Poll::Ready(Err(Failure::ours(error.after_send())));
            }
            if self.upload.has_moved() {
                self.clock = Instant::now();
            }
            if let Some(settling) = &mut self.settling
                && settling.as_mut().poll(cx).is_ready()
            {
                self.settling = None;
                if self.stream.is_barred() {
                    self.upload.cancel();
                    return Poll::Ready(Err(Failure::no_streams()));
                }
            }
            let gated = self.upload.gated;
            self.poll_interim(cx, extensions)?;
            if let Poll::Ready(response) = Pin::new(&mut self.response).poll(cx) {
                let response = response.map_err(|error| self.failed(error))?;
                self.check(response.headers())?;
                return Poll::Ready(Ok(response));
            }
            if gated && !self.upload.gated {
                continue;
            }
            ready!(self.poll_alarm(cx))?;
        }
    }

    fn failed(&self, error: h2::Error) -> Failure {
        self.stream.note(&error);
        let phase = if self.upload.is_complete() { Phase::ResponseHead } else { Phase::Send };
        Failure::of(error, phase, self.stream.left_for_http1())
    }

    /// Tells whoever asked; hyper's server cannot pass interim responses on (RFC 9110 §15.2 lets a proxy drop them).
    fn poll_interim(&mut self, cx: &mut Context<'_>, extensions: &Extensions) -> Result<(), Failure> {
        // Of an error, the response itself tells.
        while let Poll::Ready(Some(Ok(mut interim))) = self.response.poll_informational(cx) {
            self.interim.count().map_err(Failure::ours)?;
            self.check(interim.headers())?;
            self.upload.gated &= interim.status() != StatusCode::CONTINUE;
            if let Some(on_informational) = extensions.get::<OnInformational>() {
                // RFC 9110 §8.6: no length in a 1xx.
                interim.headers_mut().remove(header::CONTENT_LENGTH);
                on_informational.call(&interim);
            }
            self.clock = Instant::now();
        }
        Ok(())
    }

    /// Refuses what h2 lets through of a malformed response (RFC 9113 §8.2.1).
    fn check(&mut self, headers: &HeaderMap) -> Result<(), Failure> {
        if !has_padded_value(headers) {
            return Ok(());
        }
        self.upload.reset(Reason::PROTOCOL_ERROR);
        Err(Failure::ours(padded().in_phase(Phase::ResponseHead).after_send()))
    }

    /// The limit of the phase we are in. `Ok`: the wait for `100 Continue` is over, the body goes.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let awaits = self.upload.awaits();
        self.alarm.set(awaits.limit(&self.limits).map(|limit| self.clock + limit));
        ready!(self.alarm.poll(cx));
        if self.upload.gated {
            self.upload.gated = false;
            self.clock = Instant::now();
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(Err(Failure::ours(awaits.too_late().after_send())))
    }

    /// Makes the response, which may be a tunnel. What is left of `body` goes on in a task where the response came before all of it was sent.
    pub(crate) fn respond<B>(
        mut self,
        response: Response<RecvStream>,
        extensions: &mut Extensions,
        body: B,
        watch: &mut Watch,
    ) -> Response<Option<Incoming>>
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.stream.answered();
        if let Some(asked) = self.asked.take() {
            if response.status().is_success() {
                return self.tunnel(&asked, response, extensions, watch);
            }
            self.upload.finish();
        }
        let early = !self.upload.is_complete();
        // A body that was never asked for is not sent after the answer.
        let pending = early && !self.upload.gated;
        let place = if pending {
            Place::Shared(two_way::start(self.stream, self.upload, body, self.limits.body_idle))
        } else {
            Place::Alone(self.stream)
        };
        let (idle, is_head) = (self.limits.body_idle, self.is_head);
        let (head, receive) = response.into_parts();
        let incoming = Incoming::new(receive, &head, is_head, early, place, idle, self.alarm);
        let mut response = Response::from_parts(head, incoming);
        head::settle(&mut response, self.strip);
        response.map(Some)
    }

    /// From here on, both ends send what they like (RFC 9113 §8.5, RFC 8441 §4).
    fn tunnel(
        self,
        asked: &Asked,
        response: Response<RecvStream>,
        extensions: &mut Extensions,
        watch: &mut Watch,
    ) -> Response<Option<Incoming>> {
        let (head, receive) = response.into_parts();
        let channel = Channel::new(self.upload.into_send(), receive, self.stream);
        let mut response = Response::from_parts(head, None);
        head::agree(asked, extensions, &mut response);
        watch.tunnel(response.status());
        let upgraded = Upgraded::new(Io::Custom(Box::new(channel)), BytesMut::new(), None, std::mem::take(watch));
        tunnel::open(upgraded, extensions, &mut response, self.limits.tunnel_idle);
        response
    }
}
