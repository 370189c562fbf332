//! Extractors for axum handlers, and the peer's address from `axum::serve` (feature `axum`).
//!
//! | extractor | is | `Option` of it |
//! |---|---|---|
//! | [`RequestOrigin`] | where the request came from, as `ProxyMiddleware` decided | `None` without `ProxyMiddleware` |
//! | [`ClientIp`] | the client's address | `None` where nobody knows it |
//! | [`CarriedKey<T>`](CarriedKey) | the value of a carried key, by its type | `None` where it was not carried |
//! | [`Carried`] | the keys carried by name alone; empty where there are none | |
//! | [`PeerAddr`] | the socket's peer | `None` where the acceptor did not say |
//!
//! What they answer where they cannot extract is a [`Rejection`].
//!
//! # Mounting
//! `ProxyMiddleware` goes around the `Router`, not into `Router::layer`, which runs after routing:
//! `ProxyMiddleware::builder()….build()?.layer(router)`.
//!
//! # The peer's address under `axum::serve`
//! [`nexthop::serve`](crate::serve()) puts [`PeerAddr`] into every request. `axum::serve` does if asked for
//! `into_make_service_with_connect_info::<PeerAddr>()`, which comes with every `Service` by `axum::ServiceExt`, and so works around
//! `ProxyMiddleware` too:
//!
//! ```no_run
//! # async fn run() -> std::io::Result<()> {
//! use axum::{Router, routing::get};
//! use nexthop::ext::PeerAddr;
//!
//! let app = Router::new().route("/", get(|peer: PeerAddr| async move { format!("{peer:?}") }));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! axum::serve(listener, app.into_make_service_with_connect_info::<PeerAddr>()).await
//! # }
//! ```
//!
//! A listener wrapped by axum's `tap_io` cannot name this type (axum claims it for the listener's own addresses); `nexthop::serve` sets
//! `TCP_NODELAY` by itself.

mod connected;
mod extract;
mod rejection;
#[cfg(test)]
mod tests;

pub use extract::{CarriedKey, ClientIp};
pub use rejection::Rejection;

#[cfg(doc)]
use crate::ext::{Carried, PeerAddr, RequestOrigin};
