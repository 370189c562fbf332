//! [`ExactProxyBuilder`]: settings, checked and assembled into an [`ExactProxy`].

mod connecting;

use std::{fmt, sync::Arc, time::Duration};

use super::{
    replay::ReplayBudget,
    retries::Retries,
    service::{ExactProxy, Inner},
};
#[cfg(feature = "metrics")]
use crate::transport::observe::Figures;
#[cfg(feature = "http2")]
use crate::transport::{HttpVersions, http2::Origins};
use crate::{
    error::ConfigError,
    transport::{
        Connector, Limits, Listener, Pool, PoolEvent,
        observe::{ExchangeSummary, Hook, Observers},
    },
};

/// Builds an [`ExactProxy`]: TLS, DNS and dialling, timeouts, connection pool, HTTP/2, bodies, observation.
///
/// All settings have defaults for production use. Setters of timeouts take a [`Duration`] or an `Option<Duration>`;
/// `None` disables the timeout. Data and interim responses restart the timeouts of responses, bodies and tunnels, so a
/// long stream is not cut while data flows.
///
/// * TLS, DNS, dialling: [`tls`](Self::tls), [`dns_resolver`](Self::dns_resolver), [`dial_policy`](Self::dial_policy),
///   [`upstream_proxy`](Self::upstream_proxy), [`send_proxy_protocol`](Self::send_proxy_protocol),
///   [`local_address`](Self::local_address), [`tcp_keepalive`](Self::tcp_keepalive), [`connector`](Self::connector).
/// * Timeouts: [`connect_timeout`](Self::connect_timeout), [`address_timeout`](Self::address_timeout),
///   [`response_timeout`](Self::response_timeout), [`body_idle_timeout`](Self::body_idle_timeout),
///   [`tunnel_idle_timeout`](Self::tunnel_idle_timeout), [`expect_continue_timeout`](Self::expect_continue_timeout).
/// * Connection pool: [`pool_max_connections`](Self::pool_max_connections),
///   [`pool_max_waiting`](Self::pool_max_waiting), [`pool_wait_timeout`](Self::pool_wait_timeout),
///   [`pool_max_idle`](Self::pool_max_idle), [`pool_max_idle_total`](Self::pool_max_idle_total),
///   [`pool_idle_timeout`](Self::pool_idle_timeout), [`pool_max_age`](Self::pool_max_age),
///   [`pool_max_requests`](Self::pool_max_requests).
/// * HTTP/2: [`http_versions`](Self::http_versions), [`http2_ping_interval`](Self::http2_ping_interval),
///   [`http2_ping_timeout`](Self::http2_ping_timeout), [`http2_stream_window_bytes`](Self::http2_stream_window_bytes).
/// * Messages: [`max_response_head_bytes`](Self::max_response_head_bytes),
///   [`chunked_requests`](Self::chunked_requests), [`keep_hop_by_hop`](Self::keep_hop_by_hop).
/// * Retries: [`replay_max_bytes`](Self::replay_max_bytes), [`replay_budget_bytes`](Self::replay_budget_bytes).
/// * Observation: [`on_exchange`](Self::on_exchange), [`on_pool_event`](Self::on_pool_event),
///   [`metrics`](Self::metrics).
#[derive(Clone, Default)]
#[must_use]
pub struct ExactProxyBuilder {
    limits: Limits,
    connector: Connector,
    listener: Option<Listener>,
    keep_hop_by_hop: bool,
    without_chunks: bool,
    replay: Replay,
    hook: Option<Hook>,
    replaceable: bool,
    #[cfg(feature = "metrics")]
    metrics: Option<metrics::SharedString>,
    #[cfg(feature = "http2")]
    versions: HttpVersions,
}

/// Bytes of request bodies that are kept for another attempt.
#[derive(Clone, Copy)]
struct Replay {
    per_request: usize,
    in_all: usize,
}

impl Default for Replay {
    fn default() -> Self {
        Self { per_request: 64 * 1024, in_all: 16 * 1024 * 1024 }
    }
}

