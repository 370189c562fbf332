//! The future of [`ProxyMiddlewareService`](super::ProxyMiddlewareService).

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;
use pin_project_lite::pin_project;

pin_project! {
    /// Answers a refused request, or waits for the inner service.
    pub struct ProxyMiddlewareFuture<F, R> {
        #[pin]
        kind: Kind<F, R>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<F, R> {
        Forward { #[pin] future: F },
        Refused { response: Option<Response<R>> },
        Verify { later: Later<F, R> },
    }
}

/// Reads a body or asks a store, and calls the inner service then; or the answer that refuses.
type Later<F, R> = Pin<Box<dyn Future<Output = Result<F, Response<R>>> + Send>>;

impl<F, R> ProxyMiddlewareFuture<F, R> {
    pub(super) const fn forward(future: F) -> Self {
        Self { kind: Kind::Forward { future } }
    }

    pub(super) const fn refused(response: Response<R>) -> Self {
        Self { kind: Kind::Refused { response: Some(response) } }
    }

    pub(super) fn verify(later: impl Future<Output = Result<F, Response<R>>> + Send + 'static) -> Self {
        Self { kind: Kind::Verify { later: Box::pin(later) } }
    }
}

impl<F, R, E> Future for ProxyMiddlewareFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut kind = self.project().kind;
        loop {
            let next = match kind.as_mut().project() {
                KindProj::Forward { future } => return future.poll(cx),
                KindProj::Refused { response } => {
                    let response = response.take().expect("polled after completion");
                    return Poll::Ready(Ok(response));
                }
                KindProj::Verify { later } => std::task::ready!(later.as_mut().poll(cx)),
            };
            kind.set(match next {
                Ok(future) => Kind::Forward { future },
                Err(response) => Kind::Refused { response: Some(response) },
            });
        }
    }
}

impl<F, R> fmt::Debug for ProxyMiddlewareFuture<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyMiddlewareFuture").finish_non_exhaustive()
    }
}
