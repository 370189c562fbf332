//! Opens byte streams to upstreams: TCP and unix sockets, TLS, DNS, the PROXY protocol, upstream proxies.
//!
//! The types of this module are settings of an [`ExactProxyBuilder`](crate::exact::ExactProxyBuilder):
//!
//! | type | setting | purpose |
//! |---|---|---|
//! | [`Tls`] | [`tls`](crate::exact::ExactProxyBuilder::tls) | root certificates and client certificates (mTLS) |
//! | [`DnsResolver`] | [`dns_resolver`](crate::exact::ExactProxyBuilder::dns_resolver) | custom name resolution |
//! | [`UpstreamProxy`] | [`upstream_proxy`](crate::exact::ExactProxyBuilder::upstream_proxy) | HTTP or SOCKS5 proxy on the way to upstreams |
//! | [`ProxyProtocolVersion`] | [`send_proxy_protocol`](crate::exact::ExactProxyBuilder::send_proxy_protocol) | PROXY protocol header on each connection |
//! | [`Connect`] | [`connector`](crate::exact::ExactProxyBuilder::connector) | byte streams of any other kind |
//!
//! Per request, [`ext::ConnectTo`](crate::ext::ConnectTo) sets the address or unix socket to connect to, and
//! [`ext::ConnectWith`](crate::ext::ConnectWith) sets the TLS server name and the dial policy.

#[cfg(feature = "proxy-protocol")]
pub use crate::transport::ProxyProtocolVersion;
pub use crate::transport::{ByteStream, Connect, Connecting, Destination, DnsLookup, DnsResolver, UpstreamProxy};
#[cfg(feature = "tls")]
pub use crate::transport::{Tls, TlsBuilder, TlsVersion};
