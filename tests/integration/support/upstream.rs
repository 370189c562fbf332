//! Upstreams: one that is scripted byte for byte, and one that echoes what it saw.

use std::{
    io,
    net::SocketAddr,
    panic::Location,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Json, Router, body::Bytes, extract::Request};
use serde::{Deserialize, Serialize};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, UnixListener},
    sync::Notify,
};

use super::{
    Tasks,
    tls::TestCa,
    wire::{Buffered, Wire, fields, find},
    within,
};

/// A scripted upstream on loopback. It records the exact bytes of every request and does what its script says, which is an async
/// function run once per connection:
///
/// ```ignore
/// let upstream = RawUpstream::tcp(|mut conn| async move {
///     conn.request().await; // read and recorded
///     conn.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
///     conn.reset(); // or return: close
/// });
/// ```
///
/// A script that calls [`RawConn::request`] on a closed connection ends there, quietly; one that panics fails the test.
pub struct RawUpstream {
    place: Place,
    shared: Arc<Shared>,
    tasks: Tasks,
}

enum Place {
    Tcp(SocketAddr),
    Unix { path: PathBuf, _dir: tempfile::TempDir },
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    changed: Notify,
}

/// One request as it came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which connection it came on, from 0.
    pub connection: usize,
    /// Request line and fields, up to and with the empty line.
    pub head: String,
    /// The body with its framing, as on the wire.
    pub wire_body: Vec<u8>,
    /// The body without framing.
    pub body: Vec<u8>,
}

impl Seen {
    /// The request line.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The target in the request line.
    pub fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }

    /// Every value of a field, in order.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        fields(&self.head, name)
    }

    /// The one value of a field; fails if it is there twice.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let values = self.fields(name);
        assert!(values.len() < 2, "{name} is there {} times: {values:?}", values.len());
        values.first().copied()
    }
}

impl RawUpstream {
    /// Listens on a TCP port of 127.0.0.1 and runs `script` on every connection.
    pub fn tcp<F, Fut>(script: F) -> Self
    where
        F: Fn(RawConn) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let upstream = Self::at(Place::Tcp(listener.local_addr().unwrap()));
        let (shared, tasks) = (upstream.shared.clone(), upstream.tasks.clone());
        upstream.tasks.spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                io.set_nodelay(true).unwrap();
                tasks.spawn(script(shared.connected(io)));
            }
        });
        upstream
    }

    /// The same behind TLS, with a certificate of `ca` for `localhost` and 127.0.0.1.
    pub fn tls<F, Fut>(ca: &TestCa, alpn: &[&str], script: F) -> Self
    where
        F: Fn(RawConn) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(ca.server_config(alpn)));
        let upstream = Self::at(Place::Tcp(listener.local_addr().unwrap()));
        let (shared, tasks, script) = (upstream.shared.clone(), upstream.tasks.clone(), Arc::new(script));
        upstream.tasks.spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                let (acceptor, shared, script) = (acceptor.clone(), shared.clone(), script.clone());
                tasks.spawn(async move {
                    if let Ok(io) = acceptor.accept(io).await {
                        script(shared.connected(io)).await;
                    }
                });
            }
        });
        upstream
    }

    /// The same on a unix socket in a directory of its own.
    pub fn unix<F, Fut>(script: F) -> Self
    where
        F: Fn(RawConn) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("upstream.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let upstream = Self::at(Place::Unix { path, _dir: dir });
        let (shared, tasks) = (upstream.shared.clone(), upstream.tasks.clone());
        upstream.tasks.spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                tasks.spawn(script(shared.connected(io)));
            }
        });
        upstream
    }

    /// A well-behaved one over TCP: answers the n-th request of each connection with the n-th of `answers`, the last one again and
    /// again, keep-alive.
    pub fn answering<A: Into<Vec<u8>>>(answers: impl IntoIterator<Item = A>) -> Self {
        let answers: Arc<[Vec<u8>]> = answers.into_iter().map(Into::into).collect();
        Self::tcp(move |mut conn| {
            let answers = answers.clone();
            async move {
                for turn in 0.. {
                    conn.request().await;
                    conn.write(&answers[turn.min(answers.len() - 1)]).await;
                }
            }
        })
    }

    fn at(place: Place) -> Self {
        Self { place, shared: Arc::default(), tasks: Tasks::default() }
    }

    /// Its TCP address.
    #[track_caller]
    pub fn addr(&self) -> SocketAddr {
        match &self.place {
            Place::Tcp(addr) => *addr,
            Place::Unix { .. } => panic!("it listens on a unix socket"),
        }
    }

    /// Its unix socket.
    #[track_caller]
    pub fn path(&self) -> &Path {
        match &self.place {
            Place::Unix { path, .. } => path,
            Place::Tcp(_) => panic!("it listens on a TCP port"),
        }
    }

    /// `http://ADDR` and `path_and_query`.
    #[track_caller]
    pub fn url(&self, path_and_query: &str) -> String {
        format!("http://{}{path_and_query}", self.addr())
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The one request so far.
    #[track_caller]
    pub fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "requests seen: {seen:#?}");
        seen.into_iter().next().unwrap()
    }

    /// How many connections it was given so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open on its side.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Waits until `count` requests came.
    #[track_caller]
    pub fn wait_seen(&self, count: usize) -> impl Future<Output = ()> + '_ {
        within("a request at the upstream", self.shared.until(move |shared| shared.seen.lock().unwrap().len() >= count))
    }

    /// Waits until every connection is closed on its side: the script ended, or is over because the peer left.
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

