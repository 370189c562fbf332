//! [`ForwardProxy`]: the layer, and what every request is held against.

use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{
    access::Access, apps::Apps, builder::ForwardProxyBuilder, caps::Tunnels, mismatch::HostMismatchPolicy,
    policy::Policy, resolver::Resolver, service::ForwardProxyService,
};
use crate::{exact::ExactProxy, ext::ConnectWith, message::via::Pseudonym, middleware::HostPattern, serve::Inside};

/// Makes the service it wraps a proxy that browsers, curl and phones can be set to.
///
/// * A target in origin form (`GET /path`), and one that names one of the [own hosts](ForwardProxyBuilder::local_hosts): passes untouched.
/// * A whole URL (`GET http://example.com/path`): the [resolver](Resolver) says what the wrapped service gets, the URL itself or a path.
///   `Host` is set to what the URL says (RFC 9112 §3.2.2), fields for the proxy (`Proxy-*`) are removed, and an
///   [`ext::ProxyRequest`](crate::ext::ProxyRequest) tells what was asked.
/// * `CONNECT`, over HTTP/1.0, 1.1 and 2: a [`ConnectAction`](super::ConnectAction) says whether it is a tunnel to somewhere else, or whether the
///   requests in it go to the wrapped service, too.
/// * A client of HTTP/1.0 gets `Connection: close`, since it cannot say that it means the proxy (RFC 9112 §9.3).
/// * Hosts that mean the proxy itself go to their [applications](ForwardProxyBuilder::app).
///
/// Whatever the wrapped service sends with a client of its own is its own business; requests that reach an [`ExactProxy`] carry the
/// [dial policy](ForwardProxyBuilder::dial_policy).
///
/// # Errors
/// Errors are answers with a short text and the [`Error`](crate::Error) in their extensions: 400 `InvalidTarget` and `RequestBody`, 403 `Denied`,
/// 405 `MethodNotAllowed` (`CONNECT` behind a server that cannot upgrade, or to the inside of a tunnel), 407 `ProxyAuthentication`, 421
/// `Misdirected`, 502 `Connect`, 503 `Unavailable`, 504 `Timeout`, 508 `LoopDetected`. An `Err` of the wrapped service is answered, too: one of
/// ours with its status, any other with 500.
///
/// # Deployment
/// Who may use it is decided by [`ext::PeerAddr`](crate::ext::PeerAddr), which [`serve`](crate::serve()) puts there: behind another
/// acceptor, nobody may until it does so, too. It must be the outermost layer, and no other proxy may stand before it.
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
/// // Anybody, only because nobody can reach it here.
/// let layer = ForwardProxy::builder().resolver(Resolver::fixed("/prefix/")).access(Access::dangerous_any_client()).build()?;
///
/// let request = Request::get("http://example.com/path/file.html?A=B").header("host", "example.com").body(Body::empty())?;
/// let response = layer.layer(app).oneshot(request).await?;
/// # use http_body_util::BodyExt;
/// assert_eq!(response.into_body().collect().await?.to_bytes(), "/prefix/http://example.com/path/file.html?A=B");
/// # Ok(())
/// # }
/// ```
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
    #[cfg(feature = "intercept")]
    pub(super) new_hosts: Option<super::new_hosts::NewHosts>,
    pub(super) inside: Inside,
    #[cfg(feature = "intercept")]
    pub(super) authority: Option<crate::ca::CertificateAuthority>,
    #[cfg(feature = "intercept")]
    pub(super) download_host: Option<Arc<str>>,
    #[cfg(feature = "intercept")]
    pub(super) on_handshake_failure: Option<OnHandshakeFailure>,
}

/// Told of clients that do not take the proxy's certificates.
#[cfg(feature = "intercept")]
pub(super) type OnHandshakeFailure = Arc<dyn Fn(&super::ConnectRequest<'_>, &crate::Error) + Send + Sync>;

impl ForwardProxy {
    /// A proxy for programs on this machine, to public addresses, until it is told otherwise.
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
