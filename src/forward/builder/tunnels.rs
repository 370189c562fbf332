//! Settings of tunnels, and of what is served inside.

use std::{sync::Arc, time::Duration};

#[cfg(feature = "intercept")]
use super::DownloadHost;
use super::ForwardProxyBuilder;
use crate::forward::{
    mismatch::HostMismatchPolicy,
    policy::{ConnectAction, ConnectRequest, DetectedProtocol, Policy},
};

impl ForwardProxyBuilder {
    /// What is done with each `CONNECT`, by a function that must not block. Default: [`ConnectAction::Tunnel`] for all, within
    /// [`connect_ports`](Self::connect_ports) and the [dial policy](Self::dial_policy); [`ConnectAction::Intercept`] for hosts of the proxy's own.
    ///
    /// Requests by a whole URL need no `CONNECT`: they are for [`Access::function`](super::Access::function) or
    /// [`Resolver::function`](super::Resolver::function) to look at.
    ///
    /// ```
    /// use nexthop::{ForwardProxy, forward::ConnectAction};
    ///
    /// let layer = ForwardProxy::builder()
    ///     .on_connect(|connect| match connect.host() {
    ///         host if host.ends_with(".internal") => ConnectAction::Deny,
    ///         _ => ConnectAction::Tunnel,
    ///     })
    ///     .build()?;
    /// # Ok::<(), nexthop::ConfigError>(())
    /// ```
    pub fn on_connect(mut self, decide: impl Fn(&ConnectRequest<'_>) -> ConnectAction + Send + Sync + 'static) -> Self {
        let mut policy = self.policy.take().unwrap_or_else(|| Policy::always(ConnectAction::Tunnel));
        policy.on_connect = Arc::new(decide);
        self.policy = Some(policy);
        self
    }

    /// What is done after [`ConnectAction::Peek`], by a function that must not block; where it says `Peek` again, the tunnel ends. Without a
    /// function for [`CONNECT`](Self::on_connect), every tunnel is peeked into. Default: HTTP and TLS are intercepted, anything else ends.
    ///
    /// ```
    /// use nexthop::{
    ///     ForwardProxy,
    ///     forward::{ConnectAction, DetectedProtocol},
    /// };
    ///
    /// let layer = ForwardProxy::builder()
    ///     .on_detected(|connect, opening| match opening {
    ///         DetectedProtocol::Tls(hello) if hello.server_name() == Some("bank.example") => ConnectAction::Tunnel,
    ///         DetectedProtocol::Tls(_) | DetectedProtocol::Http => ConnectAction::Intercept,
    ///         DetectedProtocol::Silent if connect.port() == 22 => ConnectAction::Tunnel, // the server speaks first
    ///         _ => ConnectAction::Deny,
    ///     })
    ///     .build()?;
    /// # Ok::<(), nexthop::ConfigError>(())
    /// ```
    pub fn on_detected(
        mut self,
        decide: impl Fn(&ConnectRequest<'_>, &DetectedProtocol) -> ConnectAction + Send + Sync + 'static,
    ) -> Self {
        let mut policy = self.policy.take().unwrap_or_else(|| Policy::always(ConnectAction::Peek));
        policy.on_detected = Arc::new(decide);
        self.policy = Some(policy);
        self
    }

    /// The ports that `CONNECT` may name: 80, 443 and 8443. Others are denied (403) before anything is decided; `None` allows all,
    /// also those on which mail and the like is spoken. A request by a whole URL may name any port.
    pub fn connect_ports(mut self, ports: impl Into<Option<Vec<u16>>>) -> Self {
        self.ports = ports.into();
        self
    }

    /// Which host a request inside a tunnel is for, where the client names several: none, 421 ([`HostMismatchPolicy::Strict`]).
    pub fn host_mismatch(mut self, mismatch: HostMismatchPolicy) -> Self {
        self.mismatch = mismatch;
        self
    }

    /// How long a tunnel that is peeked into may be silent before that is what is decided on: 2 s.
    pub fn peek_timeout(mut self, limit: Duration) -> Self {
        self.peek_timeout = limit;
        self
    }

    /// How long a client may take from the answer to its `CONNECT` to the end of its TLS handshake, or to its first request: 10 s. Then
    /// the tunnel ends.
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.handshake_timeout = limit;
        self
    }

    /// How long the inside of a tunnel that is served may wait for a request's whole head, from the end of its handshake or of the last
    /// response: 30 s. Then the tunnel ends, so this is its keep-alive timeout, too. `None` is forever. The server's own
    /// [limit](crate::serve::Serve::header_timeout) does not count inside tunnels.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use nexthop::ForwardProxy;
    ///
    /// let patient = ForwardProxy::builder().header_timeout(Duration::from_secs(300)).write_timeout(None).build()?;
    /// # Ok::<(), nexthop::ConfigError>(())
    /// ```
    pub fn header_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.header_timeout = limit.into();
        self
    }

