//! [`ForwardProxy`]: the layer, and what every request is held against.

use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{
    access::Access, apps::Apps, attempts::Attempts, builder::ForwardProxyBuilder, caps::Tunnels,
    mismatch::HostMismatchPolicy, policy::Policy, resolver::Resolver, service::ForwardProxyService,
};
use crate::{exact::ExactProxy, ext::ConnectWith, message::via::Pseudonym, middleware::HostPattern, serve::Inside};

/// Wraps a service as a forward proxy, which browsers, curl and phones can be configured to use.
///
/// * A target in origin form (`GET /path`), or a URL of a [local host](ForwardProxyBuilder::local_hosts): the request
///   passes unchanged.
/// * An absolute URL (`GET http://example.com/path`): the [resolver](Resolver) keeps the URL or maps it to a path, and
///   the request goes to the wrapped service. `Host` is set from the URL (RFC 9112 §3.2.2), headers for the proxy
///   (`Proxy` and `Proxy-*`) are removed, and an [`ext::ProxyRequest`](crate::ext::ProxyRequest) is inserted (not for
///   an [`ExactProxy`], which reads none).
/// * `CONNECT`, over HTTP/1.0, 1.1 and 2: a [`ConnectAction`](super::ConnectAction) decides whether the client is
///   tunneled to an upstream, or the requests in the tunnel go to the wrapped service, too.
/// * A host name of the proxy itself: the request goes to the [app](ForwardProxyBuilder::app) of the host, or as a path
///   to the wrapped service.
/// * A 401 that challenges with NTLM or Negotiate names `Proxy-Support: Session-Based-Authentication` (RFC 4559 §6), if
///   an [`ExactProxy`] is wrapped and the request has an [`ext::ConnectionId`](crate::ext::ConnectionId), so that
///   [the authenticated connection](ExactProxy#connection-authentication) serves no other client.
/// * An HTTP/1.0 client is answered with `Connection: close` (RFC 9112 §9.3).
///
/// Requests that reach an [`ExactProxy`] carry the [dial policy](ForwardProxyBuilder::dial_policy). Requests that the
/// wrapped service sends with a client of its own are not restricted.
///
/// # Errors
/// The service never fails. It answers with a status, a short text and the [`Error`](crate::Error) in the extensions of
/// the response:
///
/// | status | [`ErrorKind`](crate::ErrorKind) | cause |
/// |---|---|---|
/// | 400 | `InvalidTarget`, `RequestBody` | invalid target, `Host` or framing; a `CONNECT` with a body |
/// | 403 | `Denied` | access, port, host or address not allowed |
/// | 405 | `MethodNotAllowed` | `CONNECT` on a server without upgrades, or inside a tunnel; `TRACE` with `Max-Forwards: 0` |
/// | 407 | `ProxyAuthentication` | credentials required |
/// | 421 | `Misdirected` | [host mismatch](super::HostMismatchPolicy) inside a tunnel |
/// | 501 | `Unsupported` | unknown transfer coding; extended `CONNECT` with [`websockets`](ForwardProxyBuilder::websockets) off |
/// | 502 | `Connect` | no connection to the upstream of a tunnel |
/// | 503 | `Unavailable` | too many tunnels, or unanswered wrong credentials, of this client or in total |
/// | 504 | `Timeout` | the connection of a tunnel timed out |
/// | 508 | `LoopDetected` | the request has passed this proxy before |
///
/// An `Err` of the wrapped service or of an [app](ForwardProxyBuilder::app) becomes a response, too: a [`crate::Error`]
/// with its status, any other error with 500 (`Internal`).
///
/// # Deployment
/// * [`Access`] reads [`ext::PeerAddr`](crate::ext::PeerAddr) from the extensions of the request.
///   [`serve`](crate::serve()) inserts it; another acceptor must do so, too. Without it, no client is allowed by
///   address.
/// * The layer must be the outermost one, and no other proxy may be in front of it.
///
/// ```
/// use http::{Request, Response};
/// use nexthop::{
///     Body, ForwardProxy,
///     forward::{Access, Resolver},
/// };
/// use tower::{Layer, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), nexthop::BoxError> {
/// let app = tower::service_fn(async |request: Request<Body>| {
///     Ok::<_, std::convert::Infallible>(Response::new(Body::from(request.uri().to_string())))
/// });
/// let layer = ForwardProxy::builder()
///     .access(Access::dangerous_any_client()) // no socket in this example
///     .resolver(Resolver::fixed("/prefix/"))
///     .build()?;
///
/// let request = Request::get("http://example.com/path?A=B")
///     .header("host", "example.com")
///     .body(Body::empty())?;
/// let response = layer.layer(app).oneshot(request).await?;
/// # use http_body_util::BodyExt;
/// let body = response.into_body().collect().await?.to_bytes();
/// assert_eq!(body, "/prefix/http://example.com/path?A=B");
/// # Ok(())
/// # }
/// ```
#[doc(alias = "mitm")]
#[doc(alias = "https proxy")]
#[derive(Clone)]
pub struct ForwardProxy(pub(super) Arc<Config>);

/// What every request is held against.
pub(super) struct Config {
    pub(super) access: Access,
    pub(super) realm: http::HeaderValue,
    pub(super) resolver: Resolver,
    pub(super) local_hosts: Vec<HostPattern>,
    pub(super) proxy_host: Arc<str>,
    pub(super) apps: Apps,
    pub(super) websockets: bool,
    pub(super) verbose_errors: bool,
    pub(super) via: Option<Pseudonym>,
    pub(super) dialling: Option<ConnectWith>,
    pub(super) client: ExactProxy,
    pub(super) policy: Policy,
    pub(super) ports: Option<Vec<u16>>,
    pub(super) mismatch: HostMismatchPolicy,
    pub(super) peek_timeout: Duration,
    pub(super) handshake_timeout: Duration,
    pub(super) tunnels: Arc<Tunnels>,
    pub(super) attempts: Arc<Attempts>,
    #[cfg(feature = "intercept")]
    pub(super) new_hosts: Option<super::new_hosts::NewHosts>,
    pub(super) inside: Inside,
    #[cfg(feature = "intercept")]
    pub(super) authority: Option<crate::ca::CertificateAuthority>,
    #[cfg(feature = "intercept")]
    pub(super) download_host: Option<Arc<str>>,
    #[cfg(feature = "intercept")]
    pub(super) on_handshake_failure: Option<OnHandshakeFailure>,
    /// Warnings about hosts that cannot be intercepted.
    #[cfg(feature = "intercept")]
    pub(super) invalid_hosts: crate::middleware::Rate,
}

/// Told of clients that do not take the proxy's certificates.
#[cfg(feature = "intercept")]
pub(super) type OnHandshakeFailure = Arc<dyn Fn(&super::ConnectRequest<'_>, &crate::Error) + Send + Sync>;

impl ForwardProxy {
    /// Returns a builder. By default the proxy serves programs on the same machine and connects to public addresses.
    pub fn builder() -> ForwardProxyBuilder {
        ForwardProxyBuilder::default()
    }
}

impl<S> Layer<S> for ForwardProxy {
    type Service = ForwardProxyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ForwardProxyService::new(inner, self.0.clone())
    }
}

impl fmt::Debug for ForwardProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardProxy")
            .field("access", &self.0.access)
            .field("resolver", &self.0.resolver)
            .field("apps", &self.0.apps)
            .finish_non_exhaustive()
    }
}
