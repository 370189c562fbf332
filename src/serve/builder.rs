//! [`Serve`]: a server and its settings.

#[cfg(feature = "tls")]
use std::sync::Arc;
use std::{fmt, pin::Pin, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tower_service::Service;

use super::{
    Drain, Listener, ProxyProtocol,
    accept::{self, Drained, Serving},
    settings::{Settings, or_forever},
};
use crate::error::BoxError;

/// Serves `service` on `listener`, until it is told to stop.
///
/// The answer is a builder that is awaited: `serve(listener, app).await`. The service is any tower service of hyper's requests that is
/// `Clone`: an axum `Router` (itself, not its `into_make_service()`), `ProxyApp`, a layered stack. An `Err` of type [`crate::Error`]
/// (`ExactProxy` alone) is answered with its [`status`](crate::Error::status) and no body; any other `Err` closes the connection. A service of
/// requests with another body takes these by `map_request(|request: Request<Incoming>| request.map(nexthop::Body::new))`.
///
/// See the [module](mod@crate::serve) for what it does, and for an example.
// The bounds are those of `IntoFuture`: said here, too, so that what does not fit is named where it is given, not at the `await`.
pub fn serve<L, S, ResB>(listener: L, service: S) -> Serve<L, S>
where
    L: Listener,
    S: Service<Request<Incoming>, Response = Response<ResB>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    ResB: Body + Send + 'static,
    ResB::Data: Send,
    ResB::Error: Into<BoxError>,
{
    Serve { listener, service, settings: Settings::default(), shutdown: None }
}

/// A server that has not started: awaiting it does. Made by [`serve`](super::serve()).
#[must_use = "a server does nothing unless it is awaited"]
pub struct Serve<L, S> {
    pub(super) listener: L,
    pub(super) service: S,
    pub(super) settings: Settings,
    pub(super) shutdown: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<L, S> Serve<L, S> {
    /// How long a connection may wait for a request's whole head, from its start or from the end of the last response; then it is
    /// closed. So it is the keep-alive timeout too. An HTTP/2 connection without requests is told to go (`GOAWAY`), and is cut if it is
    /// silent for the [write timeout](Self::write_timeout) then. Default 30 s; `None` is forever.
    pub fn header_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.limits.head = or_forever(limit);
        self
    }

    /// How long a client may take nothing of what is being written to it; then its connection is cut. Every byte that it takes starts the
    /// wait anew, and time in which there was nothing to write does not count. Holds for tunnels, too. Default 60 s; `None` is forever.
    ///
    /// On HTTP/2 it also holds where the client's windows (RFC 9113 §5.2) keep a response back, but for all streams together: bytes of
    /// one start the wait of all anew. There, hyper passes the end of a response on ahead of its windows: what they keep back of that
    /// is noticed when the connection has been idle for the [header timeout](Self::header_timeout). A tunnel inside HTTP/2 is held by its
    /// own window alone, which only its owner sees: here it is cut with its connection.
    pub fn write_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.limits.write = or_forever(limit);
        self
    }

    /// How long the PROXY header and the TLS handshake may take together. Default 10 s; `None` is forever.
    pub fn handshake_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.handshake_timeout = or_forever(limit);
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

    /// How long a request's target (path and query) may be; longer ones are answered 414, if they do not make the whole head
    /// [too long](Self::max_head_bytes). Default 16 KiB.
    pub fn max_target_bytes(mut self, limit: usize) -> Self {
        self.settings.max_target_bytes = limit;
        self
    }

    /// How many fields an HTTP/1 request may have; more are answered 431. Default 100; another number costs an allocation per request.
    pub fn max_headers(mut self, limit: usize) -> Self {
        self.settings.max_headers = Some(limit);
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

    /// After how long without a packet the system asks a TCP client whether it is still there, so that one that vanished is found even
    /// where no other limit holds: in a tunnel, or behind a slow response. It is asked every 15 s then, and given up after as many
    /// questions as the system is set to (9 on Linux). Default 60 s, at most 9 h; `None` leaves the listener as it is.
    ///
    /// Set once, on the listening socket, whose connections have it from there.
    pub fn tcp_keepalive(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.settings.tcp_keepalive = idle.into();
        self
    }

    /// Whether connections begin with a header of the PROXY protocol. Default [`ProxyProtocol::Forbidden`].
    pub fn proxy_protocol(mut self, proxy_protocol: ProxyProtocol) -> Self {
        self.settings.proxy_protocol = proxy_protocol;
        self
    }

    /// Speaks TLS on every connection (after the PROXY header, where one is required). A configuration without ALPN names offers those of
    /// the protocols that are spoken. The cookbook's page [`https`](crate::cookbook::https) makes one of files.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: impl Into<Arc<rustls::ServerConfig>>) -> Self {
        self.settings.tls = Some(config.into());
        self
    }

    /// Stops when `signal` is done: takes no more connections, lets those that are open finish the request they are at, waits until
    /// every connection and tunnel is closed, and cuts what is left after the [deadline](Self::drain_timeout). What ends a container is
    /// `SIGTERM`, not `ctrl_c`: see the cookbook's page [`kubernetes`](crate::cookbook::kubernetes).
    pub fn with_graceful_shutdown(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.shutdown = Some(Box::pin(signal));
        self
    }

    /// How long a shutdown waits before it cuts what is left. Default 30 s; `None` waits forever.
    pub fn drain_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.drain_timeout = or_forever(limit);
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
