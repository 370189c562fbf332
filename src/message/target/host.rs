use std::{cell::RefCell, net::Ipv6Addr};

use http::{HeaderMap, HeaderValue, Method, Uri, Version, header::HOST, uri::Scheme};

use crate::error::{Error, ErrorKind};

/// The form in which a request names its target ([RFC 9112 §3.2]).
///
/// [RFC 9112 §3.2]: https://www.rfc-editor.org/rfc/rfc9112#section-3.2
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// A path and perhaps a query: what clients send to servers.
    Origin,
    /// A whole URL: what clients send to a proxy; in HTTP/2, every request but `CONNECT`.
    Absolute,
    /// A host and port: for `CONNECT` only.
    Authority,
    /// `*`: for `OPTIONS` only.
    Asterisk,
}

/// The form of a request's target.
///
/// # Errors
/// `InvalidTarget` (400): authority-form with another method than `CONNECT`, or another form with that; `*` with another method than `OPTIONS`;
/// a scheme that is not `http` or `https`; a user name in the authority, or one that is no valid host and port.
pub(crate) fn form(method: &Method, uri: &Uri) -> Result<Form, Error> {
    let refuse = |why: &'static str| Err(Error::new(ErrorKind::InvalidTarget, why));
    let authority = uri.authority().map(|authority| authority.as_str());
    let is_known = |host: &[u8]| remembered(host, |_| ()).is_some();
    let connect = *method == Method::CONNECT;
    // RFC 9110 §9.3.6: CONNECT has no default port.
    let is_valid =
        |authority: &[u8]| is_known(authority) || is_host(if connect { authority } else { plain(authority) });
    if authority.is_some_and(|authority| !is_valid(authority.as_bytes())) {
        return refuse("request target has no valid host");
    }
    match (uri.scheme_str(), authority) {
        (None, Some(_)) if connect => Ok(Form::Authority),
        (None, Some(_)) => refuse("authority-form target is allowed for CONNECT only"),
        // RFC 8441 §4: an extended CONNECT has a scheme and a path.
        (None, None) if connect => refuse("CONNECT requires an authority-form target"),
        _ if uri.path() == "*" && *method == Method::OPTIONS => Ok(Form::Asterisk),
        _ if uri.path() == "*" => refuse("target * is allowed for OPTIONS only"),
        (Some("http" | "https"), _) => Ok(Form::Absolute),
        (Some(_), _) => refuse("target scheme must be http or https"),
        (None, None) if uri.path().starts_with('/') => Ok(Form::Origin),
        (None, None) => refuse("target must begin with a slash"),
    }
}

/// The host (and port) that a request asks for, checked.
///
/// HTTP/1.1 requests have exactly one `Host`, older ones at most one. Where the target has an authority (absolute-form, HTTP/2) it is
/// what counts ([RFC 9112 §3.2.2]), but a `Host` beside it must still be valid, and in HTTP/2 the same.
///
/// Valid is `host [":" port]` with a bracketed IPv6 address or a name of letters, digits, `-`, `.`, `_`, `~` and percent-encoded bytes, and
/// a port up to 65535. That is less than [RFC 3986] allows: no name in the DNS has quotes, commas or parentheses, and attacks do. An empty
/// port is the default port; it is left out of the result with its colon, as RFC 3986 §3.2.3 recommends.
///
/// `None`: an HTTP/1.0 request that names no host.
///
/// # Errors
/// `InvalidTarget` (400): `Host` is missing, there is more than one, or it is not valid.
///
/// [RFC 9112 §3.2.2]: https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2
/// [RFC 3986]: https://www.rfc-editor.org/rfc/rfc3986#section-3.2.2
pub(crate) fn check_host(uri: &Uri, version: Version, headers: &HeaderMap) -> Result<Option<HeaderValue>, Error> {
    let refuse = |why: &'static str| Err(Error::new(ErrorKind::InvalidTarget, why));
    let host = host_field(headers);
    let repeats = headers.len() != headers.keys_len();
    if repeats && headers.get_all(HOST).iter().nth(1).is_some() {
        return refuse("request has more than one Host header");
    }
    let Some(authority) = uri.authority() else {
        return match host {
            None if version >= Version::HTTP_11 => refuse("request has no Host header"),
            None => Ok(None),
            Some(host) => valid(host.as_bytes()).map_or_else(|| refuse("invalid Host header"), |host| Ok(Some(host))),
        };
    };
    let authority = authority.as_str().as_bytes();
    if host.is_some_and(|host| host.as_bytes() != authority && !is_host(plain(host.as_bytes()))) {
        return refuse("invalid Host header");
    }
    let is_same = |host: &[u8]| {
        let scheme = uri.scheme();
        without_default_port(host, scheme).eq_ignore_ascii_case(without_default_port(authority, scheme))
    };
    let asked = match host {
        // RFC 9112 §3.2: a server MUST answer 400 to an HTTP/1.1 request without Host, whatever its target.
        None if version == Version::HTTP_11 => return refuse("request has no Host header"),
        Some(host) if host.as_bytes() == authority => authority,
        Some(host) if is_same(host.as_bytes()) => host.as_bytes(),
        // RFC 9113 §8.3.1: a Host that differs from :authority makes the request malformed.
        Some(_) if version > Version::HTTP_11 => return refuse("Host header differs from the target's authority"),
        _ => authority,
    };
    valid(asked).map_or_else(|| refuse("request target has no valid host"), |host| Ok(Some(host)))
}

