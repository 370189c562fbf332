//! Functions over the heads of HTTP messages: setting the path or query of a URI, and validating path prefixes.
//!
//! Paths and queries are never decoded, normalized or re-encoded. Nothing here does IO or reads a clock.
//!
//! | item | purpose |
//! |---|---|
//! | [`set_path`], [`set_query`] | replace the path or the query of a URI, in a hook or a layer |
//! | [`Prefix`] | a validated path prefix under which an application is mounted |

pub(crate) mod connection_auth;
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
