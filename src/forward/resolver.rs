//! [`Resolver`]: what an application sees of a request that was sent to the proxy.

use std::{fmt, sync::Arc};

use http::{
    StatusCode, Uri,
    request::Parts,
    uri::{PathAndQuery, Scheme},
};

use super::access::Credentials;
use crate::error::{ConfigError, Error, ErrorKind};

/// What becomes of the URL of a request that was sent to the proxy: another path for the application behind it, or the URL as it is.
///
/// Not asked for the proxy's own host, its applications and aliases: of those, the path is the URL's.
#[derive(Clone)]
pub struct Resolver(Rule);

#[derive(Clone)]
enum Rule {
    Direct,
    Fixed(Arc<str>),
    ProxyAuth,
    Function(Arc<MapUrl>),
}

type MapUrl = dyn Fn(&Uri, &Parts) -> Resolved + Send + Sync;

/// What [`Resolver::function`] makes of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolved {
    /// A path for the application, perhaps with a query. Begins with `/`.
    Path(String),
    /// The URL as it is, for an [`ExactProxy`](crate::ExactProxy) behind the layer.
    Direct,
    /// This status, without asking anybody.
    Refuse(StatusCode),
}

impl Resolver {
    /// The URL as it is, absolute: for an [`ExactProxy`](crate::ExactProxy) behind the layer, which sends it there. The default.
    #[must_use]
    pub const fn direct() -> Self {
        Self(Rule::Direct)
    }

    /// This prefix and the URL: with `/prefix/`, `https://example.com/a?b` becomes `/prefix/https://example.com/a?b`.
    #[must_use]
    pub fn fixed(prefix: impl Into<Arc<str>>) -> Self {
        Self(Rule::Fixed(prefix.into()))
    }

    /// The name that the client sends to the proxy as prefix: from `alice`, `https://example.com/` becomes `/alice/https://example.com/`.
    /// Bytes of the name that mean something in a path are percent-encoded. Clients without a name are asked for one (407).
    ///
    /// The name alone proves nothing: passwords are checked by [`Access::basic`](super::Access::basic).
    #[must_use]
    pub const fn proxy_auth() -> Self {
        Self(Rule::ProxyAuth)
    }

    /// What this function says of the URL and the request's head, of which the URL is the target. It is called while the request waits: it
    /// must not block. The URL is as it was written: names of hosts are the same in any case and with a dot at their end. Whoever asks, and
    /// through which tunnel, is in [`ext::ProxyRequest`](crate::ext::ProxyRequest) among the extensions.
    ///
    /// ```
    /// use nexthop::{
    ///     ext::ProxyRequest,
    ///     forward::{Resolved, Resolver},
    /// };
    ///
    /// let by_user = Resolver::function(|url, parts| match parts.extensions.get().and_then(ProxyRequest::user) {
    ///     Some(user) => Resolved::Path(format!("/of/{user}/{url}")),
    ///     None => Resolved::Refuse(http::StatusCode::FORBIDDEN),
    /// });
    /// # let _ = by_user;
    /// ```
    #[must_use]
    pub fn function(resolve: impl Fn(&Uri, &Parts) -> Resolved + Send + Sync + 'static) -> Self {
        Self(Rule::Function(Arc::new(resolve)))
    }

    /// # Errors
    /// `Invalid`: a prefix that is no path.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Rule::Fixed(prefix) = &self.0 else { return Ok(()) };
        if !prefix.starts_with('/') || prefix.contains(['?', '#']) || path(format!("{prefix}http://h/")).is_err() {
            return Err(ConfigError::invalid("resolver prefix", &**prefix, "is not a path that begins with a slash"));
        }
        Ok(())
    }

    /// The name of a client that is not known by another way; none if nobody asks for it.
    ///
    /// # Errors
    /// `ProxyAuthentication` (407).
    pub(super) fn name(&self, parts: &Parts) -> Result<Option<Arc<str>>, Error> {
        if !matches!(self.0, Rule::ProxyAuth) {
            return Ok(None);
        }
        let sent = Credentials::read(&parts.headers).filter(|sent| !sent.name().is_empty());
        let unknown = || Error::new(ErrorKind::ProxyAuthentication, "the proxy wants to know who asks");
        Ok(Some(sent.ok_or_else(unknown)?.name().into()))
    }

    /// The path that the application gets for a head whose target is a whole URL; none if it gets that.
    ///
    /// # Errors
    /// `InvalidTarget` (400): a name that cannot be part of a path. `Internal` (500): the function made no path. Or a status without an error.
    pub(super) fn resolve(&self, parts: &Parts, name: Option<&str>) -> Result<Option<Uri>, Refused> {
        if self.is_direct() {
            return Ok(None);
        }
        let url = &whole(parts.uri.clone())?;
        let resolved = match &self.0 {
            Rule::Direct => return Ok(None),
            Rule::Fixed(prefix) => path(format!("{prefix}{url}")),
            Rule::ProxyAuth => path(format!("/{}/{url}", segment(name.unwrap_or_default())?)),
            Rule::Function(resolve) => match resolve(url, parts) {
                Resolved::Direct => return Ok(None),
                Resolved::Refuse(status) => return Err(Refused::Status(status)),
                Resolved::Path(text) => path(text),
            },
        };
        Ok(Some(resolved?))
    }

    /// True if URLs go on as they are, so that nothing behind the layer is an application of its own.
    pub(super) const fn is_direct(&self) -> bool {
        matches!(self.0, Rule::Direct)
    }
}

