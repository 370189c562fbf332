//! Byte streams to upstreams: TCP and unix sockets, TLS, DNS, dial policies, the PROXY protocol, upstream proxies.
//!
//! The types of this module are settings of an [`ExactProxyBuilder`](crate::exact::ExactProxyBuilder): [`Tls`] for roots and client
//! certificates, [`DnsResolver`] for name resolution, [`UpstreamProxy`] for HTTP and SOCKS5 proxies, [`Connect`] for streams of any other
//! kind. Per request, [`ext::ConnectTo`](crate::ext::ConnectTo) and [`ext::ConnectWith`](crate::ext::ConnectWith) override them.

#[cfg(feature = "proxy-protocol")]
pub use crate::transport::ProxyProtocolVersion;
pub use crate::transport::{ByteStream, Connect, Connecting, Destination, DnsLookup, DnsResolver, UpstreamProxy};
#[cfg(feature = "tls")]
pub use crate::transport::{Tls, TlsBuilder, TlsVersion};
