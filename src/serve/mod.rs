//! The accept side: [`serve`](serve()) runs any tower service behind a listener, as a proxy needs it.
//!
//! What it does beyond `axum::serve`:
//!
//! * every request carries [`ext::PeerAddr`](crate::ext::PeerAddr): the TCP address, or the user, group and process at the other end of
//!   a unix socket (and [`ext::OverTls`](crate::ext::OverTls) where the connection is TLS);
//! * HTTP/1.1 with upgrades and, with feature `http2`, HTTP/2 with extended CONNECT (RFC 8441), told apart by the connection's first
//!   bytes. A first byte that cannot be HTTP/2's decides at once, so the shortest HTTP/1.0 request is answered without a wait;
//! * a connection that brings no request head within [30 s](Serve::header_timeout) is closed, be it the first or a later one;
//! * a client that [takes nothing for 60 s](Serve::write_timeout) of what is being written to it is cut, on HTTP/1, HTTP/2 and in
//!   tunnels, and one that vanished without a word is found by [TCP keep-alive](Serve::tcp_keepalive);
//! * a client of HTTP/1 that is answered before all of its request was read, with 413 or 431 for instance, may go on sending for 5 s after
//!   the answer and its end, 64 MiB at most, so that no reset overtakes them (RFC 9112 §9.6);
//! * heads are [bounded](Serve::max_head_bytes), and so are [targets](Serve::max_target_bytes) (414); a value that begins or ends with white
//!   space, which hyper takes in HTTP/2, is 400 (RFC 9113 §8.2.1); `TCP_NODELAY` is set; a failing `accept` (no file descriptors left)
//!   neither ends the server nor spins; the number of connections can be [bounded](Serve::max_connections);
//! * the PROXY protocol is [required or forbidden](ProxyProtocol), never guessed;
//! * [graceful shutdown](Serve::with_graceful_shutdown) with a deadline that also holds for tunnels: an upgraded connection counts as
//!   open until it is closed, whoever has it, and is cut at the deadline ([`Drain`], which counts the
//!   [tunnels](Drain::tunnels), too).
//!
//! A client that stalls in the middle of a request's body is the application's business, which alone knows whether it reads: `ProxyApp`
//! answers 408 after 60 s ([`body_idle_timeout`](crate::exact::ExactProxyBuilder::body_idle_timeout)); other applications bring a layer
//! such as `tower_http::timeout::RequestBodyTimeoutLayer`, or a timeout around their reads.
//!
//! One task per connection, none per request on HTTP/1 (hyper spawns one per stream on HTTP/2). The service is cloned per request.
//!
//! # What hyper decides
//!
//! Informational responses other than `100` cannot be sent; field names go out in lower case; response trailers reach an HTTP/1 client
//! only if it sent `TE: trailers` and the response announced them in `Trailer`; a client that leaves goes unseen while its own body or
//! pipelined bytes wait unread. An HTTP/1.0 client gets an HTTP/1.0 response without chunks, ended by close where the length is unknown.
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
//!     Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(format!("peer known: {known}")))))
//! });
//!
//! // Any listener will do: TCP, a unix socket, or, as here, a channel of streams in memory.
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
mod dispatch;
mod drain;
mod drive;
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
#[cfg(feature = "forward")]
pub(crate) use inside::Inside;
pub use listener::{Accepted, Listener};
pub use proxy_protocol::ProxyProtocol;
pub use signal::shutdown_signal;
