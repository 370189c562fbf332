//! Serves any tower service on a listener: the accept side of a proxy, with timeouts, limits and graceful shutdown.
//!
//! [`serve`](serve()) takes a listener and a service and returns a builder that is awaited. Compared with
//! `axum::serve`:
//!
//! * Each request carries [`ext::PeerAddr`](crate::ext::PeerAddr): the TCP address, or the user, group and process at
//!   the other end of a unix socket. On a TLS connection it carries [`ext::OverTls`](crate::ext::OverTls), too.
//! * It speaks HTTP/1.1 with upgrades and, with feature `http2`, HTTP/2 with extended CONNECT (RFC 8441). In clear
//!   text, the first bytes of the connection select the protocol. A first byte that cannot be HTTP/2 selects HTTP/1 at
//!   once, so that the shortest HTTP/1.0 request is answered without a wait.
//! * It closes a connection on which no complete request head arrives within [30 s](Serve::header_timeout), for the
//!   first and for later requests.
//! * It cuts a client that [accepts no bytes for 60 s](Serve::write_timeout) while data is being written to it, on
//!   HTTP/1, on HTTP/2 and in tunnels. [TCP keep-alive](Serve::tcp_keepalive) finds clients that vanished without
//!   closing.
//! * An HTTP/1 client whose response is complete before its request was read, for instance with 413 or 431, may go on
//!   sending for 5 s and at most 64 MiB, so that no TCP reset destroys the response (RFC 9112 §9.6).
//! * A response whose body fails is delivered as far as the body went; then the connection is closed without
//!   `close_notify`, or the stream is reset. What the flow-control windows of an HTTP/2 client hold back at that moment
//!   is dropped.
//! * Request heads have a [size limit](Serve::max_head_bytes) (431), and so have [targets](Serve::max_target_bytes)
//!   (414). A header value that begins or ends with white space, which hyper accepts in HTTP/2, is answered with 400
//!   (RFC 9113 §8.2.1).
//! * `TCP_NODELAY` is set. An error of `accept`, such as a lack of file descriptors, neither ends the server nor makes
//!   it spin. The number of connections can be [limited](Serve::max_connections).
//! * The PROXY protocol is [required or forbidden](ProxyProtocol), never guessed.
//! * [Graceful shutdown](Serve::with_graceful_shutdown) has a deadline that applies to tunnels, too: an upgraded
//!   connection counts as open until it is closed, and is cut at the deadline. [`Drain`] counts connections and
//!   [tunnels](Drain::tunnels). [`shutdown_signal`] waits for `SIGTERM` and ctrl-c.
//!
//! A client that stalls within a request's body, or sends its chunk extensions or trailers byte by byte, is left to the
//! application, because only the application knows whether it reads the body: `ProxyApp` answers with 408 after 60 s
//! without content ([`body_idle_timeout`](crate::exact::ExactProxyBuilder::body_idle_timeout)). Other applications add a
//! layer such as `tower_http::timeout::RequestBodyTimeoutLayer`, or a timeout around their reads.
//!
//! Each connection is one task. On HTTP/1 there is no task per request; on HTTP/2, hyper spawns one per stream. The
//! service is cloned per request.
//!
//! # Limitations of hyper
//!
//! * Interim responses other than `100` cannot be sent.
//! * Header names are sent in lower case.
//! * Response trailers reach an HTTP/1 client only if it sent `TE: trailers` and the response announced them in
//!   `Trailer`.
//! * A client that disconnects is not noticed while its body or its pipelined requests wait unread.
//! * An HTTP/1.0 client gets an HTTP/1.0 response without chunks, ended by closing the connection if the length is
//!   unknown.
//!
//! # Example
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use nexthop::ext::PeerAddr;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let app = tower::service_fn(async |request: Request<hyper::body::Incoming>| {
//!     let known = request.extensions().get::<PeerAddr>().is_some();
//!     let body = Bytes::from(format!("peer known: {known}"));
//!     Ok::<_, std::convert::Infallible>(Response::new(Full::new(body)))
//! });
//!
//! // The listener is a TCP or unix socket or, as here, a channel of in-memory streams.
//! let (connections, listener) = tokio::sync::mpsc::channel(1);
//! tokio::spawn(nexthop::serve(listener, app).into_future());
//!
//! let (mut client, server) = tokio::io::duplex(1024);
//! connections.send(nexthop::serve::Accepted::new(server)).await.unwrap();
//! client.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
//! let mut response = String::new();
//! client.read_to_string(&mut response).await?;
//! assert!(response.starts_with("HTTP/1.0 200 OK\r\n"));
//! assert!(response.ends_with("\r\n\r\npeer known: false"));
//! # Ok(())
//! # }
//! ```

mod accept;
mod activity;
mod builder;
mod connection;
mod delivery;
mod dispatch;
mod drain;
mod drive;
mod http_service;
#[cfg(feature = "forward")]
mod inside;
mod listener;
mod proxy_protocol;
mod sending;
mod settings;
mod signal;
mod stream;
#[cfg(feature = "http2")]
mod streams;
mod watch;

pub use accept::{Drained, Serving};
pub use builder::{Serve, serve};
#[cfg(feature = "forward")]
pub(crate) use connection::Protocol;
#[cfg(feature = "forward")]
pub(crate) use drain::DrainOf;
pub use drain::{Drain, DrainGuard};
pub use http_service::HttpService;
#[cfg(feature = "forward")]
pub(crate) use inside::Inside;
pub use listener::{Accepted, Listener};
pub use proxy_protocol::ProxyProtocol;
pub use signal::shutdown_signal;
