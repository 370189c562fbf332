//! [`ProxyMiddleware`] and its builder.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use http::{
    HeaderName,
    uri::{Authority, Scheme},
};
use tower_layer::Layer;

use super::{
    log::Rate,
    overrides::{ForceHost, ForcedHost, Mount, MountPoint, read_scheme},
    service::ProxyMiddlewareService,
    told::RestoredHeaders,
    trust::Trust,
    verify::Verifiers,
};
use crate::{
    error::ConfigError,
    message::target::is_host,
    protocol::{ForwardedHeaders, carry::CarriedKeys},
};

/// Restores the client's view of a request behind a trusted proxy, and removes untrusted forwarding headers.
///
/// It reads one set of [`ForwardedHeaders`] ([by default](ProxyMiddlewareBuilder::read_headers) the one that fits the
/// trust policy) from senders that [`Trust`] admits (default: none). The [module](super) documents what the application
/// receives.
///
/// # Errors
/// A refused request does not reach the application. The response has a status, no body, and the
/// [`Error`](crate::Error) in its extensions:
///
/// | [`ErrorKind`](crate::ErrorKind) | status | cause |
/// |---|---|---|
/// | `InvalidTarget` | 400 | no, several or an invalid `Host`; a target in a form that the method does not have; an invalid value in a trusted header (scheme, host, port, prefix, carried key); a path or query without the part that is to be removed from it |
/// | `RequestBody` | 400 | `Transfer-Encoding` together with `Content-Length`, or several lengths that differ; the connection is closed |
/// | `Signature`, `Denied` | 403 | the trust policy contains a signature, and the request does not fulfil the policy |
/// | `RequestTimeout` | 408 | a signed body that is verified before the application runs did not arrive within the [timeout](ProxyMiddlewareBuilder::body_timeout) |
/// | `Misdirected` | 421 | the host is not [allowed](ProxyMiddlewareBuilder::allowed_hosts); or `https` on a connection that [`serve`](crate::serve()) accepted in clear text, from an untrusted sender (RFC 9110 §7.4) |
/// | `Unsupported` | 501 | a transfer coding other than `chunked` |
/// | `Unavailable` | 503 | the replay memory for signatures is full, or did not answer within 10 s |
///
/// # Deployment
/// A trusted peer must remove or overwrite the forwarding headers of the set that this layer reads, and the identity
/// headers, in the requests of its own clients.
#[doc(alias = "trusted proxies")]
#[doc(alias = "x-forwarded-for")]
#[doc(alias = "real ip")]
#[doc(alias = "proxy headers")]
#[derive(Clone, Debug)]
pub struct ProxyMiddleware {
    config: Arc<Config>,
}

/// Builds a [`ProxyMiddleware`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ProxyMiddlewareBuilder {
    trust: Trust,
    read_headers: Option<ForwardedHeaders>,
    restore: RestoredHeaders,
    carried: CarriedKeys,
    allowed_hosts: Option<Vec<String>>,
    identity_headers: Vec<HeaderName>,
    mount: Option<Mount>,
    scheme: Option<String>,
    force_host: Option<ForceHost>,
    accept_unsigned: bool,
    body_timeout: Option<Duration>,
    #[cfg(feature = "axum")]
    connect_info: bool,
}

/// What every request is held against.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) trust: Trust,
    pub(super) verifiers: Verifiers,
    pub(super) accept_unsigned: bool,
    pub(super) body_timeout: Option<Duration>,
    pub(super) read_headers: ForwardedHeaders,
    pub(super) restore: RestoredHeaders,
    pub(super) carried: CarriedKeys,
    pub(super) allowed_hosts: Option<Vec<HostPattern>>,
    pub(super) identity_headers: Vec<HeaderName>,
    pub(super) mount: MountPoint,
    pub(super) scheme: Option<Scheme>,
    pub(super) force_host: ForcedHost,
    #[cfg(feature = "axum")]
    pub(super) connect_info: bool,
    pub(super) ignored: Rate,
    pub(super) refused: Rate,
    /// Set once it was logged that a trusted sender sends another set of forwarding headers than the one that is read.
    pub(super) other_set: AtomicBool,
}

