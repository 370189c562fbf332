//! [`shutdown_signal`]: a future that completes when the process is asked to stop.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
};

/// Waits for the signals that ask a process to stop.
///
/// For [`Serve::with_graceful_shutdown`](super::Serve::with_graceful_shutdown). The returned future completes on the
/// first of these signals:
///
/// | system | signals |
/// |---|---|
/// | unix | `SIGTERM` (`docker stop`, Kubernetes, systemd) and `SIGINT` (ctrl-c) |
/// | Windows | ctrl-c, ctrl-break, closing the console, and system shutdown (`docker stop`) |
///
/// The handlers are installed by the call, before the future is polled: a signal that arrives between the call and the
/// first poll is not lost. As process 1 of a container, a program ignores `SIGTERM` unless a handler is installed;
/// this function installs one.
///
/// # The second signal
///
/// On unix, a handler stays installed until the process ends. A second ctrl-c or `SIGTERM` does **not** kill the process;
/// [`Serve::drain_timeout`](super::Serve::drain_timeout) (default: 30 s) bounds the wait. To react to a second signal,
/// call this function again after the first one and await the new future.
///
/// On Windows, ctrl-c and ctrl-break have their default effect again once the future is dropped. After the console was
/// closed, or at system shutdown, Windows ends the process within a few seconds, whatever the drain timeout is.
///
/// # Errors
///
/// There are none. If a handler cannot be installed, a warning is logged, that signal keeps its default effect, and
/// the future waits for the other signals.
///
/// # Panics
///
/// Panics outside a Tokio runtime, and on unix if the runtime's I/O driver is disabled.
///
/// # Example
///
/// ```no_run
/// use nexthop::{BoxError, ProxyApp, serve::shutdown_signal};
///
/// #[tokio::main]
/// async fn main() -> Result<(), BoxError> {
///     let app = ProxyApp::builder("http://127.0.0.1:8000").build()?;
///     let listener = tokio::net::TcpListener::bind("0.0.0.0:8080").await?;
///     nexthop::serve(listener, app).with_graceful_shutdown(shutdown_signal()).await;
///     Ok(())
/// }
/// ```
#[doc(alias = "ctrl_c")]
#[doc(alias = "SIGTERM")]
#[doc(alias = "SIGINT")]
#[doc(alias = "graceful shutdown")]
pub fn shutdown_signal() -> impl Future<Output = ()> + Send + 'static {
    first(install())
}

/// Polls one signal's stream. `None` does not occur while the runtime lives.
type Handler = Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<()>> + Send>;

/// Not an `async` block: failures are logged when this function is called.
fn first(installed: impl IntoIterator<Item = (&'static str, io::Result<Handler>)>) -> impl Future<Output = ()> + Send {
    let mut handlers = Vec::new();
    for (name, handler) in installed {
        match handler {
            Ok(handler) => handlers.push((name, handler)),
            Err(error) => tracing::warn!(signal = name, %error, "cannot install a signal handler"),
        }
    }
    poll_fn(move |cx| {
        for (name, handler) in &mut handlers {
            if handler(cx) == Poll::Ready(Some(())) {
                tracing::info!(signal = *name, "received a shutdown signal");
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
}

#[cfg(unix)]
fn install() -> [(&'static str, io::Result<Handler>); 2] {
    use tokio::signal::unix::{SignalKind, signal};
    [("SIGTERM", SignalKind::terminate()), ("SIGINT", SignalKind::interrupt())].map(|(name, kind)| {
        let handler = signal(kind).map(|mut signal| -> Handler { Box::new(move |cx| signal.poll_recv(cx)) });
        (name, handler)
    })
}

#[cfg(windows)]
fn install() -> [(&'static str, io::Result<Handler>); 4] {
    use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
    [
        ("CTRL_C", ctrl_c().map(|mut signal| -> Handler { Box::new(move |cx| signal.poll_recv(cx)) })),
        ("CTRL_BREAK", ctrl_break().map(|mut signal| -> Handler { Box::new(move |cx| signal.poll_recv(cx)) })),
        ("CTRL_CLOSE", ctrl_close().map(|mut signal| -> Handler { Box::new(move |cx| signal.poll_recv(cx)) })),
        ("CTRL_SHUTDOWN", ctrl_shutdown().map(|mut signal| -> Handler { Box::new(move |cx| signal.poll_recv(cx)) })),
    ]
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::sync::mpsc;

    use super::*;

    fn failed(name: &'static str) -> (&'static str, io::Result<Handler>) {
        (name, Err(io::ErrorKind::PermissionDenied.into()))
    }

    #[tokio::test]
    async fn a_handler_that_cannot_be_installed_leaves_the_other_one() {
        let (send, mut receive) = mpsc::channel(1);
        let other: Handler = Box::new(move |cx| receive.poll_recv(cx));
        let mut signal = pin!(first([failed("SIGTERM"), ("SIGINT", Ok(other))]));
        assert!(poll_fn(|cx| Poll::Ready(signal.as_mut().poll(cx))).await.is_pending());
        send.send(()).await.unwrap();
        signal.await;
    }

    #[tokio::test]
    async fn without_any_handler_and_after_the_end_of_a_stream_no_shutdown_begins() {
        let ended: Handler = Box::new(|_| Poll::Ready(None));
        let mut signal = pin!(first([failed("SIGTERM"), ("SIGINT", Ok(ended))]));
        assert!(poll_fn(|cx| Poll::Ready(signal.as_mut().poll(cx))).await.is_pending());
    }
}
