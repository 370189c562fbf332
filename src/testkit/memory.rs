//! Upstreams without sockets, for tests with a paused clock.

use std::{fmt, sync::Arc};

use super::{RawConn, ReceivedRequest, Tasks, upstream::Shared, wire::Pipe, within};
use crate::transport::{ByteStream, Connect, Connecting, Destination};

/// A connector whose every connection leads to a script, in memory. What fails in a script fails the test, if it calls
/// [`finish`](Self::finish).
///
/// What was the upstream asked?
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
/// app.oneshot(Request::get("/x").header("host", "a").header("remote-user", "forged").body(Body::empty())?).await?;
/// assert_eq!((upstream.only_request().target(), upstream.only_request().header("remote-user")), ("/v1/x", None));
/// # Ok(())
/// # }
/// ```
///
/// With a paused clock, a test of what takes a minute takes none:
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
/// let asked = tokio::time::Instant::now();
/// let response = app.oneshot(Request::get("/").header("host", "www.example.com").body(Body::empty())?).await?;
/// assert_eq!((response.status().as_u16(), asked.elapsed().as_secs()), (504, 60));
/// upstream.finish();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct InMemoryUpstream {
    run: Arc<dyn Fn(RawConn) + Send + Sync>,
    shared: Arc<Shared>,
    buffer: usize,
    tasks: Tasks,
}

impl InMemoryUpstream {
    /// Runs `script` once for each connection.
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

    /// Holds this many bytes each way, 64 KiB otherwise.
    #[must_use]
    pub fn holding(mut self, bytes: usize) -> Self {
        self.buffer = bytes;
        self
    }

    /// How many connections were opened so far.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// Every request that scripts have read so far.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.shared.requests()
    }

    /// The one request so far; fails if there are more, or none.
    #[track_caller]
    pub fn only_request(&self) -> ReceivedRequest {
        self.shared.only_request()
    }

    /// Waits until `count` requests came; fails after [`DEADLINE`](super::DEADLINE).
    #[track_caller]
    pub fn wait_requests(&self, count: usize) -> impl Future<Output = ()> + '_ {
        within("a request at the upstream", self.shared.until_seen(count))
    }

    /// Stops the scripts.
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
