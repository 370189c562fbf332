use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;

use crate::{
    app::{
        crossing::{Crossed, Crossing},
        hooks::Later,
    },
    body::Body,
    exact::Exchange,
};

/// The answer of a [`ProxyApp`](crate::app::ProxyApp) to one request. Dropping it cancels the exchange with the upstream.
#[must_use = "futures do nothing unless polled"]
pub struct ProxyFuture(pub(super) State);

#[expect(clippy::large_enum_variant, reason = "the large one is the common one")]
pub(super) enum State {
    Answer(Option<Response<Body>>),
    Exchange(Exchange<Crossing>),
    Boxed(Later<Crossed>),
}

impl ProxyFuture {
    pub(crate) fn answer(response: Response<Body>) -> Self {
        Self(State::Answer(Some(response)))
    }

    pub(super) fn exchange(exchange: Exchange<Crossing>) -> Self {
        Self(State::Exchange(exchange))
    }

    pub(super) fn boxed(future: impl Future<Output = Crossed> + Send + 'static) -> Self {
        Self(State::Boxed(Box::pin(future)))
    }
}

impl Future for ProxyFuture {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Answer(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                // Polled after it was ready; there is nothing more to come.
                None => Poll::Pending,
            },
            State::Exchange(exchange) => {
                let result = ready!(Pin::new(&mut *exchange).poll(cx));
                Poll::Ready(Ok(exchange.prepare().answer(result)))
            }
            State::Boxed(future) => Poll::Ready(Ok(match ready!(future.as_mut().poll(cx)) {
                Crossed::Answer(response) => response,
                Crossed::Lost(crossing, loss) => crossing.answer(Err(loss.error)),
            })),
        }
    }
}

impl fmt::Debug for ProxyFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyFuture").finish_non_exhaustive()
    }
}
