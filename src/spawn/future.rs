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
use tokio::time::Instant;

use super::{gate::Lease, shared::Front};
use crate::{
    app::{Failed, ProxyFuture},
    body::Body,
    error::BoxError,
    transport::Hold,
};

/// The answer of a [`SpawnApp`](super::SpawnApp) to one request.
#[must_use = "futures do nothing unless polled"]
pub struct SpawnFuture {
    /// The request on a child, or all that is rarer, in a box.
    inner: ProxyFuture,
    /// On the child that `inner` is about, if it is about one.
    lease: Option<Lease>,
}

impl SpawnFuture {
    pub(super) fn answer(response: Response<Body>) -> Self {
        Self { inner: ProxyFuture::answer(response), lease: None }
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
        Self { inner: lease.backend().app.send(request), lease: Some(lease) }
    }

    /// To a child that is to be started.
    pub(super) fn wait(front: Arc<Front>, request: Request<Body>) -> Self {
        let waiting = async move {
            match front.wait(front.deadline()).await {
                Ok(lease) => finish(Self::forward(lease, request)).await,
                Err(refused) => refused.answer(),
            }
        };
        Self { inner: ProxyFuture::later(waiting), lease: None }
    }
}

impl Future for SpawnFuture {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match ready!(self.inner.poll_or_give_back(cx)) {
                Ok(mut response) => {
                    hold(&mut response, self.lease.take());
                    return Poll::Ready(Ok(response));
                }
                Err(failed) => match self.lease.take().filter(|_| failed.may_move()) {
                    Some(lease) => self.inner = ProxyFuture::later(move_on(failed, lease)),
                    None => return Poll::Ready(Ok(failed.answer())),
                },
            }
        }
    }
}

/// As long as there is something of the response to come, its child is not idle.
fn hold(response: &mut Response<Body>, lease: Option<Lease>) {
    // Most have arrived with their head: then nothing is moved, and the lease ends here.
    if lease.is_some() && !response.body().has_arrived() {
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

/// Sends a request whose child has died to the next one, as long as that repeats nothing. One that was sent goes again as often as it may,
/// one that was not as often as it takes, until what it may wait altogether is over.
async fn move_on(mut failed: Failed, mut lease: Lease) -> Response<Body> {
    let Some(front) = lease.backend().front.upgrade() else { return failed.answer() };
    let deadline = front.deadline();
    let mut retries = front.public.spec.retries;
    while Instant::now() < deadline {
        if failed.was_sent() {
            match retries.checked_sub(1) {
                Some(left) => retries = left,
                None => break,
            }
        }
        if !lease.backend().gate.is_dying().await {
            break;
        }
        drop(lease);
        lease = match front.wait(deadline).await {
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

impl fmt::Debug for SpawnFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpawnFuture").finish_non_exhaustive()
    }
}
