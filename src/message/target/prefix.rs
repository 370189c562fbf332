use std::{fmt, str::FromStr, sync::Arc};

use http::HeaderValue;

use crate::error::{ConfigError, Error, ErrorKind};

/// Holds the path prefix under which an application is mounted: empty, or one or more segments that each begin with
/// `/`, without a `/` at the end.
///
/// A prefix has at most 1,024 bytes. Bytes above 0x7F and spaces must be percent-encoded. Prefixes that are unsafe in
/// a link are rejected, never corrected: empty and dot segments (`//`, `.`, `..`, also percent-encoded), quotes, `<`,
/// `>`, `;`, `\`, white space, control characters, encoded slashes and encoded `%`.
///
/// ```
/// use nexthop::message::Prefix;
///
/// assert_eq!("/app/v1".parse::<Prefix>()?.as_str(), "/app/v1");
/// assert!("//evil.example".parse::<Prefix>().is_err());
/// assert!("/a/%2e%2e/b".parse::<Prefix>().is_err());
/// # Ok::<(), nexthop::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[doc(alias = "SCRIPT_NAME")]
#[doc(alias = "x-forwarded-prefix")]
#[doc(alias = "base path")]
pub struct Prefix(Option<Arc<str>>);

impl Prefix {
    /// Parses a prefix from the value of a request header.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTarget`] (400) if the prefix is invalid.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Self::read(bytes).map_err(|why| Error::new(ErrorKind::InvalidTarget, why))
    }

    /// Returns the prefix as it appears in a path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Returns true if the application is mounted at the root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the prefix as a header value.
    #[must_use]
    pub fn to_value(&self) -> HeaderValue {
        // Only visible ASCII stands in a prefix.
        HeaderValue::from_str(self.as_str()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        if bytes.len() > MAX_PREFIX {
            return Err("prefix is longer than 1024 bytes");
        }
        let text =
            std::str::from_utf8(bytes).map_err(|_| "prefix has bytes above 0x7F that are not percent-encoded")?;
        let segments = text.strip_prefix('/').ok_or("prefix must begin with a slash")?;
        segments.split('/').try_for_each(check_segment)?;
        Ok(Self(Some(text.into())))
    }
}

impl FromStr for Prefix {
    type Err = ConfigError;

    /// Parses a prefix from a configuration.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        Self::read(text.as_bytes()).map_err(|why| ConfigError::invalid("prefix", text, why))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The prefix of one request as it is in the client's URL: a [`Prefix`], or one that a router's path parameters make of
/// other bytes that a path can have.
///
/// Links and cookies of the client can contain it, but forwarding headers cannot: their receivers refuse it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientPrefix {
    text: Option<Arc<str>>,
    is_strict: bool,
}

impl ClientPrefix {
    /// # Errors
    /// `InvalidTarget` (400): an empty or dot segment, or bytes that a path cannot have (RFC 3986 §3.3), except for bytes
    /// above 0x7F.
    pub(crate) fn of(text: &str) -> Result<Self, Error> {
        match Prefix::from_bytes(text.as_bytes()) {
            Ok(prefix) => Ok(prefix.into()),
            Err(_) if is_legal(text) => Ok(Self { text: Some(text.into()), is_strict: false }),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// The prefix that is reported to the upstream.
    pub(crate) fn reported(&self) -> Option<&str> {
        self.text.as_deref().filter(|_| self.is_strict)
    }
}

impl From<Prefix> for ClientPrefix {
    fn from(prefix: Prefix) -> Self {
        Self { text: prefix.0, is_strict: true }
    }
}

fn is_legal(text: &str) -> bool {
    let is_legal = |segment: &str| {
        let dots = segment.to_ascii_lowercase().replace("%2e", ".");
        let mut bytes = segment.bytes();
        let mut legal = !segment.is_empty() && dots != "." && dots != "..";
        while let Some(byte) = bytes.next() {
            legal &= match byte {
                b'%' => hex(bytes.next(), bytes.next()).is_some(),
                b'\'' | b';' => true,
                byte => is_plain(byte) || byte >= 0x80,
            };
        }
        legal
    };
    text.strip_prefix('/').is_some_and(|segments| segments.split('/').all(is_legal))
}

fn check_segment(segment: &str) -> Result<(), &'static str> {
    let mut bytes = segment.bytes();
    let mut decoded_len = 0_usize;
    let mut dots = 0_usize;
    while let Some(byte) = bytes.next() {
        let (byte, encoded) = match byte {
            b'%' => (hex(bytes.next(), bytes.next()).ok_or("prefix has a percent sign without two hex digits")?, true),
            byte => (byte, false),
        };
        if !is_plain(byte) && !(encoded && (byte >= 0x80 || byte == b' ')) {
            return Err("prefix has a character that is not allowed");
        }
        decoded_len += 1;
        dots += usize::from(byte == b'.');
    }
    match decoded_len {
        0 => Err("prefix has an empty segment"),
        1 | 2 if dots == decoded_len => Err("prefix has a dot segment"),
        _ => Ok(()),
    }
}

/// Bytes that may stand for themselves. Of what RFC 3986 allows in a segment, `'` and `;` are missing: they end an attribute of HTML and
/// of a cookie.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&()*+,=:@".contains(&byte)
}