impl ProxyMiddleware {
    /// Returns a builder for a layer that trusts no sender by default.
    pub fn builder() -> ProxyMiddlewareBuilder {
        ProxyMiddlewareBuilder::default()
    }
}

impl<S> Layer<S> for ProxyMiddleware {
    type Service = ProxyMiddlewareService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ProxyMiddlewareService::new(inner, Arc::clone(&self.config))
    }
}

// === impl ProxyMiddlewareBuilder ===

impl Default for ProxyMiddlewareBuilder {
    fn default() -> Self {
        Self {
            trust: Trust::default(),
            read_headers: None,
            restore: RestoredHeaders::default(),
            carried: CarriedKeys::default(),
            allowed_hosts: None,
            identity_headers: Vec::new(),
            mount: None,
            scheme: None,
            force_host: None,
            accept_unsigned: false,
            body_timeout: Some(Duration::from_secs(60)),
            #[cfg(feature = "axum")]
            connect_info: false,
        }
    }
}

impl ProxyMiddlewareBuilder {
    /// Sets the trust policy: whose forwarding headers are applied. Default: [`Trust::none`].
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Sets the one set of forwarding headers to read. The headers of the other sets are removed unread. Default:
    /// [`ForwardedHeaders::WsgiProxy`] if the trust policy contains a signature, which only programs that speak this
    /// protocol make; otherwise [`ForwardedHeaders::XForwarded`], which most other proxies write.
    ///
    /// The headers of a request never determine which set is read. If a trusted sender sends headers of other sets but
    /// none of the set that is read, a warning is logged, once per layer.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use nexthop::{
    ///     Body, ProxyMiddleware,
    ///     ext::{OriginalRequest, PeerAddr},
    ///     middleware::Trust,
    ///     protocol::ForwardedHeaders,
    /// };
    /// use tower::{Layer, ServiceExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), nexthop::BoxError> {
    /// let app = tower::service_fn(async |request: Request<Body>| {
    ///     let original = request.extensions().get::<OriginalRequest>();
    ///     let scheme = original.expect("inserted by the layer").scheme().to_string();
    ///     Ok::<_, std::convert::Infallible>(Response::new(scheme))
    /// });
    /// let ask = || {
    ///     let request = Request::get("/").header("host", "app.example");
    ///     let request = request.header("x-forwarded-proto", "https");
    ///     let request = request.header("forwarded", "for=192.0.2.7;proto=http");
    ///     let peer = PeerAddr::Tcp("127.0.0.1:4711".parse().expect("an address")); // inserted by `serve`
    ///     request.extension(peer).body(Body::empty())
    /// };
    /// let layer = ProxyMiddleware::builder().trust(Trust::peers(["loopback"])?);
    /// let by_default = layer.clone().build()?;
    /// assert_eq!(by_default.layer(app).oneshot(ask()?).await?.body(), "https");
    /// let rfc7239 = layer.read_headers(ForwardedHeaders::Rfc7239).build()?;
    /// assert_eq!(rfc7239.layer(app).oneshot(ask()?).await?.body(), "http");
    /// # Ok(()) }
    /// ```
    #[doc(alias = "x-forwarded-for")]
    #[doc(alias = "x-forwarded-proto")]
    #[doc(alias = "forwarded")]
    pub const fn read_headers(mut self, read_headers: ForwardedHeaders) -> Self {
        self.read_headers = Some(read_headers);
        self
    }

    /// Sets which headers of a trusted *peer* are applied. Default: [`RestoredHeaders::default`], the client and the
    /// scheme.
    ///
    /// Of a request with a trusted signature, all headers that the signature covers are applied.
    pub const fn restore(mut self, restore: RestoredHeaders) -> Self {
        self.restore = restore;
        self
    }

    /// Sets the carried keys that are restored into the request's extensions, if a trusted peer sent them or a
    /// signature covers them. Default: none.
    pub fn carried(mut self, keys: CarriedKeys) -> Self {
        self.carried = keys;
        self
    }

    /// Sets the hosts that are served, restored or not: `example.com` (any port), `example.com:8443`, `*.example.com`
    /// (any subdomain, not `example.com` itself). Default: all. An empty list allows none.
    ///
    /// Requests for other hosts are answered with 421: the server is not authoritative for them (RFC 9110 §7.4).
    #[doc(alias = "trusted hosts")]
    #[doc(alias = "421")]
    pub fn allowed_hosts<I>(mut self, hosts: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.allowed_hosts = Some(hosts.into_iter().map(Into::into).collect());
        self
    }

