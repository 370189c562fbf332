//! The PROXY protocol towards upstreams: the client's address at the head of a connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::Extensions;
use proxy_header::{ProxiedAddress, ProxyHeader};

use crate::{
    error::{Error, ErrorKind},
    ext::{OriginalRequest, PeerAddr},
};

/// Selects the version of the PROXY protocol header sent to upstreams, for
/// [`send_proxy_protocol`](crate::exact::ExactProxyBuilder::send_proxy_protocol).
#[doc(alias = "haproxy")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyProtocolVersion {
    /// Version 1: one line of text.
    V1,
    /// Version 2: binary.
    V2,
}

/// The client of a request: the restored one where `ProxyMiddleware` decided, else the socket's peer; none where it has no IP address or
/// nobody knows it.
pub(super) fn client(extensions: &Extensions) -> Option<SocketAddr> {
    let (ip, port) = match extensions.get::<OriginalRequest>() {
        Some(origin) => (origin.client(), origin.client_port()),
        None => {
            let peer = PeerAddr::of(extensions);
            (peer.and_then(PeerAddr::ip), peer.and_then(PeerAddr::port))
        }
    };
    ip.map(|ip| SocketAddr::new(ip.to_canonical(), port.unwrap_or(0)))
}

impl ProxyProtocolVersion {
    /// The header for a connection to `upstream`, which is named as the destination where it is of the client's family.
    ///
    /// An unknown client is `UNKNOWN` (version 1) or unspecified (version 2), never `LOCAL`: the upstream would take this proxy for it.
    pub(super) fn header(self, client: Option<SocketAddr>, upstream: Option<SocketAddr>) -> Result<Vec<u8>, Error> {
        let header = match client {
            None if self == Self::V2 => return Ok(V2_UNKNOWN.to_vec()),
            None => ProxyHeader::with_local(),
            Some(client) => ProxyHeader::with_address(ProxiedAddress::stream(client, destination(client, upstream))),
        };
        let mut bytes = Vec::new();
        let encoded = match self {
            Self::V1 => header.encode_v1(&mut bytes),
            Self::V2 => header.encode_v2(&mut bytes),
        };
        let failed = |error| {
            Error::new(ErrorKind::Internal, "the PROXY header cannot be encoded").with_source(format!("{error:?}"))
        };
        encoded.map_err(failed).map(|()| bytes)
    }
}

fn destination(client: SocketAddr, upstream: Option<SocketAddr>) -> SocketAddr {
    let upstream = upstream.map(|upstream| SocketAddr::new(upstream.ip().to_canonical(), upstream.port()));
    match upstream {
        Some(upstream) if upstream.is_ipv4() == client.is_ipv4() => upstream,
        _ => {
            let port = upstream.map_or(0, |upstream| upstream.port());
            let nowhere = match client.ip() {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            };
            SocketAddr::new(nowhere, port)
        }
    }
}

/// Version 2, command PROXY, family and protocol unspecified, nothing after it.
const V2_UNKNOWN: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0";

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn addr(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn version_1_is_a_line_of_text() {
        for (client, upstream, line) in [
            (addr("192.0.2.7:56324"), addr("10.0.0.1:80"), "PROXY TCP4 192.0.2.7 10.0.0.1 56324 80\r\n"),
            (addr("192.0.2.7:5"), addr("[2001:db8::1]:80"), "PROXY TCP4 192.0.2.7 0.0.0.0 5 80\r\n"),
            (addr("192.0.2.7:5"), addr("[::ffff:10.0.0.1]:80"), "PROXY TCP4 192.0.2.7 10.0.0.1 5 80\r\n"),
            (addr("[2001:db8::7]:5"), addr("[::1]:80"), "PROXY TCP6 2001:db8::7 ::1 5 80\r\n"),
            (addr("[2001:db8::7]:5"), None, "PROXY TCP6 2001:db8::7 :: 5 0\r\n"),
            (None, addr("10.0.0.1:80"), "PROXY UNKNOWN\r\n"),
        ] {
            let header = ProxyProtocolVersion::V1.header(client, upstream).unwrap();
            assert_eq!(String::from_utf8(header).unwrap(), line);
        }
    }

    #[test]
    fn version_2_is_binary() {
        let v4 = ProxyProtocolVersion::V2.header(addr("192.0.2.7:256"), addr("10.0.0.1:80")).unwrap();
        assert_eq!(v4, [V2, &[0x21, 0x11, 0, 12, 192, 0, 2, 7, 10, 0, 0, 1, 1, 0, 0, 80]].concat());
        let v6 = ProxyProtocolVersion::V2.header(addr("[2001:db8::7]:256"), addr("[::1]:80")).unwrap();
        let mut addresses = [0; 36];
        addresses[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
        (addresses[15], addresses[31], addresses[32], addresses[35]) = (7, 1, 1, 80);
        assert_eq!(v6, [V2, &[0x21, 0x21, 0, 36], &addresses].concat());
    }

    #[test]
    fn an_unknown_client_is_not_this_proxy() {
        let header = ProxyProtocolVersion::V2.header(None, addr("10.0.0.1:80")).unwrap();
        assert_eq!(header, [V2, &[0x21, 0, 0, 0]].concat());
    }
}
