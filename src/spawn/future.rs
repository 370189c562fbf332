//! [`SpawnAppFuture`]: a request until its response, on one child or, where that dies, on the next.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Extensions, Request, Response};
use tokio::time::Instant;

use super::{gate::Lease, shared::Front};
use crate::{
    app::{Escort, Failed, Passage, State},
    body::Body,
    transport::Hold,
};

/// The answer of a [`SpawnApp`](super::SpawnApp) to one request.
#[must_use = "futures do nothing unless polled"]
pub struct SpawnAppFuture {
    /// The request on a child, or all that is rarer, in a box.
    state: State,
    /// On the child that `state` is about, if it is about one.
    lease: Option<Lease>,
}

impl SpawnAppFuture {
    pub(super) fn answer(response: Response<Body>) -> Self {
        Self { state: State::answer(response), lease: None }
    }

    /// To a child that is to be started.
    pub(super) fn wait(front: Arc<Front>, request: Request<Body>) -> Self {
        let waiting = async move {
            match front.wait(front.deadline()).await {
                Ok(lease) => {
                    let app = lease.backend().app.clone();
                    finish(app.send(request, Some(lease))).await
                }
                Err(refused) => refused.answer(),
            }
        };
        Self { state: State::later(waiting), lease: None }
    }

    #[cold]
    fn recover(
        lease: &mut Option<Lease>,
        state: &mut State,
        failed: Failed,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<Body>, Infallible>> {
        match lease.take() {
            Some(lease) if failed.may_move() => {
                *state = State::later(move_on(failed, lease));
                state.poll_or(cx, &mut (), |(), _| {}, |(), _, failed, _| Poll::Ready(Ok(failed.answer())))
            }
            _ => Poll::Ready(Ok(failed.answer())),
        }
    }
}

impl Passage for SpawnAppFuture {
    type Escort = Option<Lease>;

    fn new(state: State, lease: Option<Lease>) -> Self {
        Self { state, lease }
    }
}

impl Escort for Option<Lease> {
    fn may_tunnel(&self, extensions: &mut Extensions) {
        if let Some(lease) = self {
            hold_tunnel(lease, extensions);
        }
    }
}

impl Future for SpawnAppFuture {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { state, lease } = &mut *self;
        state.poll_or(cx, lease, |lease, response| hold(response, lease.take()), Self::recover)
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

/// A tunnel outlives its response.
#[cold]
fn hold_tunnel(lease: &Lease, extensions: &mut Extensions) {
    extensions.insert(Hold(Arc::new(lease.again())));
}

async fn finish(future: SpawnAppFuture) -> Response<Body> {
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
            hold_tunnel(&lease, extensions);
        }
        let future = match lease.backend().app.take_over(failed) {
            Ok(future) => future,
            Err(failed) => return failed.answer(),
        };
        failed = match future.or_give_back().await {
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

impl fmt::Debug for SpawnAppFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpawnAppFuture").finish_non_exhaustive()
    }
}
