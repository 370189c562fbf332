//! [`Connector`]: every way to a connection, one step after the other.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use http::request::Parts;

#[cfg(feature = "proxy-protocol")]
use super::proxy_protocol::{ProxyProtocolVersion, client};
use super::{
    custom::Connect,
    deadline::Deadline,
    tcp::{Tcp, not_connected},
    upstream_proxy::UpstreamProxy,
};
use crate::{
    error::{Error, ErrorKind, Phase},
    transport::{
        destination::Destination,
        io::{ByteStream, Io},
        observe::Progress,
    },
};

/// Opens connections: TCP and unix sockets, or a user's own way, and TLS over either.
#[derive(Clone, Default)]
pub(crate) struct Connector {
    pub(crate) custom: Option<Arc<dyn Connect>>,
    pub(crate) tcp: Tcp,
    pub(crate) upstream_proxy: Option<UpstreamProxy>,
    /// Says whether the upstream, a process, is still there: what else listens at its address is a stranger.
    #[cfg(feature = "spawn")]
    pub(crate) is_there: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
    #[cfg(feature = "proxy-protocol")]
    pub(crate) proxy_protocol: Option<ProxyProtocolVersion>,
    #[cfg(feature = "tls")]
    pub(crate) tls: super::tls::Tls,
}

/// The protocols that a connection may speak. Over TLS they are offered by ALPN (RFC 7301).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "http2"), allow(dead_code, reason = "offered only with HTTP/2"))]
pub(crate) enum Offer {
    #[default]
    Http1,
    Http2,
    /// Whichever the upstream chooses; HTTP/2 is named first.
    Either,
}

/// The protocol that the upstream chose by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(all(feature = "tls", feature = "http2")),
    allow(dead_code, reason = "chosen by TLS, and asked for HTTP/2")
)]
pub(crate) enum Alpn {
    Http1,
    Http2,
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) io: Io,
    /// None without TLS, and from an upstream that does not know ALPN (HTTP/1.1 is spoken there).
    #[cfg_attr(not(feature = "http2"), allow(dead_code, reason = "asked for HTTP/2"))]
    pub(crate) alpn: Option<Alpn>,
}

