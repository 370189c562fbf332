//! Pure functions over the heads of HTTP messages: no IO, no clock, no randomness.
//!
//! | module | what it knows |
//! |---|---|
//! | [`extended`] | extended `CONNECT` of HTTP/2, and the same in HTTP/1.1 |
//! | [`hop`] | which fields concern one connection only, and taking them off |
//! | [`target`] | joining and splitting request targets byte for byte, upstream URLs, prefixes, `Host` |
//! | [`forwarded`] | the lists that say which way a request came |
//! | [`location`] | mapping `Location`, `Link`, `Set-Cookie` and their like from the upstream's view to the client's |
//! | [`upgrade`] | what is a handshake for another protocol, and which `101` answers it |
//! | [`via`] | `Via` and the detection of loops |

pub(crate) mod extended;
pub(crate) mod fields;
pub(crate) mod forwarded;
pub(crate) mod framing;
pub(crate) mod hop;
pub(crate) mod location;
pub(crate) mod max_forwards;
pub(crate) mod target;
pub(crate) mod upgrade;
pub(crate) mod via;

pub use target::{Prefix, set_path, set_query};
