//! [`Conn`]: one connection and its two buffers.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWrite},
    runtime,
    time::Instant,
};

use super::{block, decode::Layout};
use crate::{
    ext::Binding,
    transport::{alarm::Alarm, io::Io, limits::Limits, pool::Home},
};

/// An HTTP/1.1 connection to an upstream, between or within exchanges.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) io: Io,
    pub(crate) read: BytesMut,
    /// Read past that buffer, of a long body; before anything more is read, it is used up.
    pub(crate) block: Bytes,
    pub(crate) layout: Layout,
    pub(crate) out: Out,
    pub(crate) alarm: Alarm,
    pub(crate) home: Home,
    pub(super) limits: Arc<Limits>,
    pub(crate) opened: Instant,
    /// Where its socket and its timer live, and die.
    pub(crate) runtime: runtime::Id,
    /// How many requests it has answered.
    pub(crate) uses: u64,
    /// How many it may answer, by the limit here and by what the upstream said.
    pub(crate) max_requests: Option<u64>,
    /// How long the upstream said it keeps the connection, less the second that a request may be on its way.
    pub(crate) keep_alive: Option<Duration>,
    /// The client connection whose requests alone it serves, since the upstream may have authenticated it (RFC 4559).
    pub(crate) bound: Option<Binding>,
    /// True while bytes that were written may still be held by the stream, as TLS does.
    unflushed: bool,
    read_size: usize,
}

impl Conn {
    /// A connection just opened, on the runtime that opened it.
    ///
    /// # Panics
    /// Outside a runtime, as its socket does.
    pub(crate) fn new(io: Io, mut home: Home, limits: Arc<Limits>, opened: Instant) -> Self {
        home.opened();
        let max_requests = home.max_requests();
        Self {
            io,
            read: BytesMut::new(),
            block: Bytes::new(),
            layout: Layout::default(),
            out: Out::default(),
            alarm: Alarm::default(),
            home,
            limits,
            opened,
            runtime: runtime::Handle::current().id(),
            uses: 0,
            max_requests,
            keep_alive: None,
            bound: None,
            unflushed: false,
            read_size: READ_START,
        }
    }

    /// True if it will be closed behind the next response.
    pub(crate) fn is_last_use(&self) -> bool {
        self.max_requests.is_some_and(|max| self.uses.saturating_add(1) >= max)
    }

    /// True if nothing was sent by the upstream and it has not closed.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.read.is_empty() && self.io.is_quiet()
    }

    /// Reads what there is into the buffer; 0 is the end. The buffer grows for bulk and shrinks again after it.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.reserve(self.read_size);
        let read = ready!(pin!(self.io.read_buf(&mut self.read)).poll(cx))?;
        self.note_read(read);
        Poll::Ready(Ok(read))
    }

    /// The same for a body, whose bulk goes past the buffer. TLS gives no more than a record of 16 KiB at a time (RFC 8446 §5.1).
    pub(super) fn poll_fill_for_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read_size == READ_START || !self.read.is_empty() || self.io.is_tls() {
            return self.poll_fill(cx);
        }
        self.block = ready!(block::poll_read(&mut self.io, cx))?;
        self.note_read(self.block.len());
        Poll::Ready(Ok(self.block.len()))
    }

    fn note_read(&mut self, read: usize) {
        if read >= self.read_size {
            self.read_size = (self.read_size * 2).min(READ_MAX);
        } else if read < self.read_size / 4 {
            self.read_size = (self.read_size / 2).max(READ_START);
        }
    }

    /// True if everything queued has left this process.
    pub(crate) fn is_written(&self) -> bool {
        self.out.is_empty() && !self.unflushed
    }

    /// Writes what is queued; ready when nothing is left. `written` counts the bytes the stream took.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>, written: &mut u64) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let n = ready!(self.out.poll_write(&mut self.io, cx)).inspect_err(|_| {
                // Records may have gone before the one that failed, and nobody says how many.
                *written += u64::from(self.io.is_tls());
            })?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += n as u64;
            self.unflushed = true;
        }
        // A no-op on sockets. TLS keeps what a full socket did not take, and must be asked until it is gone.
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Throws away what is queued, on a connection that takes no more.
    pub(crate) fn stop_writing(&mut self) {
        self.out.stop();
        self.unflushed = false;
    }

    /// Gives the connection back to the pool it came from, if that still exists.
    pub(crate) fn go_home(mut self: Box<Self>) {
        if let Some(pool) = self.home.pool() {
            self.uses += 1;
            self.alarm.set(None);
            if self.read_size > READ_START {
                // An idle connection does not keep what bulk needed.
                self.read = BytesMut::new();
                self.read_size = READ_START;
            }
            pool.put(self);
        }
    }

    /// Closes the connection; what remains is the right to another.
    pub(crate) fn into_home(self: Box<Self>) -> Home {
        let Self { io, home, .. } = *self;
        drop(io);
        home.closed()
    }
}

