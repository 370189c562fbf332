use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use http_body::Body as HttpBody;
use pin_project_lite::pin_project;

use crate::{
    app::{capped::Capped, hooks::Later, service::Back},
    body::Body,
    error::BoxError,
    exact::Exchange,
};

pin_project! {
    /// The answer of a [`ProxyApp`](crate::app::ProxyApp) to one request. Dropping it cancels the exchange with the upstream.
    pub struct ProxyFuture<B> {
        #[pin]
        state: State<B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<B> {
        Answer { response: Option<Response<Body>> },
        Exchange { #[pin] exchange: Exchange<Capped<B>, ()>, back: Back },
        Boxed { future: Later<Response<Body>> },
    }
}

impl<B> ProxyFuture<B> {
    pub(super) fn answer(response: Response<Body>) -> Self {
        Self { state: State::Answer { response: Some(response) } }
    }

    pub(super) fn exchange(exchange: Exchange<Capped<B>, ()>, back: Back) -> Self {
        Self { state: State::Exchange { exchange, back } }
    }

    pub(super) fn boxed(future: impl Future<Output = Response<Body>> + Send + 'static) -> Self {
        Self { state: State::Boxed { future: Box::pin(future) } }
    }
}

impl<B> Future for ProxyFuture<B>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Answer { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                // Polled after it was ready; there is nothing more to come.
                None => Poll::Pending,
            },
            StateProj::Exchange { exchange, back } => {
                let result = ready!(exchange.poll(cx));
                Poll::Ready(Ok(back.answer(result)))
            }
            StateProj::Boxed { future } => future.as_mut().poll(cx).map(Ok),
        }
    }
}

impl<B> fmt::Debug for ProxyFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyFuture").finish_non_exhaustive()
    }
}
