//! An upstream on loopback that is scripted byte for byte.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{net::TcpListener, sync::Notify};

#[cfg(feature = "tls")]
use super::ServerTls;
use super::{
    RawConn, Tasks,
    wire::{field, fields},
    within,
};

/// A scripted upstream on loopback. It records the exact bytes of every request and does what its script says, which is an async
/// function run once per connection:
///
/// ```
/// use nexthop::testkit::{RawClient, RawUpstream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let upstream = RawUpstream::tcp(|mut conn| async move {
///     conn.request().await; // read and recorded
///     conn.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
///     conn.reset(); // or return: close
/// });
/// let mut client = RawClient::tcp(upstream.addr()).await;
/// client.send("GET /page HTTP/1.1\r\nHost: a\r\n\r\n").await;
/// assert!(client.try_response(true).await.is_err());
/// assert_eq!(upstream.only_request().head, "GET /page HTTP/1.1\r\nHost: a\r\n\r\n");
/// # }
/// ```
///
/// A script that calls [`RawConn::request`] on a closed connection ends there, quietly. One that panics fails the test: `Drop` raises the
/// panic again. Ready-made ones are in [`scripts`](super::scripts).
pub struct RawUpstream {
    place: Place,
    shared: Arc<Shared>,
    tasks: Tasks,
}

enum Place {
    Tcp(SocketAddr),
    #[cfg(unix)]
    Unix {
        path: std::path::PathBuf,
        _dir: tempfile::TempDir,
    },
}

/// What an upstream and the connections in its scripts' hands know together.
#[derive(Default)]
pub(super) struct Shared {
    seen: Mutex<Vec<ReceivedRequest>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    changed: Notify,
}

/// One request as it came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedRequest {
    /// Which connection it came on, from 0.
    pub connection: usize,
    /// Request line and fields, up to and with the empty line.
    pub head: String,
    /// The body with its framing, as on the wire.
    pub wire_body: Vec<u8>,
    /// The body without framing.
    pub body: Vec<u8>,
}

impl ReceivedRequest {
    /// The request line.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The target in the request line.
    pub fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }

    /// Every value of a field, in order.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        fields(&self.head, name)
    }

    /// The one value of a field; fails if it is there twice.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }
}

// === impl RawUpstream ===

