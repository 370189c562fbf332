//! Upstreams, clients and fronts for the tests.
//!
//! * [`body`]: bodies fed frame by frame.
//! * [`upstream`]: [`RawUpstream`], a scripted peer that records every byte it receives and answers as ill-mannered as it is told, and
//!   [`echo`], an axum app that answers with what it saw.
//! * [`child`]: programs that a test starts.
//! * [`client`]: [`RawClient`], which writes bytes and reads whole responses, never longer than [`DEADLINE`].
//! * [`front`]: [`Front`], any tower service behind a real server on port 0.
//! * [`mock`]: an application that shows what reached it through a layer.
//! * [`tls`]: a certificate authority of the test's own.
//!
//! What fails in a background task fails the test: `Drop` raises its panic again.

#![allow(dead_code, unreachable_pub, unused_imports)] // each test file uses its share

pub mod body;
pub mod child;
pub mod client;
pub mod front;
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

pub use client::{RawClient, RawResponse};
pub use front::{Front, Memory};
pub use upstream::{Echo, RawConn, RawUpstream, Seen, echo};

/// How long anything may take before the test fails instead of hanging. Never decides what a test asserts.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Awaits `future`, for at most [`DEADLINE`].
#[track_caller]
pub fn within<F: Future>(what: &'static str, future: F) -> impl Future<Output = F::Output> {
    within_limit(DEADLINE, what, future)
}

#[track_caller]
fn within_limit<F: Future>(limit: Duration, what: &'static str, future: F) -> impl Future<Output = F::Output> {
    let at = Location::caller();
    async move {
        match tokio::time::timeout(limit, future).await {
            Ok(output) => output,
            Err(_) => panic!("{at}: {what} took longer than {limit:?}"),
        }
    }
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
