//! [`ProxyMiddleware`]: the receiving end of a hop. It decides once whom to believe, restores the client's view of the request, and takes
//! out of it what nobody vouched for.
//!
//! Wrapped around an application, every request that reaches the application has
//!
//! * in its extensions an [`ext::OriginalRequest`](crate::ext::OriginalRequest): client, scheme, host, port, prefix, hops, who vouched;
//! * the `Host` the client asked, valid and exactly one (in HTTP/1.0 there may be none);
//! * a URI in origin form, without what a proxy put before the path or behind the query;
//! * no forwarding field of any family and no carried key: what was believed is restored, the rest removed. Fields by which front
//!   servers name a user (see [`names::is_identity`](crate::protocol::names::is_identity)) are left only where they are vouched for;
//! * with the feature `axum`: `OriginalUri` with the prefix, and `ConnectInfo<SocketAddr>` with the client's address (port 0 where it is
//!   unknown, `0.0.0.0:0` where the client is), so that an application that knows nothing of this crate sees the client.
//!
//! Nobody is believed by default:
//!
//! ```
//! use http::{Request, Response};
//! use nexthop::{Body, ProxyMiddleware, ext::OriginalRequest};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let app = tower::service_fn(|request: Request<Body>| async move {
//!     let origin = request.extensions().get::<OriginalRequest>().expect("the layer puts it there");
//!     assert_eq!(origin.client(), None); // no acceptor said who is at the other end
//!     assert!(!request.headers().contains_key("x-forwarded-for"));
//!     Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
//! });
//! let app = ServiceBuilder::new().layer(ProxyMiddleware::builder().build()?).service(app);
//! let request = Request::get("/").header("host", "app.example").header("x-forwarded-for", "127.0.0.1").body(Body::empty())?;
//! assert_eq!(app.oneshot(request).await?.status(), 200);
//! # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! Behind a balancer that speaks the de-facto fields, and whose addresses are known:
//!
//! ```
//! use nexthop::{
//!     ProxyMiddleware,
//!     middleware::{RestoredHeaders, Trust},
//!     protocol::ForwardedHeaders,
//! };
//!
//! let layer = ProxyMiddleware::builder()
//!     .trust(Trust::peers(["10.0.0.0/8", "loopback"])?)
//!     .read_headers(ForwardedHeaders::XForwarded)
//!     .restore(RestoredHeaders::default().host().prefix()) // besides the client and the scheme
//!     .allowed_hosts(["example.com", "*.example.com"])
//!     .build()?;
//! # Ok::<(), nexthop::ConfigError>(())
//! ```
//!
//! # Wrapping an axum application
//! `Router::layer` runs after routing, when the path has been looked at already. Wrap the router from outside, and serve the result:
//! `ProxyMiddleware::builder().build()?.layer(router)`.
//!
//! # Deployment
//! The decision rests on [`ext::PeerAddr`](crate::ext::PeerAddr), which the acceptor puts there ([`serve`](mod@crate::serve) does). Without
//! it every peer is a stranger. Put this layer outermost: what runs before it sees the fields as strangers wrote them.

mod future;
mod head;
mod layer;
mod log;
mod overrides;
mod restore;
mod service;
mod told;
mod trust;
mod verify;
#[cfg(feature = "axum")]
mod view;

pub use future::ProxyMiddlewareFuture;
#[cfg(feature = "forward")]
pub(crate) use layer::HostPattern;
pub use layer::{ProxyMiddleware, ProxyMiddlewareBuilder};
pub use overrides::ForceHost;
pub use service::ProxyMiddlewareService;
pub use told::RestoredHeaders;
pub use trust::Trust;
#[cfg(feature = "forward")]
pub(crate) use trust::read_networks;
