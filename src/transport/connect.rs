//! [`Connector`]: from a destination to a byte stream.

use std::{fmt, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc};

use tokio::net::TcpStream;

use super::{
    destination::Destination,
    io::{Io, Stream},
};
use crate::error::{Error, ErrorKind, Phase};

/// What a [`Connect`] answers with, sooner or later.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// A way of one's own to reach an upstream, such as an in-memory duplex or another proxy's tunnel.
///
/// Called once per connection, not once per request. TLS, where the destination asks for it, is spoken over what it returns.
///
/// ```
/// use nexthop::transport::{Connect, Connecting, Destination, Stream};
///
/// struct InMemory(tokio::sync::mpsc::UnboundedSender<tokio::io::DuplexStream>);
///
/// impl Connect for InMemory {
///     fn connect(&self, _: &Destination) -> Connecting {
///         let (ours, theirs) = tokio::io::duplex(64 * 1024);
///         let sent = self.0.send(theirs).map_err(|_| std::io::ErrorKind::ConnectionRefused.into());
///         Box::pin(async move { sent.map(|()| Box::new(ours) as Box<dyn Stream>) })
///     }
/// }
/// ```
pub trait Connect: Send + Sync + 'static {
    /// Opens one stream to `to`.
    fn connect(&self, to: &Destination) -> Connecting;
}

/// Opens connections: TCP and unix sockets, or a user's own way, and TLS over either.
#[derive(Clone, Default)]
pub(crate) struct Connector {
    pub(crate) custom: Option<Arc<dyn Connect>>,
    #[cfg(feature = "tls")]
    pub(crate) tls: super::tls::Tls,
}

impl Connector {
    /// Opens a connection to `to`; the caller bounds the time.
    pub(crate) async fn connect(&self, to: &Destination) -> Result<Io, Error> {
        let io = match &self.custom {
            Some(custom) => Io::Custom(custom.connect(to).await.map_err(not_connected)?),
            None => dial(to).await?,
        };
        if !to.is_tls() {
            return Ok(io);
        }
        #[cfg(feature = "tls")]
        return self.tls.connect(io, to).await;
        #[cfg(not(feature = "tls"))]
        Err(Error::new(ErrorKind::Unsupported, "https needs the feature tls"))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("custom", &self.custom.is_some()).finish_non_exhaustive()
    }
}

async fn dial(to: &Destination) -> Result<Io, Error> {
    if let Some(path) = to.unix_path() {
        #[cfg(unix)]
        return Ok(Io::Unix(tokio::net::UnixStream::connect(path).await.map_err(not_connected)?));
        #[cfg(not(unix))]
        return Err(Error::new(ErrorKind::Unsupported, "unix sockets are not to be had on this system"));
    }
    let (Some(host), Some(port)) = (to.host(), to.port()) else {
        return Err(Error::new(ErrorKind::Target, "the request names no host to connect to"));
    };
    let addresses = tokio::net::lookup_host((host, port)).await.map_err(|error| {
        let error = Error::new(ErrorKind::Connect, "the upstream's name is not known").with_source(error);
        error.in_phase(Phase::Resolve)
    })?;
    let mut last = None;
    for address in addresses {
        match connect_tcp(address).await {
            Ok(stream) => return Ok(Io::Tcp(stream)),
            Err(error) => last = Some(error),
        }
    }
    Err(not_connected(last.unwrap_or_else(|| io::ErrorKind::NotFound.into())))
}

async fn connect_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Without it, a body written after its head waits for the peer's delayed acknowledgement, some 40 ms.
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn not_connected(error: io::Error) -> Error {
    Error::new(ErrorKind::Connect, "no connection to the upstream").with_source(error).in_phase(Phase::Connect)
}
