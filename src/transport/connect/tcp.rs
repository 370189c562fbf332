//! [`Tcp`]: how TCP connections are opened.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{
    deadline::Deadline,
    race::race,
    resolve::{DnsResolver, allowed, literal, resolve},
};
use crate::{
    error::{Error, ErrorKind, Phase},
    ext::DialPolicy,
    transport::destination::Destination,
};

/// How names become addresses and addresses connections.
#[derive(Clone)]
pub(crate) struct Tcp {
    pub(crate) resolver: Option<Arc<dyn DnsResolver>>,
    pub(crate) policy: Option<DialPolicy>,
    /// Silence after which the kernel asks whether the peer is still there.
    pub(crate) keepalive: Option<Duration>,
    /// Where connections come from.
    pub(crate) local: Option<IpAddr>,
    /// Time for one address of several.
    pub(crate) attempt: Option<Duration>,
}

impl Tcp {
    pub(super) async fn connect(&self, to: &Destination, deadline: &Deadline<'_>) -> Result<TcpStream, Error> {
        let addresses = self.find(to, deadline).await?;
        self.race(allowed(addresses, self.policy.iter().chain(to.dial_policy()))?, deadline).await
    }

    /// The addresses of `to`, about which nobody was asked yet.
    pub(super) async fn find(&self, to: &Destination, deadline: &Deadline<'_>) -> Result<Vec<SocketAddr>, Error> {
        match (to.addresses(), to.host(), to.port()) {
            (Some(addresses), ..) => Ok(addresses.to_vec()),
            (None, Some(host), Some(port)) => match literal(host, port) {
                Some(address) => Ok(vec![address]),
                None => deadline.within(Phase::Resolve, resolve(self.resolver.as_ref(), host, port)).await,
            },
            _ => Err(Error::new(ErrorKind::InvalidTarget, "no host to connect to: the request URI has no authority")),
        }
    }

    /// A connection to the first of the addresses that answers.
    pub(super) async fn race(&self, addresses: Vec<SocketAddr>, deadline: &Deadline<'_>) -> Result<TcpStream, Error> {
        let racing = async { race(addresses, |address| self.attempt(address)).await.map_err(Failures::into_error) };
        deadline.within(Phase::Connect, racing).await
    }

    async fn attempt(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let dialled = match self.attempt {
            None => self.dial(address).await,
            Some(limit) => {
                timeout(limit, self.dial(address)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            }
        };
        dialled.inspect_err(|error| tracing::debug!(%address, %error, "connecting to an upstream address failed"))
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = match self.local {
            None => TcpStream::connect(address).await?,
            Some(local) => {
                let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
                // Port 0: the kernel's choice. An address of the other family is refused here.
                socket.bind(SocketAddr::new(local, 0))?;
                socket.connect(address).await?
            }
        };
        // Without it, a body written after its head waits for the peer's delayed acknowledgement, some 40 ms.
        stream.set_nodelay(true)?;
        if let Some(idle) = self.keepalive {
            SockRef::from(&stream).set_tcp_keepalive(&keepalive(idle))?;
        }
        Ok(stream)
    }
}

impl Default for Tcp {
    fn default() -> Self {
        Self { resolver: None, policy: None, keepalive: Some(Duration::from_secs(60)), local: None, attempt: None }
    }
}

/// Why several addresses did not connect, without saying which they are.
#[derive(Debug)]
struct Failures(Vec<io::Error>);

impl Failures {
    fn into_error(mut errors: Vec<io::Error>) -> Error {
        if errors.len() > 1 {
            return not_connected(Self(errors));
        }
        not_connected(errors.pop().unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "none of {} addresses accepted a connection", self.0.len())?;
        self.0.iter().enumerate().try_for_each(|(at, error)| {
            let before = if at == 0 { ": " } else { "; " };
            write!(f, "{before}{error}")
        })
    }
}

impl std::error::Error for Failures {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.last().map(|error| error as _)
    }
}

pub(super) fn not_connected(error: impl Into<crate::error::BoxError>) -> Error {
    Error::new(ErrorKind::Connect, "no connection to the upstream").with_source(error).in_phase(Phase::Connect)
}

/// Keep-alive that asks a silent peer after `idle`, and then again and again.
pub(crate) fn keepalive(idle: Duration) -> TcpKeepalive {
    let keepalive = TcpKeepalive::new().with_time(idle.clamp(Duration::from_secs(1), MAX_KEEPALIVE));
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd", windows))]
    let keepalive = keepalive.with_interval(KEEPALIVE_INTERVAL);
    keepalive
}

/// More than Linux can be told is an error there.
const MAX_KEEPALIVE: Duration = Duration::from_secs(9 * 60 * 60);

/// Between two questions to a peer that does not answer.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd", windows))]
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_connection_is_kept_alive_unless_told_otherwise() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for (keepalive, on) in [(Tcp::default().keepalive, true), (None, false), (Some(Duration::MAX), true)] {
            let stream = Tcp { keepalive, ..Tcp::default() }.dial(address).await.unwrap();
            let socket = SockRef::from(&stream);
            assert_eq!((socket.keepalive().unwrap(), stream.nodelay().unwrap()), (on, true));
            if keepalive == Some(Duration::from_secs(60)) {
                assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
            }
        }
    }
}
