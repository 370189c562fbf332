//! [`Destination`]: what makes two connections different.

mod recent;

use std::{cmp::Ordering, fmt, net::SocketAddr, path::Path, sync::Arc};

use http::uri::{Authority, Scheme, Uri};

use crate::{
    error::{Error, ErrorKind},
    ext::{ConnectTo, ConnectWith, DialPolicy},
};

/// Identifies the peer of a connection: host, port, unix socket or addresses, and whether TLS is spoken. Cheap to
/// clone.
///
/// It is the key of the connection pool: requests share connections only if their destinations are equal. A TLS server
/// name, a dial policy ([`ConnectWith`](crate::ext::ConnectWith)) and the client address of a PROXY header are parts of
/// it.
#[doc(alias = "pool key")]
#[doc(alias = "endpoint")]
#[derive(Clone)]
pub struct Destination(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    tls: bool,
    /// Whose certificate is asked for (https only), which differs from the place under a `ConnectTo`.
    server: Option<Site>,
    place: Place,
    /// What keeps few connections apart.
    with: ConnectWith,
    /// Whom a PROXY header names; the inner one is none where nobody knows.
    client: Option<Option<SocketAddr>>,
    /// Nothing of it is in memory of a request.
    is_own: bool,
}

#[derive(Clone)]
enum Place {
    Addresses(Arc<[SocketAddr]>),
    Site(Site),
    Unix(Arc<Path>),
}

/// An authority taken apart, once.
#[derive(Clone)]
struct Site {
    authority: Authority,
    /// Where the host stands in it, without brackets.
    host: (usize, usize),
    /// Its port, or the scheme's default.
    port: u16,
}

