//! [`RawUpstream`]: a scripted upstream on a socket.

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

/// Listens on loopback or a unix socket, records the exact bytes of each request, and runs a script, which is an async
/// function, once for each connection:
///
/// ```
/// use nexthop::testkit::{RawClient, RawUpstream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let upstream = RawUpstream::tcp(|mut conn| async move {
///     conn.request().await; // reads and records it
///     conn.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
///     conn.reset(); // or return, which closes the connection
/// });
/// let mut client = RawClient::tcp(upstream.addr()).await;
/// client.send("GET /page HTTP/1.1\r\nHost: a\r\n\r\n").await;
/// assert!(client.try_response(true).await.is_err());
/// assert_eq!(upstream.only_request().head, "GET /page HTTP/1.1\r\nHost: a\r\n\r\n");
/// # }
/// ```
///
/// A script that calls [`RawConn::request`] on a closed connection ends without an error. If a script panics, dropping
/// the upstream raises the panic again. The module [`scripts`](super::scripts) contains ready-made scripts.
#[doc(alias = "mock server")]
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

/// State that an upstream shares with its connections.
#[derive(Default)]
pub(super) struct Shared {
    seen: Mutex<Vec<ReceivedRequest>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    changed: Notify,
}

/// Holds a request as it was received on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedRequest {
    /// Index of the connection at its upstream, from 0.
    pub connection: usize,
    /// Request line and headers, including the empty line at the end.
    pub head: String,
    /// Body with its framing, as on the wire.
    pub wire_body: Vec<u8>,
    /// Body without framing.
    pub body: Vec<u8>,
}

impl ReceivedRequest {
    /// Returns the request line.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// Returns the request target.
    pub fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }

    /// Returns all values of a header, in order.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        fields(&self.head, name)
    }

    /// Returns the value of a header, if present.
    ///
    /// # Panics
    /// If the header occurs more than once.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }
}

// === impl RawUpstream ===

impl RawUpstream {
    /// Listens on a free TCP port of 127.0.0.1 and runs `script` for each connection.
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

    /// Listens on a free TCP port of 127.0.0.1 with TLS, offers the protocols `alpn`, and runs `script` for each
    /// connection whose handshake succeeds.
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

    /// Listens on a unix socket in a temporary directory and runs `script` for each connection. The directory is
    /// removed when the upstream is dropped.
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

    /// Listens as [`tcp`](Self::tcp) does, with the script [`answers`](super::scripts::answers).
    ///
    /// # Panics
    /// Outside of a tokio runtime, and if `answers` is empty.
    #[track_caller]
    pub fn answering<A: Into<Vec<u8>>>(answers: impl IntoIterator<Item = A>) -> Self {
        Self::tcp(super::scripts::answers(answers))
    }

    fn at(place: Place) -> Self {
        Self { place, shared: Arc::default(), tasks: Tasks::default() }
    }

    /// Returns the TCP address.
    ///
    /// # Panics
    /// If the upstream listens on a unix socket.
    #[track_caller]
    pub fn addr(&self) -> SocketAddr {
        match &self.place {
            Place::Tcp(addr) => *addr,
            #[cfg(unix)]
            Place::Unix { .. } => panic!("the upstream listens on a unix socket"),
        }
    }

    /// Returns the path of the unix socket.
    ///
    /// # Panics
    /// If the upstream listens on a TCP port.
    #[cfg(unix)]
    #[track_caller]
    pub fn path(&self) -> &std::path::Path {
        match &self.place {
            Place::Unix { path, .. } => path,
            Place::Tcp(_) => panic!("the upstream listens on a TCP port"),
        }
    }

    /// Returns `http://ADDR` followed by `path_and_query`.
    ///
    /// # Panics
    /// If the upstream listens on a unix socket.
    #[track_caller]
    pub fn url(&self, path_and_query: &str) -> String {
        format!("http://{}{path_and_query}", self.addr())
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

    /// Returns the number of connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// Returns the number of connections that are open on the upstream's side.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Waits until scripts have read `count` requests.
    ///
    /// # Panics
    /// After [`DEADLINE`](super::DEADLINE).
    #[track_caller]
    pub fn wait_requests(&self, count: usize) -> impl Future<Output = ()> + '_ {
        within("a request at the upstream", self.shared.until_seen(count))
    }

    /// Waits until all connections are closed on the upstream's side, because their scripts returned or the peers
    /// closed them.
    ///
    /// # Panics
    /// After [`DEADLINE`](super::DEADLINE).
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
    /// Counts a new connection and returns its index.
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
        assert_eq!(seen.len(), 1, "expected exactly one request: {seen:#?}");
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
