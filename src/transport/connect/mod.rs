//! From a destination to a byte stream: names resolved, sockets connected, TLS spoken, each within its share of one limit of time.

mod connector;
mod custom;
mod deadline;
#[cfg(feature = "tls")]
mod tls;

pub(crate) use connector::{Alpn, ConnectTimings, Connected, Connector, Offer};
pub use custom::{Connect, Connecting};
#[cfg(feature = "tls")]
pub use tls::Tls;
