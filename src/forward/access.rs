//! [`Access`]: the clients that may use the proxy.

use std::{collections::HashSet, fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Uri, header::PROXY_AUTHORIZATION, request::Parts};
use ipnet::IpNet;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    error::{ConfigError, Error, ErrorKind},
    ext::PeerAddr,
    middleware::read_networks,
};

/// Decides which clients may use a [`ForwardProxy`](super::ForwardProxy) as a proxy. Default: programs on the same
/// machine ([`loopback`](Self::loopback)).
///
/// Checked once for each request to the proxy and once for each `CONNECT`. Requests inside a tunnel belong to the
/// client that opened it and are not checked again. Requests for the application itself (in origin form, or for one of
/// the [local hosts](super::ForwardProxyBuilder::local_hosts)) are not checked.
///
/// ```
/// use nexthop::forward::Access;
///
/// let office = Access::clients(["10.0.0.0/8", "2001:db8::/32"])?;
/// let users = Access::basic([("alice", "correct horse"), ("bob", "battery staple")])?;
/// let either = Access::any_of([office, users]);
/// # let _ = either;
/// # Ok::<(), nexthop::ConfigError>(())
/// ```
#[doc(alias = "proxy authentication")]
#[doc(alias = "acl")]
#[derive(Clone)]
pub struct Access(Rule);

#[derive(Clone)]
enum Rule {
    Anybody,
    Clients { networks: Vec<IpNet>, unix: bool },
    Basic(Arc<Passwords>),
    Function(Arc<dyn Fn(&AccessRequest<'_>) -> AccessDecision + Send + Sync>),
    AllOf(Vec<Access>),
    AnyOf(Vec<Access>),
}

/// Holds a client's request for access to the proxy: the input of [`Access::function`].
#[derive(Clone, Copy)]
pub struct AccessRequest<'a> {
    peer: Option<&'a PeerAddr>,
    parts: &'a Parts,
}

/// Holds the result of [`Access::function`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessDecision {
    /// The client may use the proxy.
    Allow,
    /// The client may use the proxy, under this user name. [`ProxyRequest::user`](crate::ext::ProxyRequest::user)
    /// returns the name to the application.
    AllowAs(String),
    /// The client may not use the proxy (403).
    Deny,
    /// The client must send credentials (407 with `Proxy-Authenticate`).
    Challenge,
}

impl Access {
    /// Allows clients on the same machine: over TCP from a loopback address, or over a unix socket. A client of unknown
    /// address is denied.
    #[must_use]
    pub fn loopback() -> Self {
        let networks = ["127.0.0.0/8", "::1/128"].iter().filter_map(|text| text.parse().ok()).collect();
        Self(Rule::Clients { networks, unix: true })
    }

    /// Allows TCP clients whose address is in one of `networks`. An item is a network (`10.0.0.0/8`, `2001:db8::/32`),
    /// an address, or one of `loopback`, `private` and `link-local`.
    ///
    /// # Errors
    /// * [`ConfigError::Invalid`], with the text: not a network, bits set after the prefix, or all addresses (`/0`).
    /// * [`ConfigError::Missing`]: `networks` is empty.
    pub fn clients<I>(networks: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut read = Vec::new();
        for text in networks {
            let text = text.as_ref();
            let why =
                "must be an address or a network without host bits; Access::dangerous_any_client() allows all clients";
            read_networks(text, &mut read).map_err(|_| ConfigError::invalid("client network", text, why))?;
        }
        if read.is_empty() {
            return Err(ConfigError::missing("client network", "an empty list allows no client"));
        }
        Ok(Self(Rule::Clients { networks: read, unix: false }))
    }

