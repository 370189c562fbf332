//! [`Serve`]: a server and its settings.

#[cfg(feature = "tls")]
use std::sync::Arc;
use std::{fmt, pin::Pin, time::Duration};

use super::{
    Drain, HttpService, Listener, ProxyProtocol,
    accept::{self, Drained, Serving},
    settings::Settings,
};
use crate::timeout::or_longest;

/// Serves `service` on `listener` until a graceful shutdown.
///
/// Returns a builder that is awaited: `serve(listener, app).await`. The service is any [`HttpService`]: an axum
/// `Router` (itself, not its `into_make_service()`), a `ProxyApp`, a stack of layers. A service whose requests have
/// another body type is adapted with `map_request(|request: Request<Incoming>| request.map(nexthop::Body::new))`.
///
/// An `Err` of type [`crate::Error`], as `ExactProxy` returns, is answered with its [`status`](crate::Error::status)
/// and an empty body. Any other `Err` closes the connection.
///
/// The [module documentation](mod@crate::serve) lists timeouts, limits and protocols, and has an example.
#[doc(alias = "server")]
#[doc(alias = "hyper server")]
// The bounds of `IntoFuture` are repeated here, so that the compiler reports an argument that does not fit, not the `await`.
pub fn serve<L, S>(listener: L, service: S) -> Serve<L, S>
where
    L: Listener,
    S: HttpService,
{
    Serve { listener, service, settings: Settings::default(), shutdown: None }
}

/// Configures a server; awaiting it starts the server. Made by [`serve`](super::serve()).
#[must_use = "a server does nothing unless it is awaited"]
pub struct Serve<L, S> {
    pub(super) listener: L,
    pub(super) service: S,
    pub(super) settings: Settings,
    pub(super) shutdown: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<L, S> Serve<L, S> {
    /// Sets the timeout for a complete request head, which is the keep-alive timeout, too. Default: 30 s. `None`
    /// disables it.
    ///
    /// It counts from the start of the connection or the end of the last response; then the connection is closed. An
    /// HTTP/2 connection without requests is sent `GOAWAY`, and is cut if it is silent for the
    /// [write timeout](Self::write_timeout) after that.
    #[doc(alias = "keep-alive timeout")]
    #[doc(alias = "idle timeout")]
    #[doc(alias = "header_read_timeout")]
    #[doc(alias = "slowloris")]
    pub fn header_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.limits.head = or_longest(limit);
        self
    }

