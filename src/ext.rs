//! Values that travel in a request's extensions: who puts each there, who reads it, and whether it may be believed.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{
    Extensions, Response,
    request::Parts,
    uri::{Authority, Scheme},
};

mod connect;
#[cfg(feature = "forward")]
mod proxy_request;

pub use connect::{ConnectWith, DialPolicy};
#[cfg(feature = "forward")]
pub use proxy_request::ProxyRequest;
#[cfg(feature = "forward")]
pub(crate) use proxy_request::{Tunnelled, bare};

/// The socket's peer, as the operating system names it.
///
/// Put there by [`serve`](crate::serve()) or another acceptor, once per request; believed. Never a claimed address: `ProxyMiddleware`
/// restores the client beside it, into [`OriginalRequest`]. Absent means unknown, and unknown is never trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerAddr {
    /// A TCP socket's remote address.
    Tcp(SocketAddr),
    /// The process at the other end of a unix socket.
    Unix(UnixPeer),
}

impl PeerAddr {
    /// The socket's peer among a request's extensions.
    ///
    /// With feature `axum` also where `axum::serve` puts it: `ConnectInfo<PeerAddr>`, which is there only if the server was made by
    /// `into_make_service_with_connect_info::<PeerAddr>()`.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        let ours = extensions.get::<Self>();
        #[cfg(feature = "axum")]
        let ours = ours.or_else(|| extensions.get::<::axum::extract::ConnectInfo<Self>>().map(|info| &info.0));
        ours
    }

    /// The peer's IP address, an IPv4-mapped IPv6 one as IPv4; none on a unix socket.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(addr) => Some(addr.ip().to_canonical()),
            Self::Unix(_) => None,
        }
    }

    /// The peer's TCP port; none on a unix socket.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(addr) => Some(addr.port()),
            Self::Unix(_) => None,
        }
    }
}

/// What the kernel says of the process at the other end of a unix socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnixPeer {
    /// Its user id, where the system tells.
    pub uid: Option<u32>,
    /// Its group id, where the system tells.
    pub gid: Option<u32>,
    /// Its process id, where the system tells.
    pub pid: Option<i32>,
}

impl UnixPeer {
    /// A peer of which nothing is known but that it is on this machine.
    #[must_use]
    pub const fn unknown() -> Self {
        Self { uid: None, gid: None, pid: None }
    }

    /// The same peer with its user id.
    #[must_use]
    pub const fn with_uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }
}

/// The connection that a request came on is TLS, ended by this process.
///
/// Put there by [`serve`](crate::serve()) or another acceptor; believed. Says nothing of the connections before this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OverTls;

impl OverTls {
    /// For the extensions of a request that came over TLS.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

/// True if nothing is said but what the acceptor says of a connection with each of its requests.
pub(crate) fn is_of_connection(extensions: &Extensions) -> bool {
    let peer = || extensions.get::<PeerAddr>().is_some();
    let tls = || extensions.get::<OverTls>().is_some();
    match extensions.len() {
        0 => true,
        1 => peer() || tls(),
        2 => peer() && tls(),
        _ => false,
    }
}

/// The request asks for `https`, and came on a connection that is known to be in clear text.
///
/// Put there by `serve`; read by whoever answers for the resource (RFC 9110 §7.4).
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "serve"), allow(dead_code, reason = "only a server puts it there"))]
pub(crate) struct InClear;

impl InClear {
    /// True if a request asks for what its connection is known not to be.
    pub(crate) fn contradicts(parts: &Parts) -> bool {
        parts.uri.scheme() == Some(&Scheme::HTTPS) && parts.extensions.get::<Self>().is_some()
    }
}

/// The response was received in HTTP/1.0, whatever version it is passed on in; for `Via`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceivedHttp10;

/// Where to connect instead of the URI's authority, for this request only. `Host` and the request's target stay as they are.
///
/// Put there by the caller of `ExactProxy` or by a rewrite hook of `ProxyApp`; read by the transport, which believes it: whoever can
/// set extensions chooses the destination.
///
/// ```
/// use std::path::Path;
///
/// use nexthop::{Body, ext::ConnectTo};
///
/// let mut request = http::Request::get("http://localhost/info").body(Body::empty())?;
/// request.extensions_mut().insert(ConnectTo::Unix(Path::new("/run/app.sock").into()));
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectTo {
    /// Addresses, which need no resolving: the first that connects is taken.
    Addresses(Arc<[SocketAddr]>),
    /// A host name or address, and a port.
    Authority(Authority),
    /// A unix socket's path. On Linux a leading zero byte makes it an abstract name.
    Unix(Arc<std::path::Path>),
}

/// Called with each interim response (RFC 9110 §15.2: `103`, `102`, `100` and the like) of the upstream, before the final one.
///
/// Put there by whoever sends the request, to `ExactProxy` or through `ProxyApp`; called by the transport, at most 100 times for a request,
/// while the response is awaited: it must not block. It gets the status and the fields, those of the upstream's connection taken out, and
/// nothing mapped back to the client. Without it, interim responses are dropped: hyper's server has no way to send them on. `101` is no
/// interim response here.
///
/// ```
/// use nexthop::{Body, ext::OnInformational};
///
/// let mut request = http::Request::get("http://127.0.0.1:8080/").body(Body::empty())?;
/// request.extensions_mut().insert(OnInformational::new(|hint| println!("{} {:?}", hint.status(), hint.headers().get("link"))));
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone)]
pub struct OnInformational(Arc<Callback>);

