use std::{borrow::Cow, fmt, path::Path, str::FromStr, sync::Arc};

use http::{
    HeaderValue, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::{
    error::{ConfigError, Error},
    ext::ConnectTo,
    message::target::{is_host, path::join_exactly},
};

/// Holds the parsed URL of an upstream: `http://host[:port][/path][?query]`, `https://…`, or
/// `unix:/socket[:/path][?query]`.
///
/// The port defaults to 80 or 443. The path is prepended to the path of each request, and the query is appended to
/// the query of each request. The URL has no user name, password or fragment. Cloning is cheap.
///
/// # Deployment
/// The path is not a security boundary: a path with `..` is forwarded below it as it is, and the upstream may resolve
/// it.
///
/// ```
/// use nexthop::UpstreamUrl;
///
/// let href: UpstreamUrl = "http://backend.internal:8080/app?key=1".parse()?;
/// assert_eq!(href.port(), 8080);
/// assert_eq!(href.join("/x", None).unwrap(), "/app/x?key=1");
///
/// let socket: UpstreamUrl = "unix:/run/app.sock".parse()?;
/// assert_eq!(socket.socket().unwrap().to_str(), Some("/run/app.sock"));
/// assert!("ftp://backend/".parse::<UpstreamUrl>().is_err());
/// # Ok::<(), nexthop::ConfigError>(())
/// ```
#[derive(Clone)]
#[doc(alias = "href")]
#[doc(alias = "backend")]
#[doc(alias = "proxy_pass")]
#[doc(alias = "unix socket")]
pub struct UpstreamUrl(Arc<Inner>);

struct Inner {
    text: String,
    scheme: Scheme,
    authority: Authority,
    socket: Option<Arc<Path>>,
    /// Without a last `/`.
    path: String,
    query: Option<String>,
    host: HeaderValue,
    path_value: Option<HeaderValue>,
    query_value: Option<HeaderValue>,
}

impl UpstreamUrl {
    /// Returns the scheme: `http` or `https`. A unix socket has the scheme `http`.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.0.scheme
    }

    /// Returns the host and port as written in the URL. A unix socket has the authority `localhost`.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.0.authority
    }

    /// Returns the port to connect to: the port of the URL, else 80 or 443.
    #[must_use]
    pub fn port(&self) -> u16 {
        let default = if self.0.scheme == Scheme::HTTPS { 443 } else { 80 };
        self.0.authority.port_u16().unwrap_or(default)
    }

    /// Returns the path of the unix socket, or `None` for a TCP upstream.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        self.0.socket.as_deref()
    }

    /// Returns the path that is prepended to the path of each request. It is empty, or begins with `/`; one `/` at
    /// the end of the URL's path is removed.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Returns the query that is appended to the query of each request.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.0.query.as_deref()
    }

    /// Returns the value of the `Host` header for this upstream.
    #[must_use]
    pub fn host(&self) -> &HeaderValue {
        &self.0.host
    }

    /// Joins this upstream's path and query with the path and query of a request, byte for byte.
    ///
    /// The path `*` (of `OPTIONS *`) stays `*`. The queries are joined with `&`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTarget`](crate::ErrorKind::InvalidTarget) (400) if `path` is not empty and does not begin
    /// with `/`, or if the result is not a valid target. [`ErrorKind::HeadTooLarge`](crate::ErrorKind::HeadTooLarge)
    /// (431) if the result has more than 65,534 bytes.
    pub fn join(&self, path: &str, query: Option<&str>) -> Result<PathAndQuery, Error> {
        join_exactly(&self.0.path, path, query, self.query())
    }

    /// True if targets pass this upstream unchanged.
    pub(crate) fn is_bare(&self) -> bool {
        self.0.path.is_empty() && self.0.query.is_none()
    }

    /// The value of `X-Traversal-Path`, if there is a path.
    pub(crate) fn path_value(&self) -> Option<&HeaderValue> {
        self.0.path_value.as_ref()
    }

    /// The value of `X-Traversal-Query-String`, if there is a query.
    pub(crate) fn query_value(&self) -> Option<&HeaderValue> {
        self.0.query_value.as_ref()
    }

    /// Where to connect, if that is not what the authority says.
    pub(crate) fn connect_to(&self) -> Option<ConnectTo> {
        self.0.socket.clone().map(ConnectTo::Unix)
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let (socket, uri) = match text.strip_prefix("unix:") {
            Some(rest) => read_unix(rest).map(|(socket, uri)| (Some(socket), uri))?,
            None => (None, text.parse::<Uri>().map_err(|_| "is not a URL")?),
        };
        if text.contains('#') {
            return Err("must not have a fragment");
        }
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::HTTP,
            Some("https") => Scheme::HTTPS,
            Some(_) => return Err("scheme must be http, https or unix"),
            None => return Err("scheme is missing (http://…, https://… or unix:/…)"),
        };
        let authority = uri.authority().ok_or("host is missing")?.clone();
        if authority.as_str().contains('@') {
            return Err("must not have a user name or password");
        }
        if !is_host(authority.as_str().as_bytes()) || authority.port_u16() == Some(0) {
            return Err("host or port is invalid");
        }
        let path = uri.path().strip_suffix('/').unwrap_or(uri.path()).to_owned();
        let query = uri.query().filter(|query| !query.is_empty()).map(str::to_owned);
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes());
        let no_value = |_| "path or query is not a valid header value";
        let path_value = if path.is_empty() { None } else { Some(value(&path).map_err(no_value)?) };
        let query_value = query.as_deref().map(value).transpose().map_err(no_value)?;
        let host = value(authority.as_str()).map_err(|_| "host is invalid")?;
        let text = text.to_owned();
        Ok(Self(Arc::new(Inner { text, scheme, authority, socket, path, query, host, path_value, query_value })))
    }
}

