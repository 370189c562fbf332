//! Work that is dropped after a number of polls, on connections that return `Pending` every few bytes.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use nexthop::net::{ByteStream, Connect, Connecting, Destination};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Polls `work` up to `turns` times in a task, whether its waker was called or not, and drops it after the last poll if
/// it is not complete. On a single-threaded runtime, every other woken task is polled once between two polls.
///
/// # Panics
/// If `work` panics.
pub async fn for_turns<F>(turns: usize, work: F) -> Option<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let (mut left, mut work) = (turns, Some(Box::pin(work)));
    let task = std::future::poll_fn(move |cx| {
        let polled = match (left, &mut work) {
            (1.., Some(work)) => work.as_mut().poll(cx),
            _ => Poll::Pending,
        };
        left = left.saturating_sub(1);
        match polled {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => {
                work = None;
                Poll::Ready(None)
            }
            Poll::Pending => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    });
    tokio::spawn(task).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Lets every other woken task be polled once. tokio's own `yield_now` lets them run until all of them are pending.
pub async fn turn() {
    let mut waited = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Wraps the connections of another connector in [`Reluctantly`], and counts those that are open. Connecting takes
/// several polls, too.
#[derive(Clone)]
pub struct Reluctant {
    inner: Arc<dyn Connect>,
    bytes: usize,
    open: Arc<AtomicUsize>,
}

impl Reluctant {
    pub fn new(inner: impl Connect, bytes: usize) -> Self {
        Self { inner: Arc::new(inner), bytes, open: Arc::default() }
    }

    pub fn open(&self) -> usize {
        self.open.load(SeqCst)
    }
}

impl Connect for Reluctant {
    fn connect(&self, to: &Destination) -> Connecting {
        let (connecting, bytes, open) = (self.inner.connect(to), self.bytes, Open::new(&self.open));
        Box::pin(async move {
            for _ in 0..3 {
                turn().await;
            }
            Ok(Box::new(Reluctantly::over(connecting.await?, bytes, Some(open))) as Box<dyn ByteStream>)
        })
    }
}

struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// A stream that reads and writes at most `bytes` at a time, and returns `Pending` on every first attempt.
pub struct Reluctantly<S> {
    io: S,
    bytes: usize,
    reads: bool,
    writes: bool,
    _open: Option<Open>,
}

impl<S> Reluctantly<S> {
    fn over(io: S, bytes: usize, open: Option<Open>) -> Self {
        Self { io, bytes, reads: false, writes: false, _open: open }
    }

    pub fn new(io: S, bytes: usize) -> Self {
        Self::over(io, bytes, None)
    }
}

/// Returns true on the second attempt. A poll with a no-op waker, which only probes the state, succeeds at once.
fn gives_in(asked: &mut bool, cx: &Context<'_>) -> bool {
    let before = std::mem::replace(asked, true) || cx.waker().will_wake(Waker::noop());
    if !before {
        cx.waker().wake_by_ref();
    }
    before
}

impl<S: AsyncRead + Unpin> AsyncRead for Reluctantly<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !gives_in(&mut this.reads, cx) {
            return Poll::Pending;
        }
        let mut some = buf.take(this.bytes);
        let polled = Pin::new(&mut this.io).poll_read(cx, &mut some);
        let read = some.filled().to_vec();
        if polled.is_ready() {
            this.reads = false;
            buf.put_slice(&read);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Reluctantly<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if !gives_in(&mut this.writes, cx) {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut this.io).poll_write(cx, &bytes[..bytes.len().min(this.bytes)]);
        this.writes = polled.is_pending();
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A body of unknown length that returns `Pending` before each of its frames.
pub struct Dripping {
    pieces: VecDeque<&'static str>,
    trailers: Option<HeaderMap>,
    asked: bool,
}

impl Dripping {
    pub fn of(pieces: &[&'static str], trailers: Option<HeaderMap>) -> Self {
        Self { pieces: pieces.iter().copied().collect(), trailers, asked: false }
    }
}

impl http_body::Body for Dripping {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if !gives_in(&mut self.asked, cx) {
            return Poll::Pending;
        }
        self.asked = false;
        let data = self.pieces.pop_front().map(|piece| Frame::data(Bytes::from_static(piece.as_bytes())));
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }
}
