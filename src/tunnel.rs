//! Upgraded connections: the byte stream after a `101` or an accepted `CONNECT`.

pub use crate::transport::Upgraded;
