//! The accept loop, and how it ends.

use std::{
    fmt,
    future::{pending, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{sync::Semaphore, time};

use super::{Accepted, Drain, HttpService, Listener, Serve};

/// Runs a server until its graceful shutdown is complete. Made by awaiting [`Serve`].
///
/// Without [`with_graceful_shutdown`](Serve::with_graceful_shutdown) or [`Drain::begin`], it never completes. Dropping
/// it stops accepting; connections that are already open are served on.
#[must_use = "a server does nothing unless it is polled"]
pub struct Serving(Pin<Box<dyn Future<Output = Drained> + Send>>);

impl Serving {
    pub(super) fn new(server: impl Future<Output = Drained> + Send + 'static) -> Self {
        Self(Box::pin(server))
    }
}

impl Future for Serving {
    type Output = Drained;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Drained> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
    }
}

/// Reports the result of a graceful shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    cut: usize,
}

impl Drained {
    /// Returns the number of connections and tunnels that were still open at the deadline and were cut.
    #[must_use]
    pub fn cut(&self) -> usize {
        self.cut
    }
}

/// Takes connections until it is told to stop, then waits for those that are open.
pub(super) async fn run<L, S>(Serve { mut listener, service, settings, shutdown }: Serve<L, S>) -> Drained
where
    L: Listener,
    S: HttpService,
{
    let connections = Arc::new(settings.connections());
    let permits = settings.max_connections.map(|limit| Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))));
    if let Some(Err(error)) = settings.tcp_keepalive.map(|idle| listener.tcp_keepalive(idle)) {
        tracing::warn!(%error, "cannot enable TCP keep-alive on the listener");
    }
    let drain = settings.drain;
    let signal = async {
        match shutdown {
            Some(signal) => signal.await,
            None => pending().await,
        }
    };
    let mut stop = pin!(async {
        if unless(pin!(drain.draining()), signal).await.is_some() {
            drain.begin();
        }
    });
    loop {
        let next = async {
            let permit = match &permits {
                Some(permits) => permits.clone().acquire_owned().await.ok(),
                None => None,
            };
            (accept(&mut listener).await, permit)
        };
        let Some((accepted, permit)) = unless(stop.as_mut(), next).await else { break };
        let (service, guard) = (service.clone(), drain.register());
        tokio::spawn(connections.clone().run(accepted, None, service, guard, permit));
    }
    drop(listener); // so that new clients are refused rather than left waiting
    let cut = finish(&drain, settings.drain_timeout).await;
    Drained { cut }
}

/// The next connection. Errors are waited out.
async fn accept<L: Listener>(listener: &mut L) -> Accepted<L::Io> {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The error is that of a connection that was lost before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// What `next` brings; `None` once `stop` is done.
async fn unless<T>(mut stop: Pin<&mut impl Future<Output = ()>>, next: impl Future<Output = T>) -> Option<T> {
    let mut next = pin!(next);
    poll_fn(|cx| match stop.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => next.as_mut().poll(cx).map(Some),
    })
    .await
}

/// Waits until nothing is open, or cuts what is after `limit`; how much that was.
async fn finish(drain: &Drain, limit: Duration) -> usize {
    if time::timeout(limit, drain.drained()).await.is_ok() {
        return 0;
    }
    let cut = drain.open();
    tracing::warn!(cut, "cut connections that were still open at the drain timeout");
    drain.cut();
    cut
}

/// How long nothing is accepted after an error that is not one connection's own, such as that no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