/// `Host`, which most clients say first, as RFC 9110 §7.2 has it.
pub(crate) fn host_field(headers: &HeaderMap) -> Option<&HeaderValue> {
    let first = headers.iter().next().filter(|(name, _)| **name == HOST);
    first.map(|(_, host)| host).or_else(|| headers.get(HOST))
}

thread_local! {
    /// The last host that was found valid: most requests ask the same.
    static LAST: RefCell<Option<HeaderValue>> = const { RefCell::new(None) };
}

/// What `take` makes of the last one, if it is this host.
fn remembered<T>(host: &[u8], take: impl FnOnce(&HeaderValue) -> T) -> Option<T> {
    // A thread that ends remembers nothing.
    LAST.try_with(|last| last.borrow().as_ref().filter(|last| last.as_bytes() == host).map(take)).ok()?
}

/// The bytes as a value in memory of its own, since it outlives the buffer of the head, if they are a host.
fn valid(host: &[u8]) -> Option<HeaderValue> {
    let host = plain(host);
    if let Some(known) = remembered(host, HeaderValue::clone) {
        return Some(known);
    }
    let value = HeaderValue::from_bytes(host).ok().filter(|_| is_host(host))?;
    let _ = LAST.try_with(|last| last.replace(Some(value.clone())));
    Some(value)
}

/// Leaves out an empty port with its colon.
pub(crate) fn plain(authority: &[u8]) -> &[u8] {
    authority.strip_suffix(b":").unwrap_or(authority)
}

fn without_default_port<'a>(authority: &'a [u8], scheme: Option<&Scheme>) -> &'a [u8] {
    let default: &[u8] = if scheme == Some(&Scheme::HTTPS) { b":443" } else { b":80" };
    authority.strip_suffix(default).unwrap_or_else(|| plain(authority))
}

/// True if the bytes are a host and perhaps a port, as [`check_host`] says, but not an empty one: in a configuration, that is a mistake.
pub(crate) fn is_host(bytes: &[u8]) -> bool {
    let (host, rest) = if bytes.first() == Some(&b'[') {
        let Some(end) = bytes.iter().position(|byte| *byte == b']') else {
            return false;
        };
        let (address, rest) = bytes.split_at(end);
        let inside = address.strip_prefix(b"[").and_then(|inside| std::str::from_utf8(inside).ok());
        if inside.is_none_or(|inside| inside.parse::<Ipv6Addr>().is_err()) {
            return false;
        }
        (address, rest.strip_prefix(b"]").unwrap_or(rest))
    } else {
        let end = bytes.iter().position(|byte| !IN_NAMES[*byte as usize]).unwrap_or(bytes.len());
        match bytes.get(end) {
            None | Some(b':') => bytes.split_at(end),
            Some(b'%') => {
                let end = bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len());
                let (name, rest) = bytes.split_at(end);
                if !is_encoded_name(name) {
                    return false;
                }
                (name, rest)
            }
            Some(_) => return false,
        }
    };
    !host.is_empty() && (rest.is_empty() || rest.strip_prefix(b":").is_some_and(is_port))
}

/// Letters, digits, and `-._~`, by the byte.
const IN_NAMES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        byte += 1;
    }
    table
};

fn is_encoded_name(name: &[u8]) -> bool {
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        let valid = match byte {
            b'%' => [bytes.next(), bytes.next()].iter().all(|digit| digit.is_some_and(u8::is_ascii_hexdigit)),
            byte => IN_NAMES[*byte as usize],
        };
        if !valid {
            return false;
        }
    }
    !name.is_empty()
}

