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

/// Accepts the connections that [`serve`](super::serve()) serves.
///
/// It is implemented for tokio's `TcpListener` and `UnixListener`, and for the receiving end of a channel of
/// [`Accepted`] streams. The channel serves connections from elsewhere: in memory, inherited, or inside a tunnel.
///
/// ```
/// use nexthop::{Body, serve::Accepted};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let app = tower::service_fn(async |_request| {
///     Ok::<_, std::convert::Infallible>(http::Response::new(Body::from("hello")))
/// });
/// let (connections, listener) = tokio::sync::mpsc::channel(1);
/// tokio::spawn(nexthop::serve(listener, app).into_future());
///
/// let (mut client, server) = tokio::io::duplex(1024);
/// connections.send(Accepted::new(server)).await.unwrap();
/// client.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
/// let mut response = String::new();
/// client.read_to_string(&mut response).await?;
/// assert!(response.ends_with("hello"));
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a listener",
    note = "`nexthop::serve` takes a bound `tokio::net::TcpListener` or `UnixListener`, or a type that implements `nexthop::serve::Listener`"
)]
pub trait Listener: Send + 'static {
    /// The byte stream of a connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next connection.
    ///
    /// # Errors
    ///
    /// The server continues after an error: at once if the error is about a single connection (aborted, reset or
    /// refused), otherwise after 1 s, because a process without file descriptors would spin.
    ///
    /// # Cancel safety
    ///
    /// The future must be cancel safe: the server drops it when the shutdown begins.
    fn accept(&mut self) -> impl Future<Output = io::Result<Accepted<Self::Io>>> + Send;

    /// Enables TCP keep-alive, with this idle time, for the connections that will be accepted.
    ///
    /// The server calls it once, before the first connection is accepted. A listener that wraps another one forwards
    /// the call. The provided implementation does nothing.
    ///
    /// # Errors
    ///
    /// The server logs the error and continues without keep-alive.
    fn tcp_keepalive(&mut self, idle: Duration) -> io::Result<()> {
        let _ = idle;
        Ok(())
    }
}

/// Holds an accepted connection and the address of its peer.
#[derive(Debug)]
pub struct Accepted<Io> {
    pub(super) io: Io,
    pub(super) peer: Option<PeerAddr>,
}

impl<Io> Accepted<Io> {
    /// Wraps a connection whose peer is unknown: its requests carry no [`PeerAddr`].
    #[must_use]
    pub const fn new(io: Io) -> Self {
        Self { io, peer: None }
    }

    /// Sets the peer's address, which each request carries as [`PeerAddr`]. Trust policies for peers rely on this
    /// address.
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

/// Never ends: after the last sender is dropped, no more connections are accepted, and open ones are served on.
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
