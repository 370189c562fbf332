//! [`Host`]: what a certificate can be for.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use crate::error::{Error, ErrorKind};

/// A host as it stands in a certificate: a name in lower case without its last dot, or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Dns(Arc<str>),
    Ip(IpAddr),
}

impl Host {
    /// Reads a name or an address, the latter with or without brackets; no port.
    ///
    /// Names are letters, digits, hyphens and dots (RFC 5890 §2.3.1: international ones as A-labels), and underscores, which real hosts
    /// have although they should not. A label with a hyphen at either end is refused, as clients refuse it. A name whose last label is a
    /// number is none: resolvers take it for an address.
    ///
    /// # Errors
    /// `InvalidTarget` (400).
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            return inner.parse::<Ipv6Addr>().map(|ip| Self::Ip(ip.into())).map_err(|_| unusable(UNREADABLE));
        }
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.len() > MAX_NAME || !name.split('.').all(is_label) {
            return Err(unusable(UNREADABLE));
        }
        // RFC 952, RFC 1123 §2.1: DNS resolves such names, but clients accept no certificate for them.
        if name.split('.').any(|label| label.starts_with('-') || label.ends_with('-')) {
            return Err(unusable("host is not valid in a certificate: a label begins or ends with a hyphen"));
        }
        if name.rsplit('.').next().is_some_and(is_number) {
            return Err(unusable("host is not valid in a certificate: the last label is a number"));
        }
        Ok(Self::Dns(name.to_ascii_lowercase().into()))
    }

    /// The one text of this host, by which its certificate is kept.
    pub(super) fn key(&self) -> Arc<str> {
        match self {
            Self::Dns(name) => name.clone(),
            Self::Ip(ip) => ip.to_string().into(),
        }
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// `7`, and `0x7f`, which some resolvers read.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    label.bytes().all(|byte| byte.is_ascii_digit())
        || hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn unusable(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidTarget, reason)
}

const UNREADABLE: &str = "host is not valid in a certificate: not a host name or an IP address";

/// RFC 1035 §2.3.4: 255 bytes on the wire are 253 characters.
const MAX_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> String {
        Host::parse(text).unwrap().key().to_string()
    }

    #[test]
    fn a_host_has_one_text_however_it_is_written() {
        for (text, expected) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("wsgiprox", "wsgiprox"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("my_bucket.example", "my_bucket.example"),
            ("1.example", "1.example"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "::1"),
            ("0:0:0:0:0:0:0:1", "::1"),
            ("[2001:DB8::A]", "2001:db8::a"),
        ] {
            assert_eq!(key(text), expected);
        }
    }

    #[test]
    fn what_is_no_host_gets_no_certificate() {
        let long = format!("{}.example", "a".repeat(64));
        let longer = ["a"; 128].join(".");
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a b",
            "a/b",
            "../../etc/passwd",
            "a\\b",
            "a\0b",
            "a\nb",
            "*.example.com",
            "*",
            "-a.example",
            "a-.example",
            "b\u{fc}cher.example",
            "a:80",
            "[::1",
            "::1]",
            "[127.0.0.1]",
            "fe80::1%eth0",
            "1.2.3",
            "127.1",
            "0x7f.1",
            "1.2.3.4.5",
            "a.0x7f",
            "example.com,evil.example",
            "a@b",
            "[example.com]",
            &long,
            &longer,
        ] {
            let error = Host::parse(text).expect_err(text);
            assert_eq!(error.status(), http::StatusCode::BAD_REQUEST);
            let label =
                if ["-a.example", "a-.example"].contains(&text) { "a label begins or ends with a hyphen" } else { "" };
            assert!(error.to_string().starts_with(&format!("host is not valid in a certificate: {label}")), "{error}");
        }
    }
}
