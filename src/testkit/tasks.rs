//! Background tasks that fail their test, and waits that end.

use std::{
    any::Any,
    panic::{Location, resume_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::task::AbortHandle;

/// How long anything may take before the test fails instead of hanging: 20 s. It should never decide what a test asserts.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Awaits `future`, for at most [`DEADLINE`].
///
/// # Panics
/// With the caller's line and `what`, when the time is over.
#[track_caller]
pub fn within<F: Future>(what: &'static str, future: F) -> impl Future<Output = F::Output> {
    within_limit(DEADLINE, what, future)
}

/// The same with another limit: for what is much work, or for a paused clock.
///
/// # Panics
/// With the caller's line and `what`, when the time is over.
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

/// Background tasks of a test: [`finish`](Self::finish) stops them, and raises the first panic of one again.
#[derive(Clone, Debug, Default)]
pub struct Tasks(Arc<Mutex<Running>>);

#[derive(Debug, Default)]
struct Running {
    aborts: Vec<AbortHandle>,
    panics: Vec<Box<dyn Any + Send>>,
}

impl Tasks {
    /// Starts a task.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(future);
        self.0.lock().unwrap().aborts.push(task.abort_handle());
        let tasks = self.clone();
        tokio::spawn(async move {
            if let Err(error) = task.await
                && error.is_panic()
            {
                tasks.0.lock().unwrap().panics.push(error.into_panic());
            }
        });
    }

    /// Stops every task.
    ///
    /// # Panics
    /// With the first panic of a task, unless the thread is panicking already.
    pub fn finish(&self) {
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
