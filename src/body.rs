//! [`Body`]: the body type of this crate's services.

use std::{
    any::Any,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Limited};

#[cfg(feature = "http2")]
use crate::transport::http2;
use crate::{
    error::{BoxError, Error, ErrorKind},
    transport::{http1, observe::Watch},
};

/// Streams the body of a request or a response: `ExactProxy` and `ProxyApp` respond with it, and layers pass it to
/// the service they wrap.
///
/// Nothing is buffered: polling for a frame reads it from the connection. Trailers, size hint and end of stream are
/// those of the wrapped body. Empty, in-memory and HTTP/1.1 bodies need no allocation.
///
/// | task | use |
/// |---|---|
/// | read the whole body | [`bytes`](Self::bytes) |
/// | read frames, or a stream of data | `http_body_util::BodyExt` (`frame`, `into_data_stream`) |
/// | create a body from a stream | [`Body::new`] with `http_body_util::StreamBody` |
/// | convert from and to axum's body | [`Body::new`], `axum::body::Body::new` |
///
/// ```
/// use nexthop::Body;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), nexthop::BoxError> {
/// let body = Body::new(axum::body::Body::from("from axum"));
/// assert_eq!(body.bytes(1024).await?, "from axum");
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Server(hyper::body::Incoming),
    Upstream(http1::Incoming),
    #[cfg(feature = "http2")]
    Stream(Box<http2::Incoming>),
    /// The body of a response whose exchange is observed.
    Watched(Box<Watched>),
    Boxed(Pin<Box<dyn http_body::Body<Data = Bytes, Error = Error> + Send>>),
}

impl Body {
    /// Creates a body without content.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// Wraps any body. A nexthop `Body` and hyper's `Incoming` are used as they are; other bodies are boxed.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut slot = Some(body);
        if let Some(ours) = (&mut slot as &mut dyn Any).downcast_mut::<Option<Self>>() {
            return ours.take().unwrap_or_default();
        }
        if let Some(server) = (&mut slot as &mut dyn Any).downcast_mut::<Option<hyper::body::Incoming>>() {
            return server.take().map_or_else(Self::empty, |incoming| Self(Kind::Server(incoming)));
        }
        match slot {
            Some(body) if body.is_end_stream() => Self::empty(),
            Some(body) => Self(Kind::Boxed(Box::pin(body.map_err(body_error::<B::Error>)))),
            None => Self::empty(),
        }
    }

    /// Reads the whole body into memory, up to `limit` bytes. Trailers are dropped.
    ///
    /// # Errors
    /// `TooLarge` (413) if the body has more than `limit` bytes; the rest is not read. Errors of the body are
    /// returned as they are.
    ///
    /// ```
    /// use nexthop::{Body, ErrorKind};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), nexthop::BoxError> {
    /// assert_eq!(Body::from("twelve bytes").bytes(12).await?, "twelve bytes");
    /// assert_eq!(Body::from("twelve bytes").bytes(11).await.unwrap_err().kind(), ErrorKind::TooLarge);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn bytes(self, limit: usize) -> Result<Bytes, Error> {
        let read = Limited::new(self, limit).collect().await.map_err(|error| match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(more) => Error::new(ErrorKind::TooLarge, "the body is larger than the limit").with_source(more),
        });
        Ok(read?.to_bytes())
    }

    /// The same; `watch` notes how it ends.
    pub(crate) fn watched(self, mut watch: Watch) -> Self {
        if http_body::Body::is_end_stream(&self) {
            watch.complete();
            return self;
        }
        Self(Kind::Watched(Box::new(Watched { body: self, watch })))
    }

    /// The same; `hold` is kept until it is dropped.
    #[cfg(feature = "spawn")]
    pub(crate) fn hold<T: Send + 'static>(self, hold: T) -> Self {
        Self(Kind::Boxed(Box::pin(Held { body: self, _hold: hold })))
    }

    /// True if nothing is to be read from an upstream any more.
    #[cfg(feature = "spawn")]
    pub(crate) fn has_arrived(&self) -> bool {
        match &self.0 {
            Kind::Upstream(incoming) => incoming.has_arrived(),
            Kind::Empty | Kind::Full(_) => true,
            _ => http_body::Body::is_end_stream(self),
        }
    }

    /// True if all of it is in memory, untouched, and without trailers.
    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.0, Kind::Empty | Kind::Full(_)) || http_body::Body::is_end_stream(self)
    }
}

