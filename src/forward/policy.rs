//! What is done with a `CONNECT`: [`ConnectAction`], and what it is decided on.

use std::{fmt, net::IpAddr, sync::Arc};

use crate::ext::{PeerAddr, bare};

/// What is done with a `CONNECT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectAction {
    /// 403, or the end of a tunnel that was peeked into.
    Deny,
    /// Connects first, then answers 200, and carries bytes without looking at them, whichever side speaks first. 403, 502 or 504 if there
    /// is no connection.
    Tunnel,
    /// Answers 200 without connecting to anybody, and serves what is inside by the wrapped application: plain HTTP, and TLS where the proxy
    /// has an authority of its own. Anything else, and silence, ends the tunnel.
    Intercept,
    /// Answers 200, and decides anew on the client's [first bytes](DetectedProtocol).
    Peek,
}

/// A `CONNECT`, as a decision sees it.
#[derive(Clone, Copy, Debug)]
pub struct ConnectRequest<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) peer: Option<&'a PeerAddr>,
    pub(super) user: Option<&'a str>,
}

/// What a client says first in its tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DetectedProtocol {
    /// The start of a TLS handshake.
    Tls(ClientHello),
    /// A request of HTTP/1, or HTTP/2 by prior knowledge.
    Http,
    /// Bytes of another protocol.
    Other,
    /// Nothing, for as long as [`peek_timeout`](super::ForwardProxyBuilder::peek_timeout): in many protocols the server speaks first.
    Silent,
}

/// What a ClientHello says (RFC 8446 §4.1.2). Nobody vouches for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientHello {
    pub(super) sni: Option<Box<str>>,
    pub(super) alpn: Vec<Box<[u8]>>,
}

impl<'a> ConnectRequest<'a> {
    /// The host to connect to, by one text however the client wrote it: a name in lower case and without a last dot; an address without
    /// brackets and as short as can be, one of IPv4 also where it was written as one of IPv6 (`::ffff:10.0.0.1`).
    ///
    /// A name says nothing of where it leads: [addresses](super::ForwardProxyBuilder::dial_policy) are looked at when it was resolved.
    #[must_use]
    pub fn host(&self) -> &'a str {
        self.host
    }

    /// The port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The client's socket, if the acceptor named it.
    #[must_use]
    pub fn peer(&self) -> Option<&'a PeerAddr> {
        self.peer
    }

    /// Who the client is, where the proxy asks for that.
    #[must_use]
    pub fn user(&self) -> Option<&'a str> {
        self.user
    }
}

impl ClientHello {
    /// The name of the server that the client wants (RFC 6066 §3), in lower case and without a last dot.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.sni.as_deref()
    }

    /// True if the client offers this protocol by ALPN: `h2`, `http/1.1`.
    #[must_use]
    pub fn offers(&self, protocol: impl AsRef<[u8]>) -> bool {
        self.alpn.iter().any(|offered| **offered == *protocol.as_ref())
    }
}

/// A host by the one text that stands for all its spellings.
pub(super) fn canonical(host: &str) -> Box<str> {
    let host = bare(host);
    let host = host.strip_suffix('.').unwrap_or(host);
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().to_string().into(),
        Err(_) => host.to_ascii_lowercase().into(),
    }
}

/// How a `CONNECT` is decided.
#[derive(Clone)]
pub(super) struct Policy {
    pub(super) on_connect: Arc<OnConnect>,
    pub(super) on_detected: Arc<OnOpening>,
}

type OnConnect = dyn Fn(&ConnectRequest<'_>) -> ConnectAction + Send + Sync;
type OnOpening = dyn Fn(&ConnectRequest<'_>, &DetectedProtocol) -> ConnectAction + Send + Sync;

impl Policy {
    /// The same decision for every `CONNECT`; behind a peek, HTTP and TLS are intercepted.
    pub(super) fn always(decision: ConnectAction) -> Self {
        Self {
            on_connect: Arc::new(move |_| decision),
            on_detected: Arc::new(|_, opening| match opening {
                DetectedProtocol::Tls(_) | DetectedProtocol::Http => ConnectAction::Intercept,
                DetectedProtocol::Other | DetectedProtocol::Silent => ConnectAction::Deny,
            }),
        }
    }

    /// The same, but that hosts of the proxy's own, of which nobody else knows, are served here.
    pub(super) fn by_default(decision: ConnectAction, is_own: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        let on_connect: Arc<OnConnect> =
            Arc::new(move |connect| if is_own(connect.host) { ConnectAction::Intercept } else { decision });
        Self { on_connect, ..Self::always(decision) }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").finish_non_exhaustive()
    }
}
