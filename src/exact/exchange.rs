//! [`Exchange`]: a request until its response: a connection is found, the request sent, and sent again where that is safe.

mod again;
#[cfg(feature = "http2")]
mod for_one;
mod frame;
#[cfg(feature = "http2")]
mod over_http2;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Extensions, Response, Uri, request::Parts};
use http_body::Body as _;
use tokio::{runtime, time::Instant};
use tracing::Span;

#[cfg(feature = "spawn")]
pub(crate) use again::Salvage;

use super::{
    prepare::Prepare,
    replay::{Keep, Tee},
    service::Inner,
};
#[cfg(feature = "http2")]
use crate::transport::http2;
use crate::{
    body::Body,
    error::{Error, ErrorKind},
    ext::ConnectWith,
    transport::{
        ByteStream, Home, Offer, Taken, Waiting,
        http1::{self, Conn, RequestFraming},
        observe::{Progress, Watch},
    },
};

/// Resolves to the response of a request sent by an [`ExactProxy`](super::ExactProxy), once its head has arrived.
#[must_use = "futures do nothing unless polled"]
pub struct ExactProxyFuture(pub(super) Exchange<()>);

impl Future for ExactProxyFuture {
    type Output = Result<Response<Body>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl fmt::Debug for ExactProxyFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExactProxyFuture").finish_non_exhaustive()
    }
}

/// A request until its response. No box and no task on a connection from the pool.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Exchange<P> {
    proxy: Arc<Inner>,
    parts: Parts,
    body: Tee,
    prepare: P,
    attempt: u32,
    /// Where the body ends, known since the first attempt.
    framing: Option<RequestFraming>,
    head: Head,
    watch: Watch,
    /// Set by a failure after which the request is whole, and can be sent to another upstream without repeating anything.
    #[cfg_attr(not(feature = "spawn"), allow(dead_code, reason = "only a supervisor of upstreams has another"))]
    whole: bool,
    /// True once an attempt has failed of which bytes had left.
    was_sent: bool,
    state: State,
}

/// Where the request's head is.
enum Head {
    /// In its parts.
    Held,
    /// In the buffer of the connection it is sent on.
    Written,
    /// Between two connections.
    Taken(Vec<u8>),
}

enum State {
    Start,
    Waiting(RequestFraming, Box<Waiting>),
    /// On a stream of the caller's own.
    StartOn(Option<Box<dyn ByteStream>>),
    Connecting(RequestFraming, Pin<Box<dyn Future<Output = Result<Opened, Error>> + Send>>),
    Sending(http1::Exchange),
    Refused(Error),
    #[cfg(feature = "http2")]
    SendingOnStream(Box<http2::Exchange>),
    Done,
}

enum Opened {
    Http1(Box<Conn>),
    #[cfg(feature = "http2")]
    Http2(http2::Stream),
}

impl<P: Prepare> Exchange<P> {
    pub(super) fn new(proxy: Arc<Inner>, parts: Parts, body: Body, prepare: P) -> Self {
        let watch = Watch::new(proxy.observers.as_ref(), &parts.method, &parts.uri);
        let mut body = Tee::new(body);
        body.count_for(watch.progress());
        Self {
            proxy,
            parts,
            body,
            prepare,
            attempt: 0,
            framing: None,
            head: Head::Held,
            watch,
            whole: false,
            was_sent: false,
            state: State::Start,
        }
    }

    pub(crate) fn prepare(&self) -> &P {
        &self.prepare
    }

    /// Sends nothing.
    pub(super) fn refuse(&mut self, error: Error) {
        self.state = State::Refused(error);
    }

    /// Does at once what needs no waiting. A head that is written then need not be held until the first poll: hyper's server, which reads on
    /// before that, finds its buffer free, and needs no new one.
    pub(crate) fn begin(&mut self) {
        if !matches!(self.state, State::Start) || self.watch.is_on() {
            return;
        }
        match self.start() {
            // The pool belongs to a runtime; the first poll looks again.
            Ok(State::Connecting(..)) if runtime::Handle::try_current().is_err() => {}
            Ok(state) => self.state = state,
            Err(error) => self.state = State::Refused(error),
        }
    }

