//! Extractors for axum handlers, and the peer's address from `axum::serve` (feature `axum`).
//!
//! | extractor | is | `Option` of it |
//! |---|---|---|
//! | [`OriginalRequest`] | where the request came from, as `ProxyMiddleware` decided | `None` without `ProxyMiddleware` |
//! | [`ClientIp`] | the client's address | `None` where nobody knows it |
//! | [`CarriedKey<T>`](CarriedKey) | the value of a carried key, by its type | `None` where it was not carried |
//! | [`Carried`] | the keys carried by name alone; empty where there are none | |
//! | [`PeerAddr`] | the socket's peer | `None` where the acceptor did not say |
//!
//! What they answer where they cannot extract is a [`Rejection`].
//!
//! # Answers
//! [`Error`](crate::Error) and [`Body`](crate::Body) are answers, so a handler can call `ExactProxy` and use `?`:
//!
//! ```
//! use axum::{Router, extract::State, response::Response, routing::get};
//! use http::{Request, StatusCode};
//! use nexthop::{Body, Error, ExactProxy};
//! use tower::ServiceExt;
//!
//! async fn stock(State(client): State<ExactProxy>) -> Result<http::Response<Body>, Error> {
//!     let mut request = Request::new(Body::empty());
//!     *request.uri_mut() = "http://127.0.0.1:1/stock".parse().expect("a constant");
//!     client.request(request).await
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), nexthop::BoxError> {
//! let app = Router::new().route("/", get(stock)).with_state(ExactProxy::new());
//! let response: Response = app.oneshot(Request::get("/").body(Body::empty())?).await?;
//! assert_eq!(response.status(), StatusCode::BAD_GATEWAY); // nobody listens there
//! # Ok(())
//! # }
//! ```
//!
//! # Mounting
//! `ProxyMiddleware` goes around the `Router`, not into `Router::layer`, which runs after routing:
//! `ProxyMiddleware::builder()….build()?.layer(router)`.
//!
//! # The peer's address under `axum::serve`
//! [`nexthop::serve`](crate::serve()) puts [`PeerAddr`] into every request, and not axum's `ConnectInfo`, which handlers find there behind
//! `ProxyMiddleware` only. `axum::serve` does if asked for
//! `into_make_service_with_connect_info::<PeerAddr>()`, which `Router` has, and which `axum::ServiceExt` gives to any service, such as
//! a router behind `ProxyMiddleware`:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, ServiceExt, extract::Request, routing::get};
//! use nexthop::{ProxyMiddleware, axum::ClientIp, ext::PeerAddr, middleware::Trust};
//! use tower::Layer;
//!
//! let app = Router::new().route("/", get(|ClientIp(ip): ClientIp| async move { ip.to_string() }));
//! let app = ProxyMiddleware::builder().trust(Trust::peers(["10.0.0.0/8"])?).build()?.layer(app);
//! let make = ServiceExt::<Request>::into_make_service_with_connect_info::<PeerAddr>(app);
//! axum::serve(tokio::net::TcpListener::bind("127.0.0.1:0").await?, make).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A listener wrapped by axum's `tap_io` cannot name this type (axum claims it for the listener's own addresses); `nexthop::serve` sets
//! `TCP_NODELAY` by itself.
//!
//! # Example
//! ```
//! use axum::{Router, routing::get};
//! use http::Request;
//! use nexthop::{
//!     Body, ProxyMiddleware,
//!     axum::{CarriedKey, ClientIp},
//!     ext::PeerAddr,
//!     middleware::Trust,
//!     protocol::carry::CarriedKeys,
//! };
//! use serde::{Deserialize, Serialize};
//! use tower::{Layer, ServiceExt};
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! struct User { name: String }
//!
//! async fn hello(ClientIp(ip): ClientIp, user: Option<CarriedKey<User>>) -> String {
//!     user.map_or_else(|| format!("a stranger from {ip}"), |user| format!("{} from {ip}", user.0.name))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), nexthop::BoxError> {
//! let layer = ProxyMiddleware::builder()
//!     .trust(Trust::peers(["192.0.2.1"])?)
//!     .carried(CarriedKeys::builder().json::<User>("user").build()?)
//!     .build()?;
//! let app = layer.layer(Router::new().route("/", get(hello)));
//!
//! let mut request = Request::get("/")
//!     .header("host", "app.example")
//!     .header("x-forwarded-for", "198.51.100.7")
//!     .header("x-wsgiproxy-json-1", r#"user {"name":"alice"}"#)
//!     .body(Body::empty())?;
//! request.extensions_mut().insert(PeerAddr::Tcp("192.0.2.1:49152".parse()?)); // what an acceptor does
//! let response = app.oneshot(request).await?;
//! let body = axum::body::to_bytes(response.into_body(), 1024).await?;
//! assert_eq!(body, "alice from 198.51.100.7");
//! # Ok(())
//! # }
//! ```

mod connected;
mod extract;
mod rejection;
mod response;
#[cfg(test)]
mod tests;

pub use extract::{CarriedKey, ClientIp};
pub use rejection::Rejection;

#[cfg(doc)]
use crate::ext::{Carried, OriginalRequest, PeerAddr};
