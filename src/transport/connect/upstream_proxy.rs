//! [`UpstreamProxy`]: another proxy, through which upstreams are reached.

use std::{fmt, str::FromStr, sync::Arc};

use http::Uri;
use zeroize::Zeroizing;

use crate::{error::ConfigError, ext::ConnectWith, transport::destination::Destination};

/// Describes another proxy through which upstreams are reached: an HTTP proxy, by `CONNECT` (RFC 9110 §9.3.6), or a
/// SOCKS5 proxy (RFC 1928; feature `socks`).
///
/// All connections are tunnelled through the proxy: plain HTTP, TLS, HTTP/2 and websockets. Requests are the same as
/// without the proxy. The proxy sees the host, and the requests only if they are not encrypted. Many HTTP proxies allow
/// tunnels to port 443 only, so plain HTTP is refused there. Unix sockets are connected to directly.
///
/// | URL | proxy | DNS resolution |
/// |---|---|---|
/// | `http://[user:password@]host:port` | HTTP | by the proxy |
/// | `https://[user:password@]host:port` | HTTP, over TLS; verified like upstreams | by the proxy |
/// | `socks5://[user:password@]host:port` | SOCKS5 | local |
/// | `socks5h://[user:password@]host:port` | SOCKS5 | by the proxy |
///
/// With a [`DialPolicy`](crate::ext::DialPolicy), of the builder or of the request, names are always resolved locally,
/// and the proxy is asked to connect to addresses that the policy allows, because the policy cannot check how the proxy
/// resolves a name. The policy does not apply to the proxy's own address.
///
/// User name and password may be percent-encoded. They are sent to the proxy only, by `Basic` authentication (RFC 7617)
/// or by RFC 1929. `Debug` and errors never print them.
///
/// ```
/// use nexthop::{ExactProxy, net::UpstreamProxy};
///
/// let proxy: UpstreamProxy = "http://me:s%40cret@proxy.example:3128".parse()?;
/// assert_eq!(format!("{proxy:?}"), r#"UpstreamProxy("http://proxy.example:3128")"#);
/// let client = ExactProxy::builder().upstream_proxy(proxy).build()?;
///
/// let error = "http://me:secret@proxy.example".parse::<UpstreamProxy>().unwrap_err();
/// assert!(error.to_string().contains("the port is missing; there is no default port"));
/// assert!(!error.to_string().contains("secret"));
/// # Ok::<(), nexthop::ConfigError>(())
/// ```
#[doc(alias = "http proxy")]
#[doc(alias = "socks5")]
#[doc(alias = "proxy chaining")]
#[doc(alias = "HTTP_PROXY")]
#[derive(Clone)]
pub struct UpstreamProxy(Arc<Inner>);

struct Inner {
    protocol: Protocol,
    at: Destination,
    /// The text without user and password.
    text: String,
    credentials: Option<Credentials>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    #[cfg(feature = "socks")]
    Socks {
        /// True if names are resolved before the proxy hears of them.
        resolve: bool,
    },
}

/// What a proxy is told of who asks.
pub(super) struct Credentials {
    pub(super) user: Zeroizing<String>,
    pub(super) password: Zeroizing<String>,
}

impl UpstreamProxy {
    /// Sets the user name and password, in place of those in the URL.
    ///
    /// # Errors
    /// [`ConfigError::Secret`], without the values: a control character; a colon in the user name for an HTTP proxy
    /// (RFC 7617 §2); an empty value or more than 255 bytes for a SOCKS5 proxy (RFC 1929 §2).
    pub fn credentials(self, user: &str, password: &str) -> Result<Self, ConfigError> {
        let credentials = Credentials { user: user.to_owned().into(), password: password.to_owned().into() };
        let Inner { protocol, at, text, .. } = &*self.0;
        credentials.check(*protocol)?;
        let credentials = Some(credentials);
        Ok(Self(Arc::new(Inner { protocol: *protocol, at: at.clone(), text: text.clone(), credentials })))
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.0.protocol
    }

    /// Where it is; TLS is spoken with it if that says so.
    pub(super) fn at(&self) -> &Destination {
        &self.0.at
    }

    pub(super) fn known_as(&self) -> Option<&Credentials> {
        self.0.credentials.as_ref()
    }
}

