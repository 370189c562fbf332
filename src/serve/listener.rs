//! [`Listener`]: where connections come from.

use std::{future::pending, io, time::Duration};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

#[cfg(unix)]
use crate::ext::UnixPeer;
use crate::{ext::PeerAddr, transport::keepalive};

/// A source of connections for [`serve`](super::serve()).
///
/// Implemented for tokio's `TcpListener` and `UnixListener`, and for the receiving end of a channel of [`Accepted`] streams, which
/// serves connections made elsewhere: in memory, inherited, or inside a tunnel.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no listener",
    note = "`nexthop::serve` takes a bound `tokio::net::TcpListener` or `UnixListener`, or what implements `nexthop::serve::Listener`"
)]
pub trait Listener: Send + 'static {
    /// The byte stream of one connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next connection.
    ///
    /// # Errors
    ///
    /// The server goes on after an error: at once where a single connection was lost (aborted, reset or refused), after a second
    /// otherwise, since a process without file descriptors would else only spin.
    ///
    /// # Cancel safety
    ///
    /// Must be cancel safe: the server drops the future when it is told to stop.
    fn accept(&mut self) -> impl Future<Output = io::Result<Accepted<Self::Io>>> + Send;

    /// Turns TCP keep-alive on for the connections to come, which are asked after `idle`. Called once, before the first is accepted. A
    /// listener around another one passes it on; by default it does nothing.
    ///
    /// # Errors
    ///
    /// The server logs an error and goes on without.
    fn tcp_keepalive(&mut self, idle: Duration) -> io::Result<()> {
        let _ = idle;
        Ok(())
    }
}

/// A connection and what is known of who made it.
#[derive(Debug)]
pub struct Accepted<Io> {
    pub(super) io: Io,
    pub(super) peer: Option<PeerAddr>,
}

impl<Io> Accepted<Io> {
    /// A connection of which nobody knows where it comes from: its requests carry no `PeerAddr`.
    #[must_use]
    pub const fn new(io: Io) -> Self {
        Self { io, peer: None }
    }

    /// The same with its peer, who is believed by all that trusts peers.
    #[must_use]
    pub fn peer(mut self, peer: PeerAddr) -> Self {
        self.peer = Some(peer);
        self
    }
}

impl Listener for TcpListener {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<Accepted<TcpStream>> {
        let (io, addr) = Self::accept(self).await?;
        // Else a small write waits for the client's delayed acknowledgement, up to 40 ms. Fails only where the client has left.
        let _ = io.set_nodelay(true);
        Ok(Accepted::new(io).peer(PeerAddr::Tcp(addr)))
    }

    fn tcp_keepalive(&mut self, idle: Duration) -> io::Result<()> {
        SockRef::from(&*self).set_tcp_keepalive(&keepalive(idle))
    }
}

#[cfg(unix)]
impl Listener for tokio::net::UnixListener {
    type Io = tokio::net::UnixStream;

    async fn accept(&mut self) -> io::Result<Accepted<Self::Io>> {
        let (io, _) = Self::accept(self).await?;
        let peer = io.peer_cred().map_or_else(
            |_| UnixPeer::unknown(),
            |cred| UnixPeer { uid: Some(cred.uid()), gid: Some(cred.gid()), pid: cred.pid() },
        );
        Ok(Accepted::new(io).peer(PeerAddr::Unix(peer)))
    }
}

/// Ends never: when the last sender is gone, no more connections come, but those that are open are served on.
impl<Io> Listener for mpsc::Receiver<Accepted<Io>>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Io = Io;

    async fn accept(&mut self) -> io::Result<Accepted<Io>> {
        match self.recv().await {
            Some(accepted) => Ok(accepted),
            None => pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn connections_have_keep_alive_from_their_listener() {
        for (idle, set) in [(60, 60), (0, 1), (1_000_000, 9 * 60 * 60)] {
            let mut listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            Listener::tcp_keepalive(&mut listener, Duration::from_secs(idle)).unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let accepted = Listener::accept(&mut listener).await.unwrap();
            let socket = SockRef::from(&accepted.io);
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap().as_secs(), set);
            assert_eq!(socket.tcp_keepalive_interval().unwrap().as_secs(), 15);
        }
    }
}
