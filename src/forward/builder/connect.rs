//! Settings of a forward proxy: its clients, `CONNECT` and interception.

use std::sync::Arc;

#[cfg(feature = "intercept")]
use super::DownloadHost;
use super::ForwardProxyBuilder;
use crate::forward::{
    access::Access,
    mismatch::HostMismatchPolicy,
    policy::{ConnectAction, ConnectRequest, DetectedProtocol, Policy},
};

impl ForwardProxyBuilder {
    /// Sets which clients may use the proxy. Default: programs on the same machine ([`Access::loopback`]). Other
    /// clients are answered with 403, or with 407 if credentials would help.
    #[doc(alias = "proxy authentication")]
    #[doc(alias = "allowlist")]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Sets the realm that `Proxy-Authenticate` names in a 407 (RFC 7617 §2). Default: `proxy`. Only printable ASCII
    /// without quotation marks and backslashes is allowed.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self
    }

    // --- CONNECT ---

    /// Sets the function that decides on each `CONNECT`. The function must not block.
    ///
    /// Default: [`ConnectAction::Intercept`] for the [proxy host](Self::proxy_host), its [aliases](Self::host_alias)
    /// and [apps](Self::app). For other hosts, `Intercept` if a `certificate_authority` is set (feature `intercept`),
    /// else [`ConnectAction::Tunnel`]. [`connect_ports`](Self::connect_ports) and [`dial_policy`](Self::dial_policy)
    /// apply in addition.
    ///
    /// A request with an absolute URL needs no `CONNECT`. To filter such requests, use
    /// [`Access::function`] or [`Resolver::function`](crate::forward::Resolver::function).
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

    /// Sets the function that decides on a tunnel after [`ConnectAction::Peek`], by the client's first bytes. The
    /// function must not block. If the function returns `Peek`, the tunnel is closed.
    ///
    /// Default: HTTP and TLS are intercepted; other tunnels are closed. If this function is set without
    /// [`on_connect`](Self::on_connect), every `CONNECT` is a `Peek`.
    ///
    /// ```
    /// use nexthop::{
    ///     ForwardProxy,
    ///     forward::{ConnectAction::*, DetectedProtocol::*},
    /// };
    ///
    /// let layer = ForwardProxy::builder()
    ///     .on_detected(|connect, protocol| match protocol {
    ///         Tls(hello) if hello.server_name() == Some("bank.example") => Tunnel,
    ///         Tls(_) | Http => Intercept,
    ///         Silent if connect.port() == 22 => Tunnel, // the server speaks first
    ///         _ => Deny,
    ///     })
    ///     .build()?;
    /// # Ok::<(), nexthop::ConfigError>(())
    /// ```
    #[doc(alias = "protocol detection")]
    pub fn on_detected(
        mut self,
        decide: impl Fn(&ConnectRequest<'_>, &DetectedProtocol) -> ConnectAction + Send + Sync + 'static,
    ) -> Self {
        let mut policy = self.policy.take().unwrap_or_else(|| Policy::always(ConnectAction::Peek));
        policy.on_detected = Arc::new(decide);
        self.policy = Some(policy);
        self
    }

    /// Sets the ports that `CONNECT` may name. Default: 80, 443 and 8443. `None` allows all ports, including those of
    /// mail servers.
    ///
    /// A `CONNECT` to another port is answered with 403 before [`on_connect`](Self::on_connect) is called. An absolute
    /// URL may name any port.
    pub fn connect_ports(mut self, ports: impl Into<Option<Vec<u16>>>) -> Self {
        self.ports = ports.into();
        self
    }

    /// Sets which host counts if `CONNECT`, SNI and `Host` differ inside a tunnel. Default: none of them; the request
    /// is answered with 421 ([`HostMismatchPolicy::Strict`]).
    #[doc(alias = "sni")]
    #[doc(alias = "domain fronting")]
    pub fn host_mismatch(mut self, policy: HostMismatchPolicy) -> Self {
        self.mismatch = policy;
        self
    }

    // --- Interception ---

    /// Sets the certificate authority (CA) that issues certificates to intercept TLS. Default: none, and TLS is not
    /// intercepted. With a CA, the default for each `CONNECT` is [`ConnectAction::Intercept`].
    ///
    /// Certificates have ECDSA keys on the curve P-256. Clients without ECDSA cannot be intercepted, and neither can
    /// hosts that are not valid in a certificate, such as those with a label that begins or ends with a hyphen
    /// (`a-.example.com`): their handshake fails, and a warning names the host, at most once per minute. To reach such
    /// a host, return [`ConnectAction::Tunnel`] from [`on_connect`](Self::on_connect).
    ///
    /// # Deployment
    /// Anyone who has the CA's private key can impersonate any server to the clients that trust the CA. Protect the key
    /// accordingly.
    #[cfg(feature = "intercept")]
    #[doc(alias = "mitm")]
    #[doc(alias = "root certificate")]
    pub fn certificate_authority(mut self, authority: crate::ca::CertificateAuthority) -> Self {
        self.authority = Some(authority);
        self
    }

    /// Sets the host at which clients download the certificate of the CA (never its key). Default: the
    /// [proxy host](Self::proxy_host). `None` disables the download.
    ///
    /// The host is reachable through the proxy only, by `http` or `https`:
    ///
    /// | path | content |
    /// |---|---|
    /// | `/` | a page with the fingerprint and installation instructions |
    /// | `/download/pem` | the certificate as PEM |
    /// | `/download/cer` | the certificate as DER |
    /// | `/download/p12` | the certificate as PKCS #12 (feature `pkcs12`) |
    ///
    /// On the proxy host, requests to `/` and below `/download/` are answered by the download, all others as without
    /// it. On any other host, other paths are answered with 404.
    ///
    /// ```
    /// use nexthop::{ForwardProxy, ca::CertificateAuthority};
    ///
    /// let layer = ForwardProxy::builder()
    ///     .certificate_authority(CertificateAuthority::builder().build()?)
    ///     .download_host("ca.internal")
    ///     .build()?;
    /// # Ok::<(), nexthop::ConfigError>(())
    /// ```
    #[cfg(feature = "intercept")]
    pub fn download_host<'a>(mut self, host: impl Into<Option<&'a str>>) -> Self {
        self.download_host = host.into().map_or(DownloadHost::Nowhere, |host| DownloadHost::Named(host.to_owned()));
        self
    }
}
