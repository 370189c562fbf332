//! [`ForwardProxyService`]: decides on the head, then hands the request on, answers it or makes a tunnel.

use std::{
    convert::Infallible,
    fmt,
    ops::ControlFlow,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version, request::Parts, uri::Scheme};
use hyper::body::Incoming;
use tower_service::Service;

use super::{
    answer::plain,
    apps::{self, App},
    connect,
    future::{Marks, Next, ResponseFuture},
    head::is_connect,
    layer::Config,
    resolver::Refused,
    route::{Route, Tunnel},
};
use crate::{
    body::Body,
    error::{BoxError, Error},
    ext::OverTls,
};

/// The service that [`ForwardProxy`](super::ForwardProxy) makes around another one.
#[derive(Clone)]
pub struct ForwardProxyService<S> {
    inner: S,
    config: Arc<Config>,
    /// The wrapped service failed before it was called.
    failed: Option<Error>,
}

impl<S> ForwardProxyService<S> {
    pub(super) const fn new(inner: S, config: Arc<Config>) -> Self {
        Self { inner, config, failed: None }
    }
}

impl<S, B, R> Service<Request<B>> for ForwardProxyService<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx).map(|ready| {
            self.failed = ready.err().map(apps::failed);
            Ok(())
        })
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture<S::Future> {
        let (mut parts, body) = request.into_parts();
        let config = self.config.clone();
        if let Some(error) = self.failed.take() {
            return ResponseFuture::answer(config, Marks::default(), Err(error));
        }
        if !is_connect(&parts) {
            // RFC 9112 §9.3: a proxy keeps no connection with such a client, which does not know that it is one.
            let last = parts.version == Version::HTTP_10 && parts.uri.scheme().is_some();
            let routed = config.route(&mut parts);
            return follow(&mut self.inner, config, routed, last, parts, Body::new(body));
        }
        match config.connect(&mut parts) {
            Ok(connect) => {
                // Not the instance that was polled ready, which is for one request and not for a tunnel of them.
                let opening = connect::open(config.clone(), Box::new(connect), self.inner.clone());
                ResponseFuture::later(config, Marks::default(), Box::pin(async { opening.await.map(Next::Answer) }))
            }
            Err(error) => ResponseFuture::answer(config, Marks::default(), Err(error)),
        }
    }
}

/// Goes where a request was found to go.
fn follow<S, R>(
    inner: &mut S,
    config: Arc<Config>,
    routed: Result<Route, Refused>,
    is_last: bool,
    parts: Parts,
    body: Body,
) -> ResponseFuture<S::Future>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
{
    let marks = Marks { is_passed_on: matches!(routed, Ok(Route::Further)), is_last };
    match routed {
        Ok(Route::Inner | Route::Further) => {
            ResponseFuture::forward(config, marks, inner.call(Request::from_parts(parts, body)))
        }
        Ok(Route::App(app)) => {
            // The instance that was polled ready is the one to call; its clone takes its place.
            let clone = inner.clone();
            let inner = std::mem::replace(inner, clone);
            let asking = ask(config.clone(), app, inner, Request::from_parts(parts, body));
            ResponseFuture::later(config, marks, Box::pin(asking))
        }
        Ok(Route::Answer(answer)) => ResponseFuture::answer(config, marks, Ok(answer)),
        Err(Refused::Error(error)) => ResponseFuture::answer(config, marks, Err(error)),
        Err(Refused::Status(status)) => ResponseFuture::answer(config, marks, Ok(plain(status))),
    }
}

/// The application of the proxy's own, and the wrapped service for what that declines.
async fn ask<S>(config: Arc<Config>, app: App, mut inner: S, request: Request<Body>) -> Result<Next<S::Future>, Error>
where
    S: Service<Request<Body>>,
{
    match app(request).await? {
        ControlFlow::Break(response) => Ok(Next::Answer(response)),
        ControlFlow::Continue(_) if config.resolver.is_direct() => Ok(Next::Answer(plain(StatusCode::NOT_FOUND))),
        ControlFlow::Continue(request) => Ok(Next::Inner(inner.call(request))),
    }
}

/// Serves the requests inside a tunnel, by a service that knows what the tunnel was asked for.
#[derive(Clone)]
pub(super) struct InTunnel<S> {
    inner: S,
    config: Arc<Config>,
    tunnel: Arc<Tunnel>,
    failed: Option<Error>,
}

impl<S> InTunnel<S> {
    pub(super) const fn new(inner: S, config: Arc<Config>, tunnel: Arc<Tunnel>) -> Self {
        Self { inner, config, tunnel, failed: None }
    }
}

impl<S, R> Service<Request<Incoming>> for InTunnel<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx).map(|ready| {
            self.failed = ready.err().map(apps::failed);
            Ok(())
        })
    }

    fn call(&mut self, request: Request<Incoming>) -> ResponseFuture<S::Future> {
        let (mut parts, body) = request.into_parts();
        if self.tunnel.scheme == Scheme::HTTPS {
            parts.extensions.insert(OverTls::new());
        }
        let routed = match self.failed.take() {
            None => self.config.route_inside(&mut parts, &self.tunnel),
            Some(error) => Err(error.into()),
        };
        let last = parts.version == Version::HTTP_10;
        follow(&mut self.inner, self.config.clone(), routed, last, parts, Body::new(body))
    }
}

impl<S> fmt::Debug for ForwardProxyService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardProxyService").finish_non_exhaustive()
    }
}
