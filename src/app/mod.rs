//! Forwards requests to an upstream: a reverse proxy, the service [`ProxyApp`].
//!
//! Mount a `ProxyApp` as a route, a nested route or the fallback of an axum router, pass it to
//! [`serve`](crate::serve()) or to a hyper server (`TowerToHyperService`), or call it. Errors become responses, so the
//! service never fails.
//!
//! Mounted in an axum router, with the upstream `http://back/v1`, a request for `/api/x` is forwarded as follows:
//!
//! | mount | path at the upstream | prefix reported to the upstream |
//! |---|---|---|
//! | `fallback_service(proxy)` | `/v1/api/x` | |
//! | `route_service("/api/{*rest}", proxy)` | `/v1/api/x` | |
//! | `route_service` with [`PathPrefix::Strip`] of `/api` | `/v1/x` | `/api` |
//! | `nest_service("/api", proxy)` | `/v1/x` | `/api` (feature `axum` only, see [`PathPrefix`]) |
//! | `nest_service` with [`PathPrefix::Keep`] | `/v1/api/x` (feature `axum` only) | |
//!
//! By default, `ProxyApp` writes two sets of [forwarding headers](ProxyAppBuilder::forwarded_headers): `X-Forwarded-*`,
//! which most programs read, and the headers of WSGIProxy, which also report which part of the target comes from the
//! upstream's URL.
//!
//! # Requests
//! A request passes these steps, in this order:
//!
//! 1. It is checked: method, form of the target, exactly one valid `Host`, framing, size, loops. An invalid request is
//!    answered with an [error](#errors) before a hook or the upstream sees it.
//! 2. The hop-by-hop headers are removed (RFC 9110 §7.6.1), including those that any `Connection` header names, in the
//!    head and in trailers. Then, in any spelling of `-`:
//!    * all [owned headers](crate::protocol#owned-headers), which only the ends of a hop write, also in trailers;
//!    * all [identity headers](crate::protocol#identity-headers), which name a user, also in trailers. In the head,
//!      those that a `ProxyMiddleware` in front has accepted are kept, and those that a layer in front has marked with
//!      [`ext::KeepHeaders`](crate::ext::KeepHeaders). The first removal of each is logged;
//!    * the [suppressed](ProxyAppBuilder::suppress_headers) headers.
//! 3. The target is joined to the upstream's path, byte for byte, and `Host` is [set](ProxyAppBuilder::host).
//! 4. The [request hooks](ProxyAppBuilder::rewrite_request) run, in the order in which they were added.
//! 5. The [carried keys](ProxyAppBuilder::carried), the [forwarding headers](ProxyAppBuilder::forwarded_headers) and
//!    [`Via`](ProxyAppBuilder::via) are added. A client cannot remove them by naming them in `Connection`. A forwarding
//!    header that a hook wrote is kept.
//! 6. The request is [signed](ProxyAppBuilder::signer), again for each attempt to send it.
//!
//! # Responses
//! The hop-by-hop headers of the upstream's response are removed, URLs and cookies are
//! [mapped](ProxyAppBuilder::map_responses) to the client's view, and the [response
//! hooks](ProxyAppBuilder::rewrite_response) run.
//!
//! # Client, scheme, host and prefix
//! Each row lists the sources in order of precedence:
//!
//! | value | sources |
//! |---|---|
//! | client address | [`ext::OriginalRequest`](crate::ext::OriginalRequest), which a [`ProxyMiddleware`](crate::middleware) in front restored; the socket's peer: [`ext::PeerAddr`](crate::ext::PeerAddr) of [`serve`](crate::serve()) or another acceptor; `ConnectInfo<SocketAddr>` (feature `axum`) |
//! | scheme | `OriginalRequest` from a trusted peer; [`public_scheme`](ProxyAppBuilder::public_scheme); any other `OriginalRequest`; `https` with [`ext::OverTls`](crate::ext::OverTls) of the acceptor; `http` |
//! | host | the client's `Host` (or `:authority`), as restored by `ProxyMiddleware` |
//! | prefix | the prefix that `ProxyMiddleware` restored, followed by the part that routers removed (feature `axum`, from `OriginalUri`), followed by that of [`PathPrefix::Strip`] |
//!
//! If the client's address is unknown, no `X-Forwarded-For` is sent. The scheme in a client's `:scheme` or absolute URL
//! is not trusted.
//!
//! # Errors
//! | [`ErrorKind`](crate::ErrorKind) | status | cause |
//! |---|---|---|
//! | `InvalidTarget` | 400 | no, several or an invalid `Host`; an authority or `*` as target with the wrong method; a path that does not begin with the prefix of [`PathPrefix::Strip`] |
//! | `RequestBody` | 400 | `Content-Length` together with `Transfer-Encoding`, or several that differ; `TRACE` with a body; the client's body ended early |
//! | `Denied` | 403 | the [dial policy](crate::exact::ExactProxyBuilder::dial_policy) of the client denies every address of the upstream |
//! | `MethodNotAllowed` | 405 | the method is not [allowed](ProxyAppBuilder::allowed_methods); the response has `Allow` |
//! | `RequestTimeout` | 408 | the client's body did not arrive in time |
//! | `LengthRequired` | 411 | a body of unknown length, for upstreams that accept [no chunked requests](crate::exact::ExactProxyBuilder::chunked_requests) |
//! | `TooLarge` | 413 | the body exceeds the [limit](ProxyAppBuilder::max_body_bytes): before the upstream is contacted if its length is declared, otherwise as soon as the limit is exceeded, unless the response has begun |
//! | `Misdirected` | 421 | `https` on a connection that `serve` accepted in clear text, and neither a trusted peer nor `public_scheme` states that a front end terminated TLS (RFC 9110 §7.4) |
//! | `HeadTooLarge` | 431 | the target is too long |
//! | `Internal` | 500 | a carried key cannot be encoded, or the request cannot be signed |
//! | `Unsupported` | 501 | `CONNECT`, except extended `CONNECT` (RFC 8441), which is forwarded for any protocol except HTTP and TLS; `TRACE`, unless it is in the list of allowed methods; a transfer coding other than `chunked` |
//! | `Connect`, `Upstream` | 502 | no connection to the upstream; a lost connection or an invalid response |
//! | `Unavailable` | 503 | all connections in use, or no upstream selected |
//! | `Timeout` | 504 | a timeout of the [client](ProxyAppBuilder::client) was reached |
//! | `LoopDetected` | 508 | the request has passed through this `ProxyApp` before |
//!
//! `OPTIONS` and `TRACE` with `Max-Forwards: 0` are not forwarded; they are answered with an empty 200 (RFC 9110
//! §7.6.2).
//!
//! The text of an error response contains no address, path or secret. The [`Error`](crate::Error) is in the extensions
//! of the response, for outer layers such as [error pages](crate::cookbook::error_pages). Each error is logged with
//! `tracing`, with the upstream's address: at level `WARN` for a 5xx status, otherwise at level `DEBUG`.
//!
//! # Deployment
//! The upstream's base path is not a security boundary. Dot segments and everything else that a server may decode or
//! normalise are forwarded unchanged: with the upstream path `/app`, a request for `/../x` is forwarded as `/app/../x`.
//! If clients must not reach other parts of the upstream, the upstream or a [hook](ProxyAppBuilder::rewrite_request)
//! has to refuse such requests.
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
mod removed;
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
pub use hooks::{IntoHookResponse, IntoHookResult};
#[cfg(feature = "spawn")]
pub(crate) use salvage::Failed;
pub use service::ProxyApp;
pub use settings::{ForwardedFor, HostHeader, PathPrefix, Via};
pub use upstream::{IntoSelection, IntoUpstream, UpstreamSelector};
