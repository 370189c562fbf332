//! Settings of a forward proxy: where requests go.

use std::{net::SocketAddr, ops::ControlFlow};

use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service;

use super::ForwardProxyBuilder;
use crate::{
    app::Via,
    body::Body,
    error::BoxError,
    exact::ExactProxy,
    ext::DialPolicy,
    forward::{apps, resolver::Resolver},
};

impl ForwardProxyBuilder {
    /// Sets the client that opens tunnels: its connector, timeouts and hooks apply. Default: [`ExactProxy::new`].
    /// Usually a clone of the `ExactProxy` that the layer wraps.
    pub fn client(mut self, client: ExactProxy) -> Self {
        self.client = Some(client);
        self
    }

    /// Sets how URLs are mapped to paths of the wrapped application. Default: [`Resolver::direct`], which keeps the
    /// URL, for an [`ExactProxy`] inside the layer.
    pub fn resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = resolver;
        self
    }

    /// Sets the hosts under which the wrapped application is reached without a proxy. Default: none. The forms are
    /// `example.com` (any port), `example.com:8443` and `*.example.com`.
    ///
    /// Requests for these hosts pass unchanged and without a check of [`access`](Self::access), even if the target is
    /// an absolute URL, as every target in HTTP/2 is.
    pub fn local_hosts<I>(mut self, hosts: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.local_hosts = hosts.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the host name of the proxy itself. Default: `nexthop`.
    ///
    /// A URL of this host is not resolved: the wrapped application receives its path unchanged, and can serve pages of
    /// the proxy there. With [`Resolver::direct`] there is no wrapped application, and the response is 404.
    pub fn proxy_host(mut self, host: impl Into<String>) -> Self {
        self.proxy_host = host.into();
        self
    }

    /// Adds another host name of the proxy. [`ProxyRequest::proxy_host`](crate::ext::ProxyRequest::proxy_host) returns
    /// the name that a request used.
    pub fn host_alias(mut self, host: impl Into<String>) -> Self {
        self.apps.push((host.into(), None));
        self
    }

    /// Adds a service that answers all requests for `host`, over HTTP and inside intercepted tunnels, on any port. The
    /// target of the requests is the path of the URL. A later call for the same host replaces an earlier one.
    ///
    /// ```
    /// use nexthop::ForwardProxy;
    ///
    /// let page = axum::Router::new().route("/path/", axum::routing::get(async || "one"));
    /// let layer = ForwardProxy::builder().app("proxy-app-1", page).build()?;
    /// # Ok::<(), nexthop::ConfigError>(())
    /// ```
    #[doc(alias = "virtual host")]
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

    /// Adds a function that answers requests for `host`, as [`app`](Self::app) does, or declines them by returning the
    /// request.
    ///
    /// A declined request goes to the wrapped application, with the path of the URL as its target. With
    /// [`Resolver::direct`] there is no such application, and the response is 404.
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

    /// Sets the addresses that the proxy may connect to. Default: public addresses ([`DialPolicy::public`]). The policy
    /// is applied after name resolution, to the very addresses that are connected to.
    ///
    /// The policy applies to tunnels, and to requests that reach an [`ExactProxy`] and carry no
    /// [`ConnectWith`](crate::ext::ConnectWith) with a policy of their own. Because connections are pooled per policy,
    /// requests of the proxy never share a connection with other requests. The policy does not apply to an application
    /// that connects by other means.
    ///
    /// If the policy allows an address of the proxy itself, set [`local_addresses`](Self::local_addresses), too.
    #[doc(alias = "ssrf")]
    pub fn dial_policy(mut self, policy: DialPolicy) -> Self {
        self.dial_policy = Some(policy);
        self
    }

    /// Adds an address that the proxy listens on. The proxy never connects to this address, whatever the [dial
    /// policy](Self::dial_policy) allows: a client that reached the proxy through its own tunnel would count as a
    /// program on the same machine.
    ///
    /// An unspecified address (`0.0.0.0`, `[::]`) covers the loopback addresses only. Add the other addresses of the
    /// machine, too.
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

    /// Allows connections to every address except the [local addresses](Self::local_addresses): loopback, private
    /// networks and metadata services of clouds. Dangerous if clients may not reach everything that this process can
    /// reach.
    pub fn dangerous_dial_anywhere(mut self) -> Self {
        self.dial_policy = None;
        self
    }

    /// Sets the name of the proxy in `Via` of forwarded requests and of their responses (RFC 9110 §7.6.3). Default: a
    /// random name. A request that already contains the name is a loop, and is answered with 508. [`Via::Off`] disables
    /// both.
    #[doc(alias = "loop detection")]
    pub fn via(mut self, via: Via) -> Self {
        self.via = via;
        self
    }

    /// Sets whether requests may switch to another protocol, such as WebSocket. Default: true. With false, `Upgrade` is
    /// removed and the request is answered without a switch; an extended `CONNECT` of HTTP/2 (RFC 8441) is answered
    /// with 501.
    #[doc(alias = "upgrade")]
    pub fn websockets(mut self, websockets: bool) -> Self {
        self.websockets = websockets;
        self
    }
}
