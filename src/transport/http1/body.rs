//! [`Incoming`]: the body of a response, read by whoever polls it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::{
    conn::Conn,
    framing::{Piece, Remaining},
    slot::Reader,
};
use crate::{
    error::{BoxError, Error, ErrorKind, Phase},
    transport::{CloseReason, limits::Limits},
};

/// The body of a response. Dropped before its end, it closes the connection; read to its end, it gives it back to the pool.
#[derive(Debug, Default)]
pub(crate) struct Incoming(Kind);

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    /// All of it had arrived with the head.
    Full(Bytes),
    Direct(Direct),
    /// Read by a task that is still sending the request.
    Relayed(Reader),
}

impl Incoming {
    pub(crate) const fn empty() -> Self {
        Self(Kind::Empty)
    }

    pub(super) fn relayed(reader: Reader) -> Self {
        Self(Kind::Relayed(reader))
    }

    /// True if nothing is to be read from the upstream any more.
    #[cfg(feature = "spawn")]
    pub(crate) fn has_arrived(&self) -> bool {
        matches!(self.0, Kind::Empty | Kind::Full(_))
    }

    /// The body of a response whose request was sent. With `keep`, the connection goes back to the pool after it: at once, if all of
    /// the body has arrived.
    pub(super) fn new(conn: Box<Conn>, remaining: Remaining, keep: bool) -> Self {
        let mut direct = Direct { download: Download::new(remaining, keep, &conn.limits), conn: Some(conn) };
        if let Remaining::Length(left) = direct.download.remaining
            && let Some(conn) = direct.conn.as_mut()
            && conn.read.len() as u64 >= left
        {
            let data = conn.read.split_to(left as usize).freeze();
            direct.release();
            return if data.is_empty() { Self::empty() } else { Self(Kind::Full(data)) };
        }
        Self(Kind::Direct(direct))
    }
}

/// A body that reads its connection.
#[derive(Debug)]
struct Direct {
    conn: Option<Box<Conn>>,
    download: Download,
}

impl Direct {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(conn) = self.conn.as_mut() else { return Poll::Ready(None) };
        let frame = ready!(self.download.poll(conn, cx));
        match &frame {
            Some(Ok(_)) if !self.download.remaining.is_end() => {}
            Some(Ok(_)) | None => self.release(),
            Some(Err(_)) => self.conn = None,
        }
        Poll::Ready(frame)
    }

    /// The response is over: back to the pool, unless something says that this connection is not to be used again.
    fn release(&mut self) {
        let Some(mut conn) = self.conn.take() else { return };
        if self.download.keep && conn.read.is_empty() {
            conn.go_home();
        } else {
            conn.home.reason = CloseReason::Finished;
        }
    }
}

/// The reading half of an exchange.
#[derive(Debug)]
pub(super) struct Download {
    pub(super) remaining: Remaining,
    pub(super) keep: bool,
    max_trailers: usize,
    idle: Option<Duration>,
    /// True while a frame is awaited and the alarm is set for it. Bytes that are no frame yet, such as a chunk's extension or a part of the
    /// trailers, do not restart it.
    waiting: bool,
}

impl Download {
    pub(super) fn new(remaining: Remaining, keep: bool, limits: &Limits) -> Self {
        Self { remaining, keep, max_trailers: limits.max_head, idle: limits.body_idle, waiting: false }
    }

    /// For whoever keeps the time itself.
    pub(super) fn untimed(remaining: Remaining, keep: bool, limits: &Limits) -> Self {
        Self { idle: None, ..Self::new(remaining, keep, limits) }
    }

