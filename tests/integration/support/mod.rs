//! Upstreams, clients and fronts for the tests: those of [`nexthop::testkit`], and what only our own tests need.
//!
//! * [`body`]: bodies fed frame by frame.
//! * [`child`]: programs that a test starts.
//! * [`front`]: [`Front`], any tower service behind a real server on port 0.
//! * [`log`]: what is logged.
//! * [`mock`]: an application that shows what reached it through a layer.
//! * [`ntlm`]: an upstream that authenticates connections.
//! * [`tls`]: a certificate authority of the test's own.
//! * [`turns`]: work that is given up after so many turns.
//!
//! What fails in a background task fails the test: `Drop` raises its panic again.

#![allow(dead_code, unreachable_pub, unused_imports)] // each test file uses its share

pub mod body;
pub mod child;
pub mod front;
pub mod log;
pub mod mock;
pub mod ntlm;
pub mod tls;
pub mod turns;

use std::panic::Location;

use axum::Router;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use nexthop::{Body, BoxError, Error, ExactProxy, testkit};
use tower::ServiceExt;

pub use front::Front;
pub use nexthop::testkit::{
    DEADLINE, Echo, Gate, InMemoryServer as Memory, InMemoryUpstream as InMemory, RawClient, RawConn, RawResponse,
    RawUpstream, ReceivedRequest, Tasks,
    http2::{self as frames, Frames, Http2Upstream as Scripted},
    within, within_limit,
};

/// What every stream is.
pub mod wire {
    pub use nexthop::net::ByteStream as Wire;
}

/// Answers every request with what it saw, as JSON.
pub fn echo() -> Router {
    Router::new().fallback_service(testkit::echo())
}

/// Sends a request as a client, from a connection of the pool or a new one.
#[track_caller]
pub fn send<B>(proxy: &ExactProxy, request: Request<B>) -> impl Future<Output = Result<Response<Body>, Error>> + use<B>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    within("a response", proxy.clone().oneshot(request))
}

/// Reads a response's body, as far as it goes, and says how it ends.
#[track_caller]
pub fn read(response: Response<Body>) -> impl Future<Output = (Vec<u8>, Result<(), Error>)> {
    let mut body = response.into_body();
    within("a body", async move {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                Err(error) => return (bytes, Err(error)),
            }
        }
        (bytes, Ok(()))
    })
}

/// Sends a request and reads its response: the status and the whole body.
#[track_caller]
pub fn fetch<B>(proxy: &ExactProxy, request: Request<B>) -> impl Future<Output = (u16, String)> + use<B>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let at = Location::caller();
    let response = send(proxy, request);
    async move {
        let response = response.await.unwrap_or_else(|error| panic!("{at}: no response: {error:?}"));
        let status = response.status().as_u16();
        let (bytes, end) = read(response).await;
        end.unwrap_or_else(|error| panic!("{at}: the body broke off: {error:?}"));
        (status, String::from_utf8(bytes).unwrap())
    }
}

/// A `GET` without fields.
pub fn get(url: impl AsRef<str>) -> Request<Body> {
    Request::get(url.as_ref()).body(Body::empty()).unwrap()
}

/// A `POST` of a body.
pub fn post(url: impl AsRef<str>, body: impl Into<Body>) -> Request<Body> {
    Request::post(url.as_ref()).body(body.into()).unwrap()
}
