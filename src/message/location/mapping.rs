use http::{HeaderMap, HeaderValue, uri::Scheme};

use crate::message::{
    location::fields,
    target::{ClientPrefix, Prefix, UpstreamUrl, split, split_bytes},
};

/// The two views of one request: what the upstream calls itself, and what the client calls it.
#[derive(Clone, Debug)]
pub struct Mapping {
    upstream: UpstreamUrl,
    /// The `Host` the upstream was sent, if not its own.
    host_sent: Option<HeaderValue>,
    scheme: Scheme,
    host: Option<HeaderValue>,
    prefix: ClientPrefix,
}

impl Mapping {
    /// Maps from `upstream` to the client's `scheme`, `host` (with a port, where it is not the scheme's own) and `prefix`. A host that
    /// cannot stand in a field counts as unknown.
    #[must_use]
    pub fn new(upstream: UpstreamUrl, scheme: Scheme, host: &str, prefix: Prefix) -> Self {
        let host = HeaderValue::from_str(host).ok().filter(|host| !host.is_empty());
        Self::of(upstream, None, scheme, host, prefix.into())
    }

    /// The same from what is at hand. Without a `host`, URLs of the upstream become paths.
    pub(crate) fn of(
        upstream: UpstreamUrl,
        host_sent: Option<HeaderValue>,
        scheme: Scheme,
        host: Option<HeaderValue>,
        prefix: ClientPrefix,
    ) -> Self {
        Self { upstream, host_sent, scheme, host, prefix }
    }

    /// Maps the fields of a response head; a head without any of them costs one look at each name.
    pub fn apply(&self, headers: &mut HeaderMap) {
        fields::apply(self, headers);
    }

    /// Maps one URI reference; `None` where it stays as it is.
    pub(super) fn reference(&self, reference: &[u8]) -> Option<Vec<u8>> {
        let (scheme, rest) = split_scheme(reference);
        let Some(rest) = rest.strip_prefix(b"//") else {
            return if scheme.is_empty() && rest.starts_with(b"/") { self.absolute_path(rest) } else { None };
        };
        let end = rest.iter().position(|byte| b"/?#\\".contains(byte)).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if !self.is_upstream(scheme, authority) {
            return None;
        }
        let (path, tail) = split_path(target);
        let mapped = match self.path(path) {
            View::Upstream(mapped) => mapped,
            View::Client => path.to_vec(),
            View::Foreign => return None,
        };
        let Some(host) = &self.host else {
            return Some([&rooted(mapped)[..], tail].concat());
        };
        let scheme = if scheme.is_empty() { String::new() } else { format!("{}:", self.scheme) };
        Some([scheme.as_bytes(), b"//", host.as_bytes(), &mapped, tail].concat())
    }

    /// Maps the path of a cookie. One for all of the upstream that can be reached from here, or more, is one for the client's prefix: kept
    /// as it is, it would be sent to whatever else the client's host serves.
    pub(super) fn cookie_path(&self, path: &[u8]) -> Option<Vec<u8>> {
        let above = path.strip_suffix(b"/").unwrap_or(path);
        let is_above = std::str::from_utf8(above).is_ok_and(|above| split(self.upstream.path(), above).is_some());
        // Two slashes are another path than one (RFC 6265 §5.1.4).
        if path.starts_with(b"/") && is_above && !above.ends_with(b"/") {
            let prefix = self.prefix.as_str().as_bytes();
            return Some(if prefix.is_empty() { b"/".to_vec() } else { prefix.to_vec() });
        }
        match self.path(path) {
            View::Upstream(mapped) => Some(rooted(mapped)),
            View::Client | View::Foreign => None,
        }
    }

    /// True if a cookie's domain is the upstream's host, by its URL or by the `Host` it was sent.
    pub(super) fn is_upstream_domain(&self, domain: &[u8]) -> bool {
        self.upstream_names().any(|name| host_of(name).eq_ignore_ascii_case(domain))
    }

    /// The client's name for the host, without its port.
    pub(super) fn client_domain(&self) -> Option<&[u8]> {
        self.host.as_ref().map(|host| host_of(host.as_bytes()))
    }

    fn absolute_path(&self, reference: &[u8]) -> Option<Vec<u8>> {
        let (path, tail) = split_path(reference);
        match self.path(path) {
            View::Upstream(mapped) => Some([&rooted(mapped)[..], tail].concat()),
            View::Client | View::Foreign => None,
        }
    }

