//! [`ProxyApp`]: the sending end of a hop.
//!
//! A service that forwards every request to an upstream `href`. Mount it as a route, a nested route or the fallback of an axum router,
//! give it to [`serve`](crate::serve()) or a hyper server (`TowerToHyperService`), or call it: errors are answers, so it never fails.
//!
//! Mounted in an axum router, with an upstream of `http://back/v1`, `GET /api/x` reaches the upstream as
//!
//! | mounted by | `GET` | told as prefix |
//! |---|---|---|
//! | `fallback_service(proxy)` | `/v1/api/x` | |
//! | `route_service("/api/{*rest}", proxy)` | `/v1/api/x` | |
//! | the same, with [`PathPrefix::Strip`] of `/api` | `/v1/x` | `/api` |
//! | `nest_service("/api", proxy)` | `/v1/x` | `/api` (feature `axum` only, see [`PathPrefix`]) |
//! | the same, with [`PathPrefix::Keep`] | `/v1/api/x` (feature `axum` only) | |
//!
//! The upstream is told of the client by the [family](ProxyAppBuilder::forwarded_headers) that `ProxyMiddleware` reads by default. Most other
//! programs read another: for those, say `.forwarded_headers([ForwardedHeaders::XForwarded])`.
//!
//! What happens to a request, in this order:
//!
//! 1. It is looked at: method, form of the target, exactly one valid `Host`, framing, size, loops. What is wrong is answered at once
//!    (see [Errors](#errors)) and nobody else hears of it.
//! 2. What concerns only the client's connection is taken off, by every `Connection` line ([`hop`](crate::message::hop)). Then every
//!    field of ours that came from outside ([`is_owned`](crate::protocol::names::is_owned)), every field by which a stranger names a user
//!    ([`is_identity`](crate::protocol::names::is_identity); where `ProxyMiddleware` is in front, it has decided), and every
//!    [suppressed](ProxyAppBuilder::suppress_headers) one, in any spelling of `-`; the first two also in trailers.
//! 3. The target is joined below the upstream's path, byte for byte ([`target`](crate::message::target)), and `Host` is written.
//! 4. The [request hooks](ProxyAppBuilder::rewrite_request) run, in the order they were given.
//! 5. The forwarding fields of the chosen [families](ProxyAppBuilder::forwarded_headers), `Via` and the carried keys are added. A client cannot
//!    name them in `Connection`, and what a hook wrote there stays.
//! 6. The request is signed, anew for each attempt to send it.
//!
//! And to its response: what concerns only the upstream's connection is taken off, URLs and cookies are mapped to the client's view
//! ([`location`](crate::message::location)), and the response hooks run.
//!
//! # Deployment
//! The upstream's path is where requests go, and no fence around what they reach: dot segments are passed on as they came (`/app` and
//! `/../x` make `/app/../x`), as is everything else that a server may decode or normalise. An upstream that serves what clients of this
//! proxy must not see has to guard it itself, or a [hook](ProxyAppBuilder::rewrite_request) has to.
//!
//! # Who the client is
//! What [`ProxyMiddleware`](crate::middleware) in front restored ([`ext::OriginalRequest`](crate::ext::OriginalRequest)); else the socket's
//! peer ([`ext::PeerAddr`](crate::ext::PeerAddr), put there by [`serve`](crate::serve()) or another acceptor); else, with the feature
//! `axum`, what `ConnectInfo<SocketAddr>` says. With none of these nothing is claimed: no `X-Forwarded-For` is sent.
//!
//! The scheme is what `ProxyMiddleware` restored, [`public_scheme`](ProxyAppBuilder::public_scheme) or the acceptor
//! ([`ext::OverTls`](crate::ext::OverTls)) says, else `http`; what a client writes into `:scheme` or a whole URL is only a claim. The host is
//! what the client asked. The prefix is what routers took off before: with the feature `axum` found from `OriginalUri`, with
//! [`PathPrefix::Strip`] the configured one, and before both what `ProxyMiddleware` restored.
//!
//! # Errors
//! | answer | when |
//! |---|---|
//! | 400 | no, several or an invalid `Host`; an authority or `*` as target with the wrong method; `Content-Length` with `Transfer-Encoding`, or several that differ; `TRACE` with a body; a path outside of [`PathPrefix::Strip`]; the client's body broke off |
//! | 405 | the method is not [allowed](ProxyAppBuilder::allowed_methods) (with `Allow`) |
//! | 411 | the length of the body is not known, and upstreams take [no chunks](crate::exact::ExactProxyBuilder::chunked_requests) |
//! | 413 | the body is larger than [allowed](ProxyAppBuilder::max_body_bytes): before anybody is contacted if its length is declared, else as soon as the limit is passed and no answer has begun |
//! | 421 | `https` on a connection that `serve` accepted in clear text, and neither a trusted hop nor `public_scheme` says that it was secured in front (RFC 9110 §7.4) |
//! | 501 | `CONNECT`, but for an extended one (RFC 8441), which is forwarded as the upstream understands it, for any protocol but HTTP and TLS; `TRACE`, unless it is allowed by name |
//! | 502, 503, 504 | the upstream: not reached or garbled; no capacity or no backend; too slow |
//! | 508 | the request has been through this very `ProxyApp` |
//!
//! `OPTIONS` and `TRACE` with `Max-Forwards: 0` go no further, and are answered with an empty 200 (RFC 9110 §7.6.2).
//!
//! The answer's text names no address, path or secret. The [`Error`](crate::Error) lies in the extensions of the response, for outer
//! layers (the cookbook makes [pages](crate::cookbook::error_pages) of it), and one line goes to `tracing`, with the address of the upstream:
//! a warning where the status is 5xx.
//!
//! # Example
//! ```
//! use http::{Method, Request, StatusCode};
//! use nexthop::{Body, ProxyApp};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), nexthop::BoxError> {
//! let app = ProxyApp::builder("http://127.0.0.1:8080/app")
//!     .allowed_methods([Method::GET, Method::HEAD])
//!     .rewrite_request(|request| {
//!         request.headers.remove("cookie");
//!     })
//!     .build()?;
//!
//! let request = Request::post("/x").header("host", "www.example.com").body(Body::empty())?;
//! let response = app.oneshot(request).await?;
//! assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
//! assert_eq!(response.headers()["allow"], "GET, HEAD");
//! # Ok(()) }
//! ```

mod builder;
mod crossing;
mod forwarded;
mod front;
mod future;
mod hooks;
mod loss;
mod outgoing;
mod rewrite;
#[cfg(feature = "spawn")]
mod salvage;
mod seal;
mod service;
mod settings;
#[cfg(test)]
mod tests;
mod upstream;

pub use builder::ProxyAppBuilder;
#[cfg(feature = "forward")]
pub(crate) use builder::pseudonym;
pub use future::ProxyAppFuture;
#[cfg(feature = "spawn")]
pub(crate) use future::{Escort, Passage, State};
pub use hooks::IntoHookResult;
#[cfg(feature = "spawn")]
pub(crate) use salvage::Failed;
pub use service::ProxyApp;
pub use settings::{ForwardedFor, HostHeader, PathPrefix, Via};
pub use upstream::{IntoSelection, IntoUpstream, UpstreamSelector};