    /// Goes on until something must be waited for. What is being sent stays where it is: moving it costs more than most of its steps.
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<Body>, Error>> {
        loop {
            self.state = match &mut self.state {
                State::Start => self.start()?,
                State::Waiting(framing, waiting) => {
                    let (framing, taken) = (*framing, ready!(waiting.poll(cx))?);
                    self.go_on(taken, framing, Instant::now())?
                }
                State::StartOn(stream) => {
                    let stream = stream.take();
                    self.start_on(stream)?
                }
                State::Connecting(framing, connecting) => {
                    let (framing, opened) = (*framing, ready!(connecting.as_mut().poll(cx)));
                    // Nothing of this attempt was sent, and what was sent before was found safe to repeat.
                    self.whole = opened.is_err();
                    match opened? {
                        Opened::Http1(conn) => self.send_on(conn, framing, Instant::now())?,
                        #[cfg(feature = "http2")]
                        Opened::Http2(stream) => self.send_on_stream(stream, framing, Instant::now())?,
                    }
                }
                State::Sending(sending) => {
                    let polled = sending.poll(cx, &mut self.parts, &mut self.body);
                    if !sending.is_unsent() {
                        self.body.sent();
                    }
                    self.watch.sent_if(|| sending.is_sent());
                    let head = ready!(polled);
                    let State::Sending(sending) = std::mem::replace(&mut self.state, State::Done) else { continue };
                    match head {
                        Ok(head) => {
                            let mut body = std::mem::take(&mut self.body);
                            body.forget();
                            return Poll::Ready(sending.respond(head, &mut self.parts, body, &mut self.watch));
                        }
                        Err(error) => self.again(sending, error)?,
                    }
                }
                State::Refused(error) => return Poll::Ready(Err(error.clone())),
                #[cfg(feature = "http2")]
                State::SendingOnStream(sending) => {
                    let polled = sending.poll(cx, &self.parts.extensions, &mut self.body);
                    self.watch.sent_if(|| sending.is_sent());
                    let head = ready!(polled);
                    let State::SendingOnStream(sending) = std::mem::replace(&mut self.state, State::Done) else {
                        continue;
                    };
                    match head {
                        Ok(head) => {
                            let mut body = std::mem::take(&mut self.body);
                            body.forget();
                            let response = sending.respond(head, &mut self.parts.extensions, body, &mut self.watch);
                            return Poll::Ready(Ok(response.map(|body| body.map_or_else(Body::empty, Body::from))));
                        }
                        Err(failure) => self.again_on_stream(&sending, &failure)?,
                    }
                }
                State::Done => {
                    return Poll::Ready(Err(Error::new(ErrorKind::Internal, "future polled after completion")));
                }
            };
        }
    }

    /// On this stream instead of a connection of the pool's. Nothing else uses it, before or after.
    pub(super) fn on(mut self, stream: Box<dyn ByteStream>) -> Self {
        if matches!(self.state, State::Start) {
            self.state = State::StartOn(Some(stream));
        }
        self
    }

    fn start_on(&mut self, stream: Option<Box<dyn ByteStream>>) -> Result<State, Error> {
        let stream = stream.ok_or_else(|| Error::new(ErrorKind::Internal, "future polled after completion"))?;
        let framing = self.frame()?;
        let destination = self.proxy.connector.destination(&self.parts, self.prepare.destination())?.into_owned();
        let proxy = self.proxy.clone();
        self.watch.bound_for(&destination);
        let progress = self.watch.progress();
        let connecting = async move {
            let limit = proxy.limits.connect;
            let connected =
                proxy.connector.over(stream, &destination, Offer::Http1, limit, progress.as_deref()).await?;
            // It has no way into a pool.
            let home = Home::none(destination);
            Ok(Opened::Http1(Box::new(Conn::new(connected.io, home, proxy.limits.clone(), Instant::now()))))
        };
        Ok(State::Connecting(framing, Box::pin(connecting)))
    }

    /// A connection from the pool, or a new one on its way.
    fn start(&mut self) -> Result<State, Error> {
        let framing = self.frame()?;
        let destination = self.proxy.connector.destination(&self.parts, self.prepare.destination())?;
        self.watch.bound_for(&destination);
        let now = Instant::now();
        #[cfg(feature = "http2")]
        if let offered @ (Offer::Http2 | Offer::Either, _) = self.offer(&destination)? {
            let destination = destination.into_owned();
            return self.start_on_stream(destination, offered, framing, now);
        }
        let client = self.proxy.pool.bound_client(&self.parts.extensions);
        let taken = self.proxy.pool.take(&destination, now, self.freshness(), false, client)?;
        self.go_on(taken, framing, now)
    }

    fn go_on(&mut self, taken: Taken, framing: RequestFraming, now: Instant) -> Result<State, Error> {
        match taken {
            Taken::Idle(conn) => self.send_on(conn, framing, now),
            Taken::Dial(home) => Ok(self.dial(home, framing)),
            #[cfg(feature = "http2")]
            Taken::Stream(stream) => self.send_on_stream(stream, framing, now),
            Taken::Wait(waiting) => {
                self.watch.waits();
                // Shared connections count, too, and no request leaves them by itself.
                #[cfg(feature = "http2")]
                self.proxy.origins.make_room(waiting.destination());
                Ok(State::Waiting(framing, waiting))
            }
        }
    }

