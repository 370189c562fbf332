//! [`Upload`]: the body of a request, sent as the upstream's windows let it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use http_body::Body;

use super::head;
use crate::{
    error::{BoxError, Error, ErrorKind, Phase},
    transport::{
        awaits::Awaits,
        http1::{RequestFraming, check_trailers},
    },
};

/// What is still to be sent of a request's body. At most one frame of it is held here.
pub(super) struct Upload {
    send: SendStream<Bytes>,
    framing: RequestFraming,
    state: State,
    /// `Expect: 100-continue`: the client is not asked for its body before the upstream agrees (RFC 9110 §10.1.1).
    pub(super) gated: bool,
    /// Taken from the body and not sent yet.
    chunk: Bytes,
    /// True if the body ends with it.
    last: bool,
    /// True if something was handed to the connection; for whoever keeps the time.
    moved: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Running,
    Complete,
    /// The upstream takes no more.
    Abandoned,
}

impl Upload {
    pub(super) fn new(send: SendStream<Bytes>, framing: RequestFraming, gated: bool, complete: bool) -> Self {
        let state = if complete { State::Complete } else { State::Running };
        Self { send, framing, state, gated: gated && !complete, chunk: Bytes::new(), last: false, moved: false }
    }

    /// True if something was handed to the connection since this was asked last.
    pub(super) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// True if the whole body was handed to the connection.
    pub(super) fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Whose the next step is.
    pub(super) fn awaits(&self) -> Awaits {
        match self.state {
            _ if self.gated => Awaits::Continue,
            State::Running if self.chunk.is_empty() => Awaits::Client,
            State::Running => Awaits::Room,
            State::Complete | State::Abandoned => Awaits::Head,
        }
    }

    /// Ends the stream; the upstream sees that the request is not complete.
    pub(super) fn cancel(&mut self) {
        self.reset(Reason::CANCEL);
    }

    /// The same, and says why.
    pub(super) fn reset(&mut self, reason: Reason) {
        self.send.send_reset(reason);
        self.abandon();
    }

    /// Ends a stream that was left open for a tunnel.
    pub(super) fn finish(&mut self) {
        // An error would say that the stream is over already.
        let _ = self.send.send_data(Bytes::new(), true);
    }

    pub(super) fn into_send(self) -> SendStream<Bytes> {
        self.send
    }

    /// Sends no more of the body.
    pub(super) fn abandon(&mut self) {
        self.gated = false;
        self.chunk = Bytes::new();
        if self.state == State::Running {
            self.state = State::Abandoned;
        }
    }

    /// Ready when the upstream has ended the stream: nobody takes what is left of the body.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.send.poll_reset(cx).map(|_| self.abandon())
    }

    /// Sends what there is; ready when all is sent, or nothing more can be. An error is the client's: its body failed.
    pub(super) fn poll<B>(&mut self, cx: &mut Context<'_>, body: &mut B) -> Poll<Result<(), Error>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        loop {
            if self.gated {
                return Poll::Pending;
            }
            if self.state != State::Running {
                return Poll::Ready(Ok(()));
            }
            if self.chunk.is_empty() {
                ready!(self.poll_pull(cx, body))?;
            } else {
                ready!(self.poll_send(cx));
            }
        }
    }

    /// Takes one frame from the client.
    fn poll_pull<B>(&mut self, cx: &mut Context<'_>, body: &mut B) -> Poll<Result<(), Error>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        // Before anything is reserved: a window that is held for a client's next bytes is lost to other streams.
        let frame = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            None => return Poll::Ready(self.end(None)),
            Some(Err(error)) => {
                return Poll::Ready(Err(Error::from_body(ErrorKind::RequestBody, error).in_phase(Phase::Send)));
            }
            Some(Ok(frame)) => frame,
        };
        Poll::Ready(match frame.into_data() {
            Ok(data) if data.is_empty() => Ok(()),
            Ok(data) => {
                self.last = body.is_end_stream();
                self.data(data)
            }
            Err(frame) => self.end(frame.into_trailers().ok()),
        })
    }

    fn data(&mut self, data: Bytes) -> Result<(), Error> {
        self.framing.pass(data.len())?;
        // A body that is over before its length is asked for its end like any other, and found to be short.
        self.last &= !self.framing.is_owing();
        self.chunk = data;
        Ok(())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Error> {
        self.framing.end()?;
        trailers.as_ref().map_or(Ok(()), check_trailers)?;
        let trailers = trailers.map(head::trailers).filter(|trailers| !trailers.is_empty());
        let sent = match trailers {
            Some(trailers) => self.send.send_trailers(trailers),
            None => self.send.send_data(Bytes::new(), true),
        };
        self.state = if sent.is_ok() { State::Complete } else { State::Abandoned };
        self.moved = true;
        Ok(())
    }

    /// Sends as much of the frame as the windows let through. A stream that is no more is found out by whoever awaits its response.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.send.reserve_capacity(self.chunk.len());
        let free = self.send.capacity();
        if free == 0 {
            if !matches!(ready!(self.send.poll_capacity(cx)), Some(Ok(_))) {
                self.abandon();
            }
            return Poll::Ready(());
        }
        let piece = self.chunk.split_to(free.min(self.chunk.len()));
        let end = self.last && self.chunk.is_empty();
        if self.send.send_data(piece, end).is_err() {
            self.abandon();
        } else {
            self.moved = true;
            if end {
                self.state = State::Complete;
            }
        }
        Poll::Ready(())
    }
}