fn is_port(port: &[u8]) -> bool {
    (1..=5).contains(&port.len())
        && port.iter().all(u8::is_ascii_digit)
        && port.iter().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0')) <= u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn host_of(uri: &str, version: Version, hosts: &[&str]) -> Result<Option<String>, u16> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap());
        }
        check_host(&uri.parse().unwrap(), version, &headers)
            .map(|host| host.map(|host| host.to_str().unwrap().to_owned()))
            .map_err(|error| error.status().as_u16())
    }

    #[test]
    fn a_host_is_checked_whatever_the_one_before_it_was() {
        for _ in 0..2 {
            assert_eq!(host_of("/", Version::HTTP_11, &["a.example"]), Ok(Some("a.example".into())));
            assert_eq!(host_of("/", Version::HTTP_11, &["a.example "]), Err(400));
            assert_eq!(host_of("/", Version::HTTP_11, &[""]), Err(400));
            assert_eq!(host_of("/", Version::HTTP_11, &["A.example:80"]), Ok(Some("A.example:80".into())));
        }
    }

    #[test]
    fn takes_one_valid_host() {
        for host in [
            "a",
            "a.example",
            "a.example:80",
            "A-b_c~d.:65535",
            "127.0.0.1:1",
            "[::1]",
            "[2001:db8::1]:443",
            "caf%C3%A9.example",
        ] {
            assert_eq!(host_of("/", Version::HTTP_11, &[host]), Ok(Some(host.to_owned())));
        }
        assert_eq!(host_of("/", Version::HTTP_10, &[]), Ok(None));
    }

    #[test]
    fn an_empty_port_is_the_default_port() {
        let of = |uri: &str, version, host: &str| host_of(uri, version, &[host]);
        for _ in 0..2 {
            assert_eq!(of("/", Version::HTTP_11, "a.example:"), Ok(Some("a.example".to_owned())));
            assert_eq!(of("/", Version::HTTP_11, "[::1]:"), Ok(Some("[::1]".to_owned())));
            assert_eq!(of("http://a:/x", Version::HTTP_11, "b:"), Ok(Some("a".to_owned())));
            assert_eq!(of("http://a/x", Version::HTTP_2, "a:"), Ok(Some("a".to_owned())));
            assert_eq!(of("http://a:/x", Version::HTTP_2, "a:80"), Ok(Some("a:80".to_owned())));
            assert_eq!(of("https://a/x", Version::HTTP_2, "A:443"), Ok(Some("A:443".to_owned())));
            assert_eq!(of("https://a/x", Version::HTTP_2, "a:80"), Err(400));
            assert_eq!(of("http://a:81/x", Version::HTTP_2, "a:"), Err(400));
        }
        assert!(!is_host(b"a:"), "in a configuration it is a mistake");
    }

    #[test]
    fn refuses_missing_repeated_and_invalid_hosts() {
        assert_eq!(host_of("/", Version::HTTP_11, &[]), Err(400));
        assert_eq!(host_of("/", Version::HTTP_11, &["a", "a"]), Err(400));
        assert_eq!(host_of("/", Version::HTTP_10, &["a", "b"]), Err(400));
        for host in [
            "",
            "a b",
            "u@h",
            "a/../x",
            "a,b",
            "a;b",
            "a\"b",
            "a'b",
            "a\\b",
            "a?b",
            "a#b",
            ":80",
            ":",
            "a::",
            "a:b",
            "a:65536",
            "a:123456",
            "a:1:2",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]::",
            "[x]",
            "[]",
            "[fe80::1%25eth0]",
            "a%",
            "a%4",
            "a%zz",
            "caf\u{e9}",
            "<x>",
            "a\tb",
        ] {
            assert_eq!(host_of("/", Version::HTTP_11, &[host]), Err(400), "{host}");
        }
    }

    #[test]
    fn the_targets_authority_counts_before_host() {
        assert_eq!(host_of("http://a:1/x", Version::HTTP_11, &["b"]), Ok(Some("a:1".to_owned())));
        assert_eq!(host_of("http://a/x", Version::HTTP_11, &["b c"]), Err(400));
        assert_eq!(host_of("http://a/x", Version::HTTP_11, &[]), Err(400));
        assert_eq!(host_of("http://a/x", Version::HTTP_2, &[]), Ok(Some("a".to_owned())));
        assert_eq!(host_of("http://a/x", Version::HTTP_2, &["A"]), Ok(Some("A".to_owned())));
        assert_eq!(host_of("http://a/x", Version::HTTP_2, &["b"]), Err(400));
        assert_eq!(host_of("/x", Version::HTTP_2, &[]), Err(400));
        assert_eq!(host_of("http://u@a/x", Version::HTTP_2, &[]), Err(400));
    }

    #[test]
    fn each_form_belongs_to_its_methods() {
        let form_of =
            |method: Method, uri: &str| form(&method, &uri.parse().unwrap()).map_err(|error| error.status().as_u16());
        assert_eq!(form_of(Method::GET, "/x?y"), Ok(Form::Origin));
        assert_eq!(form_of(Method::GET, "http://a/x"), Ok(Form::Absolute));
        assert_eq!(form_of(Method::GET, "http://a?x"), Ok(Form::Absolute));
        assert_eq!(form_of(Method::CONNECT, "a:443"), Ok(Form::Authority));
        assert_eq!(form_of(Method::CONNECT, "a:"), Err(400));
        assert_eq!(form_of(Method::GET, "http://a:/x"), Ok(Form::Absolute));
        assert_eq!(form_of(Method::CONNECT, "https://a/chat"), Ok(Form::Absolute));
        assert_eq!(form_of(Method::OPTIONS, "*"), Ok(Form::Asterisk));
        assert_eq!(form_of(Method::GET, "*"), Err(400));
        assert_eq!(form_of(Method::GET, "a:443"), Err(400));
        assert_eq!(form_of(Method::CONNECT, "/x"), Err(400));
        assert_eq!(form_of(Method::GET, "ftp://a/x"), Err(400));
        assert_eq!(form_of(Method::GET, "http://u:p@a/x"), Err(400));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_hosts_can_stand_in_a_uri(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            if is_host(&bytes) {
                let text = std::str::from_utf8(&bytes).unwrap();
                prop_assert!(!text.contains(['@', '/', '?', '#', ',', ' ', '"']));
            }
        }
    }
}
