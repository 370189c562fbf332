//! Restores the client's view of a request behind a trusted proxy: the layer [`ProxyMiddleware`].
//!
//! The layer decides once per request, for all headers together, whether the sender is [trusted](Trust): by the
//! socket's peer, by a signature, or both. It applies the headers of a trusted sender and removes all others. The
//! default trusts no sender.
//!
//! Every request that reaches the wrapped application has
//!
//! * an [`ext::OriginalRequest`](crate::ext::OriginalRequest) in its extensions: client, scheme, host, port, prefix,
//!   hops, and the reason for the trust;
//! * exactly one valid `Host`, the one of the client's request (an HTTP/1.0 request may have none);
//! * a URI in origin form, without the path and query that a proxy added (`CONNECT` keeps its authority, and `OPTIONS`
//!   may have `*`);
//! * no [owned header](crate::protocol#owned-headers): no forwarding header of any set and no carried key. Those of a
//!   trusted sender are applied, the rest is discarded;
//! * no [identity header](crate::protocol#identity-headers), which names a user, unless a peer sent it that is trusted
//!   without a signature, or a layer of this program marked it with [`ext::KeepHeaders`](crate::ext::KeepHeaders);
//! * with the feature `axum`: `OriginalUri` with the prefix, and `ConnectInfo<SocketAddr>` with the client's address,
//!   for applications that do not use this crate's types. An unknown port is 0; an unknown client is `0.0.0.0:0`.
//!
//! By default, forwarding headers are removed and the client is the socket's peer:
//!
//! ```
//! use http::{Request, Response};
//! use nexthop::{Body, ProxyMiddleware, ext::OriginalRequest};
//! use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), nexthop::BoxError> {
//! let app = tower::service_fn(async |request: Request<Body>| {
//!     let original = request.extensions().get::<OriginalRequest>().expect("inserted by the layer");
//!     assert_eq!(original.client(), None); // no acceptor inserted a `PeerAddr`
//!     assert!(!request.headers().contains_key("x-forwarded-for"));
//!     Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
//! });
//! let app = ProxyMiddleware::builder().build()?.layer(app);
//!
//! let request = Request::get("/").header("host", "app.example");
//! let request = request.header("x-forwarded-for", "127.0.0.1").body(Body::empty())?;
//! assert_eq!(app.oneshot(request).await?.status(), 200);
//! # Ok(()) }
//! ```
//!
//! Behind a load balancer with known addresses that sends `X-Forwarded-*`:
//!
//! ```
//! use nexthop::{
//!     ProxyMiddleware,
//!     middleware::{RestoredHeaders, Trust},
//! };
//!
//! let layer = ProxyMiddleware::builder()
//!     .trust(Trust::peers(["10.0.0.0/8", "loopback"])?)
//!     .restore(RestoredHeaders::default().host().prefix()) // besides the client and the scheme
//!     .allowed_hosts(["example.com", "*.example.com"])
//!     .build()?;
//! # Ok::<(), nexthop::ConfigError>(())
//! ```
//!
//! More front ends are in [`trusted_proxies`](crate::cookbook::trusted_proxies).
//!
//! # Wrapping an axum application
//! `Router::layer` runs after routing, too late to change the path. Wrap the router from outside and serve the result:
//! `ProxyMiddleware::builder().build()?.layer(router)`.
//!
//! # Deployment
//! * The decision depends on [`ext::PeerAddr`](crate::ext::PeerAddr), which the acceptor inserts, as
//!   [`serve`](mod@crate::serve) does. Without it, the peer is unknown and not trusted.
//! * Make this layer the outermost: layers outside of it see the headers as any client wrote them.

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
#[cfg(feature = "intercept")]
pub(crate) use log::Rate;
pub use overrides::ForceHost;
pub use service::ProxyMiddlewareService;
pub use told::RestoredHeaders;
pub use trust::Trust;
#[cfg(feature = "forward")]
pub(crate) use trust::read_networks;
