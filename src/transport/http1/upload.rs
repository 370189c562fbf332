//! [`Upload`]: the body of a request, frame by frame, framed as its head announced.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;

use super::{conn::Out, encode, framing::RequestFraming};
use crate::{
    error::{BoxError, Error, ErrorKind, Phase},
    message::fields::has_padded_value,
};

/// What is still to be sent of a request's body.
#[derive(Debug)]
pub(crate) struct Upload {
    framing: RequestFraming,
    state: State,
    /// `Expect: 100-continue`: the client is not asked for its body before the upstream agrees (RFC 9110 §10.1.1).
    pub(crate) gated: bool,
    /// Bytes taken from the client's body.
    pub(crate) pulled: u64,
    /// True if nothing was taken from it, not even its end.
    pub(crate) untouched: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Running,
    Complete,
    Abandoned,
}

impl Upload {
    pub(crate) fn new(framing: RequestFraming, gated: bool, ended: bool) -> Self {
        // A body that is over although a length was announced is asked for its end like any other, and found to be short.
        let complete = ended && matches!(framing, RequestFraming::None | RequestFraming::Length(0));
        let state = if complete { State::Complete } else { State::Running };
        Self { framing, state, gated: gated && !complete, pulled: 0, untouched: true }
    }

    /// True while frames are to be pulled.
    pub(crate) fn wants_more(&self) -> bool {
        self.state == State::Running && !self.gated
    }

    /// True if the client may still be sending: what is not sent on, because the upstream takes no more, is still on its way.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.state != State::Complete && !self.gated
    }

    /// True if the whole body was queued as it was announced.
    pub(crate) fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Sends no more of it.
    pub(crate) fn abandon(&mut self) {
        self.gated = false;
        if self.state == State::Running {
            self.state = State::Abandoned;
        }
    }

    /// Pulls one frame and queues it; the end of the body is queued with its last frame where that is known.
    pub(crate) fn poll_pull<B>(
        &mut self,
        cx: &mut Context<'_>,
        mut body: Pin<&mut B>,
        out: &mut Out,
    ) -> Poll<Result<(), Error>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let frame = match ready!(body.as_mut().poll_frame(cx)) {
            None => {
                self.untouched = false;
                return Poll::Ready(self.end(out, None));
            }
            Some(Err(error)) => {
                return Poll::Ready(Err(Error::from_body(ErrorKind::RequestBody, error).in_phase(Phase::Send)));
            }
            Some(Ok(frame)) => frame,
        };
        Poll::Ready(match frame.into_data() {
            Ok(data) if data.is_empty() => Ok(()),
            Ok(data) => {
                self.untouched = false;
                self.pulled += data.len() as u64;
                self.data(data, out, body.is_end_stream())
            }
            Err(frame) => {
                self.untouched = false;
                self.end(out, frame.trailers_ref())
            }
        })
    }

    fn data(&mut self, data: Bytes, out: &mut Out, last: bool) -> Result<(), Error> {
        self.framing.pass(data.len())?;
        // A body that does not know its end is asked once more, so that bytes beyond its length are found.
        if last && !self.framing.is_owing() {
            self.state = State::Complete;
        }
        if self.framing == RequestFraming::Chunked {
            // Writing to a Vec cannot fail.
            let _ = std::io::Write::write_fmt(out.room(), format_args!("{:x}\r\n", data.len()));
            out.push(data, if last { b"\r\n0\r\n\r\n" } else { b"\r\n" });
        } else {
            out.push(data, b"");
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Out, trailers: Option<&HeaderMap>) -> Result<(), Error> {
        self.framing.end()?;
        trailers.map_or(Ok(()), check_trailers)?;
        // A body of known length has no place for trailers on HTTP/1.1.
        if self.framing == RequestFraming::Chunked {
            encode::last_chunk(out.room(), trailers);
        }
        self.state = State::Complete;
        Ok(())
    }
}

/// Trailers of HTTP/2 come as they were sent.
///
/// # Errors
/// `RequestBody` (400): a value that begins or ends with white space, which makes a request malformed (RFC 9113 §8.2.1).
pub(crate) fn check_trailers(trailers: &HeaderMap) -> Result<(), Error> {
    if has_padded_value(trailers) {
        let error = Error::new(ErrorKind::RequestBody, "a trailer value begins or ends with whitespace");
        return Err(error.in_phase(Phase::Send));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_over_before_its_length_is_not_complete() {
        assert!(Upload::new(RequestFraming::None, false, true).is_complete());
        assert!(Upload::new(RequestFraming::Length(0), true, true).is_complete());
        assert!(!Upload::new(RequestFraming::Length(5), false, true).is_complete());
        assert!(!Upload::new(RequestFraming::Chunked, false, true).is_complete());
    }
}
