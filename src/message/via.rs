//! `Via` ([RFC 9110 §7.6.3]): which proxies a request has been through, and whether this one is among them.
//!
//! [RFC 9110 §7.6.3]: https://www.rfc-editor.org/rfc/rfc9110#section-7.6.3

use std::fmt;

use http::{HeaderMap, HeaderValue, Response, Version, header::VIA};

use crate::{error::ConfigError, ext::ReceivedHttp10, message::fields::Fields};

/// The name under which one proxy stands in `Via`, with its values made once.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pseudonym {
    name: String,
    http_10: HeaderValue,
    http_11: HeaderValue,
    http_2: HeaderValue,
    http_3: HeaderValue,
}

impl Pseudonym {
    /// A name of one's own choice: a token (`edge-1`) or `host:port`. It must differ from that of every other proxy on the way, or
    /// requests between the two look like a loop.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`]: the name is neither.
    pub(crate) fn named(name: impl Into<String>) -> Result<Self, ConfigError> {
        let name = name.into();
        let valid =
            !name.is_empty() && name.bytes().all(|byte| is_token_byte(byte) || matches!(byte, b':' | b'[' | b']'));
        if !valid {
            return Err(ConfigError::invalid("via", name, "a pseudonym is a token or host:port"));
        }
        Ok(Self::of(name))
    }

    /// The name `nexthop-` and 16 hex digits of `random`.
    #[must_use]
    pub(crate) fn random(random: u64) -> Self {
        Self::of(format!("nexthop-{random:016x}"))
    }

    fn of(name: String) -> Self {
        let value = |version: &str| {
            HeaderValue::from_str(&format!("{version} {name}"))
                .unwrap_or_else(|_| HeaderValue::from_static("1.1 nexthop"))
        };
        Self { http_10: value("1.0"), http_11: value("1.1"), http_2: value("2.0"), http_3: value("3.0"), name }
    }

    /// The element for a message that was received in `version`.
    fn element(&self, version: Version) -> &HeaderValue {
        match version {
            Version::HTTP_2 => &self.http_2,
            Version::HTTP_3 => &self.http_3,
            Version::HTTP_11 => &self.http_11,
            _ => &self.http_10,
        }
    }
}

impl fmt::Debug for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pseudonym").field(&self.name).finish()
    }
}

/// Adds this proxy behind those that a message has been through; `version` is the one the message was received in.
pub(crate) fn append(headers: &mut HeaderMap, version: Version, pseudonym: &Pseudonym) {
    write(headers, version, pseudonym);
}

/// The same of a response, to say which way it came.
pub(crate) fn append_to_response<B>(response: &mut Response<B>, pseudonym: &Pseudonym) {
    let in_http10 = response.extensions().get::<ReceivedHttp10>().is_some();
    let version = if in_http10 { Version::HTTP_10 } else { response.version() };
    append(response.headers_mut(), version, pseudonym);
}

/// The same, to wherever the head's fields go.
pub(crate) fn write(out: &mut impl Fields, version: Version, pseudonym: &Pseudonym) {
    out.append(VIA, pseudonym.element(version));
}

/// True if a message has been through this proxy before. Names are compared without case; comments are not looked into.
#[must_use]
pub(crate) fn has_been_here(headers: &HeaderMap, pseudonym: &Pseudonym) -> bool {
    headers
        .get_all(VIA)
        .iter()
        .any(|line| names(line.as_bytes()).any(|name| name.eq_ignore_ascii_case(pseudonym.name.as_bytes())))
}

/// The `received-by` of every element: the second word. A comma within a comment cuts the comment in two, which yields no name of ours
/// unless somebody writes it there, and who knows the name can as well write it in an element.
fn names(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b',').filter_map(|element| {
        let mut words = element.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.nth(1)
    })
}

/// RFC 9110 §5.6.2: tchar.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn appends_behind_what_is_there_with_the_version_received() {
        let us = Pseudonym::named("us").unwrap();
        let mut headers = HeaderMap::new();
        append(&mut headers, Version::HTTP_11, &us);
        append(&mut headers, Version::HTTP_2, &Pseudonym::random(10));
        append(&mut headers, Version::HTTP_10, &us);
        let lines: Vec<_> = headers.get_all(VIA).iter().collect();
        assert_eq!(lines, ["1.1 us", "2.0 nexthop-000000000000000a", "1.0 us"]);
    }

    #[test]
    fn finds_itself_in_any_line_and_case_but_not_in_parts_of_names() {
        let us = Pseudonym::named("Edge-1:80").unwrap();
        let been = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(VIA, HeaderValue::from_str(line).unwrap());
            }
            has_been_here(&headers, &us)
        };
        assert!(been(&["1.1 edge-1:80"]));
        assert!(been(&["1.0 fred, HTTP/1.1 EDGE-1:80 (Apache/1.1)"]));
        assert!(been(&["1.0 fred", "2 x,\t1.1\tedge-1:80"]));
        assert!(!been(&["1.1 edge-1", "1.1 edge-1:801", "1.1 x (edge-1:80)", "edge-1:80"]));
        assert!(!been(&[]));
    }

    #[test]
    fn a_pseudonym_is_a_token_or_host_and_port() {
        for name in ["a", "edge-1.example", "h:80", "[::1]:80"] {
            assert!(Pseudonym::named(name).is_ok());
        }
        for name in ["", "a b", "a,b", "a(b)", "caf\u{e9}", "a\r\n"] {
            assert!(Pseudonym::named(name).unwrap_err().to_string().contains("via"), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(line in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                headers.append(VIA, value);
            }
            prop_assert!(!has_been_here(&headers, &Pseudonym::random(1)));
        }
    }
}
