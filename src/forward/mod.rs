//! Forward proxy: [`ForwardProxy`] is a layer for the requests of browsers, curl, Python's requests and phones that are
//! configured to use a proxy.
//!
//! A plain forward proxy keeps the URL and sends the request with an [`ExactProxy`](crate::ExactProxy):
//!
//! ```no_run
//! use nexthop::{ExactProxy, ForwardProxy};
//! use tower::Layer;
//!
//! # async fn run() -> Result<(), nexthop::BoxError> {
//! let exact = ExactProxy::new();
//! let proxy = ForwardProxy::builder().client(exact.clone()).build()?.layer(exact);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! nexthop::serve(listener, proxy).await;
//! # Ok(())
//! # }
//! ```
//!
//! An application that answers for every host, such as a web archive, receives the URLs as paths below a prefix:
//!
//! ```no_run
//! use axum::{Router, http::Uri, routing::get};
//! use nexthop::{ForwardProxy, forward::Resolver};
//! use tower::Layer;
//!
//! # async fn run() -> Result<(), nexthop::BoxError> {
//! let app = Router::new().route("/prefix/{*url}", get(async |uri: Uri| format!("path: {uri}")));
//! let app = ForwardProxy::builder().resolver(Resolver::fixed("/prefix/")).build()?.layer(app);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! // curl -x localhost:8080 http://example.com/path/file.html?A=B
//! nexthop::serve(listener, app).await;
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `intercept`, the proxy intercepts TLS (MITM), with certificates of a certificate authority (CA)
//! that its clients trust:
//!
//! ```no_run
//! use nexthop::{ExactProxy, ForwardProxy, ca::CertificateAuthority, forward::ConnectAction};
//! use tower::Layer;
//!
//! # async fn run() -> Result<(), nexthop::BoxError> {
//! let exact = ExactProxy::new();
//! let proxy = ForwardProxy::builder()
//!     // The file is created if it does not exist.
//!     .certificate_authority(CertificateAuthority::builder().file("ca.pem").build()?)
//!     .on_connect(|connect| match connect.host() {
//!         "bank.example" => ConnectAction::Tunnel,
//!         _ => ConnectAction::Intercept,
//!     })
//!     .client(exact.clone())
//!     .build()?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! // The CA certificate: curl -x localhost:8080 http://nexthop/download/pem
//! nexthop::serve(listener, proxy.layer(exact)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Routing of requests
//!
//! | target | goes to |
//! |---|---|
//! | `/path` | the wrapped service, unchanged |
//! | a URL of a [local host](ForwardProxyBuilder::local_hosts) | the wrapped service, unchanged |
//! | a URL of an [app](ForwardProxyBuilder::app) | the app, as a path; if the app [declines](ForwardProxyBuilder::app_or_decline), the wrapped service |
//! | a URL of the [proxy itself](ForwardProxyBuilder::proxy_host) or an [alias](ForwardProxyBuilder::host_alias) | the wrapped service, as a path |
//! | any other URL | the wrapped service, as URL or path, by the [resolver](Resolver) |
//! | `host:port` of a `CONNECT` | by [`ConnectAction`]: the upstream; or, for each request in the tunnel, by this table |
//!
//! # Access and destinations
//!
//! By default, [access](Access) is restricted to programs on the same machine. It can be granted by address, by
//! password or by a function. `CONNECT` is restricted to the [ports](ForwardProxyBuilder::connect_ports) 80, 443 and
//! 8443. All connections are restricted to [public addresses](crate::ext::DialPolicy::public); the check is made after
//! name resolution, for the very addresses that are connected to. The number of tunnels is limited [per
//! client](ForwardProxyBuilder::max_tunnels_per_client) and [in total](ForwardProxyBuilder::max_tunnels).
//!
//! # Intercepted tunnels
//!
//! An intercepted tunnel carries HTTP with all features of [`serve`](crate::serve()): keep-alive, pipelining, HTTP/1.0,
//! HTTP/2, chunks, trailers and upgrades. It has its own limits for clients that [send no
//! request](ForwardProxyBuilder::header_timeout), [read no response](ForwardProxyBuilder::write_timeout) or [send too
//! large a head](ForwardProxyBuilder::max_head_bytes). Access is checked for the `CONNECT`; the requests in the tunnel
//! have the same user. `CONNECT`, SNI and `Host` must name the same host, unless a [policy](HostMismatchPolicy) selects
//! one of them.

mod access;
mod answer;
mod apps;
mod attempts;
mod build;
mod builder;
mod caps;
mod connect;
#[cfg(feature = "intercept")]
mod download;
mod future;
mod head;
mod hello;
#[cfg(feature = "intercept")]
mod intercept;
mod layer;
mod mismatch;
#[cfg(feature = "intercept")]
mod new_hosts;
mod policy;
mod resolver;
mod route;
mod service;
mod stream;

pub use access::{Access, AccessDecision, AccessRequest, Credentials};
pub use builder::ForwardProxyBuilder;
pub use future::ForwardProxyFuture;
pub use layer::ForwardProxy;
pub use mismatch::HostMismatchPolicy;
pub use policy::{ClientHello, ConnectAction, ConnectRequest, DetectedProtocol};
pub use resolver::{Resolved, Resolver};
pub use service::ForwardProxyService;
