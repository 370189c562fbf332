//! Test utilities: clients, servers and upstreams that misbehave on purpose, for tests of code that uses this crate
//! (feature `testkit`, for dev-dependencies).
//!
//! These are the peers that the tests of this crate use. Use them to test your own handlers, hooks and settings:
//!
//! | type | description | transport |
//! |---|---|---|
//! | [`RawUpstream`] | an upstream that records every byte it receives and follows a script | TCP, TLS, unix sockets |
//! | [`InMemoryUpstream`] | the same as a connector | memory |
//! | [`http2::Http2Upstream`] | an HTTP/2 upstream with a script of frames, as a connector | memory |
//! | [`scripts`] | ready-made scripts: stale closes, resets at a byte, a `101` with data in the same write, … | |
//! | [`Gate`] | a connector whose connections break at the moment of a write | another connector |
//! | [`RawClient`] | a client that writes arbitrary bytes and distinguishes complete responses from truncated ones | TCP, unix sockets, any stream |
//! | [`InMemoryServer`] | [`serve`](crate::serve()) with a handler | memory |
//! | [`echo()`] | an application that responds with the request it received, as JSON | |
//!
//! ```toml
//! [dev-dependencies]
//! nexthop = { version = "0.1", features = ["testkit"] }
//! tokio = { version = "1", features = ["macros", "rt", "test-util"] }
//! ```
//!
//! # Example
//! This test checks that a client can detect a response that the upstream truncated:
//!
//! ```
//! use nexthop::{
//!     ExactProxy, ProxyApp,
//!     testkit::{InMemoryServer, InMemoryUpstream, scripts},
//! };
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), nexthop::BoxError> {
//! // An upstream that resets its connection after four bytes of the body.
//! let answer = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello peer";
//! let upstream = InMemoryUpstream::new(scripts::reset_at(answer, answer.len() - 6));
//!
//! // The code under test, on a server.
//! let exact = ExactProxy::builder().connector(upstream.clone()).build()?;
//! let app = ProxyApp::builder("http://app.example").client(exact).build()?;
//! let (server, _) = InMemoryServer::serve(app, |serve| serve);
//!
//! let mut client = server.client().await;
//! client.send("GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n").await;
//! assert!(client.try_response(true).await.is_err(), "a truncated response");
//!
//! upstream.finish(); // propagates a panic of the script
//! # Ok(())
//! # }
//! ```
//!
//! # Time
//! With `#[tokio::test(start_paused = true)]`, a test of an hour-long timeout takes no time: the clock advances as soon
//! as every task waits for it. A paused clock does not work with sockets, because it also advances while tasks wait for
//! them. Use the in-memory peers.
//!
//! # Panics
//! A failure fails the test with a panic that reports the line of the test. A panic of a script is raised again when
//! the peer is dropped or finished. Each operation of a [`RawClient`] or [`RawUpstream`] that a test awaits takes at
//! most [`DEADLINE`]; with [`patient`](RawClient::patient) at most a day, for use with a paused clock. Operations of
//! scripts have no deadline.

#![allow(clippy::unwrap_used, reason = "a test kit fails the test that uses it")]

mod client;
mod conn;
mod echo;
mod gate;
#[cfg(feature = "http2")]
pub mod http2;
mod memory;
pub mod scripts;
#[cfg(feature = "serve")]
mod server;
mod tasks;
#[cfg(feature = "tls")]
mod tls;
mod upstream;
mod wire;

pub use client::{RawClient, RawResponse};
pub use conn::RawConn;
pub use echo::{Echo, EchoService, echo};
pub use gate::Gate;
pub use memory::InMemoryUpstream;
#[cfg(feature = "serve")]
pub use server::{InMemoryServer, Streams};
pub use tasks::{DEADLINE, Tasks, within, within_limit};
#[cfg(feature = "tls")]
pub use tls::ServerTls;
pub use upstream::{RawUpstream, ReceivedRequest};
