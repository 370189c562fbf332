//! An application that responds with the request it received.

use std::{
    convert::Infallible,
    fmt,
    panic::Location,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use tower_service::Service;

use super::wire;
use crate::Body;

/// Returns a service that answers each request with 200 and an [`Echo`] of it as JSON: an application for tests of a
/// proxy.
///
/// The body is read to its end. If reading fails, the `body` of the response is `<broken>`.
///
/// ```
/// use http::Request;
/// use http_body_util::BodyExt;
/// use nexthop::{Body, testkit::{Echo, echo}};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), nexthop::BoxError> {
/// let request = Request::post("/a%2Fb").header("x-user", "ann").body(Body::from("hello"))?;
/// let response = echo().oneshot(request).await?;
/// let received = Echo::from_json(&response.into_body().collect().await?.to_bytes());
/// assert_eq!((&*received.uri, &*received.body), ("/a%2Fb", "hello"));
/// assert_eq!(received.header("x-user"), Some("ann"));
/// # Ok(())
/// # }
/// ```
pub fn echo() -> EchoService {
    EchoService(())
}

/// Answers requests with an [`Echo`] of them. Created by [`echo`].
#[derive(Clone)]
pub struct EchoService(());

/// Holds a request as the application received it: the response of [`echo`].
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[non_exhaustive]
pub struct Echo {
    /// Request method.
    pub method: String,
    /// URI of the request, in the form in which the application received it.
    pub uri: String,
    /// HTTP version, such as `HTTP/1.1`.
    pub version: String,
    /// Header names and values, in the order of the header map. Invalid UTF-8 is replaced.
    pub headers: Vec<(String, String)>,
    /// Body. Invalid UTF-8 is replaced.
    pub body: String,
}

impl Echo {
    /// Returns all values of a header, in order.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let named = |(found, _): &&(String, String)| found.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|(_, value)| value.as_str()).collect()
    }

    /// Returns the value of a header, if present.
    ///
    /// # Panics
    /// If the header occurs more than once.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        wire::only(name, &self.headers(name))
    }

    /// Parses the response body of [`echo`].
    ///
    /// # Panics
    /// If `json` is anything else.
    #[track_caller]
    pub fn from_json(json: &[u8]) -> Self {
        let at = Location::caller();
        serde_json::from_slice(json)
            .unwrap_or_else(|error| panic!("{at}: {error} in {:?}", String::from_utf8_lossy(json)))
    }
}

// === impl EchoService ===

impl<B> Service<Request<B>> for EchoService
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(async {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes());
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let echo = Echo {
                method: head.method.to_string(),
                uri: head.uri.to_string(),
                version: format!("{:?}", head.version),
                headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect(),
                body: body.map_or_else(|_| "<broken>".to_owned(), |body| text(&body)),
            };
            let mut response = Response::new(Body::from(serde_json::to_vec(&echo).unwrap()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok(response)
        })
    }
}

impl fmt::Debug for EchoService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EchoService")
    }
}
