//! [`Serve`]: a server and its settings.

#[cfg(feature = "tls")]
use std::sync::Arc;
use std::{fmt, pin::Pin, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, server::conn::http1};
use tower_service::Service;

use super::{
    Drain, Listener, ProxyProtocol,
    accept::{self, Drained, Serving},
    connection::Connections,
};
use crate::error::BoxError;

/// Serves `service` on `listener`, until it is told to stop.
///
/// The answer is a builder that is awaited: `serve(listener, app).await`. The service is any tower service of hyper's requests that is
/// `Clone`: an axum `Router` (itself, not its `into_make_service()`), `ProxyApp`, a layered stack. An `Err` of type [`crate::Error`] (`ExactProxy` alone) is answered with its
/// [`status`](crate::Error::status) and no body; any other `Err` closes the connection.
///
/// See the [module](mod@crate::serve) for what it does, and for an example.
pub fn serve<L, S>(listener: L, service: S) -> Serve<L, S> {
    Serve {
        listener,
        service,
        settings: Settings {
            drain: Drain::new(),
            drain_timeout: Some(Duration::from_secs(30)),
            handshake_timeout: Some(Duration::from_secs(10)),
            header_timeout: Some(Duration::from_secs(30)),
            #[cfg(feature = "http2")]
            http2: true,
            keep_alive: true,
            max_connections: None,
            max_fields: None,
            max_head_bytes: 64 * 1024,
            proxy_protocol: ProxyProtocol::Forbidden,
            #[cfg(feature = "tls")]
            tls: None,
        },
        shutdown: None,
    }
}

/// A server that has not started: awaiting it does. Made by [`serve`](super::serve()).
#[must_use = "a server does nothing unless it is awaited"]
pub struct Serve<L, S> {
    pub(super) listener: L,
    pub(super) service: S,
    pub(super) settings: Settings,
    pub(super) shutdown: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) drain: Drain,
    pub(super) drain_timeout: Option<Duration>,
    handshake_timeout: Option<Duration>,
    header_timeout: Option<Duration>,
    #[cfg(feature = "http2")]
    http2: bool,
    keep_alive: bool,
    pub(super) max_connections: Option<usize>,
    max_fields: Option<usize>,
    max_head_bytes: usize,
    proxy_protocol: ProxyProtocol,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl<L, S> Serve<L, S> {
    /// How long a connection may wait for a request's whole head, from its start or from the end of the last response; then it is
    /// closed. So it is the keep-alive timeout too. An HTTP/2 connection without requests is told to go (`GOAWAY`), and one that has been
    /// silent for as long and does not answer a `PING` within 20 s is closed. Default 30 s; `None` is forever.
    pub fn header_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.header_timeout = limit.into().map(bounded);
        self
    }

    /// How long the PROXY header and the TLS handshake may take together. Default 10 s; `None` is forever.
    pub fn handshake_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.handshake_timeout = limit.into().map(bounded);
        self
    }

    /// Whether an HTTP/1 connection takes another request after the first. Default true.
    pub fn keep_alive(mut self, keep_alive: bool) -> Self {
        self.settings.keep_alive = keep_alive;
        self
    }

    /// How long a request's line and fields (and the trailers of a chunked body) may be; longer ones are answered 431 and the
    /// connection is closed. Default 64 KiB.
    pub fn max_head_bytes(mut self, limit: usize) -> Self {
        self.settings.max_head_bytes = limit;
        self
    }

    /// How many fields an HTTP/1 request may have; more are answered 431. Default 100; another number costs an allocation per request.
    pub fn max_fields(mut self, limit: usize) -> Self {
        self.settings.max_fields = Some(limit);
        self
    }

    /// How many connections, tunnels among them, may be open at once; more wait in the listener's backlog. Default: no limit.
    pub fn max_connections(mut self, limit: usize) -> Self {
        self.settings.max_connections = Some(limit);
        self
    }

    /// Whether HTTP/2 is spoken, in clear text by prior knowledge (RFC 9113 §3.3) and over TLS by ALPN. Default true.
    #[cfg(feature = "http2")]
    pub fn http2(mut self, http2: bool) -> Self {
        self.settings.http2 = http2;
        self
    }

    /// Whether connections begin with a header of the PROXY protocol. Default [`ProxyProtocol::Forbidden`].
    pub fn proxy_protocol(mut self, proxy_protocol: ProxyProtocol) -> Self {
        self.settings.proxy_protocol = proxy_protocol;
        self
    }

    /// Speaks TLS on every connection (after the PROXY header, where one is required). A configuration without ALPN names offers those of
    /// the protocols that are spoken.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: impl Into<Arc<rustls::ServerConfig>>) -> Self {
        self.settings.tls = Some(config.into());
        self
    }

    /// Stops when `signal` is done: takes no more connections, lets those that are open finish the request they are at, waits until
    /// every connection and tunnel is closed, and cuts what is left after the [deadline](Self::drain_timeout).
    pub fn with_graceful_shutdown(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.shutdown = Some(Box::pin(signal));
        self
    }

    /// How long a shutdown waits before it cuts what is left. Default 30 s; `None` waits forever.
    pub fn drain_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.drain_timeout = limit.into().map(bounded);
        self
    }

    /// The drain to register connections with, to be shared with other servers, or to be told to [begin](Drain::begin) from elsewhere.
    /// Default: one of its own.
    pub fn drain(mut self, drain: Drain) -> Self {
        self.settings.drain = drain;
        self
    }
}