fn hex(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

const MAX_PREFIX: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_segments_of_plain_and_encoded_bytes() {
        for text in
            ["", "/app", "/app/v1.2", "/a/b/c", "/~joe", "/a..b", "/...", "/caf%C3%A9", "/a%20b", "/a@b:c=d,e+f(g)!*$&"]
        {
            assert_eq!(Prefix::from_bytes(text.as_bytes()).unwrap().as_str(), text);
            assert_eq!(text.parse::<Prefix>().unwrap().to_value(), text);
        }
    }

    #[test]
    fn refuses_what_could_do_harm_in_a_link() {
        for text in [
            "/",
            "app",
            "//evil",
            "/a//b",
            "/a/",
            "/\\evil",
            "/a\\b",
            "/.",
            "/..",
            "/a/../b",
            "/%2e",
            "/%2e%2E/x",
            "/.%2e",
            "/a%2fb",
            "/a%5Cb",
            "/a%0d%0ab",
            "/a%00",
            "/a;b",
            "/a%3Bb",
            "/a'b",
            "/a\"b",
            "/a%22b",
            "/a%27",
            "/<x>",
            "/a b",
            "/a\tb",
            "/a%",
            "/a%4",
            "/a%zz",
            "/%252e%252e",
            "/a?b",
            "/a#b",
            "/caf\u{e9}",
            "http://evil/",
            "/a\r\nb",
        ] {
            assert_eq!(Prefix::from_bytes(text.as_bytes()).unwrap_err().status(), 400, "{text}");
            assert!(text.parse::<Prefix>().unwrap_err().to_string().contains("prefix"), "{text}");
        }
        assert!(Prefix::from_bytes(b"/\xff").is_err());
        assert!(Prefix::from_bytes(format!("/{}", "x".repeat(1024)).as_bytes()).is_err());
    }

    #[test]
    fn a_clients_prefix_may_have_any_legal_bytes_and_is_reported_only_if_receivers_accept_it() {
        for text in ["/o'brien", "/a;b=1", "/a%2Fb", "/a%25b", "/caf\u{e9}", "/%00", "/a/%3Cb%3E/c'"] {
            let prefix = ClientPrefix::of(text).unwrap();
            assert_eq!((prefix.as_str(), prefix.reported()), (text, None));
        }
        assert_eq!(ClientPrefix::of("/a%20b").unwrap().reported(), Some("/a%20b"));
        assert_eq!(ClientPrefix::of("").unwrap().reported(), None);
        for text in
            ["/", "a", "//a'", "/a'//b", "/a'/", "/'/..", "/'/%2E%2e", "/\\'", "/a\"'", "/a'%2", "/<'>", "/a' b"]
        {
            assert_eq!(ClientPrefix::of(text).unwrap_err().status(), 400, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_is_taken_is_a_path(bytes in proptest::collection::vec(any::<u8>(), 0..16)) {
            let mut bytes = bytes;
            bytes.insert(0, b'/');
            if let Ok(prefix) = Prefix::from_bytes(&bytes) {
                prop_assert_eq!(prefix.as_str().as_bytes(), &bytes[..]);
                prop_assert!(!prefix.as_str().contains("//") && !prefix.as_str().ends_with('/'));
            }
        }
    }
}
