//! Background tasks that fail their test, and waits with a deadline.

use std::{
    any::Any,
    panic::{Location, resume_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::task::AbortHandle;

/// Maximum duration of each operation, after which the test fails instead of hanging: 20 s. No assertion of a test
/// should depend on it.
#[doc(alias = "timeout")]
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Awaits `future` for at most [`DEADLINE`].
///
/// # Panics
/// After the deadline, with the caller's line and the name of the `operation`.
#[track_caller]
pub fn within<F: Future>(operation: &'static str, future: F) -> impl Future<Output = F::Output> {
    within_limit(DEADLINE, operation, future)
}

/// Awaits `future` for at most `limit`: for long operations, or for a paused clock.
///
/// # Panics
/// After `limit`, with the caller's line and the name of the `operation`.
#[track_caller]
pub fn within_limit<F: Future>(limit: Duration, operation: &'static str, future: F) -> impl Future<Output = F::Output> {
    let at = Location::caller();
    async move {
        match tokio::time::timeout(limit, future).await {
            Ok(output) => output,
            Err(_) => panic!("{at}: {operation} took longer than {limit:?}"),
        }
    }
}

/// Runs background tasks of a test. [`finish`](Self::finish) stops them and raises the first panic of a task again.
#[derive(Clone, Debug, Default)]
pub struct Tasks(Arc<Mutex<Running>>);

#[derive(Debug, Default)]
struct Running {
    aborts: Vec<AbortHandle>,
    panics: Vec<Box<dyn Any + Send>>,
}

impl Tasks {
    /// Spawns a task.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
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

    /// Aborts all tasks.
    ///
    /// # Panics
    /// With the first panic of a task, unless the thread is already panicking.
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
