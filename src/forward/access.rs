//! [`Access`]: who may use the proxy.

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

/// Who may use a [`ForwardProxy`](super::ForwardProxy) as a proxy. By default programs on the same machine.
///
/// Asked once for each request to the proxy, and once for each `CONNECT`: what comes through its tunnel is that client's. Requests for the
/// application itself (in origin form) are the application's own business.
///
/// ```
/// use nexthop::forward::Access;
///
/// let office = Access::clients(["10.0.0.0/8", "2001:db8::/32"])?;
/// let from_home = Access::basic([("alice", "correct horse"), ("bob", "battery staple")])?;
/// let either = Access::any_of([office, from_home]);
/// # let _ = either;
/// # Ok::<(), nexthop::ConfigError>(())
/// ```
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

/// Who asks to use the proxy, for [`Access::function`].
#[derive(Clone, Copy)]
pub struct AccessRequest<'a> {
    peer: Option<&'a PeerAddr>,
    parts: &'a Parts,
}

/// What [`Access::function`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessDecision {
    /// The client may use the proxy.
    Allow,
    /// It may, and this is its name, which [`ext::ProxyRequest`](crate::ext::ProxyRequest) tells the application.
    AllowAs(String),
    /// It may not (403).
    Deny,
    /// Let it say who it is (407).
    Challenge,
}

impl Access {
    /// Clients on this machine: over TCP from a loopback address, or over a unix socket. A client of unknown address is not let in.
    #[must_use]
    pub fn loopback() -> Self {
        let networks = ["127.0.0.0/8", "::1/128"].iter().filter_map(|text| text.parse().ok()).collect();
        Self(Rule::Clients { networks, unix: true })
    }

    /// TCP clients whose address is in one of these networks: `10.0.0.0/8`, `2001:db8::/32`, a single address, or `loopback`, `private`
    /// or `link-local`.
    ///
    /// # Errors
    /// `Invalid`, naming the text: not a network, bits set behind its length, or everybody (`/0`). `Missing`: no network at all.
    pub fn clients<I>(networks: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut read = Vec::new();
        for text in networks {
            let text = text.as_ref();
            let why = "is not a network without bits behind its length; everybody is Access::dangerous_any_client()";
            read_networks(text, &mut read).map_err(|_| ConfigError::invalid("client network", text, why))?;
        }
        if read.is_empty() {
            return Err(ConfigError::missing("client networks", "an empty list lets nobody in"));
        }
        Ok(Self(Rule::Clients { networks: read, unix: false }))
    }

    /// Clients that send one of these names with its password (`Basic`, RFC 7617); others are asked for them (407). Passwords are not
    /// kept, only a digest under a key that is drawn now, and compared without telling by time how much of one was right.
    ///
    /// The client sends them in clear text to the proxy, with every request. Over a network that others listen to, speak TLS to the proxy
    /// ([`Serve::tls`](crate::serve::Serve::tls)).
    ///
    /// # Errors
    /// `Invalid`: a name that is empty or holds a colon or a control character. `Missing`: no name at all, or no randomness to be had.
    pub fn basic<'a>(users: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ConfigError> {
        Ok(Self(Rule::Basic(Arc::new(Passwords::new(users)?))))
    }

    /// Whoever this function allows. It is called while the request waits: it must not block.
    ///
    /// ```
    /// use nexthop::forward::{Access, AccessDecision};
    ///
    /// let by_token = Access::function(|asker| match asker.parts().headers.get("proxy-authorization") {
    ///     Some(value) if value == "Bearer abc" => AccessDecision::AllowAs("robot".to_owned()), // compare in constant time in earnest
    ///     Some(_) => AccessDecision::Deny,
    ///     None => AccessDecision::Challenge,
    /// });
    /// # let _ = by_token;
    /// ```
    #[must_use]
    pub fn function(allows: impl Fn(&AccessRequest<'_>) -> AccessDecision + Send + Sync + 'static) -> Self {
        Self(Rule::Function(Arc::new(allows)))
    }

    /// Clients whom every one of these lets in.
    ///
    /// Of nothing: nobody.
    #[must_use]
    pub fn all_of(of: impl IntoIterator<Item = Self>) -> Self {
        Self(Rule::AllOf(of.into_iter().collect()))
    }

    /// Clients whom one of these lets in. A client is asked for its name only if none does without.
    #[must_use]
    pub fn any_of(of: impl IntoIterator<Item = Self>) -> Self {
        Self(Rule::AnyOf(of.into_iter().collect()))
    }

    /// Everybody who reaches the socket: an open proxy. Dangerous: it hides who does what, and strangers will find it within hours.
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
                Err(Error::new(ErrorKind::ProxyAuthentication, "the proxy wants to know who asks"))
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
    /// The socket's peer, if the acceptor named it.
    #[must_use]
    pub fn peer(&self) -> Option<&'a PeerAddr> {
        self.peer
    }

    /// The request's head.
    #[must_use]
    pub fn parts(&self) -> &'a Parts {
        self.parts
    }

    /// What the client wants: a whole URL, or the authority of a `CONNECT`, as it was written. Names of hosts are the same in any case and
    /// with a dot at their end.
    #[must_use]
    pub fn target(&self) -> &'a Uri {
        &self.parts.uri
    }

    /// The name and the password of a `Basic` `Proxy-Authorization`, if it sends exactly one that can be read.
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

/// The name and the password that a client sends to the proxy (RFC 7617).
pub struct Credentials {
    name: String,
    password: Zeroizing<String>,
}

impl Credentials {
    /// The name, which proves nothing by itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The password. Compare it in constant time, or by a digest.
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

/// Names with their passwords, as digests under a random key: who does not know the key learns nothing from how long a look takes.
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
                return Err(ConfigError::invalid("user", name, "is empty, or holds a colon or a control character"));
            }
            let digest = passwords.digest(name, password);
            passwords.digests.extend(digest);
        }
        if passwords.digests.is_empty() {
            return Err(ConfigError::missing("users", "an empty list lets nobody in"));
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
