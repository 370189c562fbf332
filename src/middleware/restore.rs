//! What a request's fields claim, and putting the believed part of it in its place.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};

use super::{
    layer::Config,
    overrides::{ForcedHost, Mounted, scheme},
    trust::Standing,
};
use crate::{
    error::{Error, ErrorKind},
    ext::{Hop, PeerAddr, RequestOrigin, TrustedBy},
    message::{
        forwarded,
        target::{Form, Prefix, check_host, form, is_host, join, split, split_query},
    },
    protocol::{Family, names},
};

/// What a trusted *peer* is believed. Default: who the client is, and which scheme it used.
///
/// The host, the port and the prefix are written into links and redirects; let a peer name them only if it overwrites what clients send.
///
/// ```
/// use nexthop::middleware::Restore;
///
/// assert_eq!(Restore::default(), Restore::none().client().scheme());
/// assert_eq!(Restore::all(), Restore::default().host().port().prefix());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restore {
    client: bool,
    scheme: bool,
    host: bool,
    port: bool,
    prefix: bool,
}

impl Restore {
    /// Nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self { client: false, scheme: false, host: false, port: false, prefix: false }
    }

    /// Everything the family can say.
    #[must_use]
    pub const fn all() -> Self {
        Self { client: true, scheme: true, host: true, port: true, prefix: true }
    }

    /// And the client's address.
    #[must_use]
    pub const fn client(mut self) -> Self {
        self.client = true;
        self
    }

    /// And the scheme.
    #[must_use]
    pub const fn scheme(mut self) -> Self {
        self.scheme = true;
        self
    }

    /// And the host, with the port that it is written with.
    #[must_use]
    pub const fn host(mut self) -> Self {
        self.host = true;
        self
    }

    /// And the port of `X-Forwarded-Port`.
    #[must_use]
    pub const fn port(mut self) -> Self {
        self.port = true;
        self
    }

    /// And what stands before the path, and behind the query: the prefix, `X-Traversal-Path`, `X-Traversal-Query-String`.
    #[must_use]
    pub const fn prefix(mut self) -> Self {
        self.prefix = true;
        self
    }
}

impl Default for Restore {
    fn default() -> Self {
        Self::none().client().scheme()
    }
}

/// What is checked of every head, whoever sends it.
#[derive(Debug)]
pub(super) struct Head {
    form: Form,
    /// The host the request asks for; none in HTTP/1.0.
    host: Option<HeaderValue>,
}

impl Head {
    /// # Errors
    /// `Target` (400): the form of the target, or `Host`. `RequestBody` (400): the framing.
    pub(super) fn check(parts: &Parts) -> Result<Self, Error> {
        let form = form(&parts.method, &parts.uri)?;
        let host = check_host(&parts.uri, parts.version, &parts.headers)?;
        check_framing(&parts.headers)?;
        Ok(Self { form, host })
    }
}

/// On whose word a request's fields are believed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Word {
    Nobody,
    Peer(Standing),
    /// Only fields that the signature covers are left in the head.
    Signer,
}

/// The client's view of a request, ready to be put in place.
#[derive(Debug)]
pub(super) struct View {
    pub(super) origin: RequestOrigin,
    /// The value of `Host`; none if the request (HTTP/1.0) has none.
    host: Option<HeaderValue>,
    /// The target in origin form, where the request has a path.
    target: Option<PathAndQuery>,
    /// The list of hops could not be read up to the client.
    pub(super) unreadable: bool,
}

