//! [`Exchange`]: a request until its response: a connection is found, the request sent, and sent again where that is safe.

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

use bytes::Bytes;
use http::{Method, Request, Response, request::Parts};
use http_body::{Body as _, Frame};
use tokio::time::Instant;

use super::service::Inner;
#[cfg(feature = "http2")]
use crate::transport::http2;
use crate::{
    body::Body,
    error::{Error, ErrorKind},
    ext::ConnectTo,
    transport::{
        Connector, Destination, Home, Offer, Taken, Waiting,
        http1::{self, Conn, First, RequestFraming, request_framing},
    },
};

/// Has the last word on a request's head before each attempt is written, such as signing it with a new nonce.
pub(crate) trait Prepare: Unpin {
    /// `attempt` counts from 0.
    fn prepare(&mut self, attempt: u32, parts: &mut Parts) -> Result<(), Error>;
}

impl Prepare for () {
    fn prepare(&mut self, _: u32, _: &mut Parts) -> Result<(), Error> {
        Ok(())
    }
}

/// The response to a request sent by an [`ExactProxy`](super::ExactProxy), once its head has arrived.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture(pub(super) Exchange<()>);

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// A request until its response. No box and no task on a connection from the pool.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Exchange<P> {
    proxy: Arc<Inner>,
    parts: Parts,
    body: Body,
    prepare: P,
    attempt: u32,
    /// The whole body, if it is empty or in memory.
    replay: Option<Bytes>,
    /// Where the body ends, known since the first attempt.
    framing: Option<RequestFraming>,
    state: State,
}