impl ExactProxyBuilder {
    /// Sets the connect timeout: DNS, TCP and TLS together. Default: 10 s. `None` disables it.
    ///
    /// After it, the request fails with `Timeout` (504), retryable.
    #[doc(alias = "dial timeout")]
    pub fn connect_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.limits.connect = timeout.into();
        self
    }

    /// Sets the timeout for each address of an upstream. Default: none; only [`connect_timeout`](Self::connect_timeout)
    /// applies.
    ///
    /// It ends the attempt to connect to one address. Independently of it, the next address is tried after 250 ms (RFC
    /// 8305, happy eyeballs).
    #[doc(alias = "happy eyeballs")]
    pub fn address_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.connector.tcp.attempt = timeout.into();
        self
    }

    /// Sets the timeout from the last byte of the request to the head of the response. Default: 60 s. `None` disables
    /// it.
    ///
    /// After it, the request fails with `Timeout` (504).
    #[doc(alias = "request timeout")]
    #[doc(alias = "read timeout")]
    pub fn response_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.limits.response_head = timeout.into();
        self
    }

    /// Sets the timeout between two frames of a body, for each direction. Default: 60 s. `None` disables it.
    ///
    /// A frame is content or the trailers as a whole. Chunk sizes, chunk extensions, parts of the trailers and empty
    /// frames do not restart the timeout, however slowly they arrive.
    ///
    /// After it, the request fails with `RequestTimeout` (408) if the client's body is late, and with `Timeout` (504)
    /// if the upstream does not read or send. A response that has begun ends in an error. Event streams with longer
    /// pauses need a longer timeout, or `None`.
    #[doc(alias = "idle timeout")]
    #[doc(alias = "read timeout")]
    #[doc(alias = "write timeout")]
    pub fn body_idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.limits.body_idle = timeout.into();
        self
    }

    /// Sets the timeout without a byte in either direction of a tunnel (websocket, `CONNECT`). Default: 1 h. `None`
    /// disables it.
    ///
    /// After one side has ended, the timeout is at most one minute. Both ends are closed when it expires, or up to a
    /// quarter of the timeout later. With `None`, a tunnel lasts until both sides have ended.
    #[doc(alias = "websocket")]
    pub fn tunnel_idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.limits.tunnel_idle = timeout.into();
        self
    }

    /// Sets how long the body of a request with `Expect: 100-continue` waits for the upstream's `100`. Default: 1 s.
    ///
    /// After it, the body is sent, as RFC 9110 §10.1.1 allows.
    #[doc(alias = "100-continue")]
    pub fn expect_continue_timeout(mut self, timeout: Duration) -> Self {
        self.limits.expect_continue = timeout;
        self
    }

    /// Sets the maximum number of connections to one destination, whether connecting, in use (tunnels included) or
    /// idle. Default: no maximum.
    ///
    /// If all are in use, a request waits in a queue, first come, first served, for a connection or, over HTTP/2, for a
    /// stream. Requests on several runtimes close and open connections for each other where necessary, because a
    /// connection serves only the runtime that opened it. With a maximum, the pool has one lock instead of one per
    /// thread.
    #[doc(alias = "max connections")]
    #[doc(alias = "concurrency limit")]
    pub fn pool_max_connections(mut self, connections: usize) -> Self {
        self.limits.max_connections = Some(connections);
        self
    }

    /// Sets how many requests may wait for a connection to one destination. Default: 1,024.
    ///
    /// Further requests fail at once with `Unavailable` (503). Applies with
    /// [`pool_max_connections`](Self::pool_max_connections).
    #[doc(alias = "queue length")]
    pub fn pool_max_waiting(mut self, requests: usize) -> Self {
        self.limits.max_waiting = requests;
        self
    }

    /// Sets how long a request may wait for a connection, with [`pool_max_connections`](Self::pool_max_connections).
    /// Default: 10 s. `None` disables it.
    ///
    /// After it, the request fails with `Unavailable` (503) in [`Phase::Queue`](crate::Phase::Queue), retryable.
    pub fn pool_wait_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.limits.pool_wait = timeout.into();
        self
    }

    /// Sets the maximum number of idle connections to one destination, per thread. Default: 128. With 0, each
    /// connection serves one request.
    ///
    /// With [`pool_max_connections`](Self::pool_max_connections), the maximum applies to all threads together. The
    /// connection that has been idle for the longest is closed for a new one.
    #[doc(alias = "keep-alive")]
    #[doc(alias = "pool_max_idle_per_host")]
    pub fn pool_max_idle(mut self, connections: usize) -> Self {
        self.limits.max_idle = connections;
        self
    }

    /// Sets the maximum number of idle connections to all destinations together, per thread. Default: 1,024.
    ///
    /// Counted and closed as with [`pool_max_idle`](Self::pool_max_idle).
    pub fn pool_max_idle_total(mut self, connections: usize) -> Self {
        self.limits.max_idle_total = connections;
        self
    }

    /// Sets how long an idle connection is kept. Default: 90 s. `None` disables it.
    ///
    /// A shorter `timeout` in the upstream's `Keep-Alive` header takes precedence.
    #[doc(alias = "keep-alive timeout")]
    pub fn pool_idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.limits.pool_idle = timeout.into();
        self
    }

    /// Sets the age after which a connection serves no further request. Default: none.
    ///
    /// Useful to follow DNS changes and to rebalance long-lived connections.
    #[doc(alias = "max connection lifetime")]
    pub fn pool_max_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.limits.max_age = age.into();
        self
    }

    /// Sets how many requests one connection serves; over HTTP/2, how many streams it opens. Default: no maximum.
    ///
    /// A smaller `max` in the upstream's `Keep-Alive` header takes precedence over HTTP/1.1.
    pub fn pool_max_requests(mut self, requests: u64) -> Self {
        self.limits.max_requests = Some(requests);
        self
    }

    /// Sets the HTTP versions spoken with upstreams. Default: [`HttpVersions::Auto`].
    #[doc(alias = "h2c")]
    #[doc(alias = "grpc")]
    #[cfg(feature = "http2")]
    pub fn http_versions(mut self, versions: HttpVersions) -> Self {
        self.versions = versions;
        self
    }

    /// Sets how long an HTTP/2 connection with open streams may be silent before a `PING` is sent. Default: 20 s.
    /// `None` disables it.
    ///
    /// One `PING` is sent per period of silence, and further ones at least 5 minutes apart, because gRPC servers treat
    /// more of them as an attack.
    #[doc(alias = "keep-alive")]
    #[cfg(feature = "http2")]
    pub fn http2_ping_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.limits.http2.ping_interval = interval.into();
        self
    }

    /// Sets how long to wait for the acknowledgement of a `PING`. Default: 10 s.
    ///
    /// After it, the connection is closed, and each request on it fails with `Upstream` (502).
    #[cfg(feature = "http2")]
    pub fn http2_ping_timeout(mut self, timeout: Duration) -> Self {
        self.limits.http2.ping_timeout = timeout;
        self
    }

    /// Sets the flow-control window of each HTTP/2 stream, in bytes. Default: 512 KiB. Valid: 65,535 bytes to 20 MiB.
    ///
    /// The window limits the bytes of one response that are in flight or not read yet. The window of a connection is
    /// 100 times as large, for the maximum of 100 streams on it, so a client that does not read does not block other
    /// streams.
    #[doc(alias = "flow control")]
    #[cfg(feature = "http2")]
    pub fn http2_stream_window_bytes(mut self, bytes: u32) -> Self {
        self.limits.http2.stream_window = bytes;
        self
    }

    /// Sets the maximum size of a response's head, and of its trailers, in bytes. Default: 64 KiB.
    ///
    /// A larger one fails with `Upstream` (502).
    #[doc(alias = "max header size")]
    pub fn max_response_head_bytes(mut self, bytes: usize) -> Self {
        self.limits.max_head = bytes;
        self
    }

    /// Sets whether request bodies of unknown length are sent, in chunks over HTTP/1.1. Default: true.
    ///
    /// Set it to false for an HTTP/1.0 upstream, which does not support chunks ([RFC 9112 §6.1] requires a sender to
    /// know that the upstream does). Requests with such a body then fail with `LengthRequired` (411), and nothing is
    /// sent.
    ///
    /// [RFC 9112 §6.1]: https://www.rfc-editor.org/rfc/rfc9112#section-6.1
    pub fn chunked_requests(mut self, chunked: bool) -> Self {
        self.without_chunks = !chunked;
        self
    }

    /// Keeps the hop-by-hop headers (RFC 9110 §7.6.1) of requests and responses. Default: they are removed.
    ///
    /// For clients that set these headers themselves; a proxy must not do this. Framing headers are written from the
    /// body in any case.
    #[doc(alias = "hop-by-hop headers")]
    pub fn keep_hop_by_hop(mut self) -> Self {
        self.keep_hop_by_hop = true;
        self
    }

    /// Sets how many bytes of a streamed request body are recorded for a retry. Default: 64 KiB. With 0, none is
    /// recorded.
    ///
    /// The record lasts until the head of the response arrives. With it, an idempotent request is retried after a
    /// pooled connection was lost. A request whose body is longer is not retried.
    #[doc(alias = "retry")]
    pub fn replay_max_bytes(mut self, bytes: usize) -> Self {
        self.replay.per_request = bytes;
        self
    }

    /// Sets how many bytes of request bodies are recorded for all requests together, including the overhead of each
    /// frame. Default: 16 MiB.
    ///
    /// While the budget is used up, streamed bodies are not recorded, and their requests are not retried.
    pub fn replay_budget_bytes(mut self, bytes: usize) -> Self {
        self.replay.in_all = bytes;
        self
    }

    /// Calls `hook` once at the end of each exchange, however it ends: for access logs and custom metrics. Default:
    /// none.
    ///
    /// The hook must not block, because the next request on the connection waits for it. A panic in the hook is caught
    /// and logged.
    ///
    /// ```
    /// use nexthop::ExactProxy;
    ///
    /// let proxy = ExactProxy::builder().on_exchange(|exchange| {
    ///     let status = exchange.status.map_or(499, |status| status.as_u16());
    ///     let (path, bytes, total) = (exchange.uri.path(), exchange.received, exchange.timings.total);
    ///     println!("{} {path} {status} {bytes} bytes in {total:?}", exchange.method);
    /// });
    /// # assert!(proxy.build().is_ok());
    /// ```
    #[doc(alias = "access log")]
    pub fn on_exchange(mut self, hook: impl Fn(&ExchangeSummary) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// Calls `listener` for each change in the connection pool. Default: none.
    ///
    /// The listener must neither block nor panic, because requests wait for it.
    ///
    /// ```
    /// use nexthop::ExactProxy;
    ///
    /// let proxy = ExactProxy::builder().on_pool_event(|event| {
    ///     println!("{:?}: {:?}", event.destination.host(), event.change);
    /// });
    /// # assert!(proxy.build().is_ok());
    /// ```
    pub fn on_pool_event(mut self, listener: impl Fn(&PoolEvent<'_>) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Records metrics through the `metrics` facade, labelled `proxy="name"`. Default: off.
    ///
    /// [`observe`](crate::observe#metrics) lists the metrics. They go to the recorder that is installed when
    /// [`build`](Self::build) is called.
    #[doc(alias = "prometheus")]
    #[cfg(feature = "metrics")]
    pub fn metrics(mut self, name: impl Into<String>) -> Self {
        self.metrics = Some(name.into().into());
        self
    }

    /// Checks the settings and returns a client with a connection pool of its own.
    ///
    /// # Errors
    /// * [`ConfigError::Invalid`] for a timeout of zero, for 0 in
    ///   [`max_response_head_bytes`](Self::max_response_head_bytes),
    ///   [`pool_max_connections`](Self::pool_max_connections) or [`pool_max_requests`](Self::pool_max_requests), and
    ///   for a window out of range. [`pool_idle_timeout`](Self::pool_idle_timeout),
    ///   [`pool_max_age`](Self::pool_max_age) and [`expect_continue_timeout`](Self::expect_continue_timeout) may be
    ///   zero.
    /// * [`ConfigError::Conflict`] for a [`dial_policy`](Self::dial_policy) together with a
    ///   [`connector`](Self::connector), which would not apply it.
    pub fn build(self) -> Result<ExactProxy, ConfigError> {
        let limits = &self.limits;
        let times = [
            ("address_timeout", self.connector.tcp.attempt),
            ("connect_timeout", limits.connect),
            ("response_timeout", limits.response_head),
            ("body_idle_timeout", limits.body_idle),
            ("tcp_keepalive", self.connector.tcp.keepalive),
            ("tunnel_idle_timeout", limits.tunnel_idle),
            ("pool_wait_timeout", limits.pool_wait),
        ];
        for (name, limit) in times {
            if limit == Some(Duration::ZERO) {
                return Err(ConfigError::invalid(name, "0s", "must be greater than zero; None disables it"));
            }
        }
        if self.connector.custom.is_some() && self.connector.tcp.policy.is_some() {
            return Err(ConfigError::conflict(
                "connector, dial_policy",
                "a custom connector chooses its own addresses, so the dial policy would not be applied",
            ));
        }
        if limits.max_head == 0 {
            return Err(ConfigError::invalid("max_response_head_bytes", "0", "must be at least 1"));
        }
        #[cfg(feature = "http2")]
        limits.http2.check()?;
        if limits.max_connections == Some(0) {
            return Err(ConfigError::invalid("pool_max_connections", "0", "must be at least 1"));
        }
        if limits.max_requests == Some(0) {
            return Err(ConfigError::invalid("pool_max_requests", "0", "must be at least 1"));
        }
        Ok(self.assemble())
    }

    /// For an upstream that another may take the place of: what it loses is kept for that, and no connection is opened when `is_there` says no.
    #[cfg(feature = "spawn")]
    pub(crate) fn replaceable(mut self, is_there: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.connector.is_there = Some(Arc::new(is_there));
        self.replaceable = true;
        self
    }

    /// True if nothing stands between this process and an upstream's address.
    #[cfg(feature = "spawn")]
    pub(crate) fn is_direct(&self) -> bool {
        self.connector.custom.is_none() && self.connector.upstream_proxy.is_none()
    }

    /// Without the checks, which the defaults pass.
    pub(super) fn assemble(self) -> ExactProxy {
        #[cfg(feature = "spawn")]
        let settings = self.clone();
        let (observers, listener) = self.observers();
        let limits = Arc::new(self.limits.within_reach());
        ExactProxy(Arc::new(Inner {
            #[cfg(feature = "spawn")]
            settings,
            pool: Arc::new(Pool::new(limits.clone(), listener)),
            observers,
            replaceable: self.replaceable,
            limits,
            connector: Arc::new(self.connector),
            keep_hop_by_hop: self.keep_hop_by_hop,
            replay: Arc::new(ReplayBudget::new(self.replay.per_request, self.replay.in_all)),
            retries: Retries::default(),
            chunked_requests: !self.without_chunks,
            #[cfg(feature = "http2")]
            versions: self.versions,
            #[cfg(feature = "http2")]
            origins: Arc::new(Origins::default()),
        }))
    }
}

impl ExactProxyBuilder {
    /// Who is told of exchanges, and who of the pool's connections.
    #[cfg(feature = "metrics")]
    fn observers(&self) -> (Option<Arc<Observers>>, Option<Listener>) {
        let (hook, listener) = (self.hook.clone(), self.listener.clone());
        let Some(name) = &self.metrics else {
            return (hook.map(|hook| Arc::new(Observers { hook: Some(hook), figures: None })), listener);
        };
        let figures = Arc::new(Figures::new(name));
        let counts = figures.clone();
        let listener: Listener = Arc::new(move |event| {
            counts.pool(event.change);
            if let Some(listener) = &listener {
                listener(event);
            }
        });
        (Some(Arc::new(Observers { hook, figures: Some(figures) })), Some(listener))
    }

    #[cfg(not(feature = "metrics"))]
    fn observers(&self) -> (Option<Arc<Observers>>, Option<Listener>) {
        (self.hook.clone().map(|hook| Arc::new(Observers { hook: Some(hook) })), self.listener.clone())
    }
}

impl fmt::Debug for ExactProxyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExactProxyBuilder").field("limits", &self.limits).finish_non_exhaustive()
    }
}