impl<L, S, ResB> IntoFuture for Serve<L, S>
where
    L: Listener,
    S: Service<Request<Incoming>, Response = Response<ResB>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    ResB: Body + Send + 'static,
    ResB::Data: Send,
    ResB::Error: Into<BoxError>,
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

impl Settings {
    /// What they mean for each connection.
    pub(super) fn connections(&self) -> Connections {
        Connections {
            header_timeout: self.header_timeout,
            handshake_timeout: self.handshake_timeout,
            proxy_protocol: self.proxy_protocol,
            http1: self.http1(),
            #[cfg(feature = "http2")]
            http2: self.http2.then(|| self.http2_builder()),
            #[cfg(feature = "tls")]
            tls: self.tls.as_ref().map(|config| self.acceptor(config)),
        }
    }

    fn http1(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        // Ours does the same for less: see `activity`.
        builder.header_read_timeout(None).keep_alive(self.keep_alive).max_header_size(self.max_head_bytes);
        if self.max_head_bytes > HYPER_BUFFER {
            builder.max_buf_size(self.max_head_bytes);
        }
        if let Some(limit) = self.max_fields {
            builder.max_headers(limit);
        }
        builder
    }

    #[cfg(feature = "http2")]
    fn http2_builder(&self) -> hyper::server::conn::http2::Builder<hyper_util::rt::TokioExecutor> {
        let mut builder = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
        builder.enable_connect_protocol().max_header_list_size(u32::try_from(self.max_head_bytes).unwrap_or(u32::MAX));
        if let Some(limit) = self.header_timeout {
            // Who is told to go must answer before hyper closes: without this, a client that does not holds the connection for ever.
            builder.timer(hyper_util::rt::TokioTimer::new()).keep_alive_interval(limit.max(Duration::from_secs(1)));
        }
        builder
    }

    #[cfg(feature = "tls")]
    fn acceptor(&self, config: &Arc<rustls::ServerConfig>) -> tokio_rustls::TlsAcceptor {
        let mut config = config.clone();
        if config.alpn_protocols.is_empty() {
            let offered: &[&[u8]] = match () {
                #[cfg(feature = "http2")]
                () if self.http2 => &[b"h2", b"http/1.1"],
                () => &[b"http/1.1"],
            };
            Arc::make_mut(&mut config).alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        }
        config.into()
    }
}

/// Far enough for anybody, and near enough for `Instant` to reckon with.
fn bounded(limit: Duration) -> Duration {
    limit.min(Duration::from_secs(30 * 365 * 24 * 60 * 60))
}

/// hyper's own default of what it buffers of a connection.
const HYPER_BUFFER: usize = 8192 + 4096 * 100;