/// Bytes on their way out: small ones copied into one buffer, one large piece as it is, and what ends it.
#[derive(Debug, Default)]
pub(crate) struct Out {
    head: Vec<u8>,
    /// How much of that is gone. It stays where it is until something else is queued, so that a head can be sent again.
    sent: usize,
    bulk: Bytes,
    tail: &'static [u8],
}

impl Out {
    pub(crate) fn is_empty(&self) -> bool {
        self.sent == self.head.len() && self.bulk.is_empty() && self.tail.is_empty()
    }

    /// True if another piece can be queued.
    pub(crate) fn takes_more(&self) -> bool {
        self.bulk.is_empty() && self.tail.is_empty() && self.head.len() - self.sent < HEAD_MAX
    }

    /// Where small pieces are put, behind those that are not sent yet.
    pub(crate) fn room(&mut self) -> &mut Vec<u8> {
        if self.sent == self.head.len() {
            self.head.clear();
            self.sent = 0;
        }
        &mut self.head
    }

    /// Queues what another connection was sent, or would have been.
    pub(crate) fn resend(&mut self, head: Vec<u8>) {
        *self = Self { head, ..Self::default() };
    }

    /// What was put into the [`room`](Self::room) since it was last empty, sent or not.
    pub(crate) fn take_head(&mut self) -> Vec<u8> {
        self.sent = 0;
        std::mem::take(&mut self.head)
    }

    /// Sends none of what is queued.
    fn stop(&mut self) {
        self.sent = self.head.len();
        (self.bulk, self.tail) = (Bytes::new(), b"");
    }

    /// Queues `data` between what is in `head` and `tail`. Only when nothing bulky is queued.
    pub(crate) fn push(&mut self, data: Bytes, tail: &'static [u8]) {
        debug_assert!(self.bulk.is_empty() && self.tail.is_empty());
        if data.len() <= COPY_MAX {
            let room = self.room();
            room.extend_from_slice(&data);
            room.extend_from_slice(tail);
        } else {
            self.bulk = data;
            self.tail = tail;
        }
    }

    fn poll_write(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let head = self.head.get(self.sent..).unwrap_or_default();
        let n = if self.bulk.is_empty() && self.tail.is_empty() {
            ready!(Pin::new(io).poll_write(cx, head))?
        } else {
            let slices = [IoSlice::new(head), IoSlice::new(&self.bulk), IoSlice::new(self.tail)];
            ready!(Pin::new(io).poll_write_vectored(cx, &slices))?
        };
        self.advance(n);
        Poll::Ready(Ok(n))
    }

    fn advance(&mut self, mut n: usize) {
        let head = n.min(self.head.len() - self.sent);
        self.sent += head;
        n -= head;
        let bulk = n.min(self.bulk.len());
        self.bulk.advance(bulk);
        if self.bulk.is_empty() {
            self.bulk = Bytes::new();
        }
        self.tail = self.tail.get(n - bulk..).unwrap_or_default();
    }
}

const READ_START: usize = 16 * 1024;
const READ_MAX: usize = block::SIZE;
/// What is copied before a write is waited for.
const HEAD_MAX: usize = 16 * 1024;
/// Below this, copying a piece beside its head is cheaper than a vectored write.
const COPY_MAX: usize = 4 * 1024;