impl RawUpstream {
    /// Listens on a TCP port of 127.0.0.1 and runs `script` on every connection.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[track_caller]
    pub fn tcp<F, Fut>(script: F) -> Self
    where
        F: Fn(RawConn) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = loopback();
        let upstream = Self::at(Place::Tcp(listener.local_addr().unwrap()));
        let (shared, tasks) = (upstream.shared.clone(), upstream.tasks.clone());
        upstream.tasks.spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                io.set_nodelay(true).unwrap();
                tasks.spawn(script(RawConn::new(io, &shared)));
            }
        });
        upstream
    }

    /// The same behind TLS, offering the protocols `alpn`. A connection whose handshake fails never reaches the script.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[cfg(feature = "tls")]
    #[track_caller]
    pub fn tls<F, Fut>(server: &impl ServerTls, alpn: &[&str], script: F) -> Self
    where
        F: Fn(RawConn) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = loopback();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server.server_config(alpn)));
        let upstream = Self::at(Place::Tcp(listener.local_addr().unwrap()));
        let (shared, tasks, script) = (upstream.shared.clone(), upstream.tasks.clone(), Arc::new(script));
        upstream.tasks.spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                let (acceptor, shared, script) = (acceptor.clone(), shared.clone(), script.clone());
                tasks.spawn(async move {
                    if let Ok(io) = acceptor.accept(io).await {
                        script(RawConn::new(io, &shared)).await;
                    }
                });
            }
        });
        upstream
    }

    /// The same on a unix socket in a directory of its own, which goes with it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[cfg(unix)]
    #[track_caller]
    pub fn unix<F, Fut>(script: F) -> Self
    where
        F: Fn(RawConn) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("upstream.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let upstream = Self::at(Place::Unix { path, _dir: dir });
        let (shared, tasks) = (upstream.shared.clone(), upstream.tasks.clone());
        upstream.tasks.spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                tasks.spawn(script(RawConn::new(io, &shared)));
            }
        });
        upstream
    }

    /// A well-behaved one over TCP, with the script [`answers`](super::scripts::answers).
    ///
    /// # Panics
    /// Outside of a tokio runtime, and if there are no answers.
    #[track_caller]
    pub fn answering<A: Into<Vec<u8>>>(answers: impl IntoIterator<Item = A>) -> Self {
        Self::tcp(super::scripts::answers(answers))
    }

    fn at(place: Place) -> Self {
        Self { place, shared: Arc::default(), tasks: Tasks::default() }
    }

    /// Its TCP address; fails if it listens on a unix socket.
    #[track_caller]
    pub fn addr(&self) -> SocketAddr {
        match &self.place {
            Place::Tcp(addr) => *addr,
            #[cfg(unix)]
            Place::Unix { .. } => panic!("it listens on a unix socket"),
        }
    }

    /// Its unix socket; fails if it listens on a TCP port.
    #[cfg(unix)]
    #[track_caller]
    pub fn path(&self) -> &std::path::Path {
        match &self.place {
            Place::Unix { path, .. } => path,
            Place::Tcp(_) => panic!("it listens on a TCP port"),
        }
    }

    /// `http://ADDR` and `path_and_query`; fails if it listens on a unix socket.
    #[track_caller]
    pub fn url(&self, path_and_query: &str) -> String {
        format!("http://{}{path_and_query}", self.addr())
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.shared.requests()
    }

    /// The one request so far; fails if there are more, or none.
    #[track_caller]
    pub fn only_request(&self) -> ReceivedRequest {
        self.shared.only_request()
    }

    /// How many connections it was given so far.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// How many connections are open on its side.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Waits until `count` requests came; fails after [`DEADLINE`](super::DEADLINE).
    #[track_caller]
    pub fn wait_requests(&self, count: usize) -> impl Future<Output = ()> + '_ {
        within("a request at the upstream", self.shared.until_seen(count))
    }

    /// Waits until every connection is closed on its side: the script ended, or is over because the peer left. Fails after
    /// [`DEADLINE`](super::DEADLINE).
    #[track_caller]
    pub fn wait_closed(&self) -> impl Future<Output = ()> + '_ {
        within(
            "the end of the upstream's connections",
            self.shared.until(|shared| shared.open.load(Ordering::SeqCst) == 0),
        )
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.tasks.finish();
    }
}

impl fmt::Debug for RawUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawUpstream")
            .field("connections", &self.connections())
            .field("open", &self.open())
            .field("seen", &self.requests())
            .finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    /// One connection more; says which.
    pub(super) fn connected(&self) -> usize {
        let index = self.connections.fetch_add(1, Ordering::SeqCst);
        self.open.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
        index
    }

    pub(super) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    pub(super) fn record(&self, seen: ReceivedRequest) -> ReceivedRequest {
        self.seen.lock().unwrap().push(seen.clone());
        self.changed.notify_waiters();
        seen
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> Vec<ReceivedRequest> {
        self.seen.lock().unwrap().clone()
    }

    #[track_caller]
    pub(super) fn only_request(&self) -> ReceivedRequest {
        let seen = self.requests();
        assert_eq!(seen.len(), 1, "requests seen: {seen:#?}");
        seen.into_iter().next().unwrap()
    }

    pub(super) async fn until_seen(&self, count: usize) {
        self.until(|shared| shared.seen.lock().unwrap().len() >= count).await;
    }

    async fn until(&self, reached: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if reached(self) {
                return;
            }
            changed.await;
        }
    }
}

#[track_caller]
fn loopback() -> TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    TcpListener::from_std(listener).unwrap()
}
