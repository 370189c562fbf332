//! [`SpawnFuture`]: a request until its response, on one child or, where that dies, on the next.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Method, Request, Response, header::UPGRADE};
use tower_service::Service;

use super::{gate::Lease, shared::Front};
use crate::{
    app::{Failed, ProxyFuture},
    body::Body,
    error::BoxError,
    transport::Hold,
};

/// The answer of a [`SpawnApp`](super::SpawnApp) to one request.
#[must_use = "futures do nothing unless polled"]
pub struct SpawnFuture(State);

#[expect(clippy::large_enum_variant, reason = "the large one is the common one")]
enum State {
    Answer(Option<Response<Body>>),
    Forwarding(ProxyFuture, Option<Lease>),
    Later(Pin<Box<dyn Future<Output = Response<Body>> + Send>>),
}

impl SpawnFuture {
    pub(super) fn answer(response: Response<Body>) -> Self {
        Self(State::Answer(Some(response)))
    }

    /// To a child that serves.
    pub(super) fn forward<B>(lease: Lease, mut request: Request<B>) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // A tunnel outlives its response.
        if request.headers().contains_key(UPGRADE) || *request.method() == Method::CONNECT {
            request.extensions_mut().insert(Hold(Arc::new(lease.again())));
        }
        Self(State::Forwarding(lease.backend().app.clone().call(request), Some(lease)))
    }

    /// To a child that is to be started.
    pub(super) fn wait(front: Arc<Front>, request: Request<Body>) -> Self {
        Self(State::Later(Box::pin(async move {
            match front.wait().await {
                Ok(lease) => finish(Self::forward(lease, request)).await,
                Err(refused) => refused.answer(),
            }
        })))
    }
}

impl Future for SpawnFuture {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.0 {
                State::Answer(response) => {
                    return response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)));
                }
                State::Later(future) => return future.as_mut().poll(cx).map(Ok),
                State::Forwarding(future, lease) => match ready!(future.poll_or_give_back(cx)) {
                    Ok(mut response) => {
                        hold(&mut response, lease.take());
                        return Poll::Ready(Ok(response));
                    }
                    Err(failed) => match lease.take().filter(|_| failed.may_move()) {
                        Some(lease) => self.0 = State::Later(Box::pin(move_on(failed, lease))),
                        None => return Poll::Ready(Ok(failed.answer())),
                    },
                },
            }
        }
    }
}

/// As long as there is something of the response to come, its child is not idle.
fn hold(response: &mut Response<Body>, lease: Option<Lease>) {
    // Most have arrived with their head: then nothing is moved, and the lease ends here.
    if !response.body().has_arrived() {
        let body = std::mem::take(response.body_mut());
        *response.body_mut() = body.hold(lease);
    }
}

async fn finish(future: SpawnFuture) -> Response<Body> {
    match future.await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Sends a request whose child has died to the next one. One that was sent goes once more, one that was not as often as it takes; the queue
/// is what limits that.
async fn move_on(mut failed: Failed, mut lease: Lease) -> Response<Body> {
    let mut may_repeat = true;
    for _ in 0..MOST {
        if (failed.was_sent() && !std::mem::take(&mut may_repeat)) || !lease.backend().gate.is_dying().await {
            break;
        }
        let Some(front) = lease.backend().front.upgrade() else { break };
        drop(lease);
        lease = match front.wait().await {
            Ok(lease) => lease,
            Err(refused) => return refused.answer(),
        };
        tracing::debug!(error = %failed.error(), "sending to another child what one has lost");
        if let Some(extensions) = failed.extensions_mut()
            && extensions.remove::<Hold>().is_some()
        {
            extensions.insert(Hold(Arc::new(lease.again())));
        }
        let mut future = match lease.backend().app.take_over(failed) {
            Ok(future) => future,
            Err(failed) => return failed.answer(),
        };
        failed = match poll_fn(|cx| future.poll_or_give_back(cx)).await {
            Ok(mut response) => {
                hold(&mut response, Some(lease));
                return response;
            }
            Err(failed) if failed.may_move() => failed,
            Err(failed) => return failed.answer(),
        };
    }
    failed.answer()
}

/// Children that one request sees die.
const MOST: usize = 16;

impl fmt::Debug for SpawnFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpawnFuture").finish_non_exhaustive()
    }
}
