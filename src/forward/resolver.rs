//! [`Resolver`]: maps the URL of a request to the proxy to a path of the wrapped application.

use std::{fmt, sync::Arc};

use http::{
    StatusCode, Uri,
    request::Parts,
    uri::{PathAndQuery, Scheme},
};

use super::{access::Credentials, attempts::Wait};
use crate::error::{ConfigError, Error, ErrorKind};

/// Maps the URL of a request to the proxy to a path of the wrapped application, or keeps the URL.
///
/// Not used for the [proxy host](super::ForwardProxyBuilder::proxy_host), its aliases and apps: their requests keep the
/// path of the URL.
#[doc(alias = "url rewriting")]
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

/// Holds the result of [`Resolver::function`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolved {
    /// Sends the request to the wrapped application with this path, which begins with `/` and may contain a query.
    Path(String),
    /// Keeps the URL, for an [`ExactProxy`](crate::ExactProxy) inside the layer.
    Direct,
    /// Answers with this status. The wrapped service is not called.
    Refuse(StatusCode),
}

impl Resolver {
    /// Keeps the absolute URL, for an [`ExactProxy`](crate::ExactProxy) inside the layer, which forwards the request.
    /// The default.
    #[must_use]
    pub const fn direct() -> Self {
        Self(Rule::Direct)
    }

    /// Puts `prefix` before the URL: with `/prefix/`, `https://example.com/a?b` becomes
    /// `/prefix/https://example.com/a?b`.
    #[must_use]
    pub fn fixed(prefix: impl Into<Arc<str>>) -> Self {
        Self(Rule::Fixed(prefix.into()))
    }

    /// Uses the user name of `Proxy-Authorization` as the prefix: for `alice`, `https://example.com/` becomes
    /// `/alice/https://example.com/`. Reserved bytes of the name are percent-encoded. A client without a name is
    /// answered with 407, a name that is `.` or `..` with 400.
    ///
    /// Passwords are not checked: combine with [`Access::basic`](super::Access::basic) to authenticate clients.
    #[must_use]
    pub const fn proxy_auth() -> Self {
        Self(Rule::ProxyAuth)
    }

    /// Maps each URL with a function of the URL and the request's head. The request waits for the function, which must
    /// not block.
    ///
    /// The URL is as the client wrote it: compare host names case-insensitively, and without a trailing dot. The
    /// extensions of the head contain an [`ext::ProxyRequest`](crate::ext::ProxyRequest) with the user and the tunnel.
    /// If the function returns a path that is not valid, the response is a 500 (`Internal`).
    ///
    /// ```
    /// use nexthop::{
    ///     ext::ProxyRequest,
    ///     forward::{Resolved, Resolver},
    /// };
    ///
    /// let by_user = Resolver::function(|url, parts| {
    ///     match parts.extensions.get().and_then(ProxyRequest::user) {
    ///         Some(user) => Resolved::Path(format!("/of/{user}/{url}")),
    ///         None => Resolved::Refuse(http::StatusCode::FORBIDDEN),
    ///     }
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
            return Err(ConfigError::invalid("resolver prefix", &**prefix, "must be a path that begins with a slash"));
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
        let unknown = || Error::new(ErrorKind::ProxyAuthentication, "proxy authentication required");
        Ok(Some(sent.ok_or_else(unknown)?.name().into()))
    }

    /// The path that the application gets for a head whose target is a whole URL; none if it gets that.
    ///
    /// # Errors
    /// `InvalidTarget` (400): a name that cannot be part of a path. `Internal` (500): the function made no path. Or a
    /// status without an error.
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
    /// The same after a wait, because the client has sent wrong credentials repeatedly.
    Later(Error, Wait),
    Status(StatusCode),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

fn path(text: String) -> Result<Uri, Error> {
    let internal = || Error::new(ErrorKind::Internal, "the resolver returned an invalid path");
    if !text.starts_with('/') {
        return Err(internal());
    }
    PathAndQuery::try_from(text).map(Uri::from).map_err(|error| internal().with_source(error))
}

/// A name as one segment of a path.
fn segment(name: &str) -> Result<String, Error> {
    if matches!(name, "" | "." | "..") {
        return Err(Error::new(ErrorKind::InvalidTarget, "the user name is not valid in a path"));
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
    Uri::from_parts(parts)
        .map_err(|error| Error::new(ErrorKind::InvalidTarget, "request target is not a valid URL").with_source(error))
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
            Err(Refused::Error(error) | Refused::Later(error, _)) => Err(error.status().as_u16().to_string()),
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
