//! A reverse proxy, forward proxy and HTTP client for tower, hyper and axum.
//!
//! Each proxy is a tower `Service` or `Layer` that you mount in your own program. This is a whole axum program whose route `/shop` is
//! served by another program (feature `axum`):
//!
//! ```no_run
//! #[tokio::main]
//! async fn main() -> Result<(), nexthop::BoxError> {
//!     let shop = nexthop::ProxyApp::builder("http://127.0.0.1:9000").build()?;
//!     let app = axum::Router::new().nest_service("/shop", shop);
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     nexthop::serve(listener, app).await;
//!     Ok(())
//! }
//! ```
//!
//! | task | type | kind |
//! |---|---|---|
//! | forward a part of your site to another program: a reverse proxy | [`ProxyApp`] | `Service`, infallible |
//! | get the client's address, scheme and host behind a proxy | [`ProxyMiddleware`] | `Layer` |
//! | send a request exactly as it is: an HTTP client | [`ExactProxy`] | `Service`, returns [`Error`] |
//! | send each request to the host it names | [`TransparentProxy`] | `Service`, infallible |
//! | start another program on its first request, and forward to it | [`spawn::SpawnApp`] | `Service`, infallible |
//! | be the proxy of browsers and programs: a forward proxy | [`ForwardProxy`] | `Layer` |
//! | intercept TLS: issue certificates for hosts | [`ca::CertificateAuthority`] | value |
//! | accept connections, with peer addresses, timeouts and graceful shutdown | [`serve()`] | function |
//! | test your proxy against misbehaving peers | [`testkit`] | upstreams, clients, scripts |
//!
//! ```text
//! front end  client -> serve -> router -> ProxyApp -> ExactProxy -> upstream
//! backend    front end -> serve -> ProxyMiddleware -> app
//! ```
//!
//! Everything composes in a tower stack: request bodies are any [`http_body::Body`](https://docs.rs/http-body/1/http_body/trait.Body.html)
//! of [`Bytes`](https://docs.rs/bytes/1/bytes/struct.Bytes.html), response bodies are [`Body`]. Bodies are streamed, paths are never
//! decoded, and nothing is trusted by default.
//!
//! # Cookbook
//!
//! Complete recipes; their examples are compiled, and run where they need no network.
//!
//! | topic | recipes |
//! |---|---|
//! | start | [reverse proxy in front of several programs](cookbook::front_door), [mount an app under a prefix](cookbook::mount_under_a_prefix), [trusted proxies](cookbook::trusted_proxies) |
//! | serve | [HTTPS](cookbook::https), [WebSockets](cookbook::websockets), [gRPC](cookbook::grpc), [Kubernetes](cookbook::kubernetes) |
//! | change | [rewrite a page](cookbook::rewrite_a_page) |
//! | secure | [identity headers](cookbook::identity_headers), [trusted proxies](cookbook::trusted_proxies) |
//! | operate | [load balancing](cookbook::load_balancing), [error pages](cookbook::error_pages), [rewrite a page](cookbook::rewrite_a_page), [one backend per host](cookbook::backend_per_host), [record and replay](cookbook::record_and_replay) |
//! | migrate | [from other proxies and libraries](cookbook::migrating), [from a legacy system, route by route](cookbook::strangler_fig) |
//!
//! # A signed hop
//!
//! If both ends use this crate, a signature authenticates the front end, and values travel with the request:
//!
//! ```
//! use axum::{Router, routing::get};
//! use http::Request;
//! use nexthop::{
//!     Body, ProxyApp, ProxyMiddleware,
//!     ext::OriginalRequest,
//!     middleware::Trust,
//!     protocol::{keyring::Keyring, signature::Signer},
//!     secret::Secret,
//! };
//! use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), nexthop::BoxError> {
//! let keys = Keyring::new("front-1", Secret::random()?)?;
//!
//! // The backend: an axum app behind a layer that verifies the signature.
//! let page = async |original: OriginalRequest| {
//!     format!("{} below {}", original.scheme(), original.prefix())
//! };
//! let app = Router::new().route("/hello", get(page));
//! let trust = Trust::signature(keys.clone());
//! let app = ProxyMiddleware::builder().trust(trust).build()?.layer(app);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let backend = format!("http://{}", listener.local_addr()?);
//! tokio::spawn(nexthop::serve(listener, app).into_future());
//!
//! // The front end: the backend is a part of its site.
//! let proxy = ProxyApp::builder(backend).signer(Signer::builder(keys).build()?).build()?;
//! let site = Router::new().nest_service("/shop", proxy);
//!
//! let request = Request::get("/shop/hello").header("host", "www.example.com");
//! let response = site.oneshot(request.body(axum::body::Body::empty())?).await?;
//! assert_eq!(axum::body::to_bytes(response.into_body(), 1024).await?, "http below /shop");
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//! [`ConfigError`] at `build()`, naming the invalid text; [`Error`] per request, with the response status in [`status`](Error::status). If a
//! body fails after its head was sent, the stream ends in an error and the client's connection is closed: a truncated response never looks
//! complete.
//!
//! # Features
//! | feature | default | adds |
//! |---|---|---|
//! | `serve` | yes | [`serve()`]: the accept side |
//! | `http2` | yes | HTTP/2: on the accept side (prior knowledge, or ALPN behind a TLS acceptor) and towards upstreams (ALPN, or prior knowledge) |
//! | `aws-lc-rs` | yes | `tls` with the aws-lc-rs provider |
//! | `ring` | | `tls` with the ring provider, which builds faster |
//! | `proxy-protocol` | with `serve` | the PROXY protocol towards upstreams: [`net::ProxyProtocolVersion`] |
//! | `tls` | with a provider | https upstreams: [`net::Tls`] |
//! | `axum` | | for axum programs: [extractors](mod@axum); `ConnectInfo` and `OriginalUri` behind `ProxyMiddleware`; the prefix that `nest_service` removed, in `ProxyApp` |
//! | `config` | | serde types that build the services and layers: [`config`] |
//! | `decompress` | | decoding of `gzip`, `deflate`, `br` and `zstd` in [`ResponseExt`] |
//! | `metrics` | | metrics through the `metrics` facade: [`observe`] |
//! | `forward` | | [`ForwardProxy`]: absolute URLs and `CONNECT` |
//! | `intercept` | | `forward` with TLS interception: [`ca`] |
//! | `pkcs12` | | `intercept` with the CA certificate as a PKCS #12 file |
//! | `wildcards` | | `intercept` with one certificate per domain instead of one per host |
//! | `socks` | | upstreams through a SOCKS5 proxy: [`net::UpstreamProxy`] |
//! | `postcard` | | binary carried keys |
//! | `spawn` | | child processes as backends, started on the first request: [`spawn`] |
//! | `bincode` | | binary carried keys in a format that is no longer maintained |
//! | `classic-signature` | | `X-WSGIProxy-Signature`, for a peer that supports no other signature |
//! | `testkit` | | misbehaving peers for your tests: [`testkit`] |
//! | `full` | | all but `ring`, `bincode` and `testkit` |
//!
//! # Limits
//! hyper's server cannot send interim responses (1xx) other than `100`, nor trailers that were not announced in `Trailer`.

