//! The future of [`ForwardProxyService`](super::ForwardProxyService).

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONNECTION, WWW_AUTHENTICATE},
};
use pin_project_lite::pin_project;

use super::{apps, layer::Config};
use crate::{
    body::Body,
    error::{BoxError, Error, ErrorKind},
    message::{connection_auth, via},
};

pin_project! {
    /// Resolves to the response of the proxy or of the wrapped service.
    pub struct ForwardProxyFuture<F> {
        #[pin]
        kind: Kind<F>,
        config: Arc<Config>,
        marks: Marks,
    }
}

/// What a response bears of its way.
#[derive(Clone, Copy, Default)]
pub(super) struct Marks {
    /// The wrapped service has sent the request on: its response passes the proxy, too, which names itself in `Via`.
    pub(super) is_passed_on: bool,
    /// It is the last on its connection.
    pub(super) is_last: bool,
    /// Connections that the upstream authenticates serve this client connection only.
    pub(super) binds: bool,
}

impl Marks {
    fn put_on(self, mut answer: Response<Body>) -> Response<Body> {
        if self.is_last {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<F> {
        Forward { #[pin] future: F },
        Answer { answer: Option<Result<Response<Body>, Error>> },
        Later { later: Later<F> },
    }
}

/// What must be waited for before it is clear who answers.
pub(super) type Later<F> = Pin<Box<dyn Future<Output = Result<Next<F>, Error>> + Send>>;

/// Who answers.
pub(super) enum Next<F> {
    Answer(Response<Body>),
    Inner(F),
}

impl<F> ForwardProxyFuture<F> {
    pub(super) const fn forward(config: Arc<Config>, marks: Marks, future: F) -> Self {
        Self { kind: Kind::Forward { future }, config, marks }
    }

    pub(super) const fn answer(config: Arc<Config>, marks: Marks, answer: Result<Response<Body>, Error>) -> Self {
        Self { kind: Kind::Answer { answer: Some(answer) }, config, marks }
    }

    pub(super) const fn later(config: Arc<Config>, marks: Marks, later: Later<F>) -> Self {
        Self { kind: Kind::Later { later }, config, marks }
    }
}

impl<F, R, E> Future for ForwardProxyFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.kind.as_mut().project() {
                KindProj::Forward { future } => match ready!(future.poll(cx)) {
                    Ok(answer) => {
                        let mut answer = answer.map(Body::new);
                        if let (true, Some(name)) = (this.marks.is_passed_on, &this.config.via) {
                            via::append_to_response(&mut answer, name);
                        }
                        if this.marks.is_passed_on && this.marks.binds && answer.status() == StatusCode::UNAUTHORIZED {
                            support_authenticated_connections(answer.headers_mut());
                        }
                        return Poll::Ready(Ok(this.marks.put_on(answer)));
                    }
                    Err(error) => Err(apps::failed(error)),
                },
                KindProj::Answer { answer } => {
                    let again = || Err(Error::new(ErrorKind::Internal, "future polled after completion"));
                    let answer = answer.take().unwrap_or_else(again);
                    let answer = answer.unwrap_or_else(|error| this.config.answer(error));
                    return Poll::Ready(Ok(this.marks.put_on(answer)));
                }
                KindProj::Later { later } => ready!(later.as_mut().poll(cx)),
            };
            this.kind.set(match next {
                Ok(Next::Inner(future)) => Kind::Forward { future },
                Ok(Next::Answer(answer)) => Kind::Answer { answer: Some(Ok(answer)) },
                Err(error) => Kind::Answer { answer: Some(Err(error)) },
            });
        }
    }
}

/// RFC 4559 §6: without this, a client must not authenticate its connection through a proxy.
fn support_authenticated_connections(headers: &mut HeaderMap) {
    if headers.get_all(WWW_AUTHENTICATE).iter().any(|value| connection_auth::challenges(value.as_bytes())) {
        headers.insert("proxy-support", HeaderValue::from_static("Session-Based-Authentication"));
    }
}

impl<F> fmt::Debug for ForwardProxyFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardProxyFuture").finish_non_exhaustive()
    }
}
