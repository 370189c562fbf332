//! [`ProxyMiddleware`] and its builder.

use std::{sync::Arc, time::Duration};

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

/// Restores the client's view of a request that came through a proxy, and removes what nobody vouched for.
///
/// Reads one [`ForwardedHeaders`] of forwarding fields (`ForwardedHeaders::WsgiProxy` by default), if [`Trust`] allows (by default: nobody). See the
/// [module](super) for what the application sees.
///
/// # Errors
/// A refusal is a response without a body, with the [`Error`](crate::Error) in its extensions; the application does not run.
/// * 400 `InvalidTarget`: no, several or an invalid `Host`; a target in a form that its method does not have; a believed field whose value
///   cannot be (scheme, host, port, prefix, carried key); a path or query that does not have what was to be taken off it. 400 `RequestBody`: both
///   `Transfer-Encoding` and `Content-Length`, or several lengths.
/// * 403 `Signature` and `Denied`: the policy has a signature in it, and the request does not fulfil it.
/// * 408 `RequestTimeout`: a body that is checked before the application runs did not arrive in [time](ProxyMiddlewareBuilder::body_timeout).
/// * 421 `Misdirected`: the host is not in the list of allowed ones (RFC 9110 §7.4: the request came to a server that does not answer for
///   that origin; 400 would say that the request is malformed, which it is not); or it asks for `https` on a connection that
///   [`serve`](crate::serve()) accepted in clear text, and nobody who is trusted sent it (RFC 9110 §7.4).
/// * 503 `Unavailable`: the memory of seen signatures is full or out of reach.
///
/// # Deployment
/// A trusted peer must itself remove or overwrite the fields of this family that strangers send it.
#[derive(Clone, Debug)]
pub struct ProxyMiddleware {
    config: Arc<Config>,
}

/// Builds a [`ProxyMiddleware`]; see [`ProxyMiddleware::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ProxyMiddlewareBuilder {
    trust: Trust,
    family: ForwardedHeaders,
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
    pub(super) family: ForwardedHeaders,
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
}

impl ProxyMiddleware {
    /// A layer that believes nobody, until it is told otherwise.
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
            family: ForwardedHeaders::default(),
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
    /// Whom to believe. Default: [`Trust::none`].
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// The one family of fields that is read; those of the others are removed. Default: [`ForwardedHeaders::WsgiProxy`].
    pub const fn read_headers(mut self, family: ForwardedHeaders) -> Self {
        self.family = family;
        self
    }

    /// What a trusted *peer* is believed. Default: the client and the scheme. A signature is believed for all it covers.
    pub const fn restore(mut self, restore: RestoredHeaders) -> Self {
        self.restore = restore;
        self
    }

    /// The carried keys that are restored into the request's extensions, where a trusted peer sent them or a signature covers them. Default:
    /// none.
    pub fn carried(mut self, keys: CarriedKeys) -> Self {
        self.carried = keys;
        self
    }

    /// The hosts that are served, restored ones and others: `example.com` (any port), `example.com:8443`, `*.example.com` (any name below,
    /// not itself). Others are answered with 421. Default: all. An empty list allows none.
    pub fn allowed_hosts<I>(mut self, hosts: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.allowed_hosts = Some(hosts.into_iter().map(Into::into).collect());
        self
    }

    /// Further fields that name a user or otherwise vouch for something, and are removed where nobody vouches for them. The
    /// [built-in list](crate::protocol::names::is_identity) stays.
    pub fn identity_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.identity_headers.extend(names);
        self
    }

    /// Sets the path prefix that the client's path began with and that the front end removed: with `/bar`, a request for `/foo` was one for
    /// `/bar/foo`. Replaces a prefix that a trusted hop names, and an earlier [`pop_prefix`](Self::pop_prefix). Default: none.
    #[doc(alias = "SCRIPT_NAME")]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.mount = Some(Mount::Prefix(prefix.into()));
        self
    }

    /// Sets the path prefix that the request's path still begins with: it is removed from the path and appended to a prefix that a trusted
    /// hop names. Requests for other paths are answered with 400. Replaces an earlier [`prefix`](Self::prefix). Default: none.
    #[doc(alias = "SCRIPT_NAME")]
    pub fn pop_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.mount = Some(Mount::PopPrefix(prefix.into()));
        self
    }

    /// The scheme the client used, whatever the request says: `http` or `https`. Default: what a trusted hop says, else `https` where the
    /// acceptor says that it ended TLS ([`ext::OverTls`](crate::ext::OverTls)), else `http`. The scheme of an HTTP/2 request is not believed,
    /// since clients write it.
    pub fn scheme(mut self, scheme: impl Into<String>) -> Self {
        self.scheme = Some(scheme.into());
        self
    }

    /// The host and port the application is to see, whatever the request says.
    #[doc(alias = "host")]
    #[doc(alias = "domain")]
    #[doc(alias = "port")]
    pub fn force_host(mut self, force: ForceHost) -> Self {
        self.force_host = Some(force);
        self
    }

    /// Lets requests without a signature through, believing them nothing, where the policy has a signature in it. A signature that is
    /// there must still be valid.
    pub const fn dangerous_accept_unsigned(mut self) -> Self {
        self.accept_unsigned = true;
        self
    }

    /// Time for a signed body of up to 64 KiB, which is read and checked before the application runs: 60 s. `None` turns the limit off.
    pub fn body_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.body_timeout = limit.into();
        self
    }

    /// Takes axum's `ConnectInfo<SocketAddr>` for the socket's peer where there is no `PeerAddr`, as behind `axum::serve` with
    /// `into_make_service_with_connect_info`. Only where nothing before this layer changes it: the first layer of this kind that a request
    /// passes puts the `PeerAddr` there, before it restores anything.
    #[cfg(feature = "axum")]
    pub const fn peer_from_connect_info(mut self) -> Self {
        self.connect_info = true;
        self
    }

    /// Checks everything and makes the layer.
    ///
    /// # Errors
    /// `Invalid`, naming the text: host, scheme, port or prefix. `Conflict`: several signatures of a kind, or accepting unsigned requests
    /// where none is asked for.
    pub fn build(self) -> Result<ProxyMiddleware, ConfigError> {
        let verifiers = self.trust.read_verifiers()?;
        if self.accept_unsigned && verifiers.is_empty() {
            return Err(ConfigError::conflict("dangerous_accept_unsigned", "the trust policy has no signature in it"));
        }
        let hosts = self.allowed_hosts.map(|hosts| hosts.iter().map(|text| HostPattern::read(text)).collect());
        let config = Config {
            verifiers,
            accept_unsigned: self.accept_unsigned,
            body_timeout: self.body_timeout,
            trust: self.trust,
            family: self.family,
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
                "is not a host (example.com, *.example.com, example.com:8443)",
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
