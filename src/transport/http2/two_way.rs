//! A request whose response came before all of it was sent: a task goes on sending, while the response's body is read by whoever polls it.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::Body;
use tokio::time::Instant;

use super::{stream::Stream, upload::Upload};
use crate::{
    error::{BoxError, Error},
    transport::alarm::Alarm,
};

/// What the two directions of an exchange tell each other.
pub(super) struct TwoWay {
    stream: Stream,
    shared: Mutex<Shared>,
}

struct Shared {
    /// When a frame last moved, in either direction.
    last: Instant,
    /// When the response ended.
    over: Option<Instant>,
    /// Nobody reads the response.
    stopped: bool,
    /// Why the client's body broke off.
    client: Option<Error>,
    task: Option<Waker>,
}

impl TwoWay {
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Notes a frame of the response.
    pub(super) fn moved(&self) {
        self.lock().last = Instant::now();
    }

    pub(super) fn last(&self) -> Instant {
        self.lock().last
    }

    /// The response is complete.
    pub(super) fn over(&self) {
        self.tell(|shared| shared.over = Some(Instant::now()));
    }

    /// Sends no more.
    pub(super) fn stop(&self) {
        self.tell(|shared| shared.stopped = true);
    }

    pub(super) fn client_error(&self) -> Option<Error> {
        self.lock().client.take()
    }

    fn tell(&self, what: impl FnOnce(&mut Shared)) {
        let mut shared = self.lock();
        what(&mut shared);
        let task = shared.task.take();
        drop(shared);
        if let Some(task) = task {
            task.wake();
        }
    }

    /// A poisoned lock guards values that are whole between any two statements.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the task.
pub(super) fn start<B>(stream: Stream, upload: Upload, body: B, idle: Option<Duration>) -> Arc<TwoWay>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    let shared = Shared { last: Instant::now(), over: None, stopped: false, client: None, task: None };
    let two_way = Arc::new(TwoWay { stream, shared: Mutex::new(shared) });
    let mut task = Task { two_way: two_way.clone(), upload, body, idle, alarm: Alarm::default(), discarded: 0 };
    tokio::spawn(async move { poll_fn(|cx| task.poll(cx)).await });
    two_way
}

struct Task<B> {
    two_way: Arc<TwoWay>,
    upload: Upload,
    body: B,
    idle: Option<Duration>,
    alarm: Alarm,
    /// Bytes of the client's body that the upstream did not take and that were thrown away.
    discarded: u64,
}

impl<B> Task<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// Ready when nothing is left to send, or nobody to send it to.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // First of all, so that nothing told from here on is missed.
        let (over, stopped) = {
            let mut shared = self.two_way.lock();
            if !shared.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                shared.task = Some(cx.waker().clone());
            }
            (shared.over, shared.stopped)
        };
        if stopped {
            return Poll::Ready(());
        }
        match self.poll_upload(cx) {
            Poll::Ready(Err(error)) => {
                self.two_way.lock().client = Some(error);
                self.upload.cancel();
                return Poll::Ready(());
            }
            Poll::Ready(Ok(())) => return Poll::Ready(()),
            Poll::Pending => {}
        }
        if self.upload.has_moved() {
            self.two_way.moved();
        }
        let limit = match (over, self.idle) {
            (Some(over), _) => Some(over + DRAIN_TIME),
            (None, Some(idle)) => Some(self.two_way.last() + idle),
            (None, None) => None,
        };
        self.alarm.set(limit);
        ready!(self.alarm.poll(cx));
        match (over, self.idle) {
            // Meanwhile, a frame of the response has come.
            (None, Some(idle)) if self.two_way.last() + idle > Instant::now() => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Sends the client's body on. What the upstream does not take any more is thrown away, up to a limit, so that a client that reads only
    /// after it has written gets the response instead of a reset.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.upload.poll(cx, &mut self.body)?.is_pending() {
            ready!(self.upload.poll_reset(cx));
        }
        while !self.upload.is_complete() && self.discarded < DRAIN_BYTES {
            self.discarded += match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame.data_ref().map_or(1, |data| data.len() as u64 + 1),
                Some(Err(_)) | None => DRAIN_BYTES,
            };
        }
        Poll::Ready(Ok(()))
    }
}

/// How much of a client's body is thrown away after the upstream has stopped taking it.
const DRAIN_BYTES: u64 = 1024 * 1024;
/// How long a request may go on after its response is complete.
const DRAIN_TIME: Duration = Duration::from_secs(2);