impl View {
    /// Reads what is believed of a head. Changes nothing.
    ///
    /// # Errors
    /// `Target` (400), `Misdirected` (421): see [`ProxyMiddleware`](super::ProxyMiddleware).
    pub(super) fn read(
        config: &Config,
        parts: &Parts,
        head: Head,
        peer: Option<PeerAddr>,
        word: Word,
        trusted_by: TrustedBy,
    ) -> Result<Self, Error> {
        let Head { form, host: asked } = head;
        let has_path = matches!(form, Form::Origin | Form::Absolute);
        let (mut told, restore) = match word {
            Word::Nobody => (Told::default(), Restore::none()),
            Word::Peer(standing) => {
                let walk = |hops: &[Hop]| {
                    forwarded::walk(hops, standing.max_hops, |ip| standing.any_hop || config.trust.knows(ip))
                };
                (Told::read(config.family, &parts.headers, config.restore, walk)?, config.restore)
            }
            Word::Signer => {
                let walk = |hops: &[Hop]| forwarded::walk(hops, usize::MAX, |_| true);
                (Told::read(config.family, &parts.headers, Restore::all(), walk)?, Restore::all())
            }
        };
        let (client, client_port) = match &told.client {
            Some(hop) => (hop.ip(), hop.port()),
            // Who signs speaks for others: where it names nobody, nobody is known, and certainly not the signer's own address.
            None if matches!(word, Word::Signer) => (None, None),
            None => (peer.as_ref().and_then(PeerAddr::ip), peer.as_ref().and_then(PeerAddr::port)),
        };
        let scheme = config.scheme.clone().or(told.scheme.take()).unwrap_or(Scheme::HTTP);
        let (authority, host) = if form == Form::Authority {
            (parts.uri.authority().cloned(), asked)
        } else {
            resolve_host(config, &told, asked, &scheme)?
        };
        let path = if has_path { Path::read(config, parts, restore)? } else { Path::default() };
        let target = match (form, path.target) {
            (Form::Authority, _) => None,
            (_, Some(target)) => Some(target),
            (Form::Origin, None) => None,
            (Form::Absolute | Form::Asterisk, None) => parts.uri.path_and_query().cloned(),
        };
        Ok(Self {
            unreadable: told.client == Some(Hop::Unknown),
            origin: RequestOrigin {
                peer,
                client,
                client_port,
                scheme,
                host: authority,
                prefix: path.prefix,
                hops: told.hops,
                trusted_by,
            },
            host,
            target,
        })
    }

    /// Puts the view in place of the request's own.
    pub(super) fn apply(self, parts: &mut Parts) {
        if let Some(host) = self.host
            && parts.headers.get(HOST) != Some(&host)
        {
            parts.headers.insert(HOST, host);
        }
        if let Some(target) = self.target {
            parts.uri = Uri::from(target);
        }
        #[cfg(feature = "axum")]
        super::view::show(&self.origin, parts);
        parts.extensions.insert(self.origin);
    }
}

/// What the fields of one family say, as far as it is believed.
#[derive(Debug, Default)]
struct Told {
    /// From the client on.
    hops: Vec<Hop>,
    client: Option<Hop>,
    scheme: Option<Scheme>,
    host: Option<Authority>,
    port: Option<u16>,
}

impl Told {
    fn read(
        family: Family,
        headers: &HeaderMap,
        restore: Restore,
        walk: impl Fn(&[Hop]) -> Option<usize>,
    ) -> Result<Self, Error> {
        if family == Family::Forwarded {
            return Self::read_forwarded(headers, restore, walk);
        }
        let hops = forwarded::for_hops(headers, &names::X_FORWARDED_FOR);
        let at = walk(&hops);
        // The other fields of the hop that named the client stand as far from the right as the client does.
        let depth = at.map_or(1, |at| hops.len() - at);
        let classic = family == Family::WsgiProxy;
        let [scheme, host] = if classic {
            [names::X_FORWARDED_SCHEME, names::X_FORWARDED_SERVER]
        } else {
            [names::X_FORWARDED_PROTO, names::X_FORWARDED_HOST]
        };
        let claim = |wanted: bool, name: &HeaderName| {
            if wanted { forwarded::from_right(headers, name, depth) } else { None }
        };
        Ok(Self {
            scheme: claim(restore.scheme, &scheme).map(read_scheme).transpose()?,
            host: claim(restore.host, &host).map(read_host).transpose()?,
            port: claim(restore.port && !classic, &names::X_FORWARDED_PORT).map(read_port).transpose()?,
            ..Self::of_hops(hops, at, restore)
        })
    }

