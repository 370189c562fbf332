//! Both ends of an HTTP hop, for tower, hyper and axum.
//!
//! A front program forwards a client's request; a back program sees it as the client made it, and believes only what is vouched for.
//! This crate is the sending end, the receiving end, what both agree on, and the transport between them.
//!
//! ```text
//! front   client -> serve -> [ForwardProxy] -> your router -> ProxyApp | SpawnApp -> ExactProxy -> pool, HTTP/1.1 or 2, TLS -> upstream
//!                                                             strip, rewrite, carry, sign
//! back    front  -> serve -> ProxyMiddleware -> your app
//!                            verify, decode, restore, strip the rest
//! ```
//!
//! | you want to | take | it is |
//! |---|---|---|
//! | send a request exactly as it is, or need an HTTP client | [`ExactProxy`] | a `Service`, fails with [`Error`] |
//! | send requests where they say, or all to one host | [`TransparentProxy`] | a `Service`, answers |
//! | forward a part of your site to another program | [`ProxyApp`] | a `Service`, answers |
//! | know who the client is, behind a proxy | [`ProxyMiddleware`] | a `Layer` |
//! | start another program on its first request, and forward to it | [`spawn::SpawnApp`] | a `Service`, answers |
//! | be the proxy that browsers and programs are set to | [`ForwardProxy`] | a `Layer` |
//! | make certificates for what is intercepted | [`ca::CertificateAuthority`] | a value |
//! | accept connections so that the above can be trusted | [`serve()`] | a function |
//! | test what you build against peers that misbehave | [`testkit`] | upstreams, clients, scripts |
//!
//! The [`cookbook`] has whole answers: a front door, moving off an old system, prefixes, several upstreams, error pages, HTTPS, gRPC,
//! WebSockets, somebody else's front, Kubernetes, children per host, recording, and what has which name here for those who come from other
//! libraries.
//!
//! Everything composes in a tower stack: request bodies are any [`http_body::Body`] of [`Bytes`](bytes::Bytes), answers have the one
//! [`Body`]. Nothing buffers a body, nothing decodes a path, and nobody is trusted unless you say so.
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
//! // The back: an axum app that is told by a signature who the client is.
//! let page = |origin: OriginalRequest| async move { format!("{} below {}", origin.scheme(), origin.prefix()) };
//! let app = Router::new().route("/hello", get(page));
//! let app = ProxyMiddleware::builder().trust(Trust::signature(keys.clone())).build()?.layer(app);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let back = listener.local_addr()?;
//! tokio::spawn(nexthop::serve(listener, app).into_future());
//!
//! // The front: one part of its site is the back's.
//! let proxy = ProxyApp::builder(format!("http://{back}")).signer(Signer::builder(keys).build()?).build()?;
//! let front = Router::new().nest_service("/shop", proxy);
//!
//! let request = Request::get("/shop/hello").header("host", "www.example.com").body(axum::body::Body::empty())?;
//! let response = front.oneshot(request).await?;
//! assert_eq!(axum::body::to_bytes(response.into_body(), 1024).await?, "http below /shop");
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//! [`ConfigError`] at `build()`, naming the text that was wrong; [`Error`] per request, whose [`status`](Error::status) is what it is
//! answered with. A body that fails after its head ends in an error, and the client's connection is cut: no answer that is short looks
//! complete.
//!
//! # Features
//! | feature | default | what it adds |
//! |---|---|---|
//! | `serve` | yes | [`serve()`]: the accept side |
//! | `http2` | yes | HTTP/2: on the accept side (prior knowledge, or ALPN behind a TLS acceptor) and towards upstreams (ALPN, or prior knowledge) |
//! | `aws-lc-rs` | yes | `tls` with the aws-lc-rs provider |
//! | `ring` | | `tls` with the ring provider, lighter to build |
//! | `proxy-protocol` | with `serve` | the client's address at the head of connections to upstreams: [`net::ProxyProtocolVersion`] |
//! | `tls` | with a provider | https upstreams: [`net::Tls`] |
//! | `axum` | | for apps on axum: [extractors](mod@axum); `ConnectInfo` and `OriginalUri` behind `ProxyMiddleware`; the prefix that `nest_service` took off, in `ProxyApp` |
//! | `config` | | serde types from which services and layers are built: [`config`] |
//! | `metrics` | | figures through the `metrics` facade: [`observe`] |
//! | `forward` | | [`ForwardProxy`]: whole URLs and `CONNECT` |
//! | `intercept` | | `forward`, with TLS looked into by an authority of one's own: [`ca`] |
//! | `pkcs12` | | `intercept`, with the authority's certificate as a PKCS #12 file, too |
//! | `wildcards` | | `intercept`, with one certificate for a domain and all names right below it |
//! | `socks` | | upstreams reached through a SOCKS5 proxy: [`net::UpstreamProxy`] |
//! | `postcard` | | binary carried keys |
//! | `spawn` | | backends that are child processes, started on the first request: [`spawn`] |
//! | `bincode` | | binary carried keys in a format that nobody maintains |
//! | `classic-signature` | | `X-WSGIProxy-Signature`, for a peer that knows no other |
//! | `testkit` | | peers that misbehave, for your tests: [`testkit`] |
//! | `full` | | all but `ring`, `bincode` and `testkit` |
//!
//! # Limits
//! Interim responses other than `100` cannot be passed on by hyper's server,
//! nor trailers that are not announced.

#![cfg_attr(docsrs, feature(doc_cfg))]
// The pages tell of all parts; what a build is without cannot be linked to.
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

pub use app::ProxyApp;
pub use body::Body;
pub use error::{BoxError, ConfigError, Error, ErrorKind, Phase};
pub use exact::{ExactProxy, TransparentProxy};
#[cfg(feature = "forward")]
pub use forward::ForwardProxy;
pub use message::target::UpstreamUrl;
pub use middleware::ProxyMiddleware;
#[cfg(feature = "serve")]
pub use serve::serve;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