    /// Sets how long a write to a client may stall; then its connection is cut. Default: 60 s. `None` disables it.
    ///
    /// Each byte that the client accepts restarts the timeout, and time in which there is nothing to write does not
    /// count. The timeout applies to tunnels, too.
    ///
    /// On HTTP/2, the timeout also applies while the client's flow-control windows (RFC 9113 §5.2) hold a response
    /// back, but to all streams together: bytes of one stream restart it for all. hyper takes the end of a response
    /// before the windows admit it; if the windows hold that part back, the stall is noticed only when the connection
    /// has been idle for the [header timeout](Self::header_timeout). A tunnel within HTTP/2 has a window of its own,
    /// which only the owner of the tunnel sees: the server cuts the tunnel together with its connection only.
    #[doc(alias = "send timeout")]
    pub fn write_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.limits.write = or_longest(limit);
        self
    }

    /// Sets the timeout for the PROXY protocol header and the TLS handshake together. Default: 10 s. `None` disables
    /// it.
    pub fn handshake_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.handshake_timeout = or_longest(limit);
        self
    }

    /// Sets whether an HTTP/1 connection serves more than one request. Default: true.
    #[doc(alias = "keep-alive")]
    #[doc(alias = "persistent connections")]
    pub fn keep_alive(mut self, keep_alive: bool) -> Self {
        self.settings.keep_alive = keep_alive;
        self
    }

    /// Sets the maximum size of a request's head, in bytes: request line and headers. Default: 64 KiB.
    ///
    /// The limit also applies to the trailers of a chunked body. A longer head is answered with 431; on HTTP/1, the
    /// connection is then closed.
    #[doc(alias = "max header size")]
    #[doc(alias = "max_buf_size")]
    #[doc(alias = "431")]
    pub fn max_head_bytes(mut self, limit: usize) -> Self {
        self.settings.max_head_bytes = limit;
        self
    }

    /// Sets the maximum size of a request's target (path and query), in bytes. Default: 16 KiB.
    ///
    /// A longer target is answered with 414, or with 431 if the head exceeds [`max_head_bytes`](Self::max_head_bytes).
    #[doc(alias = "max url length")]
    #[doc(alias = "414")]
    pub fn max_target_bytes(mut self, limit: usize) -> Self {
        self.settings.max_target_bytes = limit;
        self
    }

    /// Sets the maximum number of headers in an HTTP/1 request; a request with more is answered with 431. Default: 100.
    ///
    /// Any other number costs an allocation per request.
    pub fn max_headers(mut self, limit: usize) -> Self {
        self.settings.max_headers = Some(limit);
        self
    }

    /// Sets the maximum number of open connections, including tunnels; more wait in the listener's backlog. Default: no
    /// limit.
    #[doc(alias = "concurrency limit")]
    pub fn max_connections(mut self, limit: usize) -> Self {
        self.settings.max_connections = Some(limit);
        self
    }

    /// Enables HTTP/2: in clear text by prior knowledge (RFC 9113 §3.3), over TLS by ALPN. Default: true.
    #[doc(alias = "h2c")]
    #[doc(alias = "grpc")]
    #[cfg(feature = "http2")]
    pub fn http2(mut self, http2: bool) -> Self {
        self.settings.http2 = http2;
        self
    }

    /// Sets the TCP keep-alive idle time: the time without a packet after which the kernel probes the client. Default:
    /// 60 s, at most 9 h. `None` leaves the listener as it is.
    ///
    /// Keep-alive finds clients that vanished where no other timeout applies: in a tunnel, or while a slow response is
    /// produced. Probes follow every 15 s, and the connection fails after the system's number of unanswered probes (9
    /// on Linux). The option is set once, on the listening socket; accepted connections inherit it.
    #[doc(alias = "SO_KEEPALIVE")]
    pub fn tcp_keepalive(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.settings.tcp_keepalive = idle.into();
        self
    }

    /// Sets whether connections begin with a PROXY protocol header. Default: [`ProxyProtocol::Forbidden`].
    #[doc(alias = "haproxy")]
    pub fn proxy_protocol(mut self, proxy_protocol: ProxyProtocol) -> Self {
        self.settings.proxy_protocol = proxy_protocol;
        self
    }

    /// Serves TLS on each connection (after the PROXY protocol header, if one is required). Default: clear text.
    ///
    /// If the configuration has no ALPN names, the enabled HTTP versions are selected by ALPN: `h2`, `http/1.1` or
    /// `http/1.0`, in this order. Names in the configuration are used as they are. The cookbook page
    /// [`https`](crate::cookbook::https) loads a configuration from files.
    #[doc(alias = "https")]
    #[doc(alias = "rustls")]
    #[doc(alias = "mtls")]
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: impl Into<Arc<rustls::ServerConfig>>) -> Self {
        self.settings.tls = Some(config.into());
        self
    }

    /// Shuts the server down gracefully when `signal` completes. Default: only [`Drain::begin`] starts a shutdown.
    ///
    /// The server stops accepting connections, lets open connections finish the request in flight, waits until each
    /// connection and tunnel is closed, and cuts those that are still open after the
    /// [drain timeout](Self::drain_timeout). [`shutdown_signal`](super::shutdown_signal) completes on `SIGTERM`, by
    /// which containers are stopped, and on ctrl-c. The cookbook page [`kubernetes`](crate::cookbook::kubernetes) adds
    /// a readiness probe.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use nexthop::{ProxyApp, serve::shutdown_signal};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), nexthop::BoxError> {
    /// let app = ProxyApp::builder("http://127.0.0.1:8000").build()?;
    /// let listener = tokio::net::TcpListener::bind("0.0.0.0:8080").await?;
    /// let drained = nexthop::serve(listener, app)
    ///     .with_graceful_shutdown(shutdown_signal())
    ///     .drain_timeout(Duration::from_secs(20)) // a second ctrl-c does not end the wait
    ///     .await;
    /// println!("{} connections were cut", drained.cut());
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "SIGTERM")]
    #[doc(alias = "ctrl_c")]
    pub fn with_graceful_shutdown(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.shutdown = Some(Box::pin(signal));
        self
    }

    /// Sets how long a shutdown waits for open connections and tunnels before it cuts them. Default: 30 s. `None` waits
    /// forever.
    #[doc(alias = "shutdown timeout")]
    #[doc(alias = "grace period")]
    pub fn drain_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.drain_timeout = or_longest(limit);
        self
    }

    /// Sets the [`Drain`] that connections are registered with. Default: a new one.
    ///
    /// Several servers can share a drain, and [`Drain::begin`] starts the shutdown from elsewhere.
    pub fn drain(mut self, drain: Drain) -> Self {
        self.settings.drain = drain;
        self
    }
}

impl<L, S> IntoFuture for Serve<L, S>
where
    L: Listener,
    S: HttpService,
{
    type Output = Drained;
    type IntoFuture = Serving;

    fn into_future(self) -> Serving {
        Serving::new(accept::run(self))
    }
}

impl<L, S> fmt::Debug for Serve<L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("settings", &self.settings).finish_non_exhaustive()
    }
}
