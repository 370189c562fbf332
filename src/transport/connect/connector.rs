//! [`Connector`]: every way to a connection, one step after the other.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::TcpStream;

use super::{custom::Connect, deadline::Deadline};
use crate::{
    error::{Error, ErrorKind, Phase},
    transport::{destination::Destination, io::Io},
};

/// Opens connections: TCP and unix sockets, or a user's own way, and TLS over either.
#[derive(Clone, Default)]
pub(crate) struct Connector {
    pub(crate) custom: Option<Arc<dyn Connect>>,
    #[cfg(feature = "tls")]
    pub(crate) tls: super::tls::Tls,
}

/// The protocols that a connection may speak. Over TLS they are offered by ALPN (RFC 7301).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Offer {
    #[default]
    Http1,
    Http2,
    /// Whichever the upstream chooses; HTTP/2 is named first.
    Either,
}

/// The protocol that the upstream chose by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alpn {
    Http1,
    Http2,
}

/// An open connection, and how it came to be.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) io: Io,
    /// None without TLS, and from an upstream that does not know ALPN (HTTP/1.1 is spoken there).
    pub(crate) alpn: Option<Alpn>,
    pub(crate) timings: ConnectTimings,
}

/// How long each step took; none for a step that was not needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnectTimings {
    pub(crate) resolve: Option<Duration>,
    pub(crate) connect: Option<Duration>,
    pub(crate) tls: Option<Duration>,
}

impl Connector {
    /// Opens a connection to `to` on which one of the offered protocols is spoken, within `limit`.
    ///
    /// # Errors
    /// `Connect` (502) and `Timeout` (504), in the phase where it went wrong.
    pub(crate) async fn connect(
        &self,
        to: &Destination,
        offer: Offer,
        limit: Option<Duration>,
    ) -> Result<Connected, Error> {
        let mut deadline = Deadline::after(limit);
        let io = match &self.custom {
            Some(custom) => {
                let connecting = custom.connect(to);
                let connecting = async { connecting.await.map_err(not_connected) };
                Io::Custom(deadline.within(Phase::Connect, connecting).await?)
            }
            None => dial(to, &mut deadline).await?,
        };
        if !to.is_tls() {
            return Ok(Connected { io, alpn: None, timings: deadline.timings });
        }
        #[cfg(feature = "tls")]
        {
            let (io, alpn) = deadline.within(Phase::Tls, self.tls.connect(io, to, offer)).await?;
            Ok(Connected { io, alpn, timings: deadline.timings })
        }
        #[cfg(not(feature = "tls"))]
        {
            let _ = offer;
            Err(Error::new(ErrorKind::Unsupported, "https needs the feature tls"))
        }
    }
}

impl Offer {
    /// The protocols by their names on the wire, the favoured one first.
    #[cfg(feature = "tls")]
    pub(super) fn names(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Either => &[b"h2", b"http/1.1"],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("custom", &self.custom.is_some()).finish_non_exhaustive()
    }
}

async fn dial(to: &Destination, deadline: &mut Deadline) -> Result<Io, Error> {
    if let Some(path) = to.unix_path() {
        #[cfg(unix)]
        {
            let connecting = async { tokio::net::UnixStream::connect(path).await.map_err(not_connected) };
            return Ok(Io::Unix(deadline.within(Phase::Connect, connecting).await?));
        }
        #[cfg(not(unix))]
        return Err(Error::new(ErrorKind::Unsupported, "unix sockets are not to be had on this system"));
    }
    let (Some(host), Some(port)) = (to.host(), to.port()) else {
        return Err(Error::new(ErrorKind::Target, "the request names no host to connect to"));
    };
    let resolving = async {
        let addresses = tokio::net::lookup_host((host, port)).await.map_err(|error| {
            let error = Error::new(ErrorKind::Connect, "the upstream's name is not known").with_source(error);
            error.in_phase(Phase::Resolve)
        })?;
        Ok(addresses.collect::<Vec<_>>())
    };
    let addresses = deadline.within(Phase::Resolve, resolving).await?;
    let connecting = async {
        let mut last = None;
        for address in addresses {
            match connect_tcp(address).await {
                Ok(stream) => return Ok(Io::Tcp(stream)),
                Err(error) => last = Some(error),
            }
        }
        Err(not_connected(last.unwrap_or_else(|| io::ErrorKind::NotFound.into())))
    };
    deadline.within(Phase::Connect, connecting).await
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
