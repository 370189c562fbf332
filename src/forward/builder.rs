//! [`ForwardProxyBuilder`]: settings of a forward proxy.

// rustdoc lists methods in this order: those of `connect`, those of `upstream`, those below.
mod connect;
mod upstream;

#[cfg(feature = "intercept")]
use std::sync::Arc;
use std::{fmt, net::SocketAddr, time::Duration};

#[cfg(feature = "intercept")]
use super::policy::ConnectRequest;
use super::{
    access::Access, apps::App, build, layer::ForwardProxy, mismatch::HostMismatchPolicy, policy::Policy,
    resolver::Resolver,
};
use crate::{app::Via, error::ConfigError, exact::ExactProxy, ext::DialPolicy};

/// Builds a [`ForwardProxy`]. Every default is safe on a machine that others can reach.
///
/// "Intercepted tunnel" in the settings below means a tunnel that the proxy serves itself, with or without TLS
/// ([`ConnectAction::Intercept`](super::ConnectAction::Intercept)).
#[derive(Clone)]
#[must_use]
pub struct ForwardProxyBuilder {
    pub(super) access: Access,
    pub(super) realm: String,
    pub(super) resolver: Resolver,
    pub(super) local_hosts: Vec<String>,
    pub(super) proxy_host: String,
    pub(super) apps: Vec<(String, Option<App>)>,
    pub(super) websockets: bool,
    pub(super) verbose_errors: bool,
    pub(super) via: Via,
    pub(super) dial_policy: Option<DialPolicy>,
    pub(super) own_addresses: Vec<SocketAddr>,
    pub(super) client: Option<ExactProxy>,
    pub(super) policy: Option<Policy>,
    pub(super) ports: Option<Vec<u16>>,
    pub(super) mismatch: HostMismatchPolicy,
    pub(super) peek_timeout: Duration,
    pub(super) handshake_timeout: Duration,
    pub(super) header_timeout: Option<Duration>,
    pub(super) write_timeout: Option<Duration>,
    /// `None`: the default of the server.
    pub(super) max_head_bytes: Option<usize>,
    pub(super) max_tunnels: usize,
    pub(super) max_tunnels_per_client: usize,
    #[cfg(feature = "intercept")]
    pub(super) new_hosts: Option<u32>,
    #[cfg(feature = "intercept")]
    pub(super) authority: Option<crate::ca::CertificateAuthority>,
    #[cfg(feature = "intercept")]
    pub(super) download_host: DownloadHost,
    #[cfg(feature = "intercept")]
    pub(super) on_handshake_failure: Option<super::layer::OnHandshakeFailure>,
}

/// Where the authority's certificate is to be had.
#[cfg(feature = "intercept")]
#[derive(Clone)]
pub(super) enum DownloadHost {
    ProxyHost,
    Named(String),
    Nowhere,
}

impl Default for ForwardProxyBuilder {
    fn default() -> Self {
        Self {
            access: Access::default(),
            realm: "proxy".to_owned(),
            resolver: Resolver::default(),
            local_hosts: Vec::new(),
            proxy_host: "nexthop".to_owned(),
            apps: Vec::new(),
            websockets: true,
            verbose_errors: false,
            via: Via::default(),
            dial_policy: Some(DialPolicy::public()),
            own_addresses: Vec::new(),
            client: None,
            policy: None,
            ports: Some(vec![80, 443, 8443]),
            mismatch: HostMismatchPolicy::default(),
            peek_timeout: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Some(Duration::from_secs(30)),
            write_timeout: Some(Duration::from_secs(60)),
            max_head_bytes: None,
            max_tunnels: 10_000,
            max_tunnels_per_client: 1_000,
            #[cfg(feature = "intercept")]
            new_hosts: Some(1_000),
            #[cfg(feature = "intercept")]
            authority: None,
            #[cfg(feature = "intercept")]
            download_host: DownloadHost::ProxyHost,
            #[cfg(feature = "intercept")]
            on_handshake_failure: None,
        }
    }
}

impl ForwardProxyBuilder {
    // --- Limits ---

    /// Sets the maximum number of open tunnels. Default: 10,000. A `CONNECT` beyond it is answered with 503
    /// (`Unavailable`).
    #[doc(alias = "connection limit")]
    pub fn max_tunnels(mut self, limit: usize) -> Self {
        self.max_tunnels = limit;
        self
    }

    /// Sets the maximum number of open tunnels per client. Default: 1,000. A `CONNECT` beyond it is answered with 503
    /// (`Unavailable`).
    ///
    /// A client is an IPv4 address, an IPv6 network of 64 bits (one address if loopback or link-local), or a user of a
    /// unix socket.
    #[doc(alias = "connection limit")]
    pub fn max_tunnels_per_client(mut self, limit: usize) -> Self {
        self.max_tunnels_per_client = limit;
        self
    }

