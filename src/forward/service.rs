//! [`ForwardProxyService`]: decides on the head, then hands the request on, answers it or makes a tunnel.

use std::{
    any::TypeId,
    convert::Infallible,
    fmt,
    ops::ControlFlow,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version, request::Parts};
use tower_service::Service;

use super::{
    answer::plain,
    apps::{self, App},
    connect,
    future::{ForwardProxyFuture, Marks, Next},
    head::is_connect,
    layer::Config,
    resolver::Refused,
    route::{Route, Tunnel},
};
use crate::{
    body::Body,
    error::{BoxError, Error},
    exact::ExactProxy,
    ext::ConnectionId,
};

/// Wraps a service as a forward proxy. Created by the layer [`ForwardProxy`](super::ForwardProxy).
#[derive(Clone)]
pub struct ForwardProxyService<S> {
    inner: S,
    pub(super) config: Arc<Config>,
    /// The one that requests come through; none on a connection to the proxy.
    pub(super) tunnel: Option<Arc<Tunnel>>,
    /// The wrapped service failed before it was called.
    failed: Option<Error>,
}

impl<S> ForwardProxyService<S> {
    pub(super) const fn new(inner: S, config: Arc<Config>) -> Self {
        Self { inner, config, tunnel: None, failed: None }
    }
}

impl<S, B, R> Service<Request<B>> for ForwardProxyService<S>
where
    S: Service<Request<Body>, Response = Response<R>, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    R: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ForwardProxyFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx).map(|ready| {
            self.failed = ready.err().map(apps::failed);
            Ok(())
        })
    }

    fn call(&mut self, request: Request<B>) -> ForwardProxyFuture<S::Future> {
        let (mut parts, body) = request.into_parts();
        let config = self.config.clone();
        if let Some(error) = self.failed.take() {
            return ForwardProxyFuture::answer(config, Marks::default(), Err(error));
        }
        // RFC 9112 §9.3: a proxy keeps no connection with such a client, which does not know that it is one.
        let is_last = parts.version == Version::HTTP_10 && (self.tunnel.is_some() || parts.uri.scheme().is_some());
        // A client of HTTP looks at nothing but the request itself.
        let tells = TypeId::of::<S>() != TypeId::of::<ExactProxy>();
        // A client in a tunnel does not know that there is a proxy.
        let binds = !tells && self.tunnel.is_none() && parts.extensions.get::<ConnectionId>().is_some();
        let routed = match &self.tunnel {
            Some(tunnel) => config.route_inside(&mut parts, tells, tunnel),
            None if !is_connect(&parts) => config.route(&mut parts, tells),
            None => {
                return match config.connect(&mut parts) {
                    Ok(connect) => {
                        // Not the instance that was polled ready, which is for one request and not for a tunnel of them.
                        let opening = connect::open(self.clone(), Box::new(connect));
                        let answer = Box::pin(async { opening.await.map(Next::Answer) });
                        ForwardProxyFuture::later(config, Marks::default(), answer)
                    }
                    Err(refused) => refuse(config, Marks::default(), parts.version, refused),
                };
            }
        };
        let marks = Marks { is_passed_on: matches!(routed, Ok(Route::Further)), is_last, binds };
        follow(&mut self.inner, config, routed, marks, parts, Body::new(body))
    }
}

/// Goes where a request was found to go.
fn follow<S, R>(
    inner: &mut S,
    config: Arc<Config>,
    routed: Result<Route, Refused>,
    marks: Marks,
    parts: Parts,
    body: Body,
) -> ForwardProxyFuture<S::Future>
where
    S: Service<Request<Body>, Response = Response<R>, Future: Send> + Clone + Send + 'static,
{
    match routed {
        Ok(Route::Inner | Route::Further) => {
            ForwardProxyFuture::forward(config, marks, inner.call(Request::from_parts(parts, body)))
        }
        Ok(Route::App(app)) => {
            // The instance that was polled ready is the one to call; its clone takes its place.
            let clone = inner.clone();
            let inner = std::mem::replace(inner, clone);
            let asking = ask(config.clone(), app, inner, Request::from_parts(parts, body));
            ForwardProxyFuture::later(config, marks, Box::pin(asking))
        }
        Ok(Route::Answer(answer)) => ForwardProxyFuture::answer(config, marks, Ok(*answer)),
        Err(refused) => refuse(config, marks, parts.version, refused),
    }
}

fn refuse<F>(config: Arc<Config>, marks: Marks, version: Version, refused: Refused) -> ForwardProxyFuture<F> {
    match refused {
        Refused::Error(error) => ForwardProxyFuture::answer(config, marks, Err(error)),
        Refused::Status(status) => ForwardProxyFuture::answer(config, marks, Ok(plain(status))),
        Refused::Later(error, wait) => {
            // Over HTTP/2, other requests share the connection.
            let marks = Marks { is_last: version <= Version::HTTP_11, ..marks };
            let answer = Box::pin(async {
                wait.over().await;
                Err(error)
            });
            ForwardProxyFuture::later(config, marks, answer)
        }
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

impl<S> fmt::Debug for ForwardProxyService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardProxyService").finish_non_exhaustive()
    }
}
