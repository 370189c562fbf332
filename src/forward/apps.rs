//! Applications of the proxy's own: hosts that are served by them instead of being resolved.

use std::{fmt, future::poll_fn, ops::ControlFlow, pin::Pin, sync::Arc};

use http::{Request, Response};
use tower_service::Service;

use crate::{
    body::Body,
    error::{BoxError, Error, ErrorKind},
};

/// The answer of an application, or the request back.
pub(super) type Answering =
    Pin<Box<dyn Future<Output = Result<ControlFlow<Response<Body>, Request<Body>>, Error>> + Send>>;

/// An application that answers requests for one host, or declines them.
pub(super) type App = Arc<dyn Fn(Request<Body>) -> Answering + Send + Sync>;

/// Hosts that mean the proxy itself, by name.
#[derive(Clone, Default)]
pub(super) struct Apps(Vec<(Arc<str>, Option<App>)>);

impl Apps {
    /// Without an application, the wrapped one answers for the host.
    pub(super) fn insert(&mut self, host: Arc<str>, app: Option<App>) {
        self.0.retain(|(known, _)| !known.eq_ignore_ascii_case(&host));
        self.0.push((host, app));
    }

    /// Hosts compare without case and without a last dot; ports do not matter.
    pub(super) fn find(&self, host: &str) -> Option<&(Arc<str>, Option<App>)> {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(host))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }
}

impl fmt::Debug for Apps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// A service, which declines nothing.
pub(super) fn service<S, R>(service: S) -> App
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    R: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    Arc::new(move |request| {
        let mut service = service.clone();
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx)).await.map_err(failed)?;
            let response = service.call(request).await.map_err(failed)?;
            Ok(ControlFlow::Break(response.map(Body::new)))
        })
    })
}

/// A function that may give the request back.
pub(super) fn function<F, Fut>(function: F) -> App
where
    F: Fn(Request<Body>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ControlFlow<Response<Body>, Request<Body>>> + Send + 'static,
{
    Arc::new(move |request| {
        let answering = function(request);
        Box::pin(async move { Ok(answering.await) })
    })
}

/// An error of ours keeps its status; any other is the application's failure.
pub(super) fn failed(error: impl Into<BoxError>) -> Error {
    match error.into().downcast::<Error>() {
        Ok(ours) => *ours,
        Err(other) => Error::new(ErrorKind::Internal, "the application failed").with_source(other),
    }
}