/// Why there is no target.
#[derive(Debug)]
pub(super) enum Refused {
    Error(Error),
    Status(StatusCode),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

fn path(text: String) -> Result<Uri, Error> {
    let internal = || Error::new(ErrorKind::Internal, "the resolver made no path");
    if !text.starts_with('/') {
        return Err(internal());
    }
    PathAndQuery::try_from(text).map(Uri::from).map_err(|error| internal().with_source(error))
}

/// A name as one segment of a path.
fn segment(name: &str) -> Result<String, Error> {
    if matches!(name, "" | "." | "..") {
        return Err(Error::new(ErrorKind::InvalidTarget, "the client's name cannot be part of a path"));
    }
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'@' | b'+') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(out)
}

/// RFC 9112 §3.3: the URL of what is asked of a whole server, by `*`, has no path.
pub(super) fn whole(url: Uri) -> Result<Uri, Error> {
    if url.path() != "*" {
        return Ok(url);
    }
    let mut parts = url.into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static("/"));
    Uri::from_parts(parts).map_err(|error| Error::new(ErrorKind::InvalidTarget, "target is no URL").with_source(error))
}

/// The port that a URL of this scheme need not name.
pub(super) fn default_port(scheme: &Scheme) -> u16 {
    if *scheme == Scheme::HTTPS { 443 } else { 80 }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::direct()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rule::Direct => f.write_str("Direct"),
            Rule::Fixed(prefix) => f.debug_tuple("Fixed").field(prefix).finish(),
            Rule::ProxyAuth => f.write_str("ProxyAuth"),
            Rule::Function(_) => f.write_str("Function"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn resolve(resolver: &Resolver, url: &str, name: Option<&str>) -> Result<String, String> {
        let parts = Request::get(url).body(()).unwrap().into_parts().0;
        match resolver.resolve(&parts, name) {
            Ok(path) => Ok(path.unwrap_or(parts.uri).to_string()),
            Err(Refused::Error(error)) => Err(error.status().as_u16().to_string()),
            Err(Refused::Status(status)) => Err(status.as_str().to_owned()),
        }
    }

    #[test]
    fn a_url_goes_behind_the_prefix_byte_for_byte() {
        let fixed = Resolver::fixed("/prefix/");
        let url = "https://example.com:123/a%2Fb//c?A=B&x=http://y/";
        assert_eq!(resolve(&fixed, url, None).unwrap(), format!("/prefix/{url}"));
        assert_eq!(resolve(&Resolver::direct(), url, None).unwrap(), url);
    }

    #[test]
    fn a_name_becomes_one_segment_whatever_is_in_it() {
        let by_name = |name| resolve(&Resolver::proxy_auth(), "http://h.test/", Some(name));
        assert_eq!(by_name("other-prefix").unwrap(), "/other-prefix/http://h.test/");
        assert_eq!(by_name("a/../b?c#d%").unwrap(), "/a%2F..%2Fb%3Fc%23d%25/http://h.test/");
        for name in ["", ".", ".."] {
            assert_eq!(by_name(name).unwrap_err(), "400");
        }
    }

    #[test]
    fn a_function_may_refuse_and_must_make_a_path() {
        let by =
            |resolved: Resolved| resolve(&Resolver::function(move |_, _| resolved.clone()), "http://h.test/", None);
        assert_eq!(by(Resolved::Refuse(StatusCode::GONE)).unwrap_err(), "410");
        assert_eq!(by(Resolved::Path("no path".into())).unwrap_err(), "500");
        assert_eq!(by(Resolved::Path("/a b".into())).unwrap_err(), "500");
        assert_eq!(by(Resolved::Path("/a?b".into())).unwrap(), "/a?b");
        assert_eq!(by(Resolved::Direct).unwrap(), "http://h.test/");
    }

    #[test]
    fn a_prefix_is_a_path() {
        for bad in ["", "prefix/", "/a?b", "/a#b", "/a b/"] {
            assert!(Resolver::fixed(bad).check().is_err(), "{bad:?}");
        }
        assert!(Resolver::fixed("/").check().is_ok());
    }
}
