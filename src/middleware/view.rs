//! The client's view, as axum's extractors show it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, OriginalUri};
use http::{Uri, request::Parts};

use crate::{
    ext::{OriginalRequest, PeerAddr},
    message::target::join,
};

/// Sets `OriginalUri` to prefix and path, and `ConnectInfo<SocketAddr>` to the client.
///
/// An unknown client is `0.0.0.0:0`: without any address, handlers that ask for one would fail, and with the socket's they would take the
/// proxy for the client. Where nothing at all is known of either, a `ConnectInfo` stays as the acceptor made it.
pub(super) fn show(origin: &OriginalRequest, parts: &mut Parts) {
    let original = if origin.prefix.is_empty() {
        Some(parts.uri.clone())
    } else {
        join(&origin.prefix, parts.uri.path(), parts.uri.query(), None).ok().map(Uri::from)
    };
    if let Some(original) = original {
        parts.extensions.insert(OriginalUri(original));
    }
    if origin.client.is_some() || origin.peer.is_some() || origin.trusted_by.is_trusted() {
        let ip = origin.client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        parts.extensions.insert(ConnectInfo(SocketAddr::new(ip, origin.client_port.unwrap_or(0))));
    }
}

/// The socket's peer as axum's acceptor names it. Where another layer of this kind has been at work, `ConnectInfo` may be the client it
/// restored, which is a claim and no socket's address.
pub(super) fn peer(parts: &Parts) -> Option<PeerAddr> {
    if parts.extensions.get::<OriginalRequest>().is_some() {
        return None;
    }
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(addr)| PeerAddr::Tcp(*addr))
}
