//! Upstreams without sockets, for tests with a paused clock: paused time and sockets do not mix.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use nexthop::transport::{Connect, Connecting, Destination, Stream};

use super::{RawConn, Tasks};

/// Connects to a script, which runs once for each connection. What fails in it fails the test.
#[derive(Clone)]
pub struct InMemory {
    run: Arc<dyn Fn(RawConn) + Send + Sync>,
    connections: Arc<AtomicUsize>,
    buffer: usize,
    tasks: Tasks,
}

impl InMemory {
    pub fn new<F, Fut>(script: F) -> Self
    where
        F: Fn(RawConn) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let tasks = Tasks::default();
        let running = tasks.clone();
        let run = Arc::new(move |conn| running.spawn(script(conn)));
        Self { run, connections: Arc::default(), buffer: 64 * 1024, tasks }
    }

    /// Holds this many bytes each way, 64 KiB otherwise.
    pub fn holding(mut self, bytes: usize) -> Self {
        self.buffer = bytes;
        self
    }

    /// How many connections were opened so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Raises the panics of scripts again.
    pub fn finish(&self) {
        self.tasks.finish();
    }
}

impl Connect for InMemory {
    fn connect(&self, _: &Destination) -> Connecting {
        let (ours, theirs) = tokio::io::duplex(self.buffer);
        let mut conn = RawConn::over(theirs);
        conn.index = self.connections.fetch_add(1, Ordering::SeqCst);
        (self.run)(conn);
        Box::pin(async move { Ok(Box::new(ours) as Box<dyn Stream>) })
    }
}