    /// Allows clients that send one of these user names with its password (`Basic` in `Proxy-Authorization`, RFC 7617).
    /// Other clients are answered with 407.
    ///
    /// Passwords are not stored. Each is kept as a digest under a random key that is created here, and compared in
    /// constant time.
    ///
    /// Clients send user name and password to the proxy in clear text, with every request. On a network that others can
    /// listen to, use TLS between clients and proxy ([`Serve::tls`](crate::serve::Serve::tls)).
    ///
    /// Guessing is slowed down, as for every rule that denies or challenges a request with `Proxy-Authorization`: after
    /// five such responses to one client, the next ones are sent one per second, at most 30 s late, and their
    /// connections are closed. One of them is forgiven every 10 s. Right credentials are never delayed, but if 256
    /// requests of a client wait, its credentials are not checked and it is answered with 503. A client is the same as
    /// for [`max_tunnels_per_client`](super::ForwardProxyBuilder::max_tunnels_per_client).
    ///
    /// # Errors
    /// * [`ConfigError::Invalid`]: a user name that is empty or contains a colon or a control character.
    /// * [`ConfigError::Missing`]: `users` is empty, or the operating system provides no randomness.
    #[doc(alias = "password")]
    pub fn basic<'a>(users: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ConfigError> {
        Ok(Self(Rule::Basic(Arc::new(Passwords::new(users)?))))
    }

    /// Decides with a function. The request waits for the function, which must not block.
    ///
    /// ```
    /// use nexthop::forward::{Access, AccessDecision};
    ///
    /// let by_token = Access::function(|request| {
    ///     match request.parts().headers.get("proxy-authorization") {
    ///         // In production, compare in constant time.
    ///         Some(value) if value == "Bearer abc" => AccessDecision::AllowAs("robot".to_owned()),
    ///         Some(_) => AccessDecision::Deny,
    ///         None => AccessDecision::Challenge,
    ///     }
    /// });
    /// # let _ = by_token;
    /// ```
    #[must_use]
    pub fn function(decide: impl Fn(&AccessRequest<'_>) -> AccessDecision + Send + Sync + 'static) -> Self {
        Self(Rule::Function(Arc::new(decide)))
    }

    /// Allows clients that all `rules` allow. An empty list denies all clients.
    ///
    /// If one rule denies, the client is answered with 403; else if one rule requires credentials, with 407.
    #[must_use]
    pub fn all_of(rules: impl IntoIterator<Item = Self>) -> Self {
        Self(Rule::AllOf(rules.into_iter().collect()))
    }

    /// Allows clients that at least one of `rules` allows. An empty list denies all clients.
    ///
    /// A client is answered with 407 only if no rule allows it without credentials.
    #[must_use]
    pub fn any_of(rules: impl IntoIterator<Item = Self>) -> Self {
        Self(Rule::AnyOf(rules.into_iter().collect()))
    }

    /// Allows every client that reaches the socket: an open proxy. Dangerous: an open proxy hides its users, and is
    /// found and abused within hours.
    #[doc(alias = "open proxy")]
    #[must_use]
    pub const fn dangerous_any_client() -> Self {
        Self(Rule::Anybody)
    }

    /// The client's name, if it has one.
    ///
    /// # Errors
    /// `Denied` (403), `ProxyAuthentication` (407).
    pub(super) fn check(&self, parts: &Parts) -> Result<Option<Arc<str>>, Error> {
        match self.ask(&AccessRequest { peer: PeerAddr::of(&parts.extensions), parts }) {
            AccessDecision::Allow => Ok(None),
            AccessDecision::AllowAs(name) => Ok(Some(name.into())),
            AccessDecision::Deny => Err(Error::new(ErrorKind::Denied, "this client may not use the proxy")),
            AccessDecision::Challenge => {
                Err(Error::new(ErrorKind::ProxyAuthentication, "proxy authentication required"))
            }
        }
    }

    fn ask(&self, asker: &AccessRequest<'_>) -> AccessDecision {
        match &self.0 {
            Rule::Anybody => AccessDecision::Allow,
            Rule::Clients { networks, unix } => {
                let allowed = match asker.peer {
                    Some(peer @ PeerAddr::Tcp(_)) => {
                        peer.ip().is_some_and(|ip| networks.iter().any(|network| network.contains(&ip)))
                    }
                    Some(PeerAddr::Unix(_)) => *unix,
                    None => false,
                };
                if allowed { AccessDecision::Allow } else { AccessDecision::Deny }
            }
            Rule::Basic(passwords) => match asker.credentials() {
                Some(sent) if passwords.has(&sent.name, &sent.password) => AccessDecision::AllowAs(sent.name),
                _ => AccessDecision::Challenge,
            },
            Rule::Function(allows) => allows(asker),
            Rule::AllOf(rules) => all(rules, asker),
            Rule::AnyOf(rules) => any(rules, asker),
        }
    }
}

impl<'a> AccessRequest<'a> {
    /// Returns the address of the client's socket, if the acceptor provides it (as [`serve`](crate::serve()) does).
    #[must_use]
    pub fn peer(&self) -> Option<&'a PeerAddr> {
        self.peer
    }

    /// Returns the head of the request.
    #[must_use]
    pub fn parts(&self) -> &'a Parts {
        self.parts
    }

    /// Returns the target as the client wrote it: an absolute URL, or the authority of a `CONNECT`.
    ///
    /// Compare host names case-insensitively, and without a trailing dot.
    #[must_use]
    pub fn target(&self) -> &'a Uri {
        &self.parts.uri
    }

    /// Returns the credentials of a `Basic` `Proxy-Authorization`, if the request has exactly one such header and it is
    /// valid.
    #[must_use]
    pub fn credentials(&self) -> Option<Credentials> {
        Credentials::read(&self.parts.headers)
    }
}