    /// The next frame; `None` at the end. A body that is cut is an error, never an end.
    pub(super) fn poll(&mut self, conn: &mut Conn, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            match self.next(conn) {
                Err(error) => return Poll::Ready(Some(Err(error))),
                Ok(Piece::Data(data)) => {
                    self.waiting = false;
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Piece::Trailers(mut trailers)) => {
                    for name in &conn.layout.nominated {
                        trailers.remove(name);
                    }
                    return Poll::Ready((!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers))));
                }
                Ok(Piece::End) => return Poll::Ready(None),
                Ok(Piece::NeedMore) => {}
            }
            match conn.poll_fill_for_body(cx) {
                Poll::Ready(Ok(0)) if matches!(self.remaining, Remaining::UntilClose) => return Poll::Ready(None),
                Poll::Ready(Ok(0)) => return Poll::Ready(Some(Err(cut(None)))),
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(cut(Some(error.into()))))),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    if !self.waiting {
                        self.waiting = true;
                        conn.alarm.set(self.idle.map(|idle| Instant::now() + idle));
                    }
                    ready!(conn.alarm.poll(cx));
                    let error = Error::new(ErrorKind::Timeout, "timeout waiting for the response body");
                    return Poll::Ready(Some(Err(error.in_phase(Phase::ResponseBody).after_send())));
                }
            }
        }
    }

    /// The next piece of what was read.
    fn next(&mut self, conn: &mut Conn) -> Result<Piece, Error> {
        if conn.block.is_empty() {
            return self.remaining.next(&mut conn.read, self.max_trailers);
        }
        let piece = self.remaining.next(&mut conn.block, self.max_trailers);
        // A line that is not whole goes on with the next read; what follows the body is nobody's response, and is to be seen.
        if matches!(piece, Ok(Piece::NeedMore)) || self.remaining.is_end() {
            conn.read.extend_from_slice(&std::mem::take(&mut conn.block));
        }
        piece
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self.remaining {
            Remaining::Length(left) => SizeHint::with_exact(left),
            Remaining::Chunked(_) | Remaining::UntilClose => SizeHint::default(),
        }
    }
}

fn cut(source: Option<BoxError>) -> Error {
    super::framing::broken("the connection failed before the end of the response body", source, Phase::ResponseBody)
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Direct(direct) => direct.poll_frame(cx),
            Kind::Relayed(reader) => reader.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Direct(direct) => direct.conn.is_none() && direct.download.remaining.is_end(),
            Kind::Relayed(reader) => reader.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Direct(direct) => direct.download.size_hint(),
            Kind::Relayed(reader) => reader.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Arc};

    use http::Uri;
    use tokio::io::AsyncWriteExt;

    use super::{super::block, *};
    use crate::transport::{destination::Destination, io::Io, pool::Home};

    /// The body out of `bytes`, which are all there before the first of them is asked for, and what of them is left in the buffer.
    async fn download(remaining: Remaining, bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (near, mut far) = tokio::io::duplex(bytes.len());
        far.write_all(bytes).await.unwrap();
        let to = Destination::of(&Uri::from_static("http://upstream"), None).unwrap();
        let mut conn = Conn::new(Io::Custom(Box::new(near)), Home::none(to), Arc::default(), Instant::now());
        let mut download = Download { remaining, keep: true, max_trailers: 1024, idle: None, waiting: false };
        let mut body = Vec::new();
        while !download.remaining.is_end() {
            let Some(frame) = poll_fn(|cx| download.poll(&mut conn, cx)).await else { break };
            body.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        (body, conn.read.to_vec())
    }

    #[tokio::test]
    async fn what_follows_a_long_body_is_seen_and_not_part_of_it() {
        let bytes: Vec<u8> = (0..2 * block::SIZE).map(|n| (n % 251) as u8).collect();
        for length in [1, 16_383, 40_000, block::SIZE - 1, block::SIZE + 20_000] {
            let (body, rest) = download(Remaining::Length(length as u64), &bytes).await;
            assert!(body == bytes[..length], "{length}");
            assert!(!rest.is_empty() && bytes[length..].starts_with(&rest), "{length}");
        }
    }

    #[tokio::test]
    async fn chunks_longer_than_a_block_and_shorter_are_read_alike() {
        let bytes: Vec<u8> = (0..300_000).map(|n| (n % 251) as u8).collect();
        for size in [1, 1000, 16_384, block::SIZE - 8, block::SIZE, 100_000] {
            let mut chunks = Vec::new();
            for chunk in bytes.chunks(size) {
                chunks.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                chunks.extend_from_slice(chunk);
                chunks.extend_from_slice(b"\r\n");
            }
            chunks.extend_from_slice(b"0\r\n\r\n");
            let (body, rest) = download(Remaining::Chunked(Default::default()), &chunks).await;
            assert!(body == bytes && rest.is_empty(), "{size}");
        }
    }
}
