use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Extensions, Response};

use crate::{
    app::{
        crossing::{Crossed, Crossing},
        hooks::Later,
    },
    body::Body,
    exact::Exchange,
};

/// Resolves to the response of a [`ProxyApp`](crate::app::ProxyApp), once its head has arrived. Dropping the future cancels the exchange
/// with the upstream.
#[must_use = "futures do nothing unless polled"]
pub struct ProxyAppFuture(pub(super) State);

#[expect(clippy::large_enum_variant, reason = "the large one is the common one")]
pub(crate) enum State {
    Answer(Option<Response<Body>>),
    Exchange(Exchange<Crossing>),
    Boxed(Later<Crossed>),
}

/// What a request is made into that is on its way, by the service that sends it. It is made where it is to be, for it is large.
pub(crate) trait Passage: Sized {
    /// What goes with the request.
    type Escort: Escort;

    fn new(state: State, escort: Self::Escort) -> Self;
}

/// What goes with a request, and is told what will outlive it.
pub(crate) trait Escort {
    /// It may become a tunnel, which takes these with it.
    fn may_tunnel(&self, _: &mut Extensions) {}
}

impl Escort for () {}

impl Passage for ProxyAppFuture {
    type Escort = ();

    fn new(state: State, (): ()) -> Self {
        Self(state)
    }
}

impl State {
    pub(super) fn boxed(future: impl Future<Output = Crossed> + Send + 'static) -> Self {
        Self::Boxed(Box::pin(future))
    }
}

impl Future for ProxyAppFuture {
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

impl fmt::Debug for ProxyAppFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyAppFuture").finish_non_exhaustive()
    }
}