    fn path(&self, path: &[u8]) -> View {
        let (base, prefix) = (self.upstream.path(), self.prefix.as_str());
        if prefix.len() > base.len() && split_bytes(path, prefix).is_some() {
            return View::Client;
        }
        match split_bytes(path, base) {
            Some(rest) => View::Upstream([prefix.as_bytes(), rest].concat()),
            None => View::Foreign,
        }
    }

    /// True if the upstream names itself by this scheme and authority: by the scheme of its URL, or by the client's scheme
    /// that it was sent in the forwarding headers.
    fn is_upstream(&self, scheme: &[u8], authority: &[u8]) -> bool {
        let own = self.upstream.scheme();
        let told = &self.scheme;
        let is = |named: &Scheme| scheme.eq_ignore_ascii_case(named.as_str().as_bytes());
        if scheme.is_empty() || is(own) {
            return self.upstream_names().any(|name| is_same_authority((name, own), (authority, own)));
        }
        // The scheme and the host of the client together are the client's view, whatever `Host` the upstream was sent.
        let is_clients = |host: &HeaderValue| is_same_authority((host.as_bytes(), told), (authority, told));
        is(told)
            && !self.host.as_ref().is_some_and(is_clients)
            && self.upstream_names().any(|name| is_same_authority((name, own), (authority, told)))
    }

    fn upstream_names(&self) -> impl Iterator<Item = &[u8]> {
        [Some(self.upstream.host()), self.host_sent.as_ref()].into_iter().flatten().map(HeaderValue::as_bytes)
    }
}

/// Whose view a path is in.
enum View {
    /// The upstream's; mapped to the client's.
    Upstream(Vec<u8>),
    /// The client's already.
    Client,
    /// Outside of what is proxied.
    Foreign,
}

/// `http` and the rest behind the colon; an empty scheme where there is none (RFC 3986 §3.1).
fn split_scheme(reference: &[u8]) -> (&[u8], &[u8]) {
    let end = reference.iter().position(|byte| !(byte.is_ascii_alphanumeric() || b"+-.".contains(byte))).unwrap_or(0);
    let (scheme, rest) = reference.split_at(end);
    match rest.strip_prefix(b":") {
        Some(rest) if !scheme.is_empty() => (scheme, rest),
        _ => (b"", reference),
    }
}

/// The path, and the query and fragment behind it.
fn split_path(target: &[u8]) -> (&[u8], &[u8]) {
    target.split_at(target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len()))
}

/// True if two authorities are the same host and port. The port that is left out is the default one of the scheme
/// beside it (RFC 3986 §3.2.3).
///
/// An application that was sent another scheme than its own leaves out the port of either.
fn is_same_authority((one, of_one): (&[u8], &Scheme), (other, of_other): (&[u8], &Scheme)) -> bool {
    let (host, port) = split_port(one);
    let (other_host, other_port) = split_port(other);
    let port = if port.is_empty() { default_port(of_one) } else { port };
    let is_same_port = other_port == port || (other_port.is_empty() && port == default_port(of_one));
    let is_default = other_port == default_port(of_other) && port == default_port(of_one);
    host.eq_ignore_ascii_case(other_host) && (is_same_port || is_default)
}

fn default_port(scheme: &Scheme) -> &'static [u8] {
    if *scheme == Scheme::HTTPS { b"443" } else { b"80" }
}

fn split_port(authority: &[u8]) -> (&[u8], &[u8]) {
    let host = host_of(authority);
    (host, authority.get(host.len() + 1..).unwrap_or_default())
}

fn host_of(authority: &[u8]) -> &[u8] {
    let end = match authority.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !authority.ends_with(b"]") => colon,
        _ => authority.len(),
    };
    authority.split_at(end).0
}

/// The path as a reference of its own. What begins with two slashes would be read as a host: an open redirect of our own making
/// (`/app//evil.example` without `/app`). RFC 3986 §4.2 has the way out. Browsers read `\` as a slash, and a tab as nothing.
fn rooted(path: Vec<u8>) -> Vec<u8> {
    let mut second = path.iter().skip(1).skip_while(|byte| **byte == b'\t');
    match second.next() {
        _ if path.is_empty() => b"/".to_vec(),
        Some(b'/' | b'\\') => [b"/.", &path[..]].concat(),
        _ => path,
    }
}
