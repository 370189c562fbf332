//! [`ExactProxyBuilder`]: limits, and what becomes of them.

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

/// Settings of an [`ExactProxy`]. Each has a default that suits a proxy in production.
///
/// Limits of time are [`Duration`]s, reset by progress, and turned off by `None`.
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
    /// Time to resolve, connect and shake hands: 10 s. After it, `Timeout` (504), retryable.
    pub fn connect_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.connect = limit.into();
        self
    }

    /// Time from the last byte of the request to the head of the response: 60 s. After it, `Timeout` (504).
    pub fn response_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.response_head = limit.into();
        self
    }

    /// Time without a frame of a body, each way: 60 s. After it, `RequestTimeout` (408) for the client's body, `Timeout` (504) for the
    /// upstream's; a response that has begun ends in an error. Event streams that are silent for longer need another limit, or none.
    pub fn body_idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.body_idle = limit.into();
        self
    }

    /// Time without a byte either way through a tunnel: 1 h, and no more than a minute once one side has ended. After it, and at most a
    /// quarter later, both its ends are closed. With `None`, tunnels last until both sides have ended.
    pub fn tunnel_idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.tunnel_idle = limit.into();
        self
    }

    /// How long the body of a request with `Expect: 100-continue` is held back for the upstream's word: 1 s, as RFC 9110 §10.1.1 allows.
    pub fn expect_continue_timeout(mut self, limit: Duration) -> Self {
        self.limits.expect_continue = limit;
        self
    }

    /// How long an unused connection is kept: 90 s. Less, where the upstream says so in `Keep-Alive`.
    pub fn pool_idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.pool_idle = limit.into();
        self
    }

    /// Unused connections kept to one destination: 128. By each thread, or in all with [`pool_max_connections`](Self::pool_max_connections).
    /// The one unused for the longest is closed for another. With 0, each connection serves one request.
    pub fn pool_max_idle(mut self, connections: usize) -> Self {
        self.limits.max_idle = connections;
        self
    }

    /// Unused connections kept to all destinations together: 1024. Counted, and closed, as for [`pool_max_idle`](Self::pool_max_idle).
    pub fn pool_max_idle_total(mut self, connections: usize) -> Self {
        self.limits.max_idle_total = connections;
        self
    }

    /// Requests that one connection of HTTP/1.1 serves: any number. Fewer, where the upstream says so in `Keep-Alive`.
    pub fn pool_max_requests(mut self, requests: u64) -> Self {
        self.limits.max_requests = Some(requests);
        self
    }

    /// Connections to one destination, whether being opened, in use (tunnels, too) or unused: any number.
    ///
    /// A request that finds all of them in use waits for one, or over HTTP/2 for a stream of one, first come, first served. Requests on
    /// several runtimes close and open connections for each other where they must, since a connection serves only the runtime that opened
    /// it. The pool then has one lock instead of one for each thread.
    pub fn pool_max_connections(mut self, connections: usize) -> Self {
        self.limits.max_connections = Some(connections);
        self
    }

    /// How long a request waits for one of [`pool_max_connections`](Self::pool_max_connections): 10 s. After it, `Unavailable` (503) in
    /// [`Phase::Queue`](crate::Phase::Queue), retryable.
    pub fn pool_wait_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.pool_wait = limit.into();
        self
    }

    /// How many requests wait for a connection to one destination: 1024. Another one is `Unavailable` (503) at once.
    pub fn pool_max_waiting(mut self, requests: usize) -> Self {
        self.limits.max_waiting = requests;
        self
    }

    /// Calls `listener` whenever something happens to a connection. It must neither block nor panic, for requests wait for it.
    ///
    /// ```
    /// use nexthop::ExactProxy;
    ///
    /// let proxy = ExactProxy::builder().on_pool_event(|event| println!("{:?}: {:?}", event.destination.host(), event.change)).build();
    /// # assert!(proxy.is_ok());
    /// ```
    pub fn on_pool_event(mut self, listener: impl Fn(&PoolEvent<'_>) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Calls `hook` at the end of each exchange, whatever ended it: for access logs and figures of one's own. It must not block, for the
    /// next request of the connection waits for it. A panic in it is caught and logged.
    ///
    /// ```
    /// use nexthop::ExactProxy;
    ///
    /// let proxy = ExactProxy::builder().on_exchange(|exchange| {
    ///     let (status, total) = (exchange.status.map_or(499, |status| status.as_u16()), exchange.timings.total);
    ///     println!("{} {} {status} {} bytes in {total:?}", exchange.method, exchange.uri.path(), exchange.received);
    /// });
    /// # assert!(proxy.build().is_ok());
    /// ```
    pub fn on_exchange(mut self, hook: impl Fn(&ExchangeSummary) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// Counts exchanges and connections through the `metrics` facade, labelled with this name of the proxy: nothing is counted. Which
    /// figures there are is said [there](crate::observe). They go to the recorder that is installed when
    /// [`build`](Self::build) is called.
    #[cfg(feature = "metrics")]
    pub fn metrics(mut self, name: impl Into<String>) -> Self {
        self.metrics = Some(name.into().into());
        self
    }

    /// Age after which a connection serves no other request: none.
    pub fn pool_max_age(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.max_age = limit.into();
        self
    }

    /// Bytes in the head of a response, and in its trailers: 64 KiB. A longer one is `Upstream` (502).
    pub fn max_response_head_bytes(mut self, bytes: usize) -> Self {
        self.limits.max_head = bytes;
        self
    }

    /// Bytes of a streamed request body that are kept until the response's head arrives, so that an idempotent request can be sent again
    /// after a pooled connection was lost: 64 KiB. A longer body is not sent again. With 0, none is kept.
    pub fn replay_max_bytes(mut self, bytes: usize) -> Self {
        self.replay.per_request = bytes;
        self
    }

    /// The same for all requests together, with what it costs to keep each frame: 16 MiB. While it is used up, streamed bodies are not kept
    /// and not sent again.
    pub fn replay_budget_bytes(mut self, bytes: usize) -> Self {
        self.replay.in_all = bytes;
        self
    }

    /// Whether bodies of unknown length are sent: true, in chunks over HTTP/1.1. Whoever names an upstream says by that that it takes them
    /// ([RFC 9112 §6.1]). For one of HTTP/1.0, which does not, say false: such requests are answered with `LengthRequired` (411), and
    /// nothing is sent.
    ///
    /// [RFC 9112 §6.1]: https://www.rfc-editor.org/rfc/rfc9112#section-6.1
    pub fn chunked_requests(mut self, chunked: bool) -> Self {
        self.without_chunks = !chunked;
        self
    }

    /// Which versions of HTTP are spoken with upstreams: [`HttpVersions::Auto`].
    #[cfg(feature = "http2")]
    pub fn http_versions(mut self, versions: HttpVersions) -> Self {
        self.versions = versions;
        self
    }

    /// How long an upstream may be silent on an HTTP/2 connection with open streams before it is asked whether it is still there: 20 s.
    /// It is asked once then, and while it stays silent again not before 5 minutes have passed, because gRPC servers take more for an
    /// attack.
    #[cfg(feature = "http2")]
    pub fn http2_ping_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.limits.http2.ping_interval = interval.into();
        self
    }

    /// How long it has to answer that: 10 s. After it, the connection is closed, and each request on it fails with `Upstream` (502).
    #[cfg(feature = "http2")]
    pub fn http2_ping_timeout(mut self, limit: Duration) -> Self {
        self.limits.http2.ping_timeout = limit;
        self
    }

    /// Bytes of one HTTP/2 response that may be on their way or not read yet: 512 KiB, from 65,535 to 20 MiB. The window of a connection is
    /// a hundred times that, for as many streams as are opened on it at the most, so that a client that does not read holds up no other.
    #[cfg(feature = "http2")]
    pub fn http2_stream_window_bytes(mut self, bytes: u32) -> Self {
        self.limits.http2.stream_window = bytes;
        self
    }

    /// Sends and returns the fields that concern one connection only (RFC 9110 §7.6.1) as they are, for a client that sets them itself.
    /// Framing fields are written anew all the same. A proxy must not do this: not the default.
    pub fn keep_hop_by_hop(mut self) -> Self {
        self.keep_hop_by_hop = true;
        self
    }

    /// Makes the service, with a pool of its own.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for a limit of 0 bytes, connections or uses, no time at all, or a window out of its range; [`ConfigError::Conflict`] for a dial policy
    /// that a connector of one's own would not ask.
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
                return Err(ConfigError::invalid(name, "0s", "no time at all; None turns the limit off"));
            }
        }
        if self.connector.custom.is_some() && self.connector.tcp.policy.is_some() {
            return Err(ConfigError::conflict(
                "connector, dial_policy",
                "a connector of one's own chooses its addresses itself",
            ));
        }
        if limits.max_head == 0 {
            return Err(ConfigError::invalid("max_response_head_bytes", "0", "no response has an empty head"));
        }
        #[cfg(feature = "http2")]
        limits.http2.check()?;
        if limits.max_connections == Some(0) {
            return Err(ConfigError::invalid("pool_max_connections", "0", "no request could ever be sent"));
        }
        if limits.max_requests == Some(0) {
            return Err(ConfigError::invalid("pool_max_requests", "0", "a connection serves one request at least"));
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
