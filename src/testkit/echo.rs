//! An application that answers with what it saw.

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

/// A service that answers every request with what it saw, as JSON: the application behind the proxy that is to be tested.
///
/// Bodies are read whole. One that breaks off is told as `<broken>`.
///
/// ```
/// use http::Request;
/// use http_body_util::BodyExt;
/// use nexthop::{Body, testkit::{Echo, echo}};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), nexthop::BoxError> {
/// let response = echo().oneshot(Request::post("/a%2Fb").header("x-user", "ann").body(Body::from("hello"))?).await?;
/// let saw = Echo::from_json(&response.into_body().collect().await?.to_bytes());
/// assert_eq!((saw.uri.as_str(), saw.header("x-user"), saw.body.as_str()), ("/a%2Fb", Some("ann"), "hello"));
/// # Ok(())
/// # }
/// ```
pub fn echo() -> EchoService {
    EchoService(())
}

/// What [`echo`] makes.
#[derive(Clone)]
pub struct EchoService(());

/// A request as an application saw it: what [`echo`] answers with.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[non_exhaustive]
pub struct Echo {
    /// The method.
    pub method: String,
    /// The URI in the form the application found it in.
    pub uri: String,
    /// The version, as `HTTP/1.1`.
    pub version: String,
    /// Name and value, lossily read, in the map's order.
    pub headers: Vec<(String, String)>,
    /// The body, lossily read.
    pub body: String,
}

impl Echo {
    /// Every value of a field, in order.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let named = |(found, _): &&(String, String)| found.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|(_, value)| value.as_str()).collect()
    }

    /// The one value of a field; fails if it is there twice.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        wire::only(name, &self.headers(name))
    }

    /// Reads the answer of [`echo`]; fails if it is anything else.
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
