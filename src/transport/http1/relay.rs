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
use crate::error::{BoxError, Error, ErrorKind, Phase};

/// Moves the whole exchange into a task and returns the body that reads from it.
pub(super) fn start<B>(exchange: Exchange, body: B, remaining: Remaining, keep: bool) -> Incoming
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    let download = Download::untimed(remaining, keep, &exchange.limits);
    let (writer, reader) = slot::channel(download.size_hint());
    let ended = download.remaining.is_end();
    let mut relay = Relay { exchange, body, download, writer, over: None };
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
            self.writer.put(Err(error));
            return Poll::Ready(());
        }
        let waits_for_reader = match self.over {
            Some(_) => false,
            None => match self.poll_download(cx) {
                Poll::Ready(()) if self.over.is_none() => return Poll::Ready(()),
                Poll::Ready(()) => false,
                Poll::Pending => self.writer.poll_free(cx).is_pending(),
            },
        };
        let limit = match &self.over {
            Some(_) if upload.is_ready() => return Poll::Ready(()),
            Some(over) if self.exchange.upload.pulled - over.pulled > DRAIN_BYTES => return Poll::Ready(()),
            Some(over) => Some(over.at + DRAIN_TIME),
            None if waits_for_reader && upload.is_ready() => None,
            None => self.exchange.limits.body_idle.map(|idle| self.exchange.clock + idle),
        };
        self.exchange.conn.alarm.set(limit);
        ready!(self.exchange.conn.alarm.poll(cx));
        if self.over.is_none() {
            let error = Error::new(ErrorKind::Timeout, "neither body moved in time");
            self.writer.put(Err(error.in_phase(Phase::ResponseBody).after_send()));
        }
        Poll::Ready(())
    }

    /// Sends the client's body on. What the upstream does not take any more is thrown away once its response is over, so that a client
    /// that reads only after it has written gets that response instead of a reset.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.exchange.poll_upload(cx, &mut self.body))?;
        while self.over.is_some() && !self.exchange.upload.is_complete() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => self.exchange.upload.pulled += frame.data_ref().map_or(0, |data| data.len() as u64),
                Some(Err(_)) | None => break,
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

    fn finish(self) {
        let kept = self.over.is_some() && self.download.keep && self.exchange.is_clean();
        if kept {
            self.exchange.conn.go_home();
        }
    }
}

/// How much, and for how long, of a client's body is taken after the final response.
const DRAIN_BYTES: u64 = 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(2);
