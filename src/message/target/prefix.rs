use std::{fmt, str::FromStr, sync::Arc};

use http::HeaderValue;

use crate::error::{ConfigError, Error, ErrorKind};

/// A path under which an application is mounted: empty, or segments that each begin with `/`, without a last `/`.
///
/// What cannot stand in a link without harm is refused, never mended: empty and dot segments (`//`, `.`, `..`, also encoded), quotes,
/// `;`, `\`, white space and controls, encoded slashes, and an encoded `%`. Other bytes above 0x7F stand percent-encoded. At most 1,024
/// bytes.
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
pub struct Prefix(Option<Arc<str>>);

impl Prefix {
    /// Reads a prefix that came in a field of a request.
    ///
    /// # Errors
    /// `InvalidTarget` (400): it is not a valid prefix.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Self::read(bytes).map_err(|why| Error::new(ErrorKind::InvalidTarget, why))
    }

    /// The prefix as it stands in a path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// True if the application is mounted at the root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The prefix as the value of a field.
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
        let text = std::str::from_utf8(bytes).map_err(|_| "prefix has bytes above 0x7F")?;
        let segments = text.strip_prefix('/').ok_or("prefix does not begin with a slash")?;
        segments.split('/').try_for_each(check_segment)?;
        Ok(Self(Some(text.into())))
    }
}

impl FromStr for Prefix {
    type Err = ConfigError;

    /// Reads a prefix of a configuration.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        Self::read(text.as_bytes()).map_err(|why| ConfigError::invalid("prefix", text, why))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
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
            return Err("prefix has a character that it may not have");
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
