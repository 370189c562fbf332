//! From a destination to a byte stream: names resolved, sockets connected, TLS spoken, all within one limit of time.

mod connector;
mod custom;
mod deadline;
#[cfg(feature = "proxy-protocol")]
mod proxy_protocol;
mod race;
mod resolve;
#[cfg(feature = "socks")]
mod socks;
mod tcp;
mod through;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_builder;
mod upstream_proxy;

#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod tests;

#[cfg(feature = "http2")]
pub(crate) use connector::Alpn;
pub(crate) use connector::{Connector, Offer};
pub use custom::{Connect, Connecting};
#[cfg(feature = "proxy-protocol")]
pub use proxy_protocol::ProxyProtocolVersion;
pub use resolve::{DnsLookup, DnsResolver};
#[cfg(feature = "serve")]
pub(crate) use tcp::keepalive;
#[cfg(feature = "tls")]
pub use tls::Tls;
#[cfg(feature = "tls")]
pub use tls_builder::{TlsBuilder, TlsVersion};
pub use upstream_proxy::UpstreamProxy;
