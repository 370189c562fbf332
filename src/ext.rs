//! Types that travel in a request's [`Extensions`].
//!
//! | extension | inserted by | read by |
//! |---|---|---|
//! | [`PeerAddr`], [`OverTls`] | the acceptor, such as [`serve`](crate::serve()) | `ProxyMiddleware`, `ProxyApp`, `ForwardProxy` |
//! | [`ConnectionId`] | the acceptor, such as [`serve`](crate::serve()) | `ExactProxy` |
//! | [`OriginalRequest`] | `ProxyMiddleware` | the application, `ProxyApp` |
//! | [`Carried`] | the application before `ProxyApp`; `ProxyMiddleware` at the upstream | `ProxyApp`; the application |
//! | [`KeepHeaders`] | an authenticating layer of the application | `ProxyMiddleware`, `ProxyApp` |
//! | [`ProxyRequest`] | `ForwardProxy` | the application |
//! | [`ConnectTo`], [`ConnectWith`] | the caller of `ExactProxy`, hooks of `ProxyApp` | `ExactProxy`, `ProxyApp` |
//! | [`OnInformational`] | the caller of `ExactProxy`, layers and hooks around `ProxyApp` | `ExactProxy`, `ProxyApp` |
//!
//! # Deployment
//! Every extension is trusted: code of this process that sets one can choose the peer or the destination of a
//! request. A remote client cannot set extensions, since they do not travel over a connection.

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
mod connection_id;
mod keep_headers;
#[cfg(feature = "forward")]
mod proxy_request;

pub use connect::{ConnectWith, DialPolicy};
pub(crate) use connection_id::Binding;
pub use connection_id::ConnectionId;
pub use keep_headers::KeepHeaders;
#[cfg(feature = "forward")]
pub use proxy_request::ProxyRequest;
#[cfg(feature = "forward")]
pub(crate) use proxy_request::{Tunnelled, bare};

/// Holds the address of the socket's peer, as reported by the operating system or by a required PROXY protocol header.
///
/// [`serve`](crate::serve()) or another acceptor inserts it into each request. It is trusted, and it is never an
/// address from an HTTP header: `ProxyMiddleware` restores the client's address separately, into [`OriginalRequest`].
/// A request without a `PeerAddr` has an unknown peer, and an unknown peer is never trusted.
#[doc(alias = "remote address")]
#[doc(alias = "ConnectInfo")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerAddr {
    /// The remote address of a TCP socket.
    Tcp(SocketAddr),
    /// The process at the other end of a unix socket.
    Unix(UnixPeer),
}

impl PeerAddr {
    /// Returns the peer from a request's extensions.
    ///
    /// With feature `axum`, it falls back to `ConnectInfo<PeerAddr>`, which `axum::serve` inserts if the application
    /// was passed to `into_make_service_with_connect_info::<PeerAddr>()`.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        let ours = extensions.get::<Self>();
        #[cfg(feature = "axum")]
        let ours = ours.or_else(|| extensions.get::<::axum::extract::ConnectInfo<Self>>().map(|info| &info.0));
        ours
    }

    /// Returns the peer's IP address, or `None` for a unix socket. An IPv4-mapped IPv6 address is returned as IPv4.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(addr) => Some(addr.ip().to_canonical()),
            Self::Unix(_) => None,
        }
    }

    /// Returns the peer's TCP port, or `None` for a unix socket.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(addr) => Some(addr.port()),
            Self::Unix(_) => None,
        }
    }
}

/// Holds the credentials that the kernel reports for the process at the other end of a unix socket.
#[doc(alias = "SO_PEERCRED")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnixPeer {
    /// The user id, if the platform reports it.
    pub uid: Option<u32>,
    /// The group id, if the platform reports it.
    pub gid: Option<u32>,
    /// The process id, if the platform reports it.
    pub pid: Option<i32>,
}

impl UnixPeer {
    /// Returns a peer without credentials: only that it is on this machine is known.
    #[must_use]
    pub const fn unknown() -> Self {
        Self { uid: None, gid: None, pid: None }
    }

    /// Sets the user id.
    #[must_use]
    pub const fn with_uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }
}

/// Marks a request that arrived over TLS, terminated by this process.
///
/// [`serve`](crate::serve()) or another acceptor inserts it. It is trusted, and it is about this connection only: a
/// connection between the client and an earlier proxy may still be in clear text.
#[doc(alias = "https")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OverTls;

