//! Upstreams, clients and fronts for the tests.
//!
//! * [`body`]: bodies fed frame by frame.
//! * [`upstream`]: [`RawUpstream`], a scripted peer that records every byte it receives and answers as ill-mannered as it is told, and
//!   [`echo`], an axum app that answers with what it saw.
//! * [`child`]: programs that a test starts.
//! * [`client`]: [`RawClient`], which writes bytes and reads whole responses, never longer than [`DEADLINE`].
//! * [`frames`]: an HTTP/2 peer scripted frame by frame, in memory.
//! * [`front`]: [`Front`], any tower service behind a real server on port 0.
//! * [`memory`]: the same without sockets, for tests with a paused clock.
//! * [`mock`]: an application that shows what reached it through a layer.
//! * [`tls`]: a certificate authority of the test's own.
//!
//! What fails in a background task fails the test: `Drop` raises its panic again.

#![allow(dead_code, unreachable_pub, unused_imports)] // each test file uses its share

pub mod body;
pub mod child;
pub mod client;
pub mod frames;
pub mod front;
pub mod memory;
pub mod mock;
pub mod tls;
pub mod upstream;
pub mod wire;

use std::{
    any::Any,
    panic::{Location, resume_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use nexthop::{Body, BoxError, Error, ExactProxy};
use tower::ServiceExt;

pub use client::{RawClient, RawResponse};
pub use frames::{Frames, Scripted};
pub use front::{Front, Memory};
pub use memory::{Gate, InMemory};
pub use upstream::{Echo, RawConn, RawUpstream, Seen, echo};

/// How long anything may take before the test fails instead of hanging. Never decides what a test asserts.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Awaits `future`, for at most [`DEADLINE`].
#[track_caller]
pub fn within<F: Future>(what: &'static str, future: F) -> impl Future<Output = F::Output> {
    within_limit(DEADLINE, what, future)
}

/// The same with another limit: for what is much work, or for a paused clock.
#[track_caller]
pub fn within_limit<F: Future>(limit: Duration, what: &'static str, future: F) -> impl Future<Output = F::Output> {
    let at = Location::caller();
    async move {
        match tokio::time::timeout(limit, future).await {
            Ok(output) => output,
            Err(_) => panic!("{at}: {what} took longer than {limit:?}"),
        }
    }
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

/// Background tasks that end with the value that started them, and whose panics are raised again where it is dropped.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Running>>);

#[derive(Default)]
struct Running {
    aborts: Vec<tokio::task::AbortHandle>,
    panics: Vec<Box<dyn Any + Send>>,
}

impl Tasks {
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(future);
        let mut running = self.0.lock().unwrap();
        running.aborts.push(task.abort_handle());
        let tasks = self.clone();
        tokio::spawn(async move {
            if let Err(error) = task.await
                && error.is_panic()
            {
                tasks.0.lock().unwrap().panics.push(error.into_panic());
            }
        });
    }

    /// Stops every task; raises the first panic, unless the test is failing already.
    fn finish(&self) {
        let mut running = self.0.lock().unwrap();
        running.aborts.drain(..).for_each(|task| task.abort());
        let first = (!running.panics.is_empty()).then(|| running.panics.remove(0));
        drop(running);
        if let Some(payload) = first
            && !std::thread::panicking()
        {
            resume_unwind(payload);
        }
    }
}
