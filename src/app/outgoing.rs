//! The body of a request on its way out.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Version};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{
    error::{BoxError, Error, ErrorKind, Phase},
    protocol::names::{is_identity, is_owned},
};

/// Limits a body to `max` bytes, and takes fields of ours, and such as name a user, out of its trailers.
///
/// One of known length in HTTP/1 needs no watching: it was compared with the limit, cannot be longer than that, and has no trailers.
pub(super) fn outgoing<B>(body: B, version: Version, max: u64) -> crate::Body
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    if body.is_end_stream() || (version < Version::HTTP_2 && body.size_hint().exact().is_some()) {
        crate::Body::new(body)
    } else {
        crate::Body::new(Outgoing { inner: body, left: max })
    }
}

pub(super) fn too_large() -> Error {
    Error::new(ErrorKind::TooLarge, "the request body exceeds the size limit")
}

pin_project! {
    /// Fails when it is longer than allowed, so that the upstream never takes the part for the whole.
    #[derive(Debug)]
    struct Outgoing<B> {
        #[pin]
        inner: B,
        left: u64,
    }
}

impl<B> Body for Outgoing<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.project();
        Poll::Ready(match ready!(this.inner.poll_frame(cx)) {
            None => None,
            Some(Err(error)) => Some(Err(Error::from_body(ErrorKind::RequestBody, error))),
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    disown(trailers);
                }
                let len = frame.data_ref().map_or(0, Bytes::len) as u64;
                Some(match this.left.checked_sub(len) {
                    Some(left) => {
                        *this.left = left;
                        Ok(frame)
                    }
                    None => {
                        // Nothing that comes after may pass either.
                        *this.left = 0;
                        Err(too_large().in_phase(Phase::Send))
                    }
                })
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An upstream that merges trailers into its fields would believe these.
fn disown(trailers: &mut HeaderMap) {
    let believed: Vec<HeaderName> =
        trailers.keys().filter(|name| is_owned(name) || is_identity(name)).cloned().collect();
    for name in &believed {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, convert::Infallible};

    use http::HeaderValue;
    use http_body_util::{BodyExt, Full};

    use super::*;

    /// The frames of a body that does not know its length.
    struct Frames(VecDeque<Frame<Bytes>>);

    impl Frames {
        fn of(chunks: &[&'static str]) -> Self {
            Self(chunks.iter().map(|chunk| Frame::data(Bytes::from_static(chunk.as_bytes()))).collect())
        }
    }

    impl Body for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }
    }

    #[tokio::test]
    async fn exactly_the_limit_passes_and_one_more_fails() {
        let whole = outgoing(Frames::of(&["abc", "", "de"]), Version::HTTP_11, 5).collect().await.unwrap().to_bytes();
        assert_eq!(whole, "abcde");
        let mut body = outgoing(Frames::of(&["abc", "def", "g"]), Version::HTTP_11, 5);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
        assert_eq!(body.frame().await.unwrap().unwrap_err().status(), 413);
        assert_eq!(body.frame().await.unwrap().unwrap_err().status(), 413);
    }

    #[tokio::test]
    async fn trailers_pass_without_fields_of_ours() {
        let trailers = ["x-sum", "x-forwarded-for", "x_wsgiproxy_str_1"]
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1")));
        let mut body = Frames::of(&["abc"]);
        body.0.push_back(Frame::trailers(HeaderMap::from_iter(trailers)));
        let collected = outgoing(body, Version::HTTP_11, u64::MAX).collect().await.unwrap();
        let names: Vec<_> = collected.trailers().unwrap().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-sum"]);
    }

    #[test]
    fn hints_are_those_of_the_body_inside() {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let full = outgoing(Full::new(Bytes::from_static(b"abc")), version, 4);
            assert_eq!(full.size_hint().exact(), Some(3));
            assert!(outgoing(http_body_util::Empty::<Bytes>::new(), version, 0).is_end_stream());
            assert!(!outgoing(Frames::of(&["a"]), version, 0).is_end_stream());
        }
    }
}