impl Shared {
    fn connected(self: &Arc<Self>, io: impl Wire) -> RawConn {
        let index = self.connections.fetch_add(1, Ordering::SeqCst);
        self.open.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
        RawConn { index, io: Buffered::new(io), shared: self.clone() }
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

/// One connection in the hands of a script. What waits for the peer ends the script quietly when the peer has left.
pub struct RawConn {
    /// Which connection of the upstream this is, from 0.
    pub index: usize,
    io: Buffered,
    shared: Arc<Shared>,
}

impl RawConn {
    /// A connection over any stream, for upstreams in memory.
    pub fn over(io: impl Wire) -> Self {
        Arc::<Shared>::default().connected(io)
    }

    /// Reads one request with its body and records it. Ends the script if the peer closes instead.
    pub async fn request(&mut self) -> Seen {
        match self.try_request().await {
            Ok(Some(seen)) => seen,
            Ok(None) | Err(_) => self.over_and_out().await,
        }
    }

    /// Reads one request with its body and records it; `None` if the peer closes instead.
    pub async fn try_request(&mut self) -> io::Result<Option<Seen>> {
        let Some(head) = self.io.head().await? else { return Ok(None) };
        let head = String::from_utf8_lossy(&head).into_owned();
        let (wire_body, body) = if let Some(coding) = fields(&head, "transfer-encoding").last() {
            assert!(coding.eq_ignore_ascii_case("chunked"), "transfer-encoding: {coding}");
            self.io.chunked().await?
        } else {
            let length = fields(&head, "content-length").first().map_or(0, |length| length.parse().unwrap());
            let body = self.io.exactly(length).await?;
            (body.clone(), body)
        };
        Ok(Some(self.record(Seen { connection: self.index, head, wire_body, body })))
    }

    /// Reads a request's head and records it, leaving the body unread. Ends the script if the peer closes instead.
    pub async fn head(&mut self) -> Seen {
        let Ok(Some(head)) = self.io.head().await else { return self.over_and_out().await };
        let head = String::from_utf8_lossy(&head).into_owned();
        self.record(Seen { connection: self.index, head, wire_body: Vec::new(), body: Vec::new() })
    }

    /// Reads `count` bytes, as in a body or a tunnel.
    pub async fn read(&mut self, count: usize) -> Vec<u8> {
        match self.io.exactly(count).await {
            Ok(bytes) => bytes,
            Err(_) => self.over_and_out().await,
        }
    }

    /// Reads to the end of the stream; what came, also where it ended in a reset.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        match self.io.rest().await {
            Ok(rest) => rest,
            Err(_) => std::mem::take(&mut self.io.read),
        }
    }

    /// Writes bytes as they are.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let written = self.io.io.write_all(bytes.as_ref()).await;
        if written.is_err() || self.io.io.flush().await.is_err() {
            self.over_and_out().await
        }
    }

    /// Waits until `count` requests came, on this connection or another.
    pub fn wait_seen(&self, count: usize) -> impl Future<Output = ()> + use<> {
        let shared = self.shared.clone();
        async move { shared.until(|shared| shared.seen.lock().unwrap().len() >= count).await }
    }

    /// Closes the sending direction alone.
    pub async fn finish_writing(&mut self) {
        let _ = self.io.io.shutdown().await;
    }

    /// Closes with a TCP reset.
    pub fn reset(self) {
        self.io.io.reset_on_close();
    }

    fn record(&self, seen: Seen) -> Seen {
        self.shared.seen.lock().unwrap().push(seen.clone());
        self.shared.changed.notify_waiters();
        seen
    }

    /// The peer has left: close, and never come back to the script.
    async fn over_and_out<T>(&mut self) -> T {
        self.io = Buffered::new(tokio::io::duplex(1).0);
        self.leave();
        std::future::pending().await
    }

    fn leave(&mut self) {
        let shared = std::mem::take(&mut self.shared);
        shared.open.fetch_sub(1, Ordering::SeqCst);
        shared.changed.notify_waiters();
        self.shared.open.fetch_add(1, Ordering::SeqCst); // the fresh one's, for `Drop`
    }
}

impl Drop for RawConn {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::SeqCst);
        self.shared.changed.notify_waiters();
    }
}

/// A request as an application saw it: what [`echo`] answers with.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Echo {
    pub method: String,
    /// The URI in the form the application found it in.
    pub uri: String,
    pub version: String,
    /// Name and value, lossily read, in the map's order.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Echo {
    /// Every value of a field, in order.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        let named = |(found, _): &&(String, String)| found.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|(_, value)| value.as_str()).collect()
    }

    /// The one value of a field; fails if it is there twice.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let values = self.fields(name);
        assert!(values.len() < 2, "{name} is there {} times: {values:?}", values.len());
        values.first().copied()
    }

    /// Reads the answer of [`echo`].
    #[track_caller]
    pub fn from_json(json: &[u8]) -> Self {
        let at = Location::caller();
        serde_json::from_slice(json)
            .unwrap_or_else(|error| panic!("{at}: {error} in {:?}", String::from_utf8_lossy(json)))
    }
}

/// Answers every request with what it saw, as JSON.
pub fn echo() -> Router {
    Router::new().fallback(async |request: Request| {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_else(|_| Bytes::from_static(b"<broken>"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Json(Echo {
            method: head.method.to_string(),
            uri: head.uri.to_string(),
            version: format!("{:?}", head.version),
            headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect(),
            body: text(&body),
        })
    })
}

/// True if `haystack` holds `needle`.
pub fn holds(haystack: &[u8], needle: &str) -> bool {
    find(haystack, needle.as_bytes()).is_some()
}
