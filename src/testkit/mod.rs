//! Peers that misbehave, for the tests of what is built with this crate (feature `testkit`, for dev-dependencies).
//!
//! A proxy is judged by what it does when the other side does wrong. The peers with which this crate is tested are here for the tests of
//! handlers, hooks and settings of one's own:
//!
//! | | is | over |
//! |---|---|---|
//! | [`RawUpstream`] | an upstream that records every byte it receives and answers as ill-mannered as it is told | TCP, TLS, unix sockets |
//! | [`InMemoryUpstream`] | the same as a connector | memory |
//! | [`http2::Http2Upstream`] | an HTTP/2 upstream that is scripted frame by frame, as a connector | memory |
//! | [`scripts`] | what upstreams are told: stale closes, resets at a byte, glued `101`s, … | |
//! | [`Gate`] | a connector whose connections break just when they are used | another connector |
//! | [`RawClient`] | a client that writes bytes as it likes, and tells a whole response from one that is cut | TCP, unix sockets, any stream |
//! | [`InMemoryServer`] | [`serve`](crate::serve()), with a handler | memory |
//! | [`echo()`] | an application that answers with what it saw | |
//!
//! ```toml
//! [dev-dependencies]
//! nexthop = { version = "0.1", features = ["testkit"] }
//! tokio = { version = "1", features = ["macros", "rt", "test-util"] }
//! ```
//!
//! # Example
//! Does a client notice that the answer it got through our proxy is not all of it?
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
//! // What is to be tested, behind a server.
//! let exact = ExactProxy::builder().connector(upstream.clone()).build()?;
//! let app = ProxyApp::builder("http://app.example").client(exact).build()?;
//! let (server, _) = InMemoryServer::serve(app, |serve| serve);
//!
//! let mut client = server.client().await;
//! client.send("GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n").await;
//! assert!(client.try_response(true).await.is_err(), "a part is not taken for the whole");
//!
//! upstream.finish(); // raises a panic of the script, if there was one
//! # Ok(())
//! # }
//! ```
//!
//! # Time
//! With `#[tokio::test(start_paused = true)]`, a test of what takes an hour takes no time: the clock moves on as soon as every task
//! waits for it. That does not go together with sockets, for which tasks wait without the clock's knowing; hence the peers in memory.
//!
//! # Panics
//! What fails, fails the test: by a panic that names the line of the test, or, in a script, by one that is raised again when the peer
//! is dropped or finished. What a test awaits of a [`RawClient`] or a [`RawUpstream`] takes no longer than [`DEADLINE`]; a client that is
//! [`patient`](RawClient::patient) waits for a day, of a clock that should be paused. Scripts wait for as long as the test goes on.

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
pub use scripts::Playing;
#[cfg(feature = "serve")]
pub use server::{InMemoryServer, Streams};
pub use tasks::{DEADLINE, Tasks, within, within_limit};
#[cfg(feature = "tls")]
pub use tls::ServerTls;
pub use upstream::{RawUpstream, ReceivedRequest};
