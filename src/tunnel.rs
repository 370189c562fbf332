//! Holds upgraded connections: [`Upgraded`] is the byte stream after a `101 Switching Protocols` or an accepted
//! `CONNECT`.
//!
//! Behind [`serve`](crate::serve()) or another hyper server, tunnels are joined with the client's connection and need
//! no code. A caller that uses [`ExactProxy`](crate::ExactProxy) as an HTTP client takes the stream out of the response
//! with [`Upgraded::take`].

pub use crate::transport::Upgraded;