impl Destination {
    /// The destination of a request: its URI's scheme and authority, or the place that `ConnectTo` names instead.
    ///
    /// # Errors
    /// `InvalidTarget` (400): no authority, another scheme than `http` and `https`, user information (RFC 9110 §4.2.4), port 0.
    pub(crate) fn of(uri: &Uri, connect_to: Option<&ConnectTo>) -> Result<Self, Error> {
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(_) => return Err(target("the scheme is neither http nor https")),
            None if connect_to.is_some() => false,
            None => return Err(target("no host to connect to: the request URI has no authority")),
        };
        // Checked even where it is not connected to: `Host` may be written from it.
        let named = match uri.authority() {
            Some(authority) => Some(Site::of(authority, tls)?),
            None => None,
        };
        let server = if tls { named.clone() } else { None };
        let place = match (connect_to, named) {
            (Some(ConnectTo::Authority(authority)), _) => Place::Site(Site::of(authority, tls)?),
            (Some(ConnectTo::Unix(path)), _) => Place::Unix(path.clone()),
            (Some(ConnectTo::Addresses(addresses)), _) if addresses.is_empty() => {
                return Err(target("no address to connect to: the list of addresses is empty"));
            }
            (Some(ConnectTo::Addresses(addresses)), _) => Place::Addresses(addresses.clone()),
            (None, Some(named)) => Place::Site(named),
            (None, None) => return Err(target("no host to connect to: the request URI has no authority")),
        };
        Ok(Self(Arc::new(Inner { tls, server, place, with: ConnectWith::new(), client: None, is_own: false })))
    }

    /// The same, connected to as the request asks; the recent one, if it is that.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(super) fn found(uri: &Uri, connect_to: Option<&ConnectTo>, with: Option<&ConnectWith>) -> Result<Self, Error> {
        if let Some(recent) = Self::recent(uri, connect_to, with) {
            return Ok(recent);
        }
        let found = Self::of(uri, connect_to)?;
        Ok(match with {
            Some(with) => found.with(with),
            None => found,
        })
    }

    /// The same, connected to as the request asks.
    pub(super) fn with(mut self, with: &ConnectWith) -> Self {
        Arc::make_mut(&mut self.0).with = with.clone();
        self
    }

    /// The same, for one client alone, whom a PROXY header names.
    #[cfg(feature = "proxy-protocol")]
    pub(super) fn on_behalf_of(mut self, client: Option<SocketAddr>) -> Self {
        Arc::make_mut(&mut self.0).client = Some(client);
        self
    }

    /// The same, to be kept longer than a request, whose authority is in the buffer that its head was read into.
    pub(crate) fn to_keep(&self) -> Self {
        if self.0.is_own {
            return self.clone();
        }
        let mut inner = Inner { is_own: true, ..Inner::clone(&self.0) };
        inner.server.iter_mut().for_each(Site::detach);
        if let Place::Site(site) = &mut inner.place {
            site.detach();
        }
        Self(Arc::new(inner))
    }

    /// Whom a PROXY header names.
    #[cfg(feature = "proxy-protocol")]
    pub(super) fn client(&self) -> Option<SocketAddr> {
        self.0.client?
    }

    /// Returns true if TLS is spoken.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.tls
    }

    /// Returns the addresses to connect to, if they were given ([`ConnectTo::Addresses`](crate::ext::ConnectTo)) and
    /// need no resolving.
    #[must_use]
    pub fn addresses(&self) -> Option<&[SocketAddr]> {
        match &self.0.place {
            Place::Addresses(addresses) => Some(addresses),
            Place::Site(_) | Place::Unix(_) => None,
        }
    }

    /// Returns the dial policy of the request, if it has one. A [`Connect`](crate::net::Connect) that dials addresses
    /// must apply it, and return true from [`uses_dial_policy`](crate::net::Connect::uses_dial_policy).
    #[must_use]
    pub fn dial_policy(&self) -> Option<&DialPolicy> {
        self.0.with.dial_policy.as_ref()
    }

    /// Returns the host name or IP address to connect to, an IPv6 address without brackets. `None` for a unix socket
    /// and for given addresses.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match &self.0.place {
            Place::Site(site) => Some(site.host()),
            Place::Addresses(_) | Place::Unix(_) => None,
        }
    }

    /// Returns the port to connect to: that of the authority, otherwise the default of the scheme. `None` for a unix
    /// socket and for given addresses.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match &self.0.place {
            Place::Site(site) => Some(site.port),
            Place::Addresses(_) | Place::Unix(_) => None,
        }
    }

    /// Returns the path of the unix socket to connect to, if it is one.
    #[must_use]
    pub fn unix_path(&self) -> Option<&Path> {
        match &self.0.place {
            Place::Addresses(_) | Place::Site(_) => None,
            Place::Unix(path) => Some(path),
        }
    }

    /// Returns the name that the peer's certificate must be valid for, an IPv6 address without brackets. `None` without
    /// TLS.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        let site = self.0.server.as_ref()?;
        Some(self.asked_server_name().unwrap_or_else(|| site.host()))
    }

    /// The name that the request asks the certificate for, instead of its host.
    pub(super) fn asked_server_name(&self) -> Option<&str> {
        self.0.with.server_name.as_deref()
    }

    /// The order of pool keys.
    fn order(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        let place = match (&self.0.place, &other.0.place) {
            (Place::Site(one), Place::Site(other)) => one.port.cmp(&other.port).then_with(|| one.order(other)),
            (Place::Unix(one), Place::Unix(other)) => one.cmp(other),
            (Place::Addresses(one), Place::Addresses(other)) => one.cmp(other),
            (one, other) => one.rank().cmp(&other.rank()),
        };
        let order = place.then_with(|| match (&self.0.server, &other.0.server) {
            // A certificate names no port.
            (Some(one), Some(other)) => one.order(other),
            (one, other) => one.is_some().cmp(&other.is_some()),
        });
        order.then_with(|| self.0.with.cmp(&other.0.with)).then_with(|| self.0.client.cmp(&other.0.client))
    }
}

impl Place {
    /// The order of places of different kinds.
    fn rank(&self) -> u8 {
        match self {
            Self::Site(_) => 0,
            Self::Unix(_) => 1,
            Self::Addresses(_) => 2,
        }
    }
}

impl Site {
    fn of(authority: &Authority, tls: bool) -> Result<Self, Error> {
        let text = authority.as_str();
        if text.bytes().any(|byte| byte == b'@') {
            return Err(target("the authority contains user information"));
        }
        let (host, rest) = match text.strip_prefix('[') {
            Some(address) => {
                let end = 1 + address.bytes().position(|byte| byte == b']').unwrap_or(address.len());
                ((1, end), text.get(end + 1..))
            }
            None => {
                let end = text.bytes().position(|byte| byte == b':').unwrap_or(text.len());
                ((0, end), text.get(end..))
            }
        };
        if host.0 >= host.1 {
            return Err(target("the host is empty"));
        }
        // `Authority` accepts `h:` and `h:99999`; only the first has a meaning (RFC 3986 §3.2.3: an empty port is the default).
        let port = match rest.unwrap_or_default().strip_prefix(':') {
            None | Some("") => Some(if tls { 443 } else { 80 }),
            Some(digits) => digits.parse().ok().filter(|port| *port != 0 && !digits.starts_with('+')),
        };
        let port = port.ok_or_else(|| target("the port is not a number from 1 to 65535"))?;
        Ok(Self { authority: authority.clone(), host, port })
    }

