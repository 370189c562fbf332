//! [`Dispatch`]: the user's tower service as hyper calls it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Buf;
use http::{Extensions, Method, Request, Response, StatusCode, Version, uri::Scheme};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    activity::{Activity, InFlight},
    drain::DrainOf,
};
use crate::{
    error::{BoxError, Error, ErrorKind},
    ext::{ConnectionId, InClear, OverTls, PeerAddr},
    message::{fields::has_padded_value, framing::agree},
    transport::Client,
};

/// What one connection does with its requests: tell where each came from, call a clone of the service, answer.
pub(super) struct Dispatch<S> {
    pub(super) service: S,
    pub(super) id: ConnectionId,
    pub(super) peer: Option<PeerAddr>,
    pub(super) tls: bool,
    /// For whoever makes a tunnel of the connection.
    pub(super) client: (Client, DrainOf),
    pub(super) multiplexed: bool,
    pub(super) max_target: usize,
    pub(super) activity: Arc<Activity>,
}

impl<S> Dispatch<S> {
    /// Says of the connection what is to be known of it.
    fn introduce(&self, extensions: &mut Extensions) {
        // A request that asks for no upgrade has no extensions yet.
        if extensions.is_empty() {
            *extensions = self.activity.extensions();
            // Nothing else stands in those of the last request.
            let says_as_much = extensions.len() == 1 + usize::from(self.peer.is_some()) + usize::from(self.tls);
            if says_as_much && extensions.get() == Some(&self.id) && extensions.get() == self.peer.as_ref() {
                return;
            }
            extensions.clear();
        } else if extensions.get::<OnUpgrade>().is_some() {
            self.activity.sending.ignore();
            let (client, drain) = self.client.clone();
            extensions.insert(client);
            extensions.insert(drain);
        }
        extensions.insert(self.id.clone());
        if let Some(peer) = &self.peer {
            extensions.insert(peer.clone());
        }
        if self.tls {
            extensions.insert(OverTls::new());
        }
    }

    /// The answer to what hyper lets through and no service is to see.
    fn refusal<B>(&self, request: &Request<B>) -> Option<StatusCode> {
        // RFC 9112 §3.
        if request.uri().path_and_query().is_some_and(|target| target.as_str().len() > self.max_target) {
            return Some(StatusCode::URI_TOO_LONG);
        }
        // RFC 9113 §8.2.1: it is malformed. HTTP/1.1 has no such values.
        (self.multiplexed && has_padded_value(request.headers())).then_some(StatusCode::BAD_REQUEST)
    }
}

impl<S, ResB> hyper::service::Service<Request<Incoming>> for Dispatch<S>
where
    S: Service<Request<Incoming>, Response = Response<ResB>> + Clone,
    S::Error: Into<BoxError>,
    ResB: Body<Error: Into<BoxError>>,
{
    type Response = Response<AnswerBody<ResB>>;
    type Error = BoxError;
    type Future = Answer<S>;

    fn call(&self, mut request: Request<Incoming>) -> Answer<S> {
        let in_flight = Some(self.activity.begin(self.multiplexed));
        if request.body().is_end_stream() {
            self.activity.sending.heard_all();
        }
        if let Some(status) = self.refusal(&request) {
            return Answer { state: State::Refused { status }, in_flight, method: RequestMethod::Other };
        }
        let method = RequestMethod::of(request.method());
        self.introduce(request.extensions_mut());
        if !self.tls && request.uri().scheme() == Some(&Scheme::HTTPS) {
            request.extensions_mut().insert(InClear);
        }
        let mut service = self.service.clone();
        // At once, while hyper's read buffer is in nobody's way but the request's. Who is not ready is asked again when the future is polled.
        let state = match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => State::Called { future: service.call(request) },
            Poll::Ready(Err(error)) => State::Failed { error: Some(error.into()) },
            Poll::Pending => State::Waiting { service, request: Some(request) },
        };
        Answer { state, in_flight, method }
    }
}

