use ::axum::{extract::connect_info::Connected, serve::IncomingStream};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

use crate::ext::PeerAddr;
#[cfg(unix)]
use crate::ext::UnixPeer;

impl Connected<IncomingStream<'_, TcpListener>> for PeerAddr {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self::Tcp(*stream.remote_addr())
    }
}

#[cfg(unix)]
impl Connected<IncomingStream<'_, UnixListener>> for PeerAddr {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self::Unix(unix_peer(stream.io()))
    }
}

#[cfg(unix)]
fn unix_peer(io: &UnixStream) -> UnixPeer {
    io.peer_cred().map_or_else(
        |_| UnixPeer::unknown(),
        |cred| UnixPeer { uid: Some(cred.uid()), gid: Some(cred.gid()), pid: cred.pid() },
    )
}
