//! [`ForwardProxyBuilder`]: settings of a forward proxy.

mod tunnels;

use std::{fmt, net::SocketAddr, ops::ControlFlow, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service;

use super::{
    access::Access,
    apps::{self, App},
    mismatch::HostMismatchPolicy,
    policy::Policy,
    resolver::Resolver,
};
use crate::{app::Via, body::Body, error::BoxError, exact::ExactProxy, ext::DialPolicy};

/// Settings of a [`ForwardProxy`](super::ForwardProxy). Each has a default that is safe on a machine that others can reach.
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
    /// Unless set, what the server's own default is.
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
    /// Who may use the proxy: programs on this machine ([`Access::loopback`]).
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// What clients are told that they are asked for a name by: `proxy`.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self
    }

    /// What becomes of URLs: they go on as they are ([`Resolver::direct`]), for an [`ExactProxy`] behind the layer.
    pub fn resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = resolver;
        self
    }

    /// The hosts under which the wrapped application is reached without a proxy: none. Requests for these pass untouched, even where their
    /// target is a whole URL, as every target in HTTP/2 is. Written `example.com` (any port), `example.com:8443`, `*.example.com`.
    pub fn local_hosts<I>(mut self, hosts: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.local_hosts = hosts.into_iter().map(Into::into).collect();
        self
    }

    /// The name of the proxy itself: `nexthop`. A URL of this host is not resolved: the wrapped application gets its path as it is, by
    /// which it may show pages of the proxy's own. With [`Resolver::direct`] there is no such application, and 404 is the answer.
    pub fn proxy_host(mut self, host: impl Into<String>) -> Self {
        self.proxy_host = host.into();
        self
    }

    /// Another name of the proxy, told apart by [`ProxyRequest::proxy_host`](crate::ext::ProxyRequest::proxy_host).
    pub fn host_alias(mut self, host: impl Into<String>) -> Self {
        self.apps.push((host.into(), None));
        self
    }

    /// A service that answers for a host, over HTTP and inside tunnels, whatever the port.
    ///
    /// ```
    /// use nexthop::ForwardProxy;
    ///
    /// let page = axum::Router::new().route("/path/", axum::routing::get(async || "one"));
    /// let layer = ForwardProxy::builder().app("proxy-app-1", page).build()?;
    /// # Ok::<(), nexthop::ConfigError>(())
    /// ```
    pub fn app<S, R>(mut self, host: impl Into<String>, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        R: http_body::Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        self.apps.push((host.into(), Some(apps::service(service))));
        self
    }

    /// The same with a function that may decline a request by giving it back: it goes to the wrapped service then, its path as it is. With
    /// [`Resolver::direct`] there is no such application, and 404 is the answer.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    ///
    /// use http::Response;
    /// use nexthop::{Body, ForwardProxy};
    ///
    /// let layer = ForwardProxy::builder()
    ///     .app_or_decline("proxy-app-2", |request| async move {
    ///         match request.uri().path() {
    ///             "/foo" => ControlFlow::Break(Response::new(Body::from("two"))),
    ///             _ => ControlFlow::Continue(request),
    ///         }
    ///     })
    ///     .build()?;
    /// # Ok::<(), nexthop::ConfigError>(())
    /// ```
    pub fn app_or_decline<F, Fut>(mut self, host: impl Into<String>, app: F) -> Self
    where
        F: Fn(Request<Body>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ControlFlow<Response<Body>, Request<Body>>> + Send + 'static,
    {
        self.apps.push((host.into(), Some(apps::function(app))));
        self
    }

    /// Whether requests to the proxy may ask for another protocol: true. Otherwise they lose what asks for it, and are answered as if they
    /// had not; an extended `CONNECT` of HTTP/2 is answered with 501.
    pub fn websockets(mut self, websockets: bool) -> Self {
        self.websockets = websockets;
        self
    }

    /// Answers errors with all their causes, in which addresses and names may stand: false. The text always says what failed and in which
    /// step, by words that name nobody.
    pub fn verbose_errors(mut self, verbose: bool) -> Self {
        self.verbose_errors = verbose;
        self
    }

    /// How the proxy names itself in the `Via` of requests whose URL goes on as it is, and of their responses (RFC 9110 §7.6.3); by that it
    /// also sees requests that come back to it (508): by a random name.
    pub fn via(mut self, via: Via) -> Self {
        self.via = via;
        self
    }

    /// Which addresses tunnels, and requests that reach an [`ExactProxy`], may be connected to: public ones ([`DialPolicy::public`]). Set
    /// for each request that has no policy of its own, so that requests of the proxy and of others never share a connection. An application
    /// that connects by other means is not held back by it.
    ///
    /// A policy that lets the proxy's own address through should be told of that by [`local_addresses`](Self::local_addresses).
    pub fn dial_policy(mut self, policy: DialPolicy) -> Self {
        self.dial_policy = Some(policy);
        self
    }

    /// An address that the proxy listens on, which it never connects to, whatever the [dial policy](Self::dial_policy) says: through a tunnel to
    /// itself, a client would be one of this machine's. An unspecified address (`0.0.0.0`, `[::]`) stands for those of loopback, which is as
    /// much as is known of the others: name them, too.
    ///
    /// ```
    /// use nexthop::ForwardProxy;
    ///
    /// let layer = ForwardProxy::builder().local_addresses("192.0.2.1:8080".parse()?).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn local_addresses(mut self, address: SocketAddr) -> Self {
        self.own_addresses.push(address);
        self
    }

    /// Connects to every address but [its own](Self::local_addresses): loopback, private networks, metadata services of clouds. Dangerous where
    /// clients may not reach all that this process can.
    pub fn dangerous_dial_anywhere(mut self) -> Self {
        self.dial_policy = None;
        self
    }

    /// What opens tunnels: its connector, its limits of time, its hooks. Default: [`ExactProxy::new`]. It need not be the one behind the
    /// layer, but most often is its clone.
    pub fn client(mut self, client: ExactProxy) -> Self {
        self.client = Some(client);
        self
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
