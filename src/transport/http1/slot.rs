//! A channel for one frame: how a [`relay`](super::relay) hands a body to whoever reads it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::framing::broken;
use crate::error::{Error, Phase};

/// Makes the two ends; `size` is what the head says of the body.
pub(super) fn channel(size: SizeHint) -> (Writer, Reader) {
    let shared = Arc::new(Mutex::new(Shared::default()));
    (Writer(shared.clone()), Reader { shared, size, ended: false })
}

#[derive(Debug, Default)]
struct Shared {
    frame: Option<Result<Frame<Bytes>, Error>>,
    /// The body was read to its end. A writer that goes away without saying so has been cut.
    ended: bool,
    writer_gone: bool,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The end that the task holds.
#[derive(Debug)]
pub(super) struct Writer(Arc<Mutex<Shared>>);

impl Writer {
    /// Ready when the slot is free; `false` when nobody reads any more. Wakes when either changes, also after it was ready: a reader
    /// that leaves while the writer waits for the upstream must be noticed.
    pub(super) fn poll_free(&self, cx: &Context<'_>) -> Poll<bool> {
        let mut shared = lock(&self.0);
        if shared.reader_gone {
            return Poll::Ready(false);
        }
        if !shared.writer.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            shared.writer = Some(cx.waker().clone());
        }
        if shared.frame.is_none() { Poll::Ready(true) } else { Poll::Pending }
    }

    /// Puts a frame into the free slot.
    pub(super) fn put(&self, frame: Result<Frame<Bytes>, Error>) {
        let mut shared = lock(&self.0);
        shared.frame = Some(frame);
        wake(shared.reader.take());
    }

    /// Says that the body is complete.
    pub(super) fn end(&self) {
        let mut shared = lock(&self.0);
        shared.ended = true;
        wake(shared.reader.take());
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut shared = lock(&self.0);
        shared.writer_gone = true;
        wake(shared.reader.take());
    }
}

/// The end that the response's body holds. Dropped before the end, it stops the task.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Arc<Mutex<Shared>>,
    size: SizeHint,
    ended: bool,
}

impl Reader {
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut shared = lock(&self.shared);
        if let Some(frame) = shared.frame.take() {
            wake(shared.writer.take());
            if let (Ok(frame), Some(left)) = (&frame, self.size.exact()) {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.size = SizeHint::with_exact(left.saturating_sub(length));
            }
            self.ended = frame.is_err() || (shared.ended && shared.frame.is_none());
            return Poll::Ready(Some(frame));
        }
        if shared.ended {
            self.ended = true;
            return Poll::Ready(None);
        }
        if shared.writer_gone {
            self.ended = true;
            return Poll::Ready(Some(Err(broken(
                "the response ended before it was complete",
                None,
                Phase::ResponseBody,
            ))));
        }
        shared.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn is_end(&self) -> bool {
        self.ended
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.size
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.reader_gone = true;
        wake(shared.writer.take());
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
