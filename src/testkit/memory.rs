//! In-memory upstreams, for tests with a paused clock.

use std::{fmt, sync::Arc};

use super::{RawConn, ReceivedRequest, Tasks, upstream::Shared, wire::Pipe, within};
use crate::transport::{ByteStream, Connect, Connecting, Destination};

/// Connects each connection to a script, in memory. [`finish`](Self::finish) raises panics of scripts again.
///
/// This test checks the request that the upstream receives:
///
/// ```
/// use http::Request;
/// use nexthop::{Body, ProxyApp, ExactProxy, testkit::{InMemoryUpstream, scripts}};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), nexthop::BoxError> {
/// let upstream = InMemoryUpstream::new(scripts::answers(["HTTP/1.1 204 No Content\r\n\r\n"]));
/// let exact = ExactProxy::builder().connector(upstream.clone()).build()?;
/// let app = ProxyApp::builder("http://app.example/v1").client(exact).build()?;
///
/// let request = Request::get("/x").header("host", "a").header("remote-user", "forged");
/// app.oneshot(request.body(Body::empty())?).await?;
/// assert_eq!(upstream.only_request().target(), "/v1/x");
/// assert_eq!(upstream.only_request().header("remote-user"), None);
/// # Ok(())
/// # }
/// ```
///
/// With a paused clock, a test of a timeout of 60 s takes no time:
///
/// ```
/// use http::Request;
/// use nexthop::{Body, ProxyApp, ExactProxy, testkit::{InMemoryUpstream, scripts}};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), nexthop::BoxError> {
/// let upstream = InMemoryUpstream::new(scripts::silent());
/// let exact = ExactProxy::builder().connector(upstream.clone()).build()?;
/// let app = ProxyApp::builder("http://app.example").client(exact).build()?;
///
/// let start = tokio::time::Instant::now();
/// let request = Request::get("/").header("host", "www.example.com").body(Body::empty())?;
/// let response = app.oneshot(request).await?;
/// assert_eq!((response.status().as_u16(), start.elapsed().as_secs()), (504, 60));
/// upstream.finish();
/// # Ok(())
/// # }
/// ```
#[doc(alias = "mock")]
#[derive(Clone)]
pub struct InMemoryUpstream {
    run: Arc<dyn Fn(RawConn) + Send + Sync>,
    shared: Arc<Shared>,
    buffer: usize,
    tasks: Tasks,
}

impl InMemoryUpstream {
    /// Creates an upstream that runs `script` once for each connection.
    pub fn new<F, Fut>(script: F) -> Self
    where
        F: Fn(RawConn) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let tasks = Tasks::default();
        let running = tasks.clone();
        let run = Arc::new(move |conn| running.spawn(script(conn)));
        Self { run, shared: Arc::default(), buffer: 64 * 1024, tasks }
    }

    /// Sets the size of the buffer in each direction of a connection, in bytes. Default: 64 KiB.
    #[doc(alias = "buffer")]
    #[must_use]
    pub fn holding(mut self, bytes: usize) -> Self {
        self.buffer = bytes;
        self
    }

    /// Returns the number of connections opened so far.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// Returns the requests that scripts have read so far.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.shared.requests()
    }

    /// Returns the only request so far.
    ///
    /// # Panics
    /// If there was no request, or more than one.
    #[track_caller]
    pub fn only_request(&self) -> ReceivedRequest {
        self.shared.only_request()
    }

    /// Waits until scripts have read `count` requests.
    ///
    /// # Panics
    /// After [`DEADLINE`](super::DEADLINE).
    #[track_caller]
    pub fn wait_requests(&self, count: usize) -> impl Future<Output = ()> + '_ {
        within("a request at the upstream", self.shared.until_seen(count))
    }

    /// Aborts the scripts.
    ///
    /// # Panics
    /// With the first panic of a script.
    pub fn finish(&self) {
        self.tasks.finish();
    }
}

impl Connect for InMemoryUpstream {
    fn connect(&self, _: &Destination) -> Connecting {
        let (ours, theirs) = Pipe::pair(self.buffer);
        (self.run)(RawConn::new(theirs, &self.shared));
        Box::pin(async move { Ok(Box::new(ours) as Box<dyn ByteStream>) })
    }
}

impl fmt::Debug for InMemoryUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryUpstream").field("connections", &self.connections()).finish_non_exhaustive()
    }
}
