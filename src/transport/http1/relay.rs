//! An exchange whose response came before all of the request was sent: one task goes on with both.
//!
//! Without it, a client that reads only after it has written would wait for ever: nobody would send its body on while the response's body
//! is not polled.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::Body;
use tokio::time::Instant;

use super::{
    body::{Download, Incoming},
    exchange::Exchange,
    framing::Remaining,
    slot::{self, Writer},
};
use crate::{
    error::{BoxError, Error, ErrorKind, Phase},
    transport::CloseReason,
};

/// Moves the whole exchange into a task and returns the body that reads from it.
pub(super) fn start<B>(mut exchange: Exchange, body: B, remaining: Remaining, keep: bool) -> Incoming
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    let download = Download::untimed(remaining, keep, &exchange.conn.limits);
    let (writer, reader) = slot::channel(download.size_hint());
    let ended = download.remaining.is_end();
    exchange.moved();
    let mut relay = Relay { exchange, body, download, writer, over: None, stalled: false, discarded: 0 };
    if ended {
        relay.end();
    }
    tokio::spawn(async move {
        poll_fn(|cx| relay.poll(cx)).await;
        relay.finish();
    });
    if ended { Incoming::empty() } else { Incoming::relayed(reader) }
}

struct Relay<B> {
    exchange: Exchange,
    body: B,
    download: Download,
    writer: Writer,
    over: Option<Over>,
    /// True while nobody takes the frame that was read last.
    stalled: bool,
    /// Bytes of the client's body that the upstream did not take and that were thrown away.
    discarded: u64,
}

/// The response was read to its end, while the client is still sending.
struct Over {
    at: Instant,
    /// Bytes of the client's body taken until then.
    pulled: u64,
}

impl<B> Relay<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// Ready when nothing is left to do, or nobody is there to do it for.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let upload = self.poll_upload(cx);
        if let Poll::Ready(Err(error)) = upload {
            // The client's body broke: the upstream must see the connection close, not an end.
            if self.over.is_none() {
                self.writer.put(Err(error));
            }
            return Poll::Ready(());
        }
        if self.over.is_none() && self.poll_download(cx).is_ready() && self.over.is_none() {
            return Poll::Ready(());
        }
        self.note_stall(cx);
        let limit = match &self.over {
            Some(_) if upload.is_ready() => return Poll::Ready(()),
            Some(over) => Some(over.at + DRAIN_TIME),
            None if self.stalled && upload.is_ready() => None,
            None => self.exchange.conn.limits.body_idle.map(|idle| self.exchange.clock + idle),
        };
        self.exchange.conn.alarm.set(limit);
        ready!(self.exchange.conn.alarm.poll(cx));
        if self.over.is_none() {
            let error =
                Error::new(ErrorKind::Timeout, "timeout: neither the request body nor the response body made progress");
            self.writer.put(Err(error.in_phase(Phase::ResponseBody).after_send()));
        }
        Poll::Ready(())
    }

    /// While the client does not read, the upstream is not to blame for what does not move.
    fn note_stall(&mut self, cx: &Context<'_>) {
        let stalled = self.over.is_none() && self.writer.poll_free(cx).is_pending();
        if self.stalled && !stalled {
            self.exchange.moved();
        }
        self.stalled = stalled;
    }

    /// Sends the client's body on. What the upstream does not take any more is thrown away, up to a limit, so that a client that reads only
    /// after it has written gets the response instead of a reset. Ready when nothing more is to be taken from the client.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.over.as_ref().is_some_and(|over| self.exchange.upload.pulled - over.pulled > DRAIN_BYTES) {
            return Poll::Ready(Ok(()));
        }
        ready!(self.exchange.poll_upload(cx, &mut self.body))?;
        while !self.exchange.upload.is_complete() && self.discarded < DRAIN_BYTES {
            let length = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame.data_ref().map_or(1, |data| data.len() as u64),
                Some(Err(_)) | None => DRAIN_BYTES,
            };
            self.discarded += length + 1;
            // A frame without content is no progress.
            if length > 0 {
                self.exchange.moved();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads the response as far as it goes; ready when it is over or nobody reads it.
    fn poll_download(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if !ready!(self.writer.poll_free(cx)) {
                return Poll::Ready(());
            }
            match ready!(self.download.poll(&mut self.exchange.conn, cx)) {
                Some(Ok(frame)) => {
                    self.exchange.moved();
                    self.writer.put(Ok(frame));
                    if self.download.remaining.is_end() {
                        self.end();
                        return Poll::Ready(());
                    }
                }
                Some(Err(error)) => {
                    self.writer.put(Err(error));
                    return Poll::Ready(());
                }
                None => {
                    self.end();
                    return Poll::Ready(());
                }
            }
        }
    }

    fn end(&mut self) {
        self.writer.end();
        self.over = Some(Over { at: Instant::now(), pulled: self.exchange.upload.pulled });
    }

    fn finish(mut self) {
        if self.over.is_none() {
            return;
        }
        if self.download.keep && self.exchange.is_clean() {
            self.exchange.conn.go_home();
        } else {
            self.exchange.conn.home.reason = CloseReason::Finished;
        }
    }
}

/// How much, and for how long, of a client's body is taken after the final response.
const DRAIN_BYTES: u64 = 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(2);
