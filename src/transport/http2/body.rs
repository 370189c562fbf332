//! [`Incoming`]: the body of a response, read from its stream by whoever polls it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::{StatusCode, header, response::Parts};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::{failure::padded, stream::Stream, two_way::TwoWay};
use crate::{
    error::{Error, ErrorKind, Phase},
    message::{fields::has_padded_value, framing::parse_length},
    transport::alarm::Alarm,
};

/// The body of a response. Dropped before its end, it resets its stream; the connection goes on.
pub(crate) struct Incoming {
    receive: RecvStream,
    step: Step,
    /// Bytes left of what `Content-Length` announced; `h2` sees to it that they come.
    left: Option<u64>,
    /// The response began before the request was sent.
    early: bool,
    place: Option<Place>,
    idle: Option<Duration>,
    alarm: Alarm,
    /// True while a frame is awaited and the alarm is set for it.
    waiting: bool,
}

/// What keeps the stream's place on its connection.
pub(super) enum Place {
    Alone(Stream),
    /// Together with the task that sends the rest of the request.
    Shared(Arc<TwoWay>),
}

#[derive(PartialEq, Eq)]
enum Step {
    Data,
    Trailers,
    End,
}

impl Incoming {
    pub(super) fn new(
        receive: RecvStream,
        head: &Parts,
        is_head: bool,
        early: bool,
        place: Place,
        idle: Option<Duration>,
        alarm: Alarm,
    ) -> Self {
        let bodiless = is_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let left = if bodiless {
            Some(0)
        } else {
            head.headers.get(header::CONTENT_LENGTH).and_then(|length| parse_length(length.as_bytes()))
        };
        let place = Some(place);
        let mut body = Self { receive, step: Step::Data, left, early, place, idle, alarm, waiting: false };
        if body.receive.is_end_stream() {
            body.end();
        }
        body
    }

    /// True if it was over with its head, and its length says nothing else.
    pub(crate) fn is_empty(&self) -> bool {
        self.step == Step::End
    }

    /// The response is over. What is left of the request may go on for a while.
    fn end(&mut self) {
        self.step = Step::End;
        if let Some(Place::Shared(two_way)) = self.place.take() {
            two_way.over();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            let step = match self.step {
                Step::End => return Poll::Ready(None),
                Step::Data => self.receive.poll_data(cx).map(|data| data.map(|data| data.map(Frame::data))),
                Step::Trailers => {
                    self.receive.poll_trailers(cx).map(|trailers| trailers.map(|t| t.map(Frame::trailers)).transpose())
                }
            };
            match step {
                Poll::Pending => return self.poll_alarm(cx).map(|error| Some(Err(error))),
                Poll::Ready(Some(Ok(frame))) if frame.trailers_ref().is_some_and(has_padded_value) => {
                    self.give_up();
                    return Poll::Ready(Some(Err(padded().in_phase(Phase::ResponseBody).after_send())));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let length = frame.data_ref().map(Bytes::len);
                    // A frame without content is no progress.
                    if length != Some(0) {
                        self.moved();
                    }
                    if let Some(length) = length {
                        // Read by us: the upstream may send as much again.
                        let _ = self.receive.flow_control().release_capacity(length);
                        self.left = self.left.map(|left| left.saturating_sub(length as u64));
                        if self.receive.is_end_stream() {
                            self.end();
                        } else if length == 0 {
                            continue;
                        }
                    } else {
                        self.end();
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Poll::Ready(None) if self.step == Step::Data => self.step = Step::Trailers,
                Poll::Ready(None) => self.end(),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(self.failed(error).map(Err)),
            }
        }
    }

    fn moved(&mut self) {
        self.waiting = false;
        if let Some(Place::Shared(two_way)) = &self.place {
            two_way.moved();
        }
    }

    /// What a failed stream means: `None` is an end.
    fn failed(&mut self, error: h2::Error) -> Option<Error> {
        let place = self.place.take();
        self.step = Step::End;
        match &place {
            Some(Place::Alone(stream)) => stream.note(&error),
            Some(Place::Shared(two_way)) => two_way.stream().note(&error),
            None => {}
        }
        // RFC 9113 §8.1: so an upstream asks for no more of a request that it has answered completely. When the request was sent before, it
        // has nothing to ask for, and this is a body that was cut.
        let done = error.is_remote() && error.is_reset() && error.reason() == Some(Reason::NO_ERROR);
        if done && self.early && self.left.is_none_or(|left| left == 0) {
            if let Some(Place::Shared(two_way)) = place {
                two_way.over();
            }
            return None;
        }
        if let Some(Place::Shared(two_way)) = place {
            let client = two_way.client_error();
            two_way.stop();
            if client.is_some() {
                return client;
            }
        }
        let cut = Error::new(ErrorKind::Upstream, "the connection failed before the end of the response body")
            .with_source(error);
        Some(cut.in_phase(Phase::ResponseBody).after_send())
    }

    /// Nothing more is read, and nothing more sent.
    fn give_up(&mut self) {
        if let Some(Place::Shared(two_way)) = self.place.take() {
            two_way.stop();
        }
        self.step = Step::End;
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let Some(idle) = self.idle else { return Poll::Pending };
        if !self.waiting {
            self.waiting = true;
            self.alarm.set(Some(Instant::now() + idle));
        }
        loop {
            ready!(self.alarm.poll(cx));
            // As long as the request moves, the upstream may be waiting for it.
            match &self.place {
                Some(Place::Shared(two_way)) if two_way.last() + idle > Instant::now() => {
                    self.alarm.set(Some(two_way.last() + idle));
                }
                _ => break,
            }
        }
        self.give_up();
        let error = Error::new(ErrorKind::Timeout, "timeout waiting for the response body");
        Poll::Ready(error.in_phase(Phase::ResponseBody).after_send())
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.step == Step::End
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Nobody reads on; h2 resets the stream with CANCEL once nobody sends on, either.
        if let Some(Place::Shared(two_way)) = self.place.take() {
            two_way.stop();
        }
    }
}
