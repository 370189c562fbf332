//! [`Streams`]: the tasks of an HTTP/2 connection.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::rt::Executor;
use pin_project_lite::pin_project;

use super::activity::{Activity, InFlight};

/// Runs what hyper spawns for an HTTP/2 connection: each stream and each tunnel is in flight for as long as its task runs.
#[derive(Clone)]
pub(super) struct Streams(pub(super) Arc<Activity>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, future: F) {
        tokio::spawn(Task { future, _in_flight: self.0.begin(true) });
    }
}

pin_project! {
    /// Not an `async` block, which would keep room for the future twice.
    struct Task<F> {
        #[pin]
        future: F,
        _in_flight: InFlight,
    }
}

impl<F: Future<Output = ()>> Future for Task<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().future.poll(cx)
    }
}