    fn dial(&self, home: Home, framing: RequestFraming) -> State {
        #[cfg(feature = "http2")]
        if let Some(dialling) = self.dial_for_one(&home.destination) {
            let connecting = dialling.connect(self.proxy.clone(), home, self.watch.progress());
            return State::Connecting(framing, Box::pin(connecting));
        }
        let connecting = connect(self.proxy.clone(), home, self.watch.progress());
        State::Connecting(framing, Box::pin(connecting))
    }

    fn send_on(&mut self, conn: Box<Conn>, framing: RequestFraming, now: Instant) -> Result<State, Error> {
        self.watch.on_connection(conn.uses > 0);
        if self.prepare.destination().is_none() {
            conn.home.destination.remember();
        }
        self.prepare.prepare(self.attempt, &mut self.parts)?;
        // Only what a connection from the pool has lost is sent again (RFC 9110 §9.2.2).
        if conn.uses > 0 || self.proxy.replaceable {
            let whole = self.parts.method.is_idempotent();
            self.body.keep(if whole { Keep::UntilAnswered } else { Keep::UntilSent }, &self.proxy.replay);
        }
        let ended = self.body.is_end_stream();
        let keep = self.proxy.keep_hop_by_hop;
        if let Head::Taken(head) = std::mem::replace(&mut self.head, Head::Held) {
            self.head = Head::Written;
            return Ok(State::Sending(http1::Exchange::again(conn, head, &self.parts.method, now)));
        }
        // Another upstream must be found without what hooks have said, and may speak HTTP/2 over TLS.
        let is_known = self.prepare.destination().is_some() && !conn.home.destination.is_tls();
        let may_let_go = (is_known || !self.proxy.replaceable) && !self.prepare.is_anew();
        let prepare = &self.prepare;
        let more = |extensions: &Extensions, out: &mut http1::Lines<'_>| prepare.add_fields(extensions, out);
        let sending = http1::Exchange::new(conn, &self.parts, framing, ended, keep, now, prepare.host(), more);
        if may_let_go && sending.is_all_written() {
            self.parts.headers.clear();
            self.parts.uri = Uri::default();
            // It is connected. What is left may be what `serve` uses again for the next request; another upstream would ask for all of it.
            if !self.proxy.replaceable {
                self.parts.extensions.remove::<ConnectWith>();
            }
            self.head = Head::Written;
        }
        Ok(State::Sending(sending))
    }

    /// How old a connection may be that is taken for the request: any, if it can be sent again.
    fn freshness(&self) -> Option<Duration> {
        let repeatable = self.parts.method.is_idempotent() && self.body.fits(&self.proxy.replay);
        (!repeatable).then_some(FRESH)
    }
}

impl<P: Prepare> Exchange<P> {
    /// The same in its span. What came out of it is noted; the response's body notes the rest.
    #[cold]
    fn poll_observed(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<Body>, Error>> {
        let span = self.watch.span().unwrap_or_else(Span::none);
        let mut outcome = ready!(span.in_scope(|| self.advance(cx)));
        self.state = State::Done;
        match &mut outcome {
            // Of a tunnel, the record is with that already.
            Ok(response) if self.watch.is_on() => {
                self.watch.head(response.status());
                let body = std::mem::take(response.body_mut());
                *response.body_mut() = body.watched(std::mem::take(&mut self.watch));
            }
            Ok(_) => {}
            Err(error) => self.watch.failed(error),
        }
        Poll::Ready(outcome)
    }
}

impl<P: Prepare> Future for Exchange<P> {
    type Output = Result<Response<Body>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.watch.is_on() {
            return self.poll_observed(cx);
        }
        // In place: a response is moved often enough on its way.
        let outcome = self.advance(cx);
        if outcome.is_ready() {
            self.state = State::Done;
        }
        outcome
    }
}

async fn connect(proxy: Arc<Inner>, home: Home, progress: Option<Arc<Progress>>) -> Result<Opened, Error> {
    let limit = proxy.limits.connect;
    let connected = proxy.connector.connect(&home.destination, Offer::Http1, limit, progress.as_deref()).await?;
    Ok(Opened::Http1(Box::new(Conn::new(connected.io, home, proxy.limits.clone(), Instant::now()))))
}

/// A request that cannot be repeated takes only connections idle for less than this: common servers close after 5 s.
const FRESH: Duration = Duration::from_secs(3);
