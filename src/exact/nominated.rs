//! What `Connection` names, taken out of trailers.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body as _, Frame, SizeHint};

use crate::{body::Body, error::Error, message::hop::Nominated};

/// The same body, whose trailers lose the fields that `Connection` names (RFC 9110 §7.6.1); as it is, where that names none.
pub(crate) fn without(body: Body, nominated: Nominated) -> Body {
    match nominated {
        Some(nominated) if !body.is_end_stream() => Body::new(Without { body, nominated }),
        _ => body,
    }
}

#[derive(Debug)]
struct Without {
    body: Body,
    nominated: Box<[HeaderName]>,
}

impl http_body::Body for Without {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            for name in &self.nominated {
                trailers.remove(name);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
