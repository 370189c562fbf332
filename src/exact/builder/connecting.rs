//! The ways to connect, as they are set.

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
    /// Whom https upstreams must prove to be: the platform's roots.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.connector.tls = tls;
        self
    }

    /// Finds the addresses of hosts in a way of one's own: the system's resolver.
    pub fn dns_resolver(mut self, resolver: impl DnsResolver) -> Self {
        self.connector.tcp.resolver = Some(Arc::new(resolver));
        self
    }

    /// Which addresses may be connected to: all. Asked for each address of a name, and for given ones; `Denied` (403) if none may be.
    pub fn dial_policy(mut self, policy: DialPolicy) -> Self {
        self.connector.tcp.policy = Some(policy);
        self
    }

    /// Time for one address of an upstream: none but [`connect_timeout`](Self::connect_timeout). An address that is silent for 250 ms
    /// does not keep the next one waiting in any case (RFC 8305); this ends the attempt.
    pub fn address_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.connector.tcp.attempt = limit.into();
        self
    }

    /// The address that TCP connections come from: the system's choice. Upstreams of the other family cannot be reached then.
    pub fn local_address(mut self, address: impl Into<Option<IpAddr>>) -> Self {
        self.connector.tcp.local = address.into();
        self
    }

    /// Silence on a TCP connection after which the kernel asks whether the peer is still there: 60 s. It finds peers that vanished during
    /// an exchange without a limit of time, and keeps the memory of firewalls fresh.
    pub fn tcp_keepalive(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.connector.tcp.keepalive = time.into();
        self
    }

    /// Begins each connection with a header of the PROXY protocol, before TLS, which names the client: nothing is sent. The client is the
    /// one that `ProxyMiddleware` restored, else the socket's peer; a unix or missing one is sent as unknown.
    ///
    /// A connection serves one client address and port, so few requests find one in the pool.
    #[cfg(feature = "proxy-protocol")]
    pub fn send_proxy_protocol(mut self, version: ProxyProtocolVersion) -> Self {
        self.connector.proxy_protocol = Some(version);
        self
    }

    /// Reaches every upstream through another proxy, but for unix sockets: directly. With a [`connector`](Self::connector) of one's own, that
    /// is asked for a stream to the proxy. A stream that the caller brings is what it is.
    pub fn upstream_proxy(mut self, proxy: UpstreamProxy) -> Self {
        self.connector.upstream_proxy = Some(proxy);
        self
    }

    /// Connects in a way of one's own instead of by TCP and unix sockets.
    pub fn connector(mut self, connect: impl Connect) -> Self {
        self.connector.custom = Some(Arc::new(connect));
        self
    }
}
