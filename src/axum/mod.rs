//! Extractors for axum handlers, and the peer's address from `axum::serve` (feature `axum`).
//!
//! | extractor | value | `Option` of it |
//! |---|---|---|
//! | [`OriginalRequest`] | the client's view of the request, from `ProxyMiddleware` | `None` without `ProxyMiddleware` |
//! | [`ClientIp`] | the client's IP address | `None` if the address is unknown |
//! | [`CarriedKey<T>`](CarriedKey) | the value of a carried key, by its type | `None` if the request does not contain the key |
//! | [`Carried`] | the keys carried by name; empty if there are none | |
//! | [`PeerAddr`] | the socket's peer | `None` if the acceptor inserted none |
//!
//! An extractor that fails responds with its [`Rejection`].
//!
//! # Responses
//! [`Error`](crate::Error) and [`Body`](crate::Body) implement `IntoResponse`, so a handler can call `ExactProxy` and
//! use `?`:
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
//! assert_eq!(response.status(), StatusCode::BAD_GATEWAY); // nothing listens on port 1
//! # Ok(())
//! # }
//! ```
//!
//! # Mounting
//! Wrap the `Router` in `ProxyMiddleware`: `ProxyMiddleware::builder()….build()?.layer(router)`. Do not use
//! `Router::layer`, which runs after routing.
//!
//! # The peer's address under `axum::serve`
//! [`nexthop::serve`](crate::serve()) inserts [`PeerAddr`] into every request. It does not insert axum's
//! `ConnectInfo`, which handlers get from `ProxyMiddleware` only.
//!
//! `axum::serve` provides the peer's address through `into_make_service_with_connect_info::<PeerAddr>()`. `Router`
//! has this method; `axum::ServiceExt` adds it to any service, such as a router wrapped in `ProxyMiddleware`:
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
//! A listener wrapped by axum's `tap_io` cannot provide a `PeerAddr`: axum reserves that implementation for the
//! listener's own address type. `nexthop::serve` sets `TCP_NODELAY` without `tap_io`.
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
//!     let name = user.map_or_else(|| "an anonymous user".to_owned(), |user| user.0.name);
//!     format!("{name} from {ip}")
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
//! // An acceptor such as `nexthop::serve` inserts this.
//! request.extensions_mut().insert(PeerAddr::Tcp("192.0.2.1:49152".parse()?));
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
