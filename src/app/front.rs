//! What the client asked, as far as it is known here.

use std::borrow::Cow;

use http::{HeaderValue, Version, request, uri::Scheme};

use crate::{
    app::settings::PathPrefix,
    error::{Error, ErrorKind},
    ext::{OriginalRequest, OverTls},
    message::target::{ClientPrefix, split},
};

/// The client's view of a request, before anything was rewritten.
#[derive(Debug)]
pub(super) struct Front {
    /// The host and port it asked, checked.
    pub(super) host: Option<HeaderValue>,
    pub(super) scheme: Scheme,
    /// What stands before the path the upstream gets, from where the client looks.
    pub(super) prefix: ClientPrefix,
    pub(super) version: Version,
    /// The client's method is `HEAD`.
    pub(super) is_head: bool,
    /// It came without `Content-Length` and `Transfer-Encoding`.
    pub(super) unframed: bool,
}

/// The path of a request in two parts: where this proxy is mounted, and what goes to the upstream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PathSplit<'a> {
    pub(super) prefix: Cow<'a, str>,
    pub(super) path: Cow<'a, str>,
}

/// The scheme the client used: as restored where somebody vouched for it, else as configured, else as `ProxyMiddleware` or the acceptor
/// says.
pub(super) fn scheme(parts: &request::Parts, origin: Option<&OriginalRequest>, configured: Option<&Scheme>) -> Scheme {
    match (origin, configured) {
        (Some(origin), Some(_)) if origin.trusted_by().is_trusted() => origin.scheme().clone(),
        (_, Some(configured)) => configured.clone(),
        (Some(origin), None) => origin.scheme().clone(),
        (None, None) if parts.extensions.get::<OverTls>().is_some() => Scheme::HTTPS,
        (None, None) => Scheme::HTTP,
    }
}

impl<'a> PathSplit<'a> {
    /// # Errors
    /// `InvalidTarget` (400): the path is not below the prefix that is to be stripped.
    pub(super) fn of(
        parts: &'a request::Parts,
        origin: Option<&'a OriginalRequest>,
        rule: &PathPrefix,
    ) -> Result<Self, Error> {
        let path = parts.uri.path();
        let outer = origin.map_or("", OriginalRequest::prefix);
        // `*` is not below anything.
        let taken = if path == "*" { Taken { prefix: "", path } } else { Taken::by_routers(parts, outer) };
        match rule {
            PathPrefix::FromRouter => Ok(Self { prefix: concat(outer, taken.prefix), path: taken.path.into() }),
            PathPrefix::Keep => Ok(Self { prefix: outer.into(), path: concat(taken.prefix, taken.path) }),
            PathPrefix::Strip(strip) => {
                let prefix = concat(outer, taken.prefix);
                let rest = if path == "*" { Some(path) } else { split(taken.path, strip.as_str()) };
                let path = rest.ok_or_else(|| {
                    Error::new(ErrorKind::InvalidTarget, "the path does not begin with the required prefix")
                })?;
                let prefix = if strip.is_empty() { prefix } else { format!("{prefix}{strip}").into() };
                Ok(Self { prefix, path: path.into() })
            }
        }
    }
}

/// What routers before this service took off the path, and what they left.
struct Taken<'a> {
    prefix: &'a str,
    path: &'a str,
}

impl<'a> Taken<'a> {
    #[cfg(feature = "axum")]
    fn by_routers(parts: &'a request::Parts, outer: &str) -> Self {
        let path = parts.uri.path();
        let Some(::axum::extract::OriginalUri(original)) = parts.extensions.get() else {
            return Self { prefix: "", path };
        };
        // What `ProxyMiddleware` restored is part of the original path, but nothing a router took off.
        let original = split(original.path(), outer).unwrap_or(original.path());
        match original.strip_suffix(path) {
            Some(prefix) if prefix.is_empty() || prefix.starts_with('/') => {
                // axum counts the slash of an empty segment behind the prefix (`/shop//a`) to the prefix.
                let (prefix, path) = original.split_at(prefix.trim_end_matches('/').len());
                Self { prefix, path }
            }
            // A nested router makes `/` of nothing; the bytes that came were none.
            _ if path == "/" && original.starts_with('/') => Self { prefix: original, path: "" },
            // Somebody rewrote the path on the way; what of it is a prefix, nobody can say.
            _ => Self { prefix: "", path },
        }
    }

    #[cfg(not(feature = "axum"))]
    fn by_routers(parts: &'a request::Parts, _outer: &str) -> Self {
        Self { prefix: "", path: parts.uri.path() }
    }
}

fn concat<'a>(head: &'a str, tail: &'a str) -> Cow<'a, str> {
    match (head, tail) {
        ("", only) | (only, "") => only.into(),
        (head, tail) => format!("{head}{tail}").into(),
    }
}