enum State {
    Start,
    Waiting(RequestFraming, Box<Waiting>),
    Connecting(RequestFraming, Pin<Box<dyn Future<Output = Result<Opened, Error>> + Send>>),
    Sending(http1::Exchange),
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
    pub(super) fn new(proxy: Arc<Inner>, request: Request<Body>, prepare: P) -> Self {
        let (parts, body) = request.into_parts();
        // Asked now: a body that was sent looks as empty as one that never was.
        let replay = body.in_memory();
        Self { proxy, parts, body, prepare, attempt: 0, replay, framing: None, state: State::Start }
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
                State::Connecting(framing, connecting) => {
                    let (framing, opened) = (*framing, ready!(connecting.as_mut().poll(cx))?);
                    match opened {
                        Opened::Http1(conn) => self.send_on(conn, framing, Instant::now())?,
                        #[cfg(feature = "http2")]
                        Opened::Http2(stream) => self.send_on_stream(stream, framing, Instant::now())?,
                    }
                }
                State::Sending(sending) => {
                    let head = ready!(sending.poll(cx, &mut self.parts.headers, &mut self.body));
                    let State::Sending(sending) = std::mem::replace(&mut self.state, State::Done) else { continue };
                    match head {
                        Ok(head) => {
                            let body = std::mem::take(&mut self.body);
                            let response = sending.respond(head, &mut self.parts.extensions, body)?;
                            return Poll::Ready(Ok(response.map(Body::from)));
                        }
                        Err(error) => self.again(sending, error)?,
                    }
                }
                #[cfg(feature = "http2")]
                State::SendingOnStream(sending) => {
                    let head = ready!(sending.poll(cx, &mut self.body));
                    let State::SendingOnStream(sending) = std::mem::replace(&mut self.state, State::Done) else {
                        continue;
                    };
                    match head {
                        Ok(head) => {
                            let body = std::mem::take(&mut self.body);
                            return Poll::Ready(Ok(sending.respond(head, body).map(Body::from)));
                        }
                        Err(failure) => self.again_on_stream(*sending, failure)?,
                    }
                }
                State::Done => {
                    return Poll::Ready(Err(Error::new(ErrorKind::Internal, "polled after it was ready")));
                }
            };
        }
    }

    /// A connection from the pool, a new one on its way, or a place in the queue for one.
    fn start(&mut self) -> Result<State, Error> {
        if self.parts.method == Method::CONNECT {
            return Err(Error::new(ErrorKind::Unsupported, "CONNECT is not carried"));
        }
        let framing = match self.framing {
            Some(framing) => framing,
            None => request_framing(&self.parts.method, &self.parts.headers, self.body.size_hint())?,
        };
        self.framing = Some(framing);
        let destination = Destination::of(&self.parts.uri, self.parts.extensions.get::<ConnectTo>())?;
        let now = Instant::now();
        #[cfg(feature = "http2")]
        if let offer @ (Offer::Http2 | Offer::Either) = self.offer(&destination)? {
            return self.start_on_stream(destination, offer, framing, now);
        }
        let fresh = (!self.may_repeat()).then_some(FRESH);
        let taken = self.proxy.pool.take(destination, now, fresh)?;
        self.go_on(taken, framing, now)
    }

    fn go_on(&mut self, taken: Taken, framing: RequestFraming, now: Instant) -> Result<State, Error> {
        match taken {
            Taken::Idle(conn) => self.send_on(conn, framing, now),
            Taken::Dial(home) => Ok(self.dial(home, framing)),
            Taken::Wait(waiting) => Ok(State::Waiting(framing, waiting)),
        }
    }

    fn dial(&self, home: Home, framing: RequestFraming) -> State {
        let limit = self.proxy.limits.connect;
        State::Connecting(framing, Box::pin(connect(self.proxy.connector.clone(), home, limit)))
    }

    fn send_on(&mut self, conn: Box<Conn>, framing: RequestFraming, now: Instant) -> Result<State, Error> {
        self.prepare.prepare(self.attempt, &mut self.parts)?;
        let ended = self.body.is_end_stream();
        let (limits, keep) = (self.proxy.limits.clone(), self.proxy.keep_hop_by_hop);
        Ok(State::Sending(http1::Exchange::new(conn, &self.parts, framing, ended, limits, keep, now)))
    }

    /// True if the request may be sent twice: idempotent (RFC 9110 §9.2.2), and its body empty or in memory.
    fn may_repeat(&self) -> bool {
        self.parts.method.is_idempotent() && self.replay.is_some()
    }

    /// Puts what an attempt that sent nothing has taken from the body in front of it again.
    fn put_back(&mut self, first: First) {
        let rest = std::mem::take(&mut self.body);
        self.body = match first {
            First::Nothing => rest,
            First::Data(data) => Body::new(Rejoined { first: Some(Frame::data(data)), rest }),
            First::End(None) => Body::empty(),
            First::End(Some(trailers)) => {
                Body::new(Rejoined { first: Some(Frame::trailers(trailers)), rest: Body::empty() })
            }
        };
    }

    /// What becomes of a failed attempt: another one, or the error.
    fn again(&mut self, mut sending: http1::Exchange, error: Error) -> Result<State, Error> {
        let Some(framing) = self.framing.filter(|_| self.attempt == 0 && sending.is_stale()) else {
            return Err(error);
        };
        if sending.is_unsent() {
            self.put_back(sending.unsent());
        } else if self.may_repeat()
            && let Some(whole) = self.replay.take()
        {
            self.body = whole.into();
        } else {
            return Err(error);
        }
        tracing::debug!(%error, "sending again on a fresh connection");
        self.attempt += 1;
        // What was lost on one pooled connection is not tried on another, but on a new one in its place.
        Ok(self.dial(sending.into_home(), framing))
    }
}

impl<P: Prepare> Future for Exchange<P> {
    type Output = Result<Response<Body>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.advance(cx));
        self.state = State::Done;
        Poll::Ready(outcome)
    }
}

/// A body whose first frame was taken for an attempt that sent nothing.
struct Rejoined {
    first: Option<Frame<Bytes>>,
    rest: Body,
}

impl http_body::Body for Rejoined {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }
}

async fn connect(connector: Arc<Connector>, home: Home, limit: Option<Duration>) -> Result<Opened, Error> {
    let connected = connector.connect(&home.destination, Offer::Http1, limit).await?;
    Ok(Opened::Http1(Box::new(Conn::new(connected.io, home, Instant::now()))))
}

/// A request that cannot be repeated takes only connections idle for less than this: common servers close after 5 s.
const FRESH: Duration = Duration::from_secs(3);
