//! The client's view of a request, and putting it in place of the request's own.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::HOST,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};

use super::{
    head::Head,
    layer::Config,
    overrides::{ForcedHost, MountPoint},
    told::{RestoredHeaders, Told, read_host},
    trust::Standing,
};
use crate::{
    error::{Error, ErrorKind},
    ext::{Hop, InClear, OriginalRequest, OverTls, PeerAddr, TrustedBy},
    message::{
        forwarded,
        target::{Form, Prefix, join, split, split_query},
    },
    protocol::{ForwardedHeaders, names},
};

/// On whose word a request's fields are believed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Word {
    Nobody,
    Peer(Standing),
    /// Only fields that the signature covers are left in the head.
    Signer {
        max_hops: usize,
    },
}

/// The client's view of a request, ready to be put in place.
#[derive(Debug)]
pub(super) struct View {
    pub(super) origin: OriginalRequest,
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
    /// `InvalidTarget` (400), `Misdirected` (421): see [`ProxyMiddleware`](super::ProxyMiddleware).
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
            Word::Nobody => (Told::default(), RestoredHeaders::none()),
            Word::Peer(standing) => {
                let walk = |hops: &[Hop]| {
                    forwarded::walk(hops, standing.max_hops, |ip| standing.any_hop || config.trust.knows(ip))
                };
                (Told::read(config.read_headers, &parts.headers, config.restore, walk)?, config.restore)
            }
            Word::Signer { max_hops } => {
                let walk = |hops: &[Hop]| forwarded::walk(hops, max_hops, |_| true);
                (Told::read(config.read_headers, &parts.headers, RestoredHeaders::all(), walk)?, RestoredHeaders::all())
            }
        };
        let (client, client_port) = match &told.client {
            Some(hop) => (hop.ip(), hop.port()),
            // Who signs speaks for others: where it names nobody, nobody is known, and certainly not the signer's own address.
            None if matches!(word, Word::Signer { .. }) => (None, None),
            None => (peer.as_ref().and_then(PeerAddr::ip), peer.as_ref().and_then(PeerAddr::port)),
        };
        let socket = || if parts.extensions.get::<OverTls>().is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let scheme = config.scheme.clone().or(told.scheme.take()).unwrap_or_else(socket);
        // RFC 9110 §7.4: only a trusted gateway may have secured what comes here in clear text.
        if matches!(word, Word::Nobody) && InClear::contradicts(parts) && scheme != Scheme::HTTPS {
            return Err(Error::new(ErrorKind::Misdirected, "https request on a clear-text connection"));
        }
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
            origin: OriginalRequest {
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

/// The client's path and query, and what stands before them.
#[derive(Debug, Default)]
struct Path {
    prefix: String,
    /// If it is not what the request says.
    target: Option<PathAndQuery>,
}

impl Path {
    fn read(config: &Config, parts: &Parts, restore: RestoredHeaders) -> Result<Self, Error> {
        let (mut path, mut query) = (parts.uri.path(), parts.uri.query());
        let mut prefix = Prefix::default();
        if restore.prefix {
            let headers = &parts.headers;
            match config.read_headers {
                ForwardedHeaders::WsgiProxy => {
                    prefix = read_prefix(headers, &[names::X_FORWARDED_SCRIPT_NAME, names::X_SCRIPT_NAME])?;
                    path = without_traversal_path(headers, path)?;
                    query = without_traversal_query(headers, query)?;
                }
                ForwardedHeaders::XForwarded => prefix = read_prefix(headers, &[names::X_FORWARDED_PREFIX])?,
                ForwardedHeaders::Rfc7239 => {}
            }
        }
        let mut prefix = prefix.as_str().to_owned();
        match &config.mount {
            MountPoint::AsSent => {}
            MountPoint::Prefix(fixed) => fixed.as_str().clone_into(&mut prefix),
            MountPoint::PopPrefix(popped) => {
                path = split(path, popped.as_str())
                    .ok_or_else(|| refuse("the path does not begin with the required prefix"))?;
                prefix.push_str(popped.as_str());
            }
        }
        let changed = path.len() != parts.uri.path().len() || query.map(str::len) != parts.uri.query().map(str::len);
        let target = if changed { Some(join("", path, query, None)?) } else { None };
        Ok(Self { prefix, target })
    }
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
            return Err(Error::new(ErrorKind::Misdirected, "the host is not served"));
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
    let authority = Authority::from_maybe_shared(text).map_err(|_| refuse("invalid host"))?;
    let value = to_value(&authority)?;
    Ok((Some(authority), Some(value)))
}

fn to_value(authority: &Authority) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(authority.as_str()).map_err(|_| refuse("invalid host"))
}

/// The one prefix that these fields name, each at most once, and all the same.
fn read_prefix(headers: &HeaderMap, fields: &[HeaderName]) -> Result<Prefix, Error> {
    let mut found: Option<&HeaderValue> = None;
    for value in fields.iter().flat_map(|name| headers.get_all(name)) {
        if found.is_some_and(|found| found != value) {
            return Err(refuse("several forwarded prefixes that differ"));
        }
        found = Some(value);
    }
    found.map_or_else(|| Ok(Prefix::default()), |value| Prefix::from_bytes(value.as_bytes()))
}

fn without_traversal_path<'a>(headers: &HeaderMap, path: &'a str) -> Result<&'a str, Error> {
    let Some(text) = sole(headers, &names::X_TRAVERSAL_PATH)? else { return Ok(path) };
    // The Python sender lost the first slash on the way.
    let rest = if text.is_empty() || text.starts_with('/') {
        below(path, text)
    } else {
        path.strip_prefix('/').and_then(|path| below(path, text))
    };
    rest.ok_or_else(|| refuse("the path does not begin with X-Traversal-Path"))
}

/// Returns the rest of `path` below `base`. A `/` at the end of `base` counts: the Python sender puts `/app/` before `/x` as
/// `/app//x`. Only if it is the border itself (`/app/x`), it stays with the rest.
fn below<'a>(path: &'a str, base: &str) -> Option<&'a str> {
    match path.strip_prefix(base) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Some(rest),
        _ => split(path, base),
    }
}

fn without_traversal_query<'a>(headers: &HeaderMap, query: Option<&'a str>) -> Result<Option<&'a str>, Error> {
    match sole(headers, &names::X_TRAVERSAL_QUERY_STRING)? {
        None | Some("") => Ok(query),
        Some(text) => {
            split_query(query, text).ok_or_else(|| refuse("the query does not end with X-Traversal-Query-String"))
        }
    }
}

/// The value of a field that may be there once.
fn sole<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Error> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next();
    if lines.next().is_some() {
        return Err(refuse("repeated X-Traversal-Path or X-Traversal-Query-String"));
    }
    let text = first.map(|value| std::str::from_utf8(value.as_bytes())).transpose();
    text.map_err(|_| refuse("invalid X-Traversal-Path or X-Traversal-Query-String"))
}

fn refuse(why: &'static str) -> Error {
    Error::new(ErrorKind::InvalidTarget, why)
}
