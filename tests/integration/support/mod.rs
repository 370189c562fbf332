//! Upstreams, clients and servers for the tests: those of [`nexthop::testkit`], and helpers for the tests of this crate
//! only.
//!
//! * [`body`]: bodies fed frame by frame.
//! * [`child`]: programs that a test starts.
//! * [`front`]: [`Front`], any tower service on a real server, on a free port.
//! * [`log`]: captures the log.
//! * [`mock`]: an application that returns the request it received through a layer.
//! * [`ntlm`]: an upstream that authenticates connections.
//! * [`tls`]: a certificate authority for tests.
//! * [`turns`]: work that is dropped after a number of polls.
//!
//! A panic in a background task fails the test: `Drop` propagates it.

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

/// The trait of byte streams.
pub mod wire {
    pub use nexthop::net::ByteStream as Wire;
}

/// Answers every request with the request as received, in JSON.
pub fn echo() -> Router {
    Router::new().fallback_service(testkit::echo())
}

/// Sends a request on a pooled or a new connection.
#[track_caller]
pub fn send<B>(proxy: &ExactProxy, request: Request<B>) -> impl Future<Output = Result<Response<Body>, Error>> + use<B>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    within("a response", proxy.clone().oneshot(request))
}

/// Reads the body of a response. Returns its bytes and its result.
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

/// Sends a request and returns the status and the body of its response.
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
        end.unwrap_or_else(|error| panic!("{at}: reading the body failed: {error:?}"));
        (status, String::from_utf8(bytes).unwrap())
    }
}

/// Returns a `GET` request without headers.
pub fn get(url: impl AsRef<str>) -> Request<Body> {
    Request::get(url.as_ref()).body(Body::empty()).unwrap()
}

/// Returns a `POST` request with a body.
pub fn post(url: impl AsRef<str>, body: impl Into<Body>) -> Request<Body> {
    Request::post(url.as_ref()).body(body.into()).unwrap()
}