/// `/socket`, `/socket:/path?query`, or either after the `//` of a URL.
fn read_unix(rest: &str) -> Result<(Arc<Path>, Uri), &'static str> {
    if cfg!(not(unix)) {
        return Err("unix sockets are not supported on this platform");
    }
    let rest = rest.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(rest);
    let (socket, target) = match rest.split_once(":/") {
        Some((socket, _)) => rest.split_at(socket.len()),
        None => (rest, ""),
    };
    if !socket.starts_with('/') || socket.starts_with("//") || socket.ends_with('/') || socket.contains('\0') {
        return Err("a unix socket requires an absolute path (unix:/run/app.sock)");
    }
    let target = target.strip_prefix(':').unwrap_or("/");
    let uri = format!("http://localhost{target}").parse().map_err(|_| "the path after the socket is invalid")?;
    Ok((Arc::from(Path::new(socket)), uri))
}

/// The text of a mistake, without the password that may be the mistake.
fn without_userinfo(text: &str) -> Cow<'_, str> {
    let Some((before, after)) = text.rsplit_once('@') else { return text.into() };
    let scheme = before.split_inclusive("//").next().filter(|scheme| scheme.ends_with("//")).unwrap_or_default();
    format!("{scheme}…@{after}").into()
}

impl FromStr for UpstreamUrl {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        Self::read(text).map_err(|why| ConfigError::invalid("href", without_userinfo(text), why))
    }
}

impl TryFrom<&str> for UpstreamUrl {
    type Error = ConfigError;

    fn try_from(text: &str) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl TryFrom<String> for UpstreamUrl {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl TryFrom<&Uri> for UpstreamUrl {
    type Error = ConfigError;

    fn try_from(uri: &Uri) -> Result<Self, ConfigError> {
        uri.to_string().parse()
    }
}

impl PartialEq for UpstreamUrl {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.text == other.0.text
    }
}

impl Eq for UpstreamUrl {}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UpstreamUrl").field(&self.0.text).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn href(text: &str) -> UpstreamUrl {
        text.parse().unwrap()
    }

    #[test]
    fn ports_default_by_scheme_and_are_sent_as_written() {
        assert_eq!(href("http://a").port(), 80);
        assert_eq!(href("https://a").port(), 443);
        assert_eq!(href("https://a:8443/").port(), 8443);
        assert_eq!(href("http://[::1]:81/x").port(), 81);
        assert_eq!(href("http://a:80").host(), "a:80");
        assert_eq!(href("HTTP://Host.Example").host(), "Host.Example");
    }

    #[test]
    fn path_and_query_are_kept_as_written_without_a_last_slash() {
        for (text, path, query) in [
            ("http://a", "", None),
            ("http://a/", "", None),
            ("http://a?", "", None),
            ("http://a?x", "", Some("x")),
            ("http://a/app", "/app", None),
            ("http://a/app/", "/app", None),
            ("http://a/app//", "/app/", None),
            ("http://a/%2F;x/caf\u{e9}?a=b?c", "/%2F;x/caf\u{e9}", Some("a=b?c")),
        ] {
            let href = href(text);
            assert_eq!((href.path(), href.query()), (path, query), "{text}");
            assert_eq!(href.path_value().map_or(&b""[..], HeaderValue::as_bytes), path.as_bytes());
            assert_eq!(href.query_value().map(HeaderValue::as_bytes), query.map(str::as_bytes));
            assert_eq!(href.to_string(), text);
        }
    }

    #[test]
    fn one_last_slash_of_the_url_is_left_out_and_no_more() {
        for (text, target) in [("http://a/app/", "/app/x"), ("http://a/app//", "/app//x"), ("http://a//", "//x")] {
            assert_eq!(href(text).join("/x", None).unwrap(), target);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_unix_socket_is_localhost_and_may_have_a_path() {
        for text in ["unix:/run/app.sock", "unix:///run/app.sock"] {
            let href = href(text);
            assert_eq!(href.socket(), Some(Path::new("/run/app.sock")));
            assert_eq!((href.host().to_str().unwrap(), href.scheme().as_str(), href.path()), ("localhost", "http", ""));
            assert_eq!(href.connect_to(), Some(ConnectTo::Unix(Path::new("/run/app.sock").into())));
        }
        let href = href("unix:/run/app.sock:/base/?k=1");
        assert_eq!(href.socket(), Some(Path::new("/run/app.sock")));
        assert_eq!(href.join("/x", None).unwrap(), "/base/x?k=1");
    }

    #[test]
    fn mistakes_name_the_text() {
        for text in [
            "",
            "/x",
            "a",
            "a:80",
            "http:",
            "http://",
            "http:///x",
            "ftp://a",
            "http://a:0",
            "http://a:",
            "http://a:99999",
            "http://a b",
            "http://a/#f",
            "http://a/x y",
            "http://a,b",
            "unix:",
            "unix:run/app.sock",
            "unix:/run/",
            "unix://run/x",
            "unix:/s:/a b",
        ] {
            let error = text.parse::<UpstreamUrl>().expect_err(text).to_string();
            assert!(error.contains("href") && error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn mistakes_show_no_password() {
        for text in ["http://hunter2@a", "http://u:hunter2@a/x", "hunter2@a", "unix:/x#hunter2@"] {
            let error = text.parse::<UpstreamUrl>().expect_err(text).to_string();
            assert!(error.contains("href") && !error.contains("hunter2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(http://|https://|unix:)?[ -~\u{e9}]{0,24}") {
            let _ = text.parse::<UpstreamUrl>();
        }
    }
}