impl Connector {
    /// Where a request goes, with all that keeps its connection apart from others.
    ///
    /// # Errors
    /// `InvalidTarget` (400), as [`Destination::of`].
    pub(crate) fn destination<'a>(
        &self,
        parts: &Parts,
        known: Option<&'a Destination>,
    ) -> Result<Cow<'a, Destination>, Error> {
        let with = parts.extensions.get();
        let to = match (known, with) {
            (Some(known), None) => Cow::Borrowed(known),
            (Some(known), Some(with)) => Cow::Owned(known.clone().with(with)),
            (None, _) => Cow::Owned(Destination::found(&parts.uri, parts.extensions.get(), with)?),
        };
        #[cfg(feature = "proxy-protocol")]
        let to = match self.proxy_protocol {
            Some(_) => Cow::Owned(to.into_owned().on_behalf_of(client(&parts.extensions))),
            None => to,
        };
        Ok(to)
    }

    /// Opens a connection to `to` on which one of the offered protocols is spoken, within `limit`. `progress` is told how long each step took.
    ///
    /// # Errors
    /// `Connect` (502), `Denied` (403) and `Timeout` (504), in the phase where it went wrong.
    pub(crate) async fn connect(
        &self,
        to: &Destination,
        offer: Offer,
        limit: Option<Duration>,
        progress: Option<&Progress>,
    ) -> Result<Connected, Error> {
        let deadline = Deadline::after(limit, progress);
        #[cfg(feature = "spawn")]
        self.check_there()?;
        let io = self.open(to, &deadline).await?;
        // It may have gone meanwhile.
        #[cfg(feature = "spawn")]
        self.check_there()?;
        #[cfg(feature = "proxy-protocol")]
        let io = match self.proxy_protocol {
            None => io,
            Some(version) => self.announce(version, io, to, &deadline).await?,
        };
        self.secure(io, to, offer, &deadline).await
    }

    /// Makes a connection of a stream that is open already: speaks TLS over it where `to` asks for that.
    pub(crate) async fn over(
        &self,
        stream: Box<dyn ByteStream>,
        to: &Destination,
        offer: Offer,
        limit: Option<Duration>,
        progress: Option<&Progress>,
    ) -> Result<Connected, Error> {
        self.secure(Io::Custom(stream), to, offer, &Deadline::after(limit, progress)).await
    }

    #[cfg(feature = "spawn")]
    fn check_there(&self) -> Result<(), Error> {
        match &self.is_there {
            Some(is_there) if !is_there() => Err(not_connected("the backend process has ended")),
            _ => Ok(()),
        }
    }

    async fn open(&self, to: &Destination, deadline: &Deadline<'_>) -> Result<Io, Error> {
        if let Some(proxy) = &self.upstream_proxy
            && to.unix_path().is_none()
        {
            return self.through(proxy, to, deadline).await;
        }
        if let Some(custom) = &self.custom {
            if to.dial_policy().is_some() && !custom.uses_dial_policy() {
                let error = Error::new(ErrorKind::Denied, "the connector does not apply the request's dial policy");
                return Err(error.in_phase(Phase::Resolve));
            }
            return Self::custom(&**custom, to, deadline).await;
        }
        let Some(path) = to.unix_path() else { return self.tcp.connect(to, deadline).await.map(Io::Tcp) };
        #[cfg(unix)]
        {
            let connecting = async { tokio::net::UnixStream::connect(path).await.map_err(not_connected) };
            deadline.within(Phase::Connect, connecting).await.map(Io::Unix)
        }
        #[cfg(not(unix))]
        {
            let _ = path;
            Err(Error::new(ErrorKind::Unsupported, "unix sockets are not supported on this platform"))
        }
    }

    /// Opens a connection to a proxy, about whose address nobody is asked.
    pub(super) async fn reach(&self, proxy: &Destination, deadline: &Deadline<'_>) -> Result<Io, Error> {
        if let Some(custom) = &self.custom {
            return Self::custom(&**custom, proxy, deadline).await;
        }
        let addresses = self.tcp.find(proxy, deadline).await?;
        self.tcp.race(addresses, deadline).await.map(Io::Tcp)
    }

    async fn custom(custom: &dyn Connect, to: &Destination, deadline: &Deadline<'_>) -> Result<Io, Error> {
        let connecting = custom.connect(to);
        let connecting = async { connecting.await.map_err(not_connected) };
        deadline.within(Phase::Connect, connecting).await.map(Io::Custom)
    }

    /// Names the client, before anything else is said.
    #[cfg(feature = "proxy-protocol")]
    async fn announce(
        &self,
        version: ProxyProtocolVersion,
        mut io: Io,
        to: &Destination,
        deadline: &Deadline<'_>,
    ) -> Result<Io, Error> {
        use tokio::io::AsyncWriteExt;

        let upstream = match &io {
            Io::Tcp(stream) if self.upstream_proxy.is_none() => stream.peer_addr().ok(),
            _ => None,
        };
        let header = version.header(to.client(), upstream)?;
        let writing = async {
            io.write_all(&header).await.map_err(not_connected)?;
            io.flush().await.map_err(not_connected)
        };
        deadline.within(Phase::Connect, writing).await?;
        Ok(io)
    }

    /// Speaks TLS over `io` where `to` asks for it.
    pub(super) async fn secure(
        &self,
        io: Io,
        to: &Destination,
        offer: Offer,
        deadline: &Deadline<'_>,
    ) -> Result<Connected, Error> {
        if !to.is_tls() {
            return Ok(Connected { io, alpn: None });
        }
        #[cfg(feature = "tls")]
        {
            let (io, alpn) = deadline.within(Phase::Tls, self.tls.connect(io, to, offer)).await?;
            Ok(Connected { io, alpn })
        }
        #[cfg(not(feature = "tls"))]
        {
            let _ = (offer, deadline);
            Err(Error::new(ErrorKind::Unsupported, "https requires the feature tls"))
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