type Callback = dyn Fn(&Response<()>) + Send + Sync;

impl OnInformational {
    /// For the extensions of a request.
    pub fn new(on_informational: impl Fn(&Response<()>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(on_informational))
    }

    pub(crate) fn call(&self, response: &Response<()>) {
        (self.0)(response);
    }
}

impl fmt::Debug for OnInformational {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnInformational").finish_non_exhaustive()
    }
}

/// Where a request came from, after `ProxyMiddleware` decided what to believe.
///
/// Put there by `ProxyMiddleware` on every request it lets through; believed. Cannot be made outside this crate, so an application that
/// finds one knows that the decision was taken.
#[derive(Clone, Debug)]
pub struct OriginalRequest {
    pub(crate) peer: Option<PeerAddr>,
    pub(crate) client: Option<IpAddr>,
    pub(crate) client_port: Option<u16>,
    pub(crate) scheme: Scheme,
    pub(crate) host: Option<Authority>,
    pub(crate) prefix: String,
    pub(crate) hops: Vec<Hop>,
    pub(crate) trusted_by: TrustedBy,
}

impl OriginalRequest {
    /// The socket's peer, if the acceptor named it.
    #[must_use]
    pub fn peer(&self) -> Option<&PeerAddr> {
        self.peer.as_ref()
    }

    /// The client's address: the claimed one where the claim is trusted, else the peer's; `None` where nobody knows.
    #[must_use]
    pub fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// The client's port, where it is known.
    #[must_use]
    pub fn client_port(&self) -> Option<u16> {
        self.client_port
    }

    /// The scheme the client used.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The host the client asked, with its port where it named one.
    #[must_use]
    pub fn host(&self) -> Option<&Authority> {
        self.host.as_ref()
    }

    /// The port the client asked: the host's own, else the scheme's default.
    #[must_use]
    pub fn port(&self) -> u16 {
        let default = if self.scheme == Scheme::HTTPS { 443 } else { 80 };
        self.host.as_ref().and_then(Authority::port_u16).unwrap_or(default)
    }

    /// The path under which the application is mounted for the client: empty, or `/` and segments without a last `/`.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The hops the request named on its way, leftmost (farthest) first, as far as they are believed.
    #[must_use]
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// Who vouched for what differs from the socket.
    #[must_use]
    pub fn trusted_by(&self) -> &TrustedBy {
        &self.trusted_by
    }
}

/// One element of a forwarding list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hop {
    /// An address, an IPv4-mapped one as IPv4, and a port where one was named.
    Addr(IpAddr, Option<u16>),
    /// An obfuscated node name (`_hidden`, RFC 7239 §6.3).
    Obfuscated(String),
    /// `unknown`, or what could not be read.
    Unknown,
}

impl Hop {
    /// The hop's address, if it named one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Addr(ip, _) => Some(*ip),
            Self::Obfuscated(_) | Self::Unknown => None,
        }
    }

    /// The hop's port, if it named one beside an address.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Addr(_, port) => *port,
            Self::Obfuscated(_) | Self::Unknown => None,
        }
    }
}

/// Who vouched for a request's forwarding fields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustedBy {
    /// Nobody: what the socket says is all there is.
    None,
    /// The socket's peer is in a trusted network, or is a trusted user on a unix socket.
    Peer,
    /// A valid signature, made with the key of this id.
    Signature {
        /// The key's id in the keyring.
        key_id: Arc<str>,
    },
    /// Both a trusted peer and a valid signature.
    PeerAndSignature {
        /// The key's id in the keyring.
        key_id: Arc<str>,
    },
}

impl TrustedBy {
    /// True if anybody vouched at all.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        !matches!(self, Self::None)
    }
}

/// Carried keys by name alone, for configurations that have no types.
///
/// Put there by the application in front of `ProxyApp`, and by `ProxyMiddleware` behind it; believed on the receiving side, where only
/// keys of its allow-list that came from a trusted hop are put in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Carried(pub(crate) BTreeMap<String, CarriedValue>);

/// The value of a key in [`Carried`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CarriedValue {
    /// Any JSON value.
    Json(serde_json::Value),
    /// A text.
    Text(String),
}

impl Carried {
    /// Nothing carried yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&CarriedValue> {
        self.0.get(name)
    }

    /// The value of `name`, if it is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            CarriedValue::Text(text) => Some(text),
            CarriedValue::Json(_) => None,
        }
    }

    /// Sets `name` to a text.
    pub fn insert_text(&mut self, name: impl Into<String>, text: impl Into<String>) {
        self.0.insert(name.into(), CarriedValue::Text(text.into()));
    }

    /// Sets `name` to a JSON value.
    pub fn insert_json(&mut self, name: impl Into<String>, value: serde_json::Value) {
        self.0.insert(name.into(), CarriedValue::Json(value));
    }

    /// The names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &CarriedValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}
