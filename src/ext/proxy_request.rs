//! [`ProxyRequest`]: what a client asked a forward proxy for.

use std::{net::Ipv6Addr, sync::Arc};

use http::{Uri, uri::Scheme};

/// What a client asked a [`ForwardProxy`](crate::ForwardProxy) for, before a resolver made a path of it.
///
/// Put there by `ForwardProxy` on every request that was sent to it as to a proxy, and on no other; read by the application, which tells by
/// it which requests are which. What it says of URL, `CONNECT` and SNI is what the client wrote, as far as the
/// [policy for contradictions](crate::forward::HostMismatchPolicy) let it through; the [user](Self::user) was authenticated.
///
/// ```
/// use nexthop::ext::ProxyRequest;
///
/// fn from_where(request: &http::Request<nexthop::Body>) -> String {
///     match request.extensions().get::<ProxyRequest>() {
///         Some(asked) => format!("{} through {}", asked.url(), asked.proxy_host()),
///         None => "not through the proxy".to_owned(),
///     }
/// }
/// # assert_eq!(from_where(&http::Request::new(nexthop::Body::empty())), "not through the proxy");
/// ```
#[derive(Clone, Debug)]
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
    /// The whole URL. A port that is the scheme's default is left out.
    #[must_use]
    pub fn url(&self) -> &Uri {
        &self.url
    }

    /// The scheme of the URL: `https` if it was named so, or came through a tunnel with TLS in it.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        self.url.scheme().unwrap_or(&Scheme::HTTP)
    }

    /// The name of the proxy itself: that of the application or alias that the URL names, else the proxy's own.
    #[must_use]
    pub fn proxy_host(&self) -> &str {
        &self.proxy_host
    }

    /// True if the URL names the proxy itself, one of its applications or aliases: then the path is the URL's, and no resolver was asked.
    #[must_use]
    pub fn is_for_proxy_host(&self) -> bool {
        self.for_proxy_host
    }

    /// Who the client is, where the proxy asks for that.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The host that the client's `CONNECT` named, an IPv6 address without brackets; none of a request without a tunnel.
    #[must_use]
    pub fn connect_host(&self) -> Option<&str> {
        self.tunnel.as_ref().map(|tunnel| tunnel.bare_host())
    }

    /// The port that the client's `CONNECT` named.
    #[must_use]
    pub fn connect_port(&self) -> Option<u16> {
        self.tunnel.as_ref().map(|tunnel| tunnel.port)
    }

    /// The name that the client's TLS asked for inside the tunnel.
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
