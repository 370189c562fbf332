//! Bodies that do what they are told, and what becomes of them at either end.

use super::*;

/// What a future gives that never waits.
pub(super) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Data(&'static str),
    Trailers(HeaderMap),
    Pause,
    Fail,
}

pub(super) use Step::{Data, Fail, Pause, Trailers};

/// A body that does what it is told.
#[derive(Debug)]
pub(super) struct Script {
    steps: std::vec::IntoIter<Step>,
    length: Option<u64>,
}

pub(super) fn unsized_body(steps: impl Into<Vec<Step>>) -> Script {
    Script { steps: steps.into().into_iter(), length: None }
}

pub(super) fn sized_body(length: u64, steps: impl Into<Vec<Step>>) -> Script {
    Script { length: Some(length), ..unsized_body(steps) }
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.steps.next() {
            None => Poll::Ready(None),
            Some(Data(text)) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))),
            Some(Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Some(Pause) => Poll::Pending,
            Some(Fail) => Poll::Ready(Some(Err(std::io::Error::other("cut")))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

/// What a body gives, step by step, and how it ends.
pub(super) fn read<B>(body: B) -> (Vec<String>, Option<HeaderMap>, Option<Error>)
where
    B: http_body::Body<Data = Bytes, Error = Error>,
{
    let mut body = pin!(body);
    let (mut data, mut trailers) = (Vec::new(), None);
    loop {
        match body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => data.push("…".to_owned()),
            Poll::Ready(None) => return (data, trailers, None),
            Poll::Ready(Some(Err(error))) => {
                assert!(body.is_end_stream());
                return (data, trailers, Some(error));
            }
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) => data.push(String::from_utf8(bytes.to_vec()).unwrap()),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
    }
}

pub(super) fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

/// Signs a request with a body; gives the head as received, and the frames that were sent.
pub(super) fn send(signer: &Signer, fields: &[(&str, &str)], body: Script) -> (Parts, Vec<String>, Option<HeaderMap>) {
    let mut parts = outgoing("POST", "http://back/upload", fields);
    let (stamp, body) = match signer.cover(&mut parts.headers, body) {
        BodySigning::Ready(stamp, body) => (stamp, body),
        BodySigning::Reading(reading) => now(reading).unwrap(),
    };
    stamp.sign(&mut parts, at(CREATED)).unwrap();
    let (data, trailers, error) = read(body);
    assert!(error.is_none());
    (received(&parts), data, trailers)
}

/// Verifies head and body; the error may come from either.
pub(super) fn receive(
    verifier: &Verifier,
    parts: &Parts,
    body: Script,
) -> Result<(Vec<String>, Option<HeaderMap>), Error> {
    let Verification::Now(verified) = verifier.verify(parts, &body, at(CREATED))? else { panic!("it knows at once") };
    let body = match verified.open(body) {
        BodyVerification::Ready(body) => body,
        BodyVerification::Reading(reading) => now(reading)?,
    };
    match read(body) {
        (data, trailers, None) => Ok((data, trailers)),
        (_, _, Some(error)) => Err(error),
    }
}