    fn read_forwarded(
        headers: &HeaderMap,
        restore: Restore,
        walk: impl Fn(&[Hop]) -> Option<usize>,
    ) -> Result<Self, Error> {
        let mut elements = forwarded::elements(headers);
        let hops: Vec<Hop> =
            elements.iter_mut().map(|element| std::mem::replace(&mut element.node, Hop::Unknown)).collect();
        let at = walk(&hops);
        let element = at.and_then(|at| elements.get(at));
        let proto = element.and_then(|element| element.proto.as_deref()).filter(|_| restore.scheme);
        let host = element.and_then(|element| element.host.as_deref()).filter(|_| restore.host);
        Ok(Self {
            scheme: proto.map(|proto| read_scheme(proto.as_bytes())).transpose()?,
            host: host.map(|host| read_host(host.as_bytes())).transpose()?,
            ..Self::of_hops(hops, at, restore)
        })
    }

    fn of_hops(mut hops: Vec<Hop>, at: Option<usize>, restore: Restore) -> Self {
        let Some(at) = at.filter(|_| restore.client) else { return Self::default() };
        hops.drain(..at);
        Self { client: hops.first().cloned(), hops, ..Self::default() }
    }
}

/// The client's path and query, and what stands before them.
#[derive(Debug, Default)]
struct Path {
    prefix: String,
    /// If it is not what the request says.
    target: Option<PathAndQuery>,
}

impl Path {
    fn read(config: &Config, parts: &Parts, restore: Restore) -> Result<Self, Error> {
        let (mut path, mut query) = (parts.uri.path(), parts.uri.query());
        let mut prefix = Prefix::default();
        if restore.prefix {
            let headers = &parts.headers;
            match config.family {
                Family::WsgiProxy => {
                    prefix = read_prefix(headers, &[names::X_FORWARDED_SCRIPT_NAME, names::X_SCRIPT_NAME])?;
                    path = without_traversal_path(headers, path)?;
                    query = without_traversal_query(headers, query)?;
                }
                Family::XForwarded => prefix = read_prefix(headers, &[names::X_FORWARDED_PREFIX])?,
                Family::Forwarded => {}
            }
        }
        let mut prefix = prefix.as_str().to_owned();
        match &config.mount {
            Mounted::AsSent => {}
            Mounted::Prefix(fixed) => fixed.as_str().clone_into(&mut prefix),
            Mounted::PopPrefix(popped) => {
                path = split(path, popped.as_str()).ok_or_else(|| refuse("path is not below the prefix"))?;
                prefix.push_str(popped.as_str());
            }
        }
        let changed = path.len() != parts.uri.path().len() || query.map(str::len) != parts.uri.query().map(str::len);
        let target = if changed { Some(join("", path, query, None)?) } else { None };
        Ok(Self { prefix, target })
    }
}

/// Removes every field by which somebody says where a request comes from, and, unless they are vouched for, those that name a user.
/// Returns what was removed without having been vouched for: how many, and the first.
pub(super) fn strip(headers: &mut HeaderMap, config: &Config, word: Word, keep_identity: bool) -> Option<HeaderName> {
    let named = |name: &HeaderName| {
        names::is_identity(name) || config.identity_fields.iter().any(|own| names::is_same_name(own, name))
    };
    let doomed: Vec<HeaderName> =
        headers.keys().filter(|name| names::is_owned(name) || (!keep_identity && named(name))).cloned().collect();
    for name in &doomed {
        headers.remove(name);
    }
    let unvouched = |name: &HeaderName| matches!(word, Word::Nobody) || !names::is_owned(name);
    doomed.into_iter().find(unvouched)
}

/// The host the application is to see, its allow-list, and the value of `Host`.
fn resolve_host(
    config: &Config,
    told: &Told,
    asked: Option<HeaderValue>,
    scheme: &Scheme,
) -> Result<(Option<Authority>, Option<HeaderValue>), Error> {
    let default_port = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    let own = match (&told.host, &asked) {
        (Some(host), _) => Some(host.clone()),
        (None, Some(asked)) => Some(read_host(asked.as_bytes())?),
        (None, None) => None,
    };
    let port = told.port.or_else(|| own.as_ref().and_then(Authority::port_u16));
    if let Some(allowed) = &config.allowed_hosts {
        let serves =
            |host: &Authority| allowed.iter().any(|pattern| pattern.matches(host, port.unwrap_or(default_port)));
        if !own.as_ref().is_some_and(serves) {
            return Err(Error::new(ErrorKind::Misdirected, "host is not served here"));
        }
    }
    let ForcedHost { domain, port: forced } = &config.force_host;
    if domain.is_none() && forced.is_none() && told.port.is_none() {
        let value = if told.host.is_some() { own.as_ref().map(to_value).transpose()? } else { asked };
        return Ok((own, value));
    }
    let Some(name) = domain.as_deref().or(own.as_ref().map(Authority::host)) else { return Ok((None, None)) };
    // RFC 9110 §4.2: the scheme's default port is left out, unless somebody wrote it there on purpose.
    let port = forced.or_else(|| port.filter(|port| told.port.is_none() || *port != default_port));
    let text = Bytes::from(port.map_or_else(|| name.to_owned(), |port| format!("{name}:{port}")));
    let authority = Authority::from_maybe_shared(text).map_err(|_| refuse("host is not valid"))?;
    let value = to_value(&authority)?;
    Ok((Some(authority), Some(value)))
}