    /// Sets the maximum number of certificates per hour that are created for the hosts of one client. Default: 1,000,
    /// all of which may be created at once. `None` disables the limit. Beyond it, the TLS handshake fails and the tunnel
    /// is closed.
    ///
    /// Hosts whose certificate is in the [cache](crate::ca::CertificateAuthorityBuilder::cache_capacity) are not
    /// counted, nor are the last 256 hosts that were counted for the client. A client is the same as for
    /// [`max_tunnels_per_client`](Self::max_tunnels_per_client).
    #[cfg(feature = "intercept")]
    #[doc(alias = "rate limit")]
    pub fn max_new_hosts(mut self, limit_per_hour: impl Into<Option<u32>>) -> Self {
        self.new_hosts = limit_per_hour.into();
        self
    }

    /// Sets the maximum size of a request's head (request line and headers) in an intercepted tunnel, in bytes.
    /// Default: 64 KiB. A larger head is answered with 431. The request target is limited to 16 KiB (414).
    ///
    /// The server's [`max_head_bytes`](crate::serve::Serve::max_head_bytes) does not apply inside tunnels.
    ///
    /// ```
    /// use nexthop::ForwardProxy;
    ///
    /// assert!(ForwardProxy::builder().max_head_bytes(256 * 1024).build().is_ok());
    /// assert!(ForwardProxy::builder().max_head_bytes(0).build().is_err());
    /// ```
    pub fn max_head_bytes(mut self, limit: usize) -> Self {
        self.max_head_bytes = Some(limit);
        self
    }

    // --- Timeouts ---

    /// Sets how long to wait for the client's first bytes after [`ConnectAction::Peek`](super::ConnectAction::Peek),
    /// before deciding with [`DetectedProtocol::Silent`](super::DetectedProtocol::Silent). Default: 2 s. The [handshake
    /// timeout](Self::handshake_timeout) applies, too.
    pub fn peek_timeout(mut self, timeout: Duration) -> Self {
        self.peek_timeout = timeout;
        self
    }

    /// Sets the time from the response to a `CONNECT` until the client's TLS handshake is complete or its first request
    /// begins. Default: 10 s. After it, the tunnel is closed. Does not apply to
    /// [`ConnectAction::Tunnel`](super::ConnectAction::Tunnel).
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Sets how long an intercepted tunnel may wait for a complete request head, from the end of the handshake or of
    /// the last response. Default: 30 s. `None` disables it. After it, the tunnel is closed: it is also the keep-alive
    /// timeout.
    ///
    /// The server's [`header_timeout`](crate::serve::Serve::header_timeout) does not apply inside tunnels.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use nexthop::ForwardProxy;
    ///
    /// let layer = ForwardProxy::builder()
    ///     .header_timeout(Duration::from_secs(300))
    ///     .write_timeout(None)
    ///     .build()?;
    /// # Ok::<(), nexthop::ConfigError>(())
    /// ```
    #[doc(alias = "keep-alive")]
    pub fn header_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.header_timeout = timeout.into();
        self
    }

    /// Sets how long a write to the client of an intercepted tunnel may stall. Default: 60 s. `None` disables it. After
    /// it, the tunnel is closed.
    ///
    /// The server's [`write_timeout`](crate::serve::Serve::write_timeout) applies to the connection that carries the
    /// tunnel, independently.
    pub fn write_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.write_timeout = timeout.into();
        self
    }

    // --- Errors and hooks ---

    /// Sets whether error responses contain all causes of an error, which may include addresses and host names.
    /// Default: false. The text of an error response always contains what failed and in which step, without addresses
    /// and names.
    #[doc(alias = "debug")]
    pub fn verbose_errors(mut self, verbose: bool) -> Self {
        self.verbose_errors = verbose;
        self
    }

    /// Sets a hook that is called if the TLS handshake with a client of an intercepted tunnel fails. Default: none. The
    /// hook must not block.
    ///
    /// The handshake fails if, for example, the client does not trust the CA, accepts only a certain certificate
    /// (pinning), or is beyond [`max_new_hosts`](Self::max_new_hosts). The hook can record the host, and
    /// [`on_connect`](Self::on_connect) can return [`ConnectAction::Tunnel`](super::ConnectAction::Tunnel) for the host
    /// from then on.
    #[cfg(feature = "intercept")]
    #[doc(alias = "certificate pinning")]
    pub fn on_handshake_failure(
        mut self,
        hook: impl Fn(&ConnectRequest<'_>, &crate::Error) + Send + Sync + 'static,
    ) -> Self {
        self.on_handshake_failure = Some(Arc::new(hook));
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    /// * [`ConfigError::Invalid`], with the offending text: a host, a prefix of the resolver, the realm, the name in
    ///   `Via`, or a limit or timeout of zero.
    /// * [`ConfigError::Conflict`]: [`local_hosts`](Self::local_hosts) without a wrapped application
    ///   ([`Resolver::direct`]).
    /// * [`ConfigError::Missing`]: no randomness for the name in `Via`.
    pub fn build(self) -> Result<ForwardProxy, ConfigError> {
        build::forward_proxy(self)
    }
}

impl fmt::Debug for ForwardProxyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardProxyBuilder")
            .field("access", &self.access)
            .field("resolver", &self.resolver)
            .finish_non_exhaustive()
    }
}