    /// Copies the authority, whose parts stay where they are.
    fn detach(&mut self) {
        if let Ok(copy) = Authority::try_from(self.authority.as_str()) {
            self.authority = copy;
        }
    }

    fn host(&self) -> &str {
        self.authority.as_str().get(self.host.0..self.host.1).unwrap_or_default()
    }

    /// Hosts compare without regard to case.
    fn order(&self, other: &Self) -> Ordering {
        let (one, other) = (self.host(), other.host());
        // Most often both are clones of one configured upstream, or written as they were before.
        if std::ptr::eq(one, other) || one == other {
            return Ordering::Equal;
        }
        let lower = |byte: u8| byte.to_ascii_lowercase();
        one.bytes().map(lower).cmp(other.bytes().map(lower))
    }
}

fn target(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidTarget, reason)
}

impl Ord for Destination {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order(other)
    }
}

impl PartialOrd for Destination {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Destination {
    fn eq(&self, other: &Self) -> bool {
        self.order(other).is_eq()
    }
}

impl Eq for Destination {}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Destination");
        out.field("tls", &self.0.tls);
        match &self.0.place {
            Place::Site(site) => out.field("authority", &site.authority),
            Place::Unix(path) => out.field("unix", path),
            Place::Addresses(addresses) => out.field("addresses", addresses),
        };
        out.field("server_name", &self.server_name()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str) -> Result<Destination, Error> {
        Destination::of(&uri.parse().unwrap(), None)
    }

    #[test]
    fn hosts_in_other_case_and_default_ports_are_the_same_destination() {
        assert_eq!(of("http://Example.test/a").unwrap(), of("http://example.TEST:80/b").unwrap());
        assert_ne!(of("http://example.test").unwrap(), of("https://example.test").unwrap());
        assert_ne!(of("http://example.test").unwrap(), of("http://example.test:81").unwrap());
        assert_eq!(of("https://[::1]/").unwrap().host(), Some("::1"));
        assert_eq!(of("https://[::1]/").unwrap().port(), Some(443));
    }

    #[test]
    fn a_name_to_verify_keeps_connections_to_one_place_apart() {
        let to = ConnectTo::Authority("127.0.0.1:1".parse().unwrap());
        let a = Destination::of(&"https://a.test/".parse().unwrap(), Some(&to)).unwrap();
        let b = Destination::of(&"https://b.test/".parse().unwrap(), Some(&to)).unwrap();
        assert_ne!(a, b);
        assert_eq!((a.host(), a.server_name()), (Some("127.0.0.1"), Some("a.test")));
    }

    #[test]
    fn what_is_kept_of_a_request_holds_on_to_nothing_of_its_buffer() {
        let head = bytes::Bytes::from(b"https://a.test:444/path".to_vec());
        let uri = Uri::from_maybe_shared(head.clone()).unwrap();
        let kept = Destination::of(&uri, None).unwrap().to_keep();
        drop(uri);
        assert!(head.is_unique(), "nobody else has it");
        assert_eq!((kept.host(), kept.port(), kept.server_name()), (Some("a.test"), Some(444), Some("a.test")));
    }

    #[test]
    fn what_cannot_be_connected_to_is_a_bad_target() {
        for uri in [
            "/path",
            "ftp://h/",
            "http://u@h/",
            "http://u:p@h/",
            "http://h:0/",
            "http://h:99999/",
            "http://h:+80/",
            "h:80",
        ] {
            let error = of(uri).expect_err(uri);
            assert_eq!(error.status(), http::StatusCode::BAD_REQUEST, "{uri}");
        }
        assert!(of("http://h:/").is_ok());
        let elsewhere = ConnectTo::Unix(Path::new("/s").into());
        assert!(Destination::of(&"http://u:p@h/".parse().unwrap(), Some(&elsewhere)).is_err());
    }
}