/// Without the fields, among which passwords are.
impl fmt::Debug for AccessRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (method, uri) = (&self.parts.method, &self.parts.uri);
        let mut out = f.debug_struct("AccessRequest");
        out.field("peer", &self.peer).field("method", method).field("host", &uri.host()).finish_non_exhaustive()
    }
}

/// Holds the user name and password that a client sent to the proxy (RFC 7617).
pub struct Credentials {
    name: String,
    password: Zeroizing<String>,
}

impl Credentials {
    /// Returns the user name, which proves nothing without the password.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the password. Compare it in constant time, or by a digest.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(PROXY_AUTHORIZATION).iter();
        let (line, None) = (lines.next()?, lines.next()) else { return None };
        let (scheme, encoded) = line.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = Zeroizing::new(BASE64_STANDARD.decode(encoded.trim()).ok()?);
        let (name, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        Some(Self { name: name.to_owned(), password: Zeroizing::new(password.to_owned()) })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The first that denies, then the first that asks back, else all allow.
fn all(rules: &[Access], asker: &AccessRequest<'_>) -> AccessDecision {
    if rules.is_empty() {
        return AccessDecision::Deny;
    }
    let verdicts: Vec<AccessDecision> = rules.iter().map(|rule| rule.ask(asker)).collect();
    for stop in [AccessDecision::Deny, AccessDecision::Challenge] {
        if verdicts.contains(&stop) {
            return stop;
        }
    }
    verdicts.into_iter().find(|verdict| matches!(verdict, AccessDecision::AllowAs(_))).unwrap_or(AccessDecision::Allow)
}

/// The first that allows, then the first that asks back, else all deny.
fn any(rules: &[Access], asker: &AccessRequest<'_>) -> AccessDecision {
    let mut last = AccessDecision::Deny;
    for rule in rules {
        match rule.ask(asker) {
            allowed @ (AccessDecision::Allow | AccessDecision::AllowAs(_)) => return allowed,
            AccessDecision::Challenge => last = AccessDecision::Challenge,
            AccessDecision::Deny => {}
        }
    }
    last
}

/// Names with their passwords, as digests under a random key: who does not know the key learns nothing from how long a
/// look takes.
struct Passwords {
    key: Zeroizing<[u8; 32]>,
    digests: HashSet<[u8; 32]>,
}

impl Passwords {
    fn new<'a>(users: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ConfigError> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).map_err(|error| ConfigError::missing("randomness", error.to_string()))?;
        let mut passwords = Self { key, digests: HashSet::new() };
        for (name, password) in users {
            if name.is_empty() || name.contains(|c: char| c == ':' || c.is_control()) {
                return Err(ConfigError::invalid(
                    "user",
                    name,
                    "must not be empty or contain a colon or a control character",
                ));
            }
            let digest = passwords.digest(name, password);
            passwords.digests.extend(digest);
        }
        if passwords.digests.is_empty() {
            return Err(ConfigError::missing("user", "an empty list allows no client"));
        }
        Ok(passwords)
    }

    fn has(&self, name: &str, password: &str) -> bool {
        self.digest(name, password).is_some_and(|digest| self.digests.contains(&digest))
    }

    /// A name holds no colon, so that no two users have the same digest.
    fn digest(&self, name: &str, password: &str) -> Option<[u8; 32]> {
        let mut mac = <Hmac<Sha256>>::new_from_slice(&*self.key).ok()?;
        mac.update(name.as_bytes());
        mac.update(b":");
        mac.update(password.as_bytes());
        Some(mac.finalize().into_bytes().into())
    }
}

impl Default for Access {
    fn default() -> Self {
        Self::loopback()
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rule::Anybody => f.write_str("Anybody"),
            Rule::Clients { networks, unix } => {
                f.debug_struct("Clients").field("networks", networks).field("unix", unix).finish()
            }
            Rule::Basic(passwords) => write!(f, "Basic({} users)", passwords.digests.len()),
            Rule::Function(_) => f.write_str("Function"),
            Rule::AllOf(rules) => f.debug_tuple("AllOf").field(rules).finish(),
            Rule::AnyOf(rules) => f.debug_tuple("AnyOf").field(rules).finish(),
        }
    }
}

#[cfg(test)]
mod tests;