fn to_value(authority: &Authority) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(authority.as_str()).map_err(|_| refuse("host is not valid"))
}

fn read_scheme(text: &[u8]) -> Result<Scheme, Error> {
    scheme(text).ok_or_else(|| refuse("forwarded scheme is not http or https"))
}

fn read_host(text: &[u8]) -> Result<Authority, Error> {
    let authority = if is_host(text) { Authority::try_from(text).ok() } else { None };
    authority.ok_or_else(|| refuse("forwarded host is not valid"))
}

fn read_port(text: &[u8]) -> Result<u16, Error> {
    let digits = (1..=5).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    let port = std::str::from_utf8(text).ok().filter(|_| digits).and_then(|text| text.parse().ok());
    port.filter(|port| *port != 0).ok_or_else(|| refuse("forwarded port is not valid"))
}

/// The one prefix that these fields name, each at most once, and all the same.
fn read_prefix(headers: &HeaderMap, fields: &[HeaderName]) -> Result<Prefix, Error> {
    let mut found: Option<&HeaderValue> = None;
    for value in fields.iter().flat_map(|name| headers.get_all(name)) {
        if found.is_some_and(|found| found != value) {
            return Err(refuse("forwarded prefix is there twice"));
        }
        found = Some(value);
    }
    found.map_or_else(|| Ok(Prefix::default()), |value| Prefix::from_bytes(value.as_bytes()))
}

fn without_traversal_path<'a>(headers: &HeaderMap, path: &'a str) -> Result<&'a str, Error> {
    let Some(text) = sole(headers, &names::X_TRAVERSAL_PATH)? else { return Ok(path) };
    // The Python sender lost the first slash on the way.
    let rest = if text.is_empty() || text.starts_with('/') {
        split(path, text)
    } else {
        path.strip_prefix('/').and_then(|path| split(path, text))
    };
    rest.ok_or_else(|| refuse("path does not begin with the traversal path"))
}

fn without_traversal_query<'a>(headers: &HeaderMap, query: Option<&'a str>) -> Result<Option<&'a str>, Error> {
    match sole(headers, &names::X_TRAVERSAL_QUERY_STRING)? {
        None | Some("") => Ok(query),
        Some(text) => split_query(query, text).ok_or_else(|| refuse("query does not end in the traversal query")),
    }
}

/// The value of a field that may be there once.
fn sole<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Error> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next();
    if lines.next().is_some() {
        return Err(refuse("traversal field is there twice"));
    }
    let text = first.map(|value| std::str::from_utf8(value.as_bytes())).transpose();
    text.map_err(|_| refuse("traversal field is not valid"))
}

/// RFC 9112 §6.1 and §6.3: one framing and one length. Servers that see the wire check more; hyper hides the first case.
fn check_framing(headers: &HeaderMap) -> Result<(), Error> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(()) };
    let refuse = |why: &'static str| Err(Error::new(ErrorKind::RequestBody, why));
    if headers.contains_key(TRANSFER_ENCODING) {
        return refuse("request has both a length and a transfer coding");
    }
    if lengths.any(|other| other != length) || length.is_empty() || !length.as_bytes().iter().all(u8::is_ascii_digit) {
        return refuse("request has no valid length");
    }
    Ok(())
}

fn refuse(why: &'static str) -> Error {
    Error::new(ErrorKind::Target, why)
}