    /// Adds identity headers: headers that name a user, and that are removed unless a trusted peer sent them. Default:
    /// the [built-in list](crate::protocol#identity-headers), which always applies. Repeated calls add names.
    #[doc(alias = "remote-user")]
    #[doc(alias = "x-real-ip")]
    pub fn identity_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.identity_headers.extend(names);
        self
    }

    /// Sets the path prefix that the client's path began with and that the front end removed: with `/bar`, a request
    /// for `/foo` was one for `/bar/foo`. Replaces a prefix that a trusted hop names, and an earlier
    /// [`pop_prefix`](Self::pop_prefix). Default: none.
    #[doc(alias = "SCRIPT_NAME")]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.mount = Some(Mount::Prefix(prefix.into()));
        self
    }

    /// Sets the path prefix that the request's path still begins with: it is removed from the path and appended to a
    /// prefix that a trusted hop names. Requests for other paths are answered with 400. Replaces an earlier
    /// [`prefix`](Self::prefix). Default: none.
    #[doc(alias = "SCRIPT_NAME")]
    pub fn pop_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.mount = Some(Mount::PopPrefix(prefix.into()));
        self
    }

    /// Sets the scheme of the clients' requests, `http` or `https`. Default: the scheme that a trusted sender reports,
    /// otherwise `https` if the acceptor terminated TLS ([`ext::OverTls`](crate::ext::OverTls)), otherwise `http`.
    ///
    /// This setting overrides every other source. The `:scheme` of an HTTP/2 request is never used, because any client
    /// can write it.
    #[doc(alias = "x-forwarded-proto")]
    pub fn scheme(mut self, scheme: impl Into<String>) -> Self {
        self.scheme = Some(scheme.into());
        self
    }

    /// Sets the host, the port or both that the application sees, regardless of the request. Default: those of the
    /// request, as restored.
    #[doc(alias = "host")]
    #[doc(alias = "domain")]
    #[doc(alias = "port")]
    pub fn force_host(mut self, force: ForceHost) -> Self {
        self.force_host = Some(force);
        self
    }

    /// Accepts requests without a signature, untrusted, although the trust policy contains a signature. Default: they
    /// are refused (403).
    ///
    /// A signature that is present must still be valid.
    ///
    /// Dangerous: the signature no longer protects the application from clients that bypass the front end.
    pub const fn dangerous_accept_unsigned(mut self) -> Self {
        self.accept_unsigned = true;
        self
    }

    /// Sets the timeout for reading a signed body that is verified before the application runs (at most 64 KiB).
    /// Default: 60 s. `None` disables it.
    pub fn body_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.body_timeout = limit.into();
        self
    }

    /// Uses axum's `ConnectInfo<SocketAddr>` as the socket's peer if a request has no
    /// [`PeerAddr`](crate::ext::PeerAddr), as behind `axum::serve` with `into_make_service_with_connect_info`. Default:
    /// off.
    ///
    /// Use it only if no layer in front changes `ConnectInfo`. The first `ProxyMiddleware` that a request passes
    /// inserts the `PeerAddr` before it restores anything, so a restored client address is never taken for the peer.
    #[doc(alias = "ConnectInfo")]
    #[cfg(feature = "axum")]
    pub const fn peer_from_connect_info(mut self) -> Self {
        self.connect_info = true;
        self
    }

    /// Checks the settings and returns the layer.
    ///
    /// # Errors
    /// * [`ConfigError::Invalid`], with the text: a host, scheme, port or prefix.
    /// * [`ConfigError::Conflict`]: several signatures of the same kind in the trust policy, or accepting unsigned
    ///   requests while the policy contains no signature.
    pub fn build(self) -> Result<ProxyMiddleware, ConfigError> {
        let verifiers = self.trust.read_verifiers()?;
        if self.accept_unsigned && verifiers.is_empty() {
            return Err(ConfigError::conflict("dangerous_accept_unsigned", "the trust policy contains no signature"));
        }
        let by_policy = if verifiers.is_empty() { ForwardedHeaders::XForwarded } else { ForwardedHeaders::WsgiProxy };
        let hosts = self.allowed_hosts.map(|hosts| hosts.iter().map(|text| HostPattern::read(text)).collect());
        let config = Config {
            verifiers,
            accept_unsigned: self.accept_unsigned,
            body_timeout: self.body_timeout,
            trust: self.trust,
            read_headers: self.read_headers.unwrap_or(by_policy),
            restore: self.restore,
            carried: self.carried,
            allowed_hosts: hosts.transpose()?,
            identity_headers: self.identity_headers,
            mount: MountPoint::read(self.mount.as_ref())?,
            scheme: self.scheme.as_deref().map(read_scheme).transpose()?,
            force_host: ForcedHost::read(self.force_host.as_ref())?,
            #[cfg(feature = "axum")]
            connect_info: self.connect_info,
            ignored: Rate::default(),
            refused: Rate::default(),
            other_set: AtomicBool::new(false),
        };
        Ok(ProxyMiddleware { config: Arc::new(config) })
    }
}

