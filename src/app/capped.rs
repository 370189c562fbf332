use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::error::{BoxError, Error, ErrorKind, Phase};

/// Limits a body to `max` bytes. One of known length needs no watching: it was compared with the limit, and cannot be longer than that.
pub(super) fn cap<B>(body: B, max: u64) -> crate::Body
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    if max == u64::MAX || body.size_hint().exact().is_some() {
        crate::Body::new(body)
    } else {
        crate::Body::new(Capped { inner: body, left: max })
    }
}

pin_project! {
    /// A request's body that fails when it is longer than allowed, so that the upstream never takes the part for the whole.
    #[derive(Debug)]
    struct Capped<B> {
        #[pin]
        inner: B,
        left: u64,
    }
}

pub(super) fn too_large() -> Error {
    Error::new(ErrorKind::TooLarge, "body is larger than allowed")
}

impl<B> Body for Capped<B>
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
            Some(Ok(frame)) => {
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

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full, combinators::BoxBody};

    use super::*;

    fn chunks(chunks: &'static [&'static str]) -> BoxBody<Bytes, std::convert::Infallible> {
        let mut body: BoxBody<Bytes, std::convert::Infallible> = http_body_util::Empty::new().boxed();
        for chunk in chunks.iter().rev() {
            body = Chain(Some(Bytes::from_static(chunk.as_bytes())), body).boxed();
        }
        body
    }

    struct Chain(Option<Bytes>, BoxBody<Bytes, std::convert::Infallible>);

    impl Body for Chain {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            match self.0.take() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => Pin::new(&mut self.1).poll_frame(cx),
            }
        }
    }

    #[tokio::test]
    async fn exactly_the_limit_passes_and_one_more_fails() {
        let whole = cap(chunks(&["abc", "", "de"]), 5).collect().await.unwrap().to_bytes();
        assert_eq!(whole, "abcde");
        let mut body = cap(chunks(&["abc", "def", "g"]), 5);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
        assert_eq!(body.frame().await.unwrap().unwrap_err().status(), 413);
        assert_eq!(body.frame().await.unwrap().unwrap_err().status(), 413);
    }

    #[test]
    fn hints_are_those_of_the_body_inside() {
        assert_eq!(cap(Full::new(Bytes::from_static(b"abc")), 4).size_hint().exact(), Some(3));
        assert!(cap(http_body_util::Empty::<Bytes>::new(), 0).is_end_stream());
        assert!(!cap(chunks(&["a"]), 0).is_end_stream());
    }
}