impl Credentials {
    /// `user:password`, percent-encoded.
    fn read(text: &str) -> Option<Self> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        Some(Self { user: decoded(user)?, password: decoded(password)? })
    }

    fn check(&self, protocol: Protocol) -> Result<(), ConfigError> {
        let fail = |why: &str| Err(ConfigError::secret("upstream proxy credentials", why));
        if self.user.chars().chain(self.password.chars()).any(char::is_control) {
            return fail("the user name and password must not contain control characters");
        }
        match protocol {
            Protocol::Http if self.user.contains(':') => fail("the user name must not contain a colon"),
            Protocol::Http => Ok(()),
            #[cfg(feature = "socks")]
            Protocol::Socks { .. } => {
                let fits = |text: &str| (1..=255).contains(&text.len());
                if fits(&self.user) && fits(&self.password) {
                    return Ok(());
                }
                fail("the user name and password must be 1 to 255 bytes each for SOCKS5")
            }
        }
    }
}

impl FromStr for UpstreamProxy {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, place) = match rest.rsplit_once('@') {
            None => (None, rest),
            Some((credentials, place)) => (Some(credentials), place),
        };
        // From here on nothing knows the password that an error might show.
        let text = format!("{scheme}://{place}");
        let fail = |why: &str| ConfigError::invalid("upstream_proxy", text.as_str(), why);
        let (protocol, tls) = match scheme {
            "http" => (Protocol::Http, false),
            #[cfg(feature = "tls")]
            "https" => (Protocol::Http, true),
            #[cfg(feature = "socks")]
            "socks5" | "socks5h" => (Protocol::Socks { resolve: scheme == "socks5" }, false),
            _ => return Err(fail("the scheme must be http, https (feature tls), socks5 or socks5h (feature socks)")),
        };
        let uri: Uri = format!("{}://{place}/", if tls { "https" } else { "http" })
            .parse()
            .map_err(|_| fail("expected scheme://host:port"))?;
        if uri.path() != "/" || uri.query().is_some() {
            return Err(fail("expected scheme://host:port"));
        }
        if uri.port().is_none() {
            return Err(fail("the port is missing; there is no default port"));
        }
        let at = Destination::of(&uri, None).map_err(|error| fail(&error.to_string()))?;
        // Its certificate is its own affair, whatever name upstreams are said to have.
        let name = at.server_name().map(|name| ConnectWith::new().server_name(name));
        let at = match name {
            Some(name) => at.with(&name),
            None => at,
        };
        let credentials = match credentials.map(|text| Credentials::read(text).ok_or(())) {
            None => None,
            Some(Ok(credentials)) => Some(credentials),
            Some(Err(())) => return Err(fail("the credentials are not percent-encoded UTF-8")),
        };
        if let Some(credentials) = &credentials {
            credentials.check(protocol)?;
        }
        Ok(Self(Arc::new(Inner { protocol, at, text, credentials })))
    }
}

impl fmt::Debug for UpstreamProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UpstreamProxy").field(&self.0.text).finish()
    }
}

fn decoded(text: &str) -> Option<Zeroizing<String>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?
            }
            byte => byte,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<UpstreamProxy, ConfigError> {
        text.parse()
    }

    #[test]
    fn a_text_names_the_protocol_the_place_and_who_asks() {
        let proxy = read("http://me:s%40c:r%c3%a9t@[::1]:3128/").unwrap();
        assert_eq!((proxy.at().host(), proxy.at().port(), proxy.at().is_tls()), (Some("::1"), Some(3128), false));
        let known = proxy.known_as().unwrap();
        assert_eq!((known.user.as_str(), known.password.as_str()), ("me", "s@c:r\u{e9}t"));
        assert!(read("http://proxy.test:1").unwrap().known_as().is_none());
        #[cfg(feature = "tls")]
        assert_eq!(read("https://proxy.test:1").unwrap().at().server_name(), Some("proxy.test"));
        #[cfg(feature = "socks")]
        for (text, resolve) in [("socks5://a:b@h:1080", true), ("socks5h://h:1080", false)] {
            assert_eq!(read(text).unwrap().protocol(), Protocol::Socks { resolve });
        }
    }

    #[test]
    fn no_error_and_no_debug_output_shows_a_password() {
        for text in [
            "http://me:hunter2@h",
            "http://me:hunter2@",
            "http://me:hunter2@h:0",
            "http://me:hunter2@h:1/path",
            "http://me:hunter2@h:1?q",
            "http://me:hunt%zzer@h:1",
            "http://me:hunter2%ff@h:1",
            "http://me%3a:hunter2@h:1",
            "http://me:hunter2%0a@h:1",
            "ftp://me:hunter2@h:1",
            "me:hunter2@h:1",
            "hunter2@h",
        ] {
            let error = read(text).expect_err(text);
            assert!(!format!("{error} {error:?}").contains("hunt"), "{error:?}");
        }
        let proxy = read("http://me:hunter2@h:1").unwrap();
        assert_eq!(format!("{proxy:?}"), "UpstreamProxy(\"http://h:1\")");
        assert!(proxy.credentials("a:b", "c").is_err());
    }
}
