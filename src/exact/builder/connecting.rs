//! TLS, DNS and dialling.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::ExactProxyBuilder;
#[cfg(feature = "proxy-protocol")]
use crate::transport::ProxyProtocolVersion;
#[cfg(feature = "tls")]
use crate::transport::Tls;
use crate::{
    ext::DialPolicy,
    transport::{Connect, DnsResolver, UpstreamProxy},
};

impl ExactProxyBuilder {
    /// Sets the TLS configuration for https upstreams. Default: [`Tls::platform`], the platform's root certificates.
    #[doc(alias = "mtls")]
    #[doc(alias = "client certificate")]
    #[doc(alias = "root certificates")]
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.connector.tls = tls;
        self
    }

    /// Sets a custom DNS resolver. Default: the system's resolver (`getaddrinfo`).
    #[doc(alias = "dns")]
    pub fn dns_resolver(mut self, resolver: impl DnsResolver) -> Self {
        self.connector.tcp.resolver = Some(Arc::new(resolver));
        self
    }

    /// Restricts the addresses that may be connected to. Default: no restriction.
    ///
    /// The policy applies to each address that a name resolves to, and to given addresses. If it denies all of them,
    /// the request fails with `Denied` (403).
    #[doc(alias = "ssrf")]
    #[doc(alias = "allowlist")]
    pub fn dial_policy(mut self, policy: DialPolicy) -> Self {
        self.connector.tcp.policy = Some(policy);
        self
    }

    /// Sets another proxy (HTTP or SOCKS5) through which all upstreams are reached, except unix sockets. Default: none.
    ///
    /// With a custom [`connector`](Self::connector), the connector opens the stream to the proxy. Streams that a caller
    /// passes to [`send_on`](crate::ExactProxy::send_on) are used directly.
    #[doc(alias = "http proxy")]
    #[doc(alias = "socks5")]
    pub fn upstream_proxy(mut self, proxy: UpstreamProxy) -> Self {
        self.connector.upstream_proxy = Some(proxy);
        self
    }

    /// Sends a PROXY protocol header with the client's address at the start of each connection, before TLS. Default:
    /// off.
    ///
    /// The client is the one that `ProxyMiddleware` restored, otherwise the socket's peer. A client without an IP
    /// address (unix socket, or unknown) is sent as unknown. A connection serves one client address and port, so few
    /// requests find a connection in the pool.
    #[doc(alias = "haproxy")]
    #[doc(alias = "proxy protocol")]
    #[cfg(feature = "proxy-protocol")]
    pub fn send_proxy_protocol(mut self, version: ProxyProtocolVersion) -> Self {
        self.connector.proxy_protocol = Some(version);
        self
    }

    /// Sets the local address of TCP connections. Default: chosen by the system. Upstreams of the other address family
    /// become unreachable.
    #[doc(alias = "bind address")]
    #[doc(alias = "source address")]
    pub fn local_address(mut self, address: impl Into<Option<IpAddr>>) -> Self {
        self.connector.tcp.local = address.into();
        self
    }

    /// Sets the TCP keep-alive time: the silence after which the kernel probes the peer. Default: 60 s. `None` disables
    /// it.
    ///
    /// Keep-alive finds peers that vanished during an exchange without a timeout, and keeps state in firewalls and NAT
    /// alive.
    #[doc(alias = "keep-alive")]
    #[doc(alias = "SO_KEEPALIVE")]
    pub fn tcp_keepalive(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.connector.tcp.keepalive = time.into();
        self
    }

    /// Sets a custom connector, which opens byte streams to upstreams. Default: TCP and unix sockets.
    pub fn connector(mut self, connect: impl Connect) -> Self {
        self.connector.custom = Some(Arc::new(connect));
        self
    }
}
