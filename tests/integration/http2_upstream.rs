//! HTTP/2 to upstreams. Tests of timeouts and of misbehaving upstreams use in-memory streams and a paused clock.

mod bodies;
mod connections;
mod counts;
mod every_turn;
mod heads;
mod http1_required;
mod limits;
mod queue;
mod retry;
mod tunnels;
mod versions;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use nexthop::{Body, Error, ExactProxy, exact::ExactProxyBuilder, exact::HttpVersions};
use tower::ServiceExt;

use crate::support::{Frames, Scripted};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Returns a builder for a client that speaks HTTP/2 only, to a script.
fn with(upstream: &Scripted) -> ExactProxyBuilder {
    ExactProxy::builder().http_versions(HttpVersions::Http2Only).connector(upstream.clone())
}

/// Returns such a client, and an upstream that has sent empty SETTINGS and follows a script of frames.
fn to<F, Fut>(script: F) -> (ExactProxy, Scripted)
where
    F: Fn(usize, Frames) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let script = std::sync::Arc::new(script);
    let upstream = Scripted::frames(move |index, frames| {
        let script = script.clone();
        async move { script(index, frames.greet(&[]).await).await }
    });
    (with(&upstream).build().unwrap(), upstream)
}

async fn call(proxy: &ExactProxy, request: Request<Body>) -> Result<http::Response<Body>, Error> {
    proxy.clone().oneshot(request).await
}

/// Reads a body to its end. Returns its bytes, its trailers and its result.
async fn all(mut body: Body) -> (Vec<u8>, Option<HeaderMap>, Result<(), Error>) {
    let (mut bytes, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => bytes.extend_from_slice(&data),
            Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
            Err(error) => return (bytes, trailers, Err(error)),
        }
    }
    (bytes, trailers, Ok(()))
}

async fn piece(body: &mut Body) -> Result<Bytes, Error> {
    body.frame().await.expect("another frame").map(|frame| frame.into_data().unwrap())
}