impl OverTls {
    /// Creates the marker, for an acceptor that inserts it into each request that arrived over TLS.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

/// True if nothing is said but what the acceptor says of a connection with each of its requests.
pub(crate) fn is_of_connection(extensions: &Extensions) -> bool {
    let id = || extensions.get::<ConnectionId>().is_some();
    let peer = || extensions.get::<PeerAddr>().is_some();
    let tls = || extensions.get::<OverTls>().is_some();
    // As few look-ups as possible for what `serve` inserts: an identity and a peer, and the mark of TLS if it is spoken.
    match extensions.len() {
        0 => true,
        1 => id() || peer() || tls(),
        2 => (id() && (peer() || tls())) || (peer() && tls()),
        3 => id() && peer() && tls(),
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

/// Overrides the destination of one request: where to connect in place of the URI's authority.
///
/// `Host` and the request target stay unchanged. The caller of `ExactProxy` or a rewrite hook of `ProxyApp` inserts
/// it. It is trusted: code that sets it chooses the destination. `ProxyApp` removes one that was inserted before
/// `ProxyApp`.
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
#[doc(alias = "unix socket")]
#[doc(alias = "resolve")]
#[non_exhaustive]
pub enum ConnectTo {
    /// Resolved addresses. The first address that accepts a connection is used.
    Addresses(Arc<[SocketAddr]>),
    /// A host name or IP address, and a port.
    Authority(Authority),
    /// The path of a unix socket. On Linux, a leading zero byte makes it an abstract name.
    Unix(Arc<std::path::Path>),
}

/// Calls a function for each interim response (1xx) that the upstream sends before its final response
/// ([RFC 9110 §15.2]).
///
/// The sender of the request inserts it: the caller of `ExactProxy`, or a layer around `ProxyApp`. The function
/// receives the status and the headers, without hop-by-hop headers; `Location` and `Link` are not mapped to the
/// client's view. It is called at most 100 times per request, while the response is awaited, so it must not block.
///
/// Without this extension, interim responses are dropped, because hyper's server cannot send them. `101` switches
/// protocols and is not reported here.
///
/// [RFC 9110 §15.2]: https://www.rfc-editor.org/rfc/rfc9110#section-15.2
///
/// ```
/// use nexthop::{Body, ext::OnInformational};
///
/// let mut request = http::Request::get("http://127.0.0.1:8080/").body(Body::empty())?;
/// request.extensions_mut().insert(OnInformational::new(|interim| {
///     println!("{} {:?}", interim.status(), interim.headers().get("link"));
/// }));
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone)]
#[doc(alias = "early hints")]
#[doc(alias = "103")]
#[doc(alias = "interim response")]
pub struct OnInformational(Arc<Callback>);

type Callback = dyn Fn(&Response<()>) + Send + Sync;

impl OnInformational {
    /// Creates the extension from a function. The function must not block.
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

/// Holds the client's view of a request: client address, scheme, host, port and path prefix, after the trust decision.
///
/// `ProxyMiddleware` inserts it into every request that it passes on. It is trusted. Code outside this crate cannot
/// create one, so its presence proves that the trust decision was made. It is not an `http::Request`.
#[derive(Clone, Debug)]
#[doc(alias = "real ip")]
#[doc(alias = "client ip")]
#[doc(alias = "x-forwarded-for")]
#[doc(alias = "x-forwarded-proto")]
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
    /// Returns the socket's peer, or `None` if the acceptor did not insert a [`PeerAddr`].
    #[must_use]
    pub fn peer(&self) -> Option<&PeerAddr> {
        self.peer.as_ref()
    }

    /// Returns the client's address: from the forwarding headers if they are trusted, else the peer's IP address.
    ///
    /// `None` means that the address is unknown: the peer is a unix socket, a trusted hop recorded an address that
    /// cannot be read, or a signer sent no client address.
    #[must_use]
    pub fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// Returns the client's port, if it is known.
    #[must_use]
    pub fn client_port(&self) -> Option<u16> {
        self.client_port
    }

    /// Returns the scheme that the client used: `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Returns the host that the client requested, with its port if the request contained one.
    #[must_use]
    pub fn host(&self) -> Option<&Authority> {
        self.host.as_ref()
    }

