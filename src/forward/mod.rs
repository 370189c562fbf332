//! [`ForwardProxy`]: a proxy that browsers, curl, Python's requests and phones can be set to, in front of any service.
//!
//! A plain forward proxy: the URL goes on as it is, to an [`ExactProxy`](crate::ExactProxy).
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
//! An application that answers for every host, as an archive of the web does: URLs become paths below a prefix.
//!
//! ```no_run
//! use axum::{Router, http::Uri, routing::get};
//! use nexthop::{ForwardProxy, forward::Resolver};
//! use tower::Layer;
//!
//! # async fn run() -> Result<(), nexthop::BoxError> {
//! let app = Router::new().route("/prefix/{*url}", get(async |uri: Uri| format!("you asked for {uri}")));
//! let app = ForwardProxy::builder().resolver(Resolver::fixed("/prefix/")).build()?.layer(app);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! nexthop::serve(listener, app).await; // curl -x localhost:8080 http://example.com/path/file.html?A=B
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `intercept` it looks into TLS, by certificates of an authority that its clients trust:
//!
//! ```no_run
//! use nexthop::{ExactProxy, ForwardProxy, ca::CertificateAuthority, forward::ConnectAction};
//! use tower::Layer;
//!
//! # async fn run() -> Result<(), nexthop::BoxError> {
//! let exact = ExactProxy::new();
//! let proxy = ForwardProxy::builder()
//!     .certificate_authority(CertificateAuthority::builder().file("ca.pem").build()?) // made if it is not there
//!     .on_connect(|connect| if connect.host() == "bank.example" { ConnectAction::Tunnel } else { ConnectAction::Intercept })
//!     .client(exact.clone())
//!     .build()?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! nexthop::serve(listener, proxy.layer(exact)).await; // the certificate: curl -x localhost:8080 http://nexthop/download/pem
//! # Ok(())
//! # }
//! ```
//!
//! # What becomes of a request
//!
//! | target | goes to |
//! |---|---|
//! | `/path` | the wrapped service, untouched |
//! | a URL of one of the [own hosts](ForwardProxyBuilder::local_hosts) | the wrapped service, untouched |
//! | a URL of one of the [applications](ForwardProxyBuilder::app) | that application, as a path; what it declines, to the wrapped service |
//! | a URL of the [proxy itself](ForwardProxyBuilder::proxy_host) or an [alias](ForwardProxyBuilder::host_alias) | the wrapped service, as a path |
//! | any other URL | the wrapped service, as the [resolver](Resolver) says |
//! | `host:port` of a `CONNECT` | somewhere else, or the table once more for each request in it, as [decided](ConnectAction) |
//!
//! # Who may use it, and where it leads
//!
//! [Access] is for programs on the same machine unless it is given to others, by address, by password or by a function. Tunnels lead to
//! [ports](ForwardProxyBuilder::connect_ports) 80, 443 and 8443, and all connections to [public addresses](crate::ext::DialPolicy::public),
//! which is looked at after names were resolved, for the very addresses that are connected to. Each client has so many
//! [tunnels](ForwardProxyBuilder::max_tunnels_per_client), and all have.
//!
//! # Inside a tunnel
//!
//! A tunnel that is served is HTTP like any other, with what [`serve`](crate::serve()) makes of it: keep-alive, pipelining, HTTP/1.0, HTTP/2,
//! chunks, trailers, upgrades; with limits of its own for clients that [send no request](ForwardProxyBuilder::header_timeout),
//! [take no response](ForwardProxyBuilder::write_timeout) or [send too long a head](ForwardProxyBuilder::max_head_bytes). The client was
//! let in when it asked for the tunnel; its name is that of the requests in it. `Host`, the `CONNECT` and the name that TLS asks for must agree, unless a [policy](HostMismatchPolicy) says which of them counts.

mod access;
mod answer;
mod apps;
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
