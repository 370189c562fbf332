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

/// Forwards every request to a child process, which the first one starts. See the [module](crate::spawn).
///
/// * In: as for [`ProxyApp`](crate::ProxyApp), which does the forwarding.
/// * Out: `Ok`, always. 503 with `Retry-After` where no child is to be had; the rest is `ProxyApp`'s.
///
/// Cheap to clone; clones share the children. With the last clone, the last [`Handle`] and the last waiting request, they are stopped.
/// Always ready.
///
/// # Cancel safety
/// Dropping the future of a request that waits frees its place in the queue, and lets the start go on. After that it is as with `ProxyApp`.
#[derive(Clone)]
pub struct SpawnApp(pub(super) Arc<Front>);

impl SpawnApp {
    /// Runs `command`, with the defaults.
    pub fn builder(command: Command) -> SpawnAppBuilder {
        SpawnAppBuilder::new(command)
    }

    /// Starts, stops and watches the children. Keeps them, as a clone of the service does.
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