    /// Returns the port that the client requested: the port of [`host`](Self::host), else the default port of the
    /// scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        let default = if self.scheme == Scheme::HTTPS { 443 } else { 80 };
        self.host.as_ref().and_then(Authority::port_u16).unwrap_or(default)
    }

    /// Returns the path prefix under which the client sees the application. It is empty, or begins with `/` and does
    /// not end with `/`.
    #[doc(alias = "SCRIPT_NAME")]
    #[doc(alias = "x-forwarded-prefix")]
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the trusted hops of the forwarding list, in the order of the list: the hop farthest from this server
    /// is first.
    #[must_use]
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// Returns the reason why the forwarding headers were trusted.
    #[must_use]
    pub fn trusted_by(&self) -> &TrustedBy {
        &self.trusted_by
    }
}

/// Identifies one hop in a forwarding list (`X-Forwarded-For`, or `for=` in `Forwarded`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hop {
    /// An IP address, and a port if the list contains one. An IPv4-mapped IPv6 address is held as IPv4.
    Addr(IpAddr, Option<u16>),
    /// An obfuscated identifier such as `_hidden` (RFC 7239 §6.3).
    Obfuscated(String),
    /// The identifier `unknown`, or an element that could not be parsed.
    Unknown,
}

impl Hop {
    /// Returns the hop's IP address, if it has one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Addr(ip, _) => Some(*ip),
            Self::Obfuscated(_) | Self::Unknown => None,
        }
    }

    /// Returns the hop's port, if it has an address and a port.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Addr(_, port) => *port,
            Self::Obfuscated(_) | Self::Unknown => None,
        }
    }
}

/// Reports why a request's forwarding headers were trusted: the outcome of [`Trust`](crate::middleware::Trust) for
/// one request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[doc(alias = "trusted proxies")]
#[non_exhaustive]
pub enum TrustedBy {
    /// The forwarding headers were not trusted; everything comes from the socket.
    None,
    /// The socket's peer is trusted: its address is in a trusted network, or it is a trusted user on a unix socket.
    Peer,
    /// The request has a valid signature.
    Signature {
        /// The id, in the keyring, of the key that made the signature.
        key_id: Arc<str>,
    },
    /// The socket's peer is trusted, and the request has a valid signature.
    PeerAndSignature {
        /// The id, in the keyring, of the key that made the signature.
        key_id: Arc<str>,
    },
}

impl TrustedBy {
    /// Returns true unless this is [`TrustedBy::None`].
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        !matches!(self, Self::None)
    }
}

/// Holds carried keys by name, for configurations without Rust types.
///
/// Sender: the application inserts it before `ProxyApp`, which sends the keys of its list. Receiver:
/// `ProxyMiddleware` inserts it, and it is trusted there: it contains only keys of the receiver's allow-list that a
/// trusted hop sent.
///
/// ```
/// use nexthop::ext::Carried;
///
/// let mut carried = Carried::new();
/// carried.insert_text("REMOTE_USER", "alice");
/// carried.insert_json("roles", serde_json::json!(["editor"]));
/// assert_eq!(carried.text("REMOTE_USER"), Some("alice"));
/// assert_eq!(carried.text("roles"), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[doc(alias = "REMOTE_USER")]
pub struct Carried(pub(crate) BTreeMap<String, CarriedValue>);

/// Holds the value of a key in [`Carried`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CarriedValue {
    /// A JSON value.
    Json(serde_json::Value),
    /// A string.
    Text(String),
}

impl Carried {
    /// Creates an empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&CarriedValue> {
        self.0.get(name)
    }

    /// Returns the value of `name` if it is a string.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            CarriedValue::Text(text) => Some(text),
            CarriedValue::Json(_) => None,
        }
    }

    /// Sets `name` to a string.
    pub fn insert_text(&mut self, name: impl Into<String>, text: impl Into<String>) {
        self.0.insert(name.into(), CarriedValue::Text(text.into()));
    }

    /// Sets `name` to a JSON value.
    pub fn insert_json(&mut self, name: impl Into<String>, value: serde_json::Value) {
        self.0.insert(name.into(), CarriedValue::Json(value));
    }

    /// Returns an iterator over the names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &CarriedValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}
