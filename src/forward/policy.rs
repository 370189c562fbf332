//! [`ConnectAction`] and its inputs: [`ConnectRequest`] and [`DetectedProtocol`].

use std::{fmt, net::IpAddr, sync::Arc};

use crate::ext::{PeerAddr, bare};

/// Holds the decision on a `CONNECT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectAction {
    /// Answers with 403, or closes the tunnel if it was already open ([`Peek`](Self::Peek)).
    Deny,
    /// Connects to the upstream, answers with 200, and forwards bytes in both directions without inspection. Answers
    /// with 403, 502 or 504 if the connection fails; after [`Peek`](Self::Peek), a failure closes the tunnel.
    #[doc(alias = "splice")]
    Tunnel,
    /// Answers with 200 without an upstream connection, and serves the requests in the tunnel with the wrapped service:
    /// plain HTTP, and HTTP over TLS if the proxy has a certificate authority (feature `intercept`). Other protocols,
    /// and a client that sends nothing, close the tunnel.
    #[doc(alias = "mitm")]
    #[doc(alias = "bump")]
    Intercept,
    /// Answers with 200, and decides again by the client's [first bytes](DetectedProtocol), with
    /// [`on_detected`](super::ForwardProxyBuilder::on_detected).
    #[doc(alias = "protocol detection")]
    Peek,
}

/// Holds a `CONNECT` request: the input of [`on_connect`](super::ForwardProxyBuilder::on_connect) and
/// [`on_detected`](super::ForwardProxyBuilder::on_detected).
#[derive(Clone, Copy, Debug)]
pub struct ConnectRequest<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) peer: Option<&'a PeerAddr>,
    pub(super) user: Option<&'a str>,
}

/// Holds the protocol that the client's first bytes in a tunnel indicate: an input of
/// [`on_detected`](super::ForwardProxyBuilder::on_detected).
#[doc(alias = "protocol detection")]
#[doc(alias = "sniffing")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DetectedProtocol {
    /// The client starts a TLS handshake.
    Tls(ClientHello),
    /// The client sends an HTTP/1 request, or speaks HTTP/2 with prior knowledge.
    Http,
    /// The client speaks another protocol.
    Other,
    /// The client sent nothing within the [`peek_timeout`](super::ForwardProxyBuilder::peek_timeout), or before a
    /// graceful shutdown began. In many protocols the server speaks first.
    Silent,
}

/// Holds the contents of a TLS ClientHello (RFC 8446 §4.1.2), which are not authenticated.
///
/// Empty without the feature `tls`, and if the ClientHello is malformed.
#[doc(alias = "sni")]
#[doc(alias = "alpn")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientHello {
    pub(super) sni: Option<Box<str>>,
    pub(super) alpn: Vec<Box<[u8]>>,
}

impl<'a> ConnectRequest<'a> {
    /// Returns the host to connect to, in normalized form: a name in lower case without a trailing dot, or an IP
    /// address in its shortest form without brackets. An IPv4-mapped IPv6 address (`::ffff:10.0.0.1`) is returned as
    /// IPv4.
    ///
    /// A name does not show which address it resolves to. To restrict addresses, use the
    /// [dial policy](super::ForwardProxyBuilder::dial_policy).
    #[must_use]
    pub fn host(&self) -> &'a str {
        self.host
    }

    /// Returns the port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the address of the client's socket, if the acceptor provides it (as [`serve`](crate::serve()) does).
    #[must_use]
    pub fn peer(&self) -> Option<&'a PeerAddr> {
        self.peer
    }

    /// Returns the user name that [`Access`](super::Access) authenticated, if any.
    #[must_use]
    pub fn user(&self) -> Option<&'a str> {
        self.user
    }
}

impl ClientHello {
    /// Returns the server name (SNI, RFC 6066 §3), in lower case without a trailing dot.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.sni.as_deref()
    }

    /// Returns true if the client offers `protocol` by ALPN, such as `h2` or `http/1.1`.
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
