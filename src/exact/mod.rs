//! Sends requests to upstreams exactly as given: [`ExactProxy`], an HTTP client, and [`TransparentProxy`], a
//! pass-through proxy.
//!
//! Both take a [`Request`](http::Request) and return the upstream's [`Response`](http::Response), so they serve as HTTP
//! clients and as proxies. They add no header except `Host` where it is missing, the framing of the body, and
//! `Connection: close` on the last request of a connection. They decode no path, follow no redirect and decompress
//! nothing.
//!
//! ```
//! use nexthop::{Body, ExactProxy};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let address = listener.local_addr()?;
//! # let echo = axum::routing::post(|body: String| async move { body });
//! # let app = axum::Router::new().route("/upload", echo);
//! # tokio::spawn(async move { axum::serve(listener, app).await });
//! let uri = format!("http://{address}/upload");
//! let request = http::Request::post(uri).body(Body::from("some bytes"))?;
//! let response = ExactProxy::new().oneshot(request).await?;
//! assert_eq!(response.status(), 200);
//! # use http_body_util::BodyExt;
//! assert_eq!(response.into_body().collect().await?.to_bytes(), "some bytes");
//! # Ok(())
//! # }
//! ```
//!
//! # Settings
//!
//! [`ExactProxyBuilder`] has all settings of connections. Every other service of this crate takes the [`ExactProxy`] it
//! builds.
//!
//! | purpose | setting |
//! |---|---|
//! | timeouts | [`connect_timeout`], [`response_timeout`], [`body_idle_timeout`], [`tunnel_idle_timeout`] |
//! | root certificates, client certificates (mTLS) | [`tls`](ExactProxyBuilder::tls) |
//! | HTTP/2 without TLS (h2c), gRPC | [`http_versions`](ExactProxyBuilder::http_versions) |
//! | size and lifetime of the connection pool | the setters that begin with `pool_` |
//! | PROXY protocol header | [`send_proxy_protocol`](ExactProxyBuilder::send_proxy_protocol) |
//! | HTTP or SOCKS5 proxy on the way to upstreams | [`upstream_proxy`](ExactProxyBuilder::upstream_proxy) |
//! | allowed addresses (SSRF protection) | [`dial_policy`](ExactProxyBuilder::dial_policy) |
//! | access log, metrics | [`on_exchange`](ExactProxyBuilder::on_exchange), [`metrics`](ExactProxyBuilder::metrics) |
//! | unix socket or given addresses, per request | [`ext::ConnectTo`](crate::ext::ConnectTo) |
//! | byte stream after a `101` | [`tunnel::Upgraded`](crate::tunnel::Upgraded) |
//!
//! # Forward proxy
//!
//! Behind [`serve`](crate::serve()) or another hyper server, [`TransparentProxy`] is a forward proxy for `http://`:
//! clients configured to use it (`curl -x`) send absolute-form targets, and it connects to the host of the target. For
//! `https://`, clients send `CONNECT`, which it answers with 501. It connects to any host that a client names: put
//! access control in front of it. `ForwardProxy` (feature `forward`) has access control and tunnels.
//!
//! ```
//! # use nexthop::{Body, TransparentProxy};
//! # use tower::ServiceExt;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let proxy = TransparentProxy::builder().absolute_form_only().build()?;
//! let not_for_a_proxy = http::Request::get("/").header("host", "127.0.0.1:3128");
//! let response = proxy.oneshot(not_for_a_proxy.body(Body::empty())?).await?;
//! assert_eq!(response.status(), 400);
//! # Ok(())
//! # }
//! ```
//!
//! # Responses
//!
//! Treatment of unusual HTTP/1.1 responses. A 502 is an [`Error`](crate::Error) of the kind `Upstream`.
//!
//! | upstream's response | result | connection |
//! |---|---|---|
//! | invalid status line (including `HTTP/1.2`), folded or malformed header, more than 128 headers or 64 KiB of head ([`max_response_head_bytes`]) | 502 | closed |
//! | status from 600 to 999 | passed on unchanged; metrics count it as `5xx` | kept |
//! | `Content-Length` that is not a number, or two different ones | 502 | closed |
//! | the same `Content-Length` twice | passed on once | kept |
//! | `Transfer-Encoding: chunked` and `Content-Length` | chunked body; `Content-Length` is removed | closed |
//! | any other `Transfer-Encoding`, or one in HTTP/1.0 | 502 | closed |
//! | neither header | the body ends when the upstream closes the connection | closed |
//! | fewer bytes than announced | the bytes that arrived; then the body ends in an error, and the client's connection is closed | closed |
//! | a TLS connection that ends without `close_notify`, also within a body that ends with its connection (RFC 9112 §9.8) | the same | closed |
//! | more bytes than announced | a body of the announced length | closed |
//! | body of a `204`, a `304` or a response to `HEAD` | no body | closed |
//! | `101` to a request without upgrade, `101` to another protocol, `101` for websocket without the right `Sec-WebSocket-Accept` | 502 | closed |
//! | `2xx` to `CONNECT` | a tunnel; framing headers are ignored | becomes the tunnel |
//! | any other `1xx` | passed to [`OnInformational`](crate::ext::OnInformational), otherwise dropped; `100` releases the body of a request with `Expect: 100-continue` | kept |
//! | more than 100 interim responses to one request | 502 | closed |
//! | final response before the end of the request body | passed on at once; the request body is still sent | kept if the whole body was sent |
//! | no response on a connection that was used before | one [retry](#retries) if that is safe, otherwise 502 | closed |
//!
//! # Retries
//!
//! A request is retried at most once, on a new connection, and only if a connection from the pool failed:
//!
//! | connection lost | idempotent method (RFC 9110 §9.2.2) | other method |
//! |---|---|---|
//! | before the first byte of the request was written | retry | retry |
//! | later, before the first byte of a response | retry, if the sent part of the body is available and the retry budget is not exhausted | 502 |
//! | after the first byte of a response, including interim responses | 502 | 502 |
//!
//! * Body: one in memory ([`Body::from`](crate::Body)) is always available. A streamed body is recorded as it passes,
//!   not in advance: up to 64 KiB per request ([`replay_max_bytes`]) and 16 MiB for all requests
//!   ([`replay_budget_bytes`]). The record is dropped when the head of the response arrives. The unsent rest of the
//!   body is streamed from the client.
//! * Retry budget: retries may be at most one in five of the requests on pooled connections, plus 10 per second. Up to
//!   1,000 unused retries accumulate. Retries of unsent requests do not count. Beyond the budget, the first failure is
//!   final, so that retries do not amplify an outage.
//! * Signed trailers belong to the head they were signed with: after they were sent, the request is not retried.
//! * A request without a body that was lost on an HTTP/1.1 connection is retried over HTTP/1.1.
//! * `POST` is sent twice only if the upstream reported over HTTP/2 that it did not process the first attempt.
//! * An upstream that requires HTTP/1.1 (`HTTP_1_1_REQUIRED`) costs one attempt more, on any connection: see the table
//!   below.
//!
//! # HTTP/2
//!
//! HTTP/2 requires the feature `http2`. By default, `https` upstreams are offered `h2` and `http/1.1` in ALPN.
//! [`HttpVersions`] changes that and enables HTTP/2 without TLS (h2c with prior knowledge).
//!
//! Requests share connections: up to 100 streams on each, or fewer if the upstream allows fewer. The first request to
//! an unknown origin opens a connection, and up to 99 others wait for the result. If the result is HTTP/1.1, the
//! waiting requests and all later ones open their own connections. On a new HTTP/2 connection, requests after the first
//! wait up to 1 s for the upstream's SETTINGS. Each connection has one task. The caller polls its exchange; only a
//! request that is still being sent when its response begins gets a task.
//!
//! | case | behaviour |
//! |---|---|
//! | `:authority` | from `Host`, otherwise from the URI; an invalid `Host` or more than one is `InvalidTarget` (400) |
//! | connection-specific headers (RFC 9113 §8.2.2) | never sent, even with [`keep_hop_by_hop`]; `TE: trailers` is sent |
//! | `Content-Length` | written from the length of the body, and enforced |
//! | trailers | always sent and received |
//! | `Expect: 100-continue` | the body waits as over HTTP/1.1 |
//! | other interim responses | as over HTTP/1.1 |
//! | upgrade: a `GET` without a body, to one protocol | extended `CONNECT` (RFC 8441) if the upstream's SETTINGS allow it; otherwise an HTTP/1.1 connection (ALPN `http/1.1` only), also for later upgrades until the SETTINGS of a connection allow extended `CONNECT`; with [`HttpVersions::Http2Only`], `Unsupported` (501) |
//! | any other upgrade | over HTTP/1.1; with `Http2Only`, `Unsupported` (501) |
//! | `2xx` to extended `CONNECT` | `101` with the `Sec-WebSocket-Accept` that the client expects, or `200` to an HTTP/2 client; the stream is a tunnel: `END_STREAM` ends one direction, `RST_STREAM` is an error |
//! | `CONNECT` | over HTTP/1.1; with `Http2Only`, on a stream |
//! | version of the response | HTTP/2; over HTTP/1.1, always HTTP/1.1 |
//! | response head over the limit, connection-specific headers, header value with leading or trailing whitespace, body of another length than announced | 502, or the body ends in an error |
//! | stream reset, or connection lost | 502, or the body ends in an error |
//! | `RST_STREAM(NO_ERROR)` before the whole request was sent | the response is complete (RFC 9113 §8.1), unless it is shorter than its `Content-Length` |
//! | `GOAWAY` | open streams continue; new streams use another connection |
//! | `REFUSED_STREAM`, or a stream above the last stream of a `GOAWAY` | not processed (RFC 9113 §8.7): one retry on another connection, for any method, if the sent part of the body is available; otherwise 502, retryable |
//! | `RST_STREAM(HTTP_1_1_REQUIRED)` before the response's head, or a stream above the last stream of such a `GOAWAY` | one attempt over HTTP/1.1, for any method, if the sent part of the body is available; otherwise 502, retryable |
//! | other streams that end with a `GOAWAY(HTTP_1_1_REQUIRED)` | one attempt over HTTP/1.1 if the method is idempotent and the sent part of the body is available; otherwise 502 |
//! | later requests to an upstream that sent `HTTP_1_1_REQUIRED`, also within a response or a tunnel | HTTP/1.1 only (ALPN `http/1.1`), until the client is dropped or has met 1,024 other origins; with [`HttpVersions::Http2Only`], HTTP/2 as before, and each such request is a 502, retryable |
//! | connection lost without a response, after it had served others | one retry if the method is idempotent and the sent part of the body is available; otherwise 502 |
//! | future or response body dropped | `RST_STREAM(CANCEL)`; the connection stays open |
//! | SETTINGS that allow no streams (RFC 9113 §6.5.2) | 502, retryable, and no other connection until SETTINGS allow streams; queued requests keep waiting |
//! | silence while streams are open, or while streams are given up one after the other | `PING` after 20 s ([`http2_ping_interval`]); without an acknowledgement within 10 s ([`http2_ping_timeout`]), the connection is closed |
//! | client that does not read its response | does not block other streams: the connection's window is as large as all stream windows together |
//!
//! With [`pool_max_connections`], a shared connection counts as one connection. If the maximum is reached and all
//! streams are in use, a request waits for a connection or a stream. Both are granted in the order of the requests,
//! within the same wait timeout and queue length. A request that cannot use a shared connection, because it needs
//! HTTP/1.1 or runs on another runtime, has an idle shared connection closed to make room. It waits while other
//! requests use that connection.
//!
//! [`body_idle_timeout`]: ExactProxyBuilder::body_idle_timeout
//! [`connect_timeout`]: ExactProxyBuilder::connect_timeout
//! [`http2_ping_interval`]: ExactProxyBuilder::http2_ping_interval
//! [`http2_ping_timeout`]: ExactProxyBuilder::http2_ping_timeout
//! [`keep_hop_by_hop`]: ExactProxyBuilder::keep_hop_by_hop
//! [`max_response_head_bytes`]: ExactProxyBuilder::max_response_head_bytes
//! [`pool_max_connections`]: ExactProxyBuilder::pool_max_connections
//! [`replay_budget_bytes`]: ExactProxyBuilder::replay_budget_bytes
//! [`replay_max_bytes`]: ExactProxyBuilder::replay_max_bytes
//! [`response_timeout`]: ExactProxyBuilder::response_timeout
//! [`tunnel_idle_timeout`]: ExactProxyBuilder::tunnel_idle_timeout

mod answer;
mod builder;
mod exchange;
pub(crate) mod extended;
pub(crate) mod nominated;
mod prepare;
mod replay;
mod retries;
mod service;
mod transparent;
#[cfg(feature = "forward")]
mod tunnel;

#[cfg(feature = "http2")]
pub use crate::transport::HttpVersions;
pub(crate) use answer::answer;
pub use builder::ExactProxyBuilder;
pub use exchange::ExactProxyFuture;
pub(crate) use exchange::Exchange;
#[cfg(feature = "spawn")]
pub(crate) use exchange::Salvage;
pub(crate) use prepare::Prepare;
pub use service::ExactProxy;
pub use transparent::{TransparentProxy, TransparentProxyBuilder, TransparentProxyFuture};