/// Waits for `body` no longer than `limit`: a small body of a client that must be there before anything is done with it.
///
/// # Errors
/// `RequestTimeout` (408), or what `body` gives.
pub(crate) async fn read_within<T>(
    limit: Option<Duration>,
    body: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(limit) = limit else { return body.await };
    let late = |_| Error::new(ErrorKind::RequestTimeout, "timeout waiting for the request body");
    tokio::time::timeout(limit, body).await.map_err(late)?
}

fn body_error<E: Into<BoxError>>(error: E) -> Error {
    Error::from_body(ErrorKind::RequestBody, error)
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Kind::Server(incoming) => {
                let frame = ready!(Pin::new(incoming).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(body_error)))
            }
            Kind::Upstream(incoming) => Pin::new(incoming).poll_frame(cx),
            #[cfg(feature = "http2")]
            Kind::Stream(incoming) => Pin::new(&mut **incoming).poll_frame(cx),
            Kind::Watched(watched) => watched.poll_frame(cx),
            Kind::Boxed(boxed) => boxed.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Server(incoming) => incoming.is_end_stream(),
            Kind::Upstream(incoming) => incoming.is_end_stream(),
            #[cfg(feature = "http2")]
            Kind::Stream(incoming) => http_body::Body::is_end_stream(&**incoming),
            Kind::Watched(watched) => watched.body.is_end_stream(),
            Kind::Boxed(boxed) => boxed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Server(incoming) => incoming.size_hint(),
            Kind::Upstream(incoming) => incoming.size_hint(),
            #[cfg(feature = "http2")]
            Kind::Stream(incoming) => http_body::Body::size_hint(&**incoming),
            Kind::Watched(watched) => watched.body.size_hint(),
            Kind::Boxed(boxed) => boxed.size_hint(),
        }
    }
}

/// A body, and what lasts as long as it does.
#[cfg(feature = "spawn")]
struct Held<T> {
    body: Body,
    _hold: T,
}

#[cfg(feature = "spawn")]
impl<T> Unpin for Held<T> {}

#[cfg(feature = "spawn")]
impl<T> http_body::Body for Held<T> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body, and the record of its exchange, which its end closes.
struct Watched {
    body: Body,
    watch: Watch,
}

impl Watched {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(http_body::Body::poll_frame(Pin::new(&mut self.body), cx));
        match &frame {
            Some(Ok(frame)) => {
                self.watch.received(frame.data_ref().map_or(0, Bytes::len));
                if http_body::Body::is_end_stream(&self.body) {
                    self.watch.complete();
                }
            }
            Some(Err(error)) => self.watch.failed(error),
            None => self.watch.complete(),
        }
        Poll::Ready(frame)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // A server does not ask for the end of a body that has had its whole length.
        if http_body::Body::size_hint(&self.body).exact() == Some(0) {
            self.watch.complete();
        }
    }
}

impl From<http1::Incoming> for Body {
    fn from(incoming: http1::Incoming) -> Self {
        Self(Kind::Upstream(incoming))
    }
}

#[cfg(feature = "http2")]
impl From<http2::Incoming> for Body {
    fn from(incoming: http2::Incoming) -> Self {
        if incoming.is_empty() { Self::empty() } else { Self(Kind::Stream(Box::new(incoming))) }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::Full(bytes))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("size_hint", &http_body::Body::size_hint(self)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::StreamBody;

    use super::*;

    #[tokio::test]
    async fn a_body_of_several_frames_is_read_whole_up_to_the_limit_and_to_its_error() {
        let frames = |last: Result<&'static str, ErrorKind>| {
            let last = last.map_err(|kind| Error::new(kind, "the last one is lost"));
            let frames = [Ok("one "), Ok("two "), last].map(|frame| frame.map(|text| Frame::data(Bytes::from(text))));
            Body::new(StreamBody::new(stream::iter(frames)))
        };
        assert_eq!(frames(Ok("three")).bytes(13).await.unwrap(), "one two three");
        assert_eq!(frames(Ok("three")).bytes(12).await.unwrap_err().status(), 413);
        assert_eq!(frames(Err(ErrorKind::Timeout)).bytes(13).await.unwrap_err().kind(), ErrorKind::Timeout);
    }
}
