//! [`SpawnApp`]: the service.

use std::{
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, REFRESH, RETRY_AFTER},
};
use tower_service::Service;

use super::{
    builder::SpawnAppBuilder,
    command::Command,
    future::SpawnAppFuture,
    handle::Handle,
    shared::{Front, pick},
};
use crate::{body::Body, error::BoxError};

/// Forwards each request to a child process, which the first request starts. The [module](crate::spawn) describes it.
///
/// * Input: as for [`ProxyApp`](crate::ProxyApp), which forwards the requests.
/// * Output: always `Ok`. The response is 503 with `Retry-After` if no child is available; everything else is as for
///   `ProxyApp`.
///
/// Cheap to clone; clones share the children. The children are stopped when the last clone, the last [`Handle`] and the
/// last waiting request are dropped. The service is always ready.
///
/// # Errors
/// None. Errors become responses: `Unavailable` (503) if too many requests wait, no child is ready in time, the circuit
/// breaker is open, or the app was shut down; others as for `ProxyApp`.
///
/// # Cancel safety
/// Dropping the future of a waiting request frees its place in the queue; the start of the child continues. Once the
/// request is sent, the future behaves as that of `ProxyApp`.
#[doc(alias = "on-demand")]
#[doc(alias = "lazy start")]
#[doc(alias = "process manager")]
#[derive(Clone)]
pub struct SpawnApp(pub(super) Arc<Front>);

impl SpawnApp {
    /// Configures an app that runs `command`. [`SpawnAppBuilder::build`] starts nothing; the first request does.
    pub fn builder(command: Command) -> SpawnAppBuilder {
        SpawnAppBuilder::new(command)
    }

    /// Returns a handle that starts, stops and observes the children. Like a clone of the service, it keeps them
    /// running.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(self.0.clone())
    }

    /// A function of its own in every build, so that its future is made where the caller wants it, and not moved there.
    #[inline(never)]
    pub(super) fn send<B>(&self, request: Request<B>) -> SpawnAppFuture
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        match pick(&self.0.public.fleet.load()) {
            Some((app, lease)) => app.send(request, Some(lease)),
            None => self.without_child(request.map(Body::new)),
        }
    }

    #[cold]
    fn without_child(&self, request: Request<Body>) -> SpawnAppFuture {
        match &self.0.public.spec.placeholder {
            Some(page) if is_for_a_browser(request.method(), request.headers()) => {
                self.0.demand();
                SpawnAppFuture::answer(placeholder(page.clone()))
            }
            _ => SpawnAppFuture::wait(self.0.clone(), request),
        }
    }
}

impl<B> Service<Request<B>> for SpawnApp
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = SpawnAppFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> SpawnAppFuture {
        self.send(request)
    }
}

/// A page that somebody looks at, and not one that a script asks for.
fn is_for_a_browser(method: &Method, headers: &HeaderMap) -> bool {
    let wants = |accept: &HeaderValue| accept.to_str().is_ok_and(|accept| accept.contains("text/html"));
    *method == Method::GET && headers.get_all(ACCEPT).iter().any(wants)
}

fn placeholder(page: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(page));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let fields =
        [(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "no-store"), (RETRY_AFTER, "1"), (REFRESH, "1")];
    response.headers_mut().extend(fields.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

impl fmt::Debug for SpawnApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpawnApp").field("spec", &self.0.public.spec).finish_non_exhaustive()
    }
}