/// One entry of the list of allowed hosts.
#[derive(Debug)]
pub(crate) struct HostPattern {
    name: String,
    /// Stands for the names below `name`, and not for itself.
    below: bool,
    port: Option<u16>,
}

impl HostPattern {
    pub(crate) fn read(text: &str) -> Result<Self, ConfigError> {
        let (host, below) = text.strip_prefix("*.").map_or((text, false), |rest| (rest, true));
        let read =
            if is_host(host.as_bytes()) && !host.starts_with('.') { host.parse::<Authority>().ok() } else { None };
        let Some(authority) = read else {
            return Err(ConfigError::invalid(
                "allowed host",
                text,
                "expected a host (example.com, *.example.com, example.com:8443)",
            ));
        };
        Ok(Self { name: authority.host().to_owned(), below, port: authority.port_u16() })
    }

    pub(crate) fn matches(&self, host: &Authority, port: u16) -> bool {
        if self.port.is_some_and(|own| own != port) {
            return false;
        }
        let host = host.host().as_bytes();
        let Some((before, name)) = host.len().checked_sub(self.name.len()).and_then(|at| host.split_at_checked(at))
        else {
            return false;
        };
        let place = if self.below { before.len() > 1 && before.ends_with(b".") } else { before.is_empty() };
        place && name.eq_ignore_ascii_case(self.name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names_names_below_and_ports() {
        let matches = |pattern: &str, host: &str| {
            HostPattern::read(pattern)
                .unwrap()
                .matches(&host.parse().unwrap(), host.parse::<Authority>().unwrap().port_u16().unwrap_or(80))
        };
        assert!(matches("example.com", "Example.COM:81"));
        assert!(matches("example.com:80", "example.com"));
        assert!(!matches("example.com:8443", "example.com"));
        assert!(matches("*.example.com", "a.b.example.com"));
        assert!(!matches("*.example.com", "example.com"));
        assert!(!matches("*.example.com", "evilexample.com"));
        assert!(!matches("example.com", "evil-example.com"));
        assert!(!matches("example.com", "www.example.com"));
        assert!(matches("[::1]", "[::1]:8080"));
        for text in ["", "*", "*.", "*example.com", ".example.com", "a b", "http://a", "*.*.a", "a:b"] {
            assert!(HostPattern::read(text).is_err_and(|error| error.to_string().contains(text)), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let fails = |builder: ProxyMiddlewareBuilder, text: &str| {
            let error = builder.build().unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        };
        let new = ProxyMiddleware::builder;
        fails(new().prefix("/a/../b"), "/a/../b");
        fails(new().pop_prefix(""), "pop_prefix");
        fails(new().scheme("gopher"), "gopher");
        fails(new().force_host(ForceHost::Host("example.com".into())), "no port");
        fails(new().force_host(ForceHost::Domain("example.com:80".into())), "example.com:80");
        fails(new().force_host(ForceHost::Domain("u@h".into())), "u@h");
        fails(new().force_host(ForceHost::Port(0)), "0");
        fails(new().allowed_hosts(["good.example", "b@d"]), "b@d");
        fails(new().dangerous_accept_unsigned(), "no signature");
    }
}