pin_project! {
    /// Waits for the service to be ready, then for its response.
    pub(super) struct Answer<S: Service<Request<Incoming>>> {
        #[pin]
        state: State<S, S::Future>,
        in_flight: Option<InFlight>,
        method: RequestMethod,
    }
}

/// The methods that decide whether a response has a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestMethod {
    Head,
    Connect,
    Other,
}

impl RequestMethod {
    fn of(method: &Method) -> Self {
        match *method {
            Method::HEAD => Self::Head,
            Method::CONNECT => Self::Connect,
            _ => Self::Other,
        }
    }

    /// Makes the response's `Content-Length` agree with its body, and returns the number of bytes that the body must
    /// have. hyper does neither: it would send any number of bytes under any length, and use the connection again.
    fn agree<B: Body>(self, response: &mut Response<B>) -> Option<u64> {
        let status = response.status();
        if self == Self::Connect && status.is_success() {
            return None;
        }
        let body = response.body();
        let exact = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
        agree(response.headers_mut(), status, self == Self::Head, exact)
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F> {
        Waiting { service: S, request: Option<Request<Incoming>> },
        Called { #[pin] future: F },
        Failed { error: Option<BoxError> },
        Refused { status: StatusCode },
    }
}

impl<S, ResB> Future for Answer<S>
where
    S: Service<Request<Incoming>, Response = Response<ResB>>,
    S::Error: Into<BoxError>,
    ResB: Body<Error: Into<BoxError>>,
{
    type Output = Result<Response<AnswerBody<ResB>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let error = loop {
            match this.state.as_mut().project() {
                StateProj::Called { future } => match ready!(future.poll(cx)) {
                    Ok(mut response) => {
                        let in_flight = this.in_flight.take();
                        if let Some(in_flight) = &in_flight {
                            in_flight.spare(response.extensions_mut());
                        }
                        let left = this.method.agree(&mut response);
                        return Poll::Ready(Ok(respond(response.map(|body| AnswerBody {
                            body: Some(body),
                            failed: None,
                            in_flight,
                            left,
                            ahead: None,
                        }))));
                    }
                    Err(error) => break error.into(),
                },
                StateProj::Refused { status } => {
                    return Poll::Ready(Ok(empty(*status, this.in_flight.take())));
                }
                StateProj::Failed { error } => match error.take() {
                    Some(error) => break error,
                    None => return Poll::Pending, // polled after its end
                },
                StateProj::Waiting { service, request } => match (ready!(service.poll_ready(cx)), request.take()) {
                    (Ok(()), Some(request)) => {
                        let future = service.call(request);
                        this.state.set(State::Called { future });
                    }
                    (Ok(()), None) => return Poll::Pending, // polled after its end
                    (Err(error), _) => break error.into(),
                },
            }
        };
        Poll::Ready(refuse(error, this.in_flight.take()))
    }
}

/// The version is the connection's matter: one copied from an upstream would make hyper answer an HTTP/1.1 client in HTTP/1.0 and
/// close. hyper itself goes down to HTTP/1.0 for a client of that version.
fn respond<B>(mut response: Response<B>) -> Response<B> {
    *response.version_mut() = Version::HTTP_11;
    response
}

/// An error of ours is answered with its status, so that `ExactProxy` can be served as it is; any other closes the connection.
fn refuse<B: Body>(error: BoxError, in_flight: Option<InFlight>) -> Result<Response<AnswerBody<B>>, BoxError> {
    let error = error.downcast::<Error>()?;
    tracing::debug!(%error, "the service returned an error");
    Ok(empty(error.status(), in_flight))
}

fn empty<B: Body>(status: StatusCode, in_flight: Option<InFlight>) -> Response<AnswerBody<B>> {
    let mut response = Response::new(AnswerBody { body: None, failed: None, in_flight, left: None, ahead: None });
    *response.status_mut() = status;
    response
}

pin_project! {
    /// The response's body; the request is in flight until it is dropped. It fails if it turns out shorter or longer
    /// than announced, so that the connection (in HTTP/2, the stream) is closed.
    pub(super) struct AnswerBody<B: Body> {
        #[pin]
        body: Option<B>,
        failed: Option<Box<Failed>>,
        in_flight: Option<InFlight>,
        // The bytes still to come, if they were announced.
        left: Option<u64>,
        // The result of polling past the last announced byte, if it is neither the end nor data.
        ahead: Option<Box<FrameResult<B>>>,
    }
}

type FrameResult<B> = Result<Frame<<B as Body>::Data>, BoxError>;

/// The error of a body, until what came before it is written.
struct Failed {
    error: BoxError,
    turn: u64,
}

impl<B: Body<Error: Into<BoxError>>> AnswerBody<B> {
    /// Polls the body, and fails if it contradicts the announced length.
    fn poll_checked(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<FrameResult<B>>> {
        let mut this = self.project();
        if let Some(ahead) = this.ahead.take() {
            return Poll::Ready(Some(*ahead));
        }
        let Some(mut body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let frame = ready!(body.as_mut().poll_frame(cx)).map(|frame| frame.map_err(Into::into));
        let Some(left) = this.left else { return Poll::Ready(frame) };
        let data = match &frame {
            Some(Ok(frame)) => frame.data_ref().map(|data| data.remaining() as u64),
            Some(Err(_)) => return Poll::Ready(frame),
            None => None,
        };
        let contradiction = match (data, &mut *left) {
            (None, 0) => return Poll::Ready(frame),
            (None, _) => "the response body is shorter than its Content-Length",
            (Some(data), left) if data > *left => LONGER,
            (Some(data), left) => {
                *left -= data;
                if *left > 0 || data == 0 || body.is_end_stream() {
                    return Poll::Ready(frame);
                }
                // hyper does not poll past the last announced byte. A body that does not know yet is not waited for.
                match body.poll_frame(cx) {
                    Poll::Ready(Some(Ok(more))) if more.data_ref().is_some_and(Buf::has_remaining) => LONGER,
                    Poll::Ready(Some(more)) => {
                        *this.ahead = Some(Box::new(more.map_err(Into::into)));
                        return Poll::Ready(frame);
                    }
                    Poll::Ready(None) => {
                        this.body.set(None);
                        return Poll::Ready(frame);
                    }
                    Poll::Pending => return Poll::Ready(frame),
                }
            }
        };
        this.body.set(None);
        Poll::Ready(Some(Err(Error::new(ErrorKind::Internal, contradiction).into())))
    }
}

impl<B: Body<Error: Into<BoxError>>> Body for AnswerBody<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<FrameResult<B>>> {
        let this = self.as_mut().project();
        if let (Some(Failed { turn, .. }), Some(in_flight)) = (this.failed.as_deref(), this.in_flight.as_ref()) {
            ready!(in_flight.delivery().poll_written(*turn, cx));
            return Poll::Ready(this.failed.take().map(|failed| Err(failed.error)));
        }
        let polled = self.as_mut().poll_checked(cx);
        let this = self.project();
        let Some(in_flight) = this.in_flight else { return polled };
        in_flight.hold_up(matches!(polled, Poll::Ready(None | Some(Ok(_)))));
        let Poll::Ready(Some(Err(error))) = polled else { return polled };
        let turn = in_flight.delivery().ask(cx);
        *this.failed = Some(Box::new(Failed { error, turn }));
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        let is_over = self.ahead.is_none() && self.failed.is_none();
        is_over && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.body, self.left) {
            (None, _) => SizeHint::with_exact(0),
            (Some(_), Some(left)) => SizeHint::with_exact(left),
            (Some(body), None) => body.size_hint(),
        }
    }
}

const LONGER: &str = "the response body is longer than its Content-Length";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_ours_is_answered_with_its_status_and_any_other_is_passed_on() {
        let ours = Error::new(ErrorKind::Timeout, "the upstream was too slow");
        let response = refuse::<String>(ours.into(), None).unwrap();
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        assert!(response.body().is_end_stream());
        assert!(refuse::<String>(std::io::Error::other("foreign").into(), None).is_err());
    }
}
