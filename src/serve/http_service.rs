//! [`HttpService`]: which services can be served.

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tower_service::Service;

use crate::error::BoxError;

/// A tower service that [`serve`](super::serve()) can serve.
///
/// Implemented for every [`Service`] that takes a `Request<hyper::body::Incoming>`, returns a `Response` with any body,
/// and is `Clone + Send + 'static`; its future is `Send + 'static`, its error converts into [`BoxError`]. An axum
/// `Router`, a `ProxyApp`, and each of them inside of tower layers are such services. Sealed: all services that fit
/// have this implementation, and no other type can have one.
///
/// ```
/// use nexthop::{ProxyApp, serve::HttpService};
///
/// fn takes(_: impl HttpService) {}
///
/// takes(axum::Router::new());
/// takes(ProxyApp::builder("http://127.0.0.1:8000").build()?);
/// # Ok::<(), nexthop::ConfigError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a service that `nexthop::serve` can serve",
    label = "expected a tower service of HTTP requests",
    note = "the service must be `Clone + Send + 'static` and take `Request<hyper::body::Incoming>`; it must return a `Response` whose body is `http_body::Body + Send`, an error that converts into `BoxError`, and a future that is `Send`",
    note = "pass an axum `Router` itself, not its `into_make_service()`",
    note = "adapt a service that takes requests with another body: `map_request(|request: Request<Incoming>| request.map(nexthop::Body::new))`"
)]
pub trait HttpService:
    Service<Request<Incoming>, Response = Response<Self::Body>, Error: Into<BoxError>, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
    /// The body of the responses.
    type Body: Body<Data: Send, Error: Into<BoxError>> + Send + 'static;
}

// A failed bound is reported as one of `HttpService`, with its notes, instead of one of this implementation.
#[diagnostic::do_not_recommend]
impl<S, B> HttpService for S
where
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>, Future: Send + 'static>,
    S: Clone + Send + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Body = B;
}
