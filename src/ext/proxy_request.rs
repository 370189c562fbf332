//! [`ProxyRequest`]: what a client asked a forward proxy for.

use std::{net::Ipv6Addr, sync::Arc};

use http::{Uri, uri::Scheme};

/// Holds the URL that a client requested through a [`ForwardProxy`](crate::ForwardProxy), before a resolver maps it
/// to a path.
///
/// `ForwardProxy` inserts it into proxied requests before a resolver, an application or a hook handles them, and into
/// no other request. An application can therefore distinguish proxied requests from requests for its own site.
///
/// The URL, the `CONNECT` target and the SNI come from the client, checked by the
/// [host mismatch policy](crate::forward::HostMismatchPolicy). The [user](Self::user) is authenticated.
///
/// ```
/// use nexthop::ext::ProxyRequest;
///
/// fn describe(request: &http::Request<nexthop::Body>) -> String {
///     match request.extensions().get::<ProxyRequest>() {
///         Some(proxied) => format!("{} through {}", proxied.url(), proxied.proxy_host()),
///         None => "not through the proxy".to_owned(),
///     }
/// }
/// # assert_eq!(describe(&http::Request::new(nexthop::Body::empty())), "not through the proxy");
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "forward proxy")]
#[doc(alias = "mitm")]
pub struct ProxyRequest {
    pub(crate) url: Uri,
    pub(crate) proxy_host: Arc<str>,
    pub(crate) for_proxy_host: bool,
    pub(crate) user: Option<Arc<str>>,
    pub(crate) tunnel: Option<Arc<Tunnelled>>,
}

/// The tunnel that a request came through.
#[derive(Debug)]
pub(crate) struct Tunnelled {
    /// As it stands in an authority: an IPv6 address in brackets.
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
    pub(crate) sni: Option<Box<str>>,
}

impl ProxyRequest {
    /// Returns the absolute URL, without a port that is the scheme's default.
    #[must_use]
    pub fn url(&self) -> &Uri {
        &self.url
    }

    /// Returns the scheme of the URL: `https` if the client sent an `https` URL, or sent the request over TLS in a
    /// tunnel.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        self.url.scheme().unwrap_or(&Scheme::HTTP)
    }

    /// Returns the proxy's own host: the application or alias that the URL names, else the proxy's main host name.
    #[must_use]
    pub fn proxy_host(&self) -> &str {
        &self.proxy_host
    }

    /// Returns true if the URL names the proxy itself, one of its applications or an alias. The request then keeps
    /// the URL's path, and no resolver is called.
    #[must_use]
    pub fn is_for_proxy_host(&self) -> bool {
        self.for_proxy_host
    }

    /// Returns the authenticated user, if the proxy requires authentication.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Returns the host of the client's `CONNECT`, or `None` for a request outside a tunnel. An IPv6 address has no
    /// brackets.
    #[must_use]
    pub fn connect_host(&self) -> Option<&str> {
        self.tunnel.as_ref().map(|tunnel| tunnel.bare_host())
    }

    /// Returns the port of the client's `CONNECT`, or `None` for a request outside a tunnel.
    #[must_use]
    pub fn connect_port(&self) -> Option<u16> {
        self.tunnel.as_ref().map(|tunnel| tunnel.port)
    }

    /// Returns the server name (SNI) of the client's TLS handshake inside the tunnel.
    #[must_use]
    pub fn sni(&self) -> Option<&str> {
        self.tunnel.as_ref()?.sni.as_deref()
    }
}

impl Tunnelled {
    /// Without the brackets of an IPv6 address.
    pub(crate) fn bare_host(&self) -> &str {
        bare(&self.host)
    }
}

/// A host without the brackets of an IPv6 address.
pub(crate) fn bare(host: &str) -> &str {
    let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inside.filter(|inside| inside.parse::<Ipv6Addr>().is_ok()).unwrap_or(host)
}