#![cfg_attr(docsrs, feature(doc_cfg))]
// Pages link to items of all features; a build without a feature cannot resolve those links.
#![cfg_attr(not(all(feature = "full", feature = "testkit")), allow(rustdoc::broken_intra_doc_links))]
#![warn(
    missing_docs,
    missing_debug_implementations,
    unnameable_types,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::exhaustive_enums,
    clippy::exhaustive_structs
)]

mod error;
pub mod ext;
#[cfg(feature = "tls")]
mod pem;
mod timeout;

pub mod message;
pub mod protocol;

mod transport;

pub mod net;
#[doc(inline)]
pub use transport::observe;
pub mod pool;
pub mod tunnel;

mod body;
pub mod secret;
mod text;

pub mod exact;

pub mod app;
pub mod middleware;

#[cfg(feature = "spawn")]
pub mod spawn;

#[cfg(feature = "serve")]
pub mod serve;

#[cfg(feature = "intercept")]
pub mod ca;
#[cfg(feature = "forward")]
pub mod forward;

#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "testkit")]
pub mod testkit;

#[cfg(any(doc, doctest))]
pub mod cookbook;
#[doc(hidden)]
pub mod internals;

#[doc(inline)]
pub use app::ProxyApp;
#[doc(inline)]
pub use body::Body;
#[doc(inline)]
pub use error::{BoxError, ConfigError, Error, ErrorKind, Phase};
#[doc(inline)]
pub use exact::{ExactProxy, TransparentProxy};
#[cfg(feature = "forward")]
#[doc(inline)]
pub use forward::ForwardProxy;
#[doc(inline)]
pub use message::target::UpstreamUrl;
#[doc(inline)]
pub use middleware::ProxyMiddleware;
#[cfg(feature = "serve")]
#[doc(inline)]
pub use serve::serve;
#[doc(inline)]
pub use text::ResponseExt;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
