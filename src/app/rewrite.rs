//! The head of a request on its way out: looked at, stripped, and aimed at the upstream.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, request,
    uri::{self, Scheme},
};

use crate::{
    app::{
        front::{Front, PathSplit, scheme},
        outgoing::too_large,
        service::Settings,
    },
    error::{Error, ErrorKind},
    ext::{ConnectTo, ConnectWith, InClear, KeepHeaders, OriginalRequest, is_of_connection},
    message::{
        framing::check_framing,
        hop::{self, Found, Nominated},
        target::{ClientPrefix, UpstreamUrl, check_host, form},
        via,
    },
    protocol::names::{is_identity, is_owned, is_same_name, may_matter},
};

/// One look at each field: what concerns the connection, and whether there may be something to [`strip`].
pub(super) fn scan(headers: &HeaderMap) -> Found {
    Found::scan_for(headers, may_matter)
}

/// Refuses what cannot be forwarded; gives the host the client asked.
pub(super) fn check(
    parts: &request::Parts,
    found: Found,
    declared: u64,
    settings: &Settings,
) -> Result<Option<HeaderValue>, Error> {
    if settings.methods.as_ref().is_some_and(|methods| !methods.contains(&parts.method)) {
        return Err(Error::new(ErrorKind::MethodNotAllowed, "the method is not allowed"));
    }
    if parts.method == Method::CONNECT {
        return Err(Error::new(ErrorKind::Unsupported, "CONNECT is not supported"));
    }
    // RFC 9110 §9.3.8: the answer is the request as it arrived, and this one arrives with our fields in it.
    if parts.method == Method::TRACE && settings.methods.is_none() {
        return Err(Error::new(ErrorKind::Unsupported, "TRACE is not supported"));
    }
    form(&parts.method, &parts.uri)?;
    // RFC 9110 §7.4: unless somebody in front of this connection is known to have secured it.
    let secured = || scheme(parts, parts.extensions.get(), settings.scheme.as_ref()) == Scheme::HTTPS;
    if InClear::contradicts(parts) && !secured() {
        return Err(Error::new(ErrorKind::Misdirected, "https request on a clear-text connection"));
    }
    let host = check_host(&parts.uri, parts.version, &parts.headers)?;
    if found.has_framing() {
        check_framing(&parts.headers)?;
    }
    if found.has_via() && settings.via.as_ref().is_some_and(|us| via::has_been_here(&parts.headers, us)) {
        return Err(Error::new(ErrorKind::LoopDetected, "the request has passed through this proxy before"));
    }
    if declared > settings.max_body_bytes {
        return Err(too_large());
    }
    Ok(host)
}

/// Takes off what must not go on: hop-by-hop fields, ours that came from outside, those by which a stranger names a user, and those the
/// user of this crate suppresses. What `Connection` names is to go from the trailers, too.
pub(super) fn strip(parts: &mut request::Parts, found: Found, settings: &Settings) -> Nominated {
    let is_told_more = !is_of_connection(&parts.extensions);
    let marked = if is_told_more { parts.extensions.get::<KeepHeaders>() } else { None };
    // A client must not be able to name them in `Connection`.
    let saved = marked.map(|marked| marked.save(&parts.headers));
    let (_, nominated) = hop::strip_found(&mut parts.headers, parts.version, found);
    if let Some(saved) = saved {
        KeepHeaders::restore(saved, &mut parts.headers);
    }
    // What `ProxyMiddleware` has left was vouched for.
    let keeps_identity =
        settings.pass_identity || (is_told_more && parts.extensions.get::<OriginalRequest>().is_some());
    let keeps = |name: &HeaderName| keeps_identity || marked.is_some_and(|marked| marked.keeps(name));
    let is_suppressed = |name: &HeaderName| settings.suppressed.iter().any(|other| is_same_name(name, other));
    let is_unwanted = |name: &HeaderName| {
        (may_matter(name) && (is_owned(name) || (is_identity(name) && !keeps(name)))) || is_suppressed(name)
    };
    if found.has_looked_for() || !settings.suppressed.is_empty() {
        let unwanted: Vec<HeaderName> = parts.headers.keys().filter(|name| is_unwanted(name)).cloned().collect();
        for name in &unwanted {
            parts.headers.remove(name);
            if is_identity(name) && !is_suppressed(name) && settings.removed.is_new(name) {
                tracing::info!(
                    header = %name,
                    "removed an identity header, which any client can write: only a trusted peer of ProxyMiddleware, \
                     a hook, or a layer that marks the header with ext::KeepHeaders can set it"
                );
            }
        }
    }
    if !is_told_more {
        return nominated;
    }
    // Where to connect is for this service and its hooks to say.
    parts.extensions.remove::<ConnectTo>();
    // A dial policy stays: it only forbids.
    if let Some(with) = parts.extensions.get_mut::<ConnectWith>() {
        with.server_name = None;
    }
    nominated
}

/// Aims the request at the upstream: URI, where to connect; and says what the client sees. `Host` is still the client's.
pub(super) fn aim(
    parts: &mut request::Parts,
    found: Found,
    host: Option<HeaderValue>,
    href: &UpstreamUrl,
    settings: &Settings,
) -> Result<Front, Error> {
    let origin = parts.extensions.get();
    let mount = PathSplit::of(parts, origin, &settings.prefix)?;
    let prefix = ClientPrefix::of(&mount.prefix)?;
    let target = match parts.uri.path_and_query() {
        // The whole target is what came: nothing to join, nothing to read again.
        Some(target) if href.is_bare() && mount.path == target.path() && target.as_str().starts_with('/') => {
            // Where it goes is known without it.
            let stays = settings.destination.as_ref().is_some_and(|to| !to.is_tls()) && parts.uri.authority().is_none();
            if stays { None } else { Some(target.clone()) }
        }
        _ => Some(href.join(&mount.path, parts.uri.query())?),
    };
    let (scheme, version) = (scheme(parts, origin, settings.scheme.as_ref()), parts.version);
    let is_head = parts.method == Method::HEAD;
    let front = Front { scheme, host, prefix, version, is_head, unframed: !found.has_framing() };

    if let Some(target) = target {
        let mut uri = uri::Parts::default();
        uri.scheme = Some(href.scheme().clone());
        uri.authority = Some(href.authority().clone());
        uri.path_and_query = Some(target);
        parts.uri = Uri::from_parts(uri)
            .map_err(|error| Error::new(ErrorKind::InvalidTarget, "invalid request target").with_source(error))?;
    }
    // The next hop's version is for the next hop's connection to say.
    parts.version = Version::HTTP_11;
    if settings.destination.is_none()
        && let Some(to) = href.connect_to()
    {
        parts.extensions.insert(to);
    }
    Ok(front)
}