    /// How long the client of such a tunnel may take nothing of what is being written to it: 60 s. `None` is forever, as far as the server's
    /// own [limit](crate::serve::Serve::write_timeout) allows, which holds for what carries the tunnel.
    pub fn write_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.write_timeout = limit.into();
        self
    }

    /// How long the line and the fields of a request inside such a tunnel may be: 64 KiB, as [outside](crate::serve::Serve::max_head_bytes),
    /// whose setting does not count here. A longer one is answered 431. Of that, a target may have 16 KiB (414).
    ///
    /// ```
    /// use nexthop::ForwardProxy;
    ///
    /// let roomy = ForwardProxy::builder().max_head_bytes(256 * 1024).build()?;
    /// assert!(ForwardProxy::builder().max_head_bytes(0).build().is_err());
    /// # let _ = roomy;
    /// # Ok::<(), nexthop::ConfigError>(())
    /// ```
    pub fn max_head_bytes(mut self, limit: usize) -> Self {
        self.max_head_bytes = Some(limit);
        self
    }

    /// How many tunnels may be open at once: 10,000. Another `CONNECT` is `Unavailable` (503).
    pub fn max_tunnels(mut self, tunnels: usize) -> Self {
        self.max_tunnels = tunnels;
        self
    }

    /// The same for one client, by its address (in IPv6 by the network of 64 bits, but on a link): 1,000.
    pub fn max_tunnels_per_client(mut self, tunnels: usize) -> Self {
        self.max_tunnels_per_client = tunnels;
        self
    }

    /// The authority that TLS in tunnels is ended by: none. With one, the default for each `CONNECT` is [`ConnectAction::Intercept`].
    ///
    /// Whoever has the authority's key can be every server towards the clients that trust it: keep it as you keep such a thing.
    #[cfg(feature = "intercept")]
    pub fn certificate_authority(mut self, authority: crate::ca::CertificateAuthority) -> Self {
        self.authority = Some(authority);
        self
    }

    /// The host where clients get the authority's certificate (never its key): the [proxy's own](Self::proxy_host), through the proxy alone,
    /// by `http` or `https`. There is a page for people at `/`, and the certificate at `/download/pem`, `/download/cer` and, with the feature
    /// `pkcs12`, `/download/p12`. Other paths of the proxy's own host are as they would be; another host has no other. With `None`, it is to
    /// be had nowhere.
    ///
    /// ```
    /// use nexthop::{ForwardProxy, ca::CertificateAuthority};
    ///
    /// let authority = CertificateAuthority::builder().build()?;
    /// let layer = ForwardProxy::builder().certificate_authority(authority).download_host("ca.internal").build()?;
    /// # Ok::<(), nexthop::ConfigError>(())
    /// ```
    #[cfg(feature = "intercept")]
    pub fn download_host<'a>(mut self, host: impl Into<Option<&'a str>>) -> Self {
        self.download_host = host.into().map_or(DownloadHost::Nowhere, |host| DownloadHost::Named(host.to_owned()));
        self
    }

    /// Calls `hook` where a client breaks TLS off: it does not trust the authority, insists on a certificate that it knows, or is refused by
    /// [`max_new_hosts`](Self::max_new_hosts). It must not block. A program may remember the host and make it a [`ConnectAction::Tunnel`] the
    /// next time.
    #[cfg(feature = "intercept")]
    pub fn on_handshake_failure(
        mut self,
        hook: impl Fn(&ConnectRequest<'_>, &crate::Error) + Send + Sync + 'static,
    ) -> Self {
        self.on_handshake_failure = Some(Arc::new(hook));
        self
    }

    /// How many new hosts one client may have certificates made for: 1,000 at once, and as many in an hour. A tunnel to another one ends.
    /// `None` is no limit.
    #[cfg(feature = "intercept")]
    pub fn max_new_hosts(mut self, hosts_per_hour: impl Into<Option<u32>>) -> Self {
        self.new_hosts = hosts_per_hour.into();
        self
    }
}
