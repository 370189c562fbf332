//! Fields that concern one connection only, taken off a head before it goes on ([RFC 9110 §7.6.1]).
//!
//! [RFC 9110 §7.6.1]: https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1

use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{CONNECTION, COOKIE, EXPECT, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE},
};

use crate::message::upgrade;

/// What [`strip_request`] found and kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stripped {
    /// The request is a handshake for another protocol: `Upgrade` was kept, and `Connection` names it.
    pub upgrade: bool,
    /// The client accepts trailers: `te: trailers` was kept, and `Connection` names it.
    pub trailers: bool,
    /// `Connection` named further fields, and they were removed.
    pub nominated: bool,
}

/// Takes off a request what concerns only the connection it came on.
///
/// * Removed: `Connection` (every line of it) and the fields it names in any case, `Keep-Alive`, `Proxy-Connection`,
///   `Proxy-Authorization`, `Proxy-Authenticate`, `TE`, `Transfer-Encoding`, `Upgrade`, `HTTP2-Settings`. `Host` stays even where
///   `Connection` names it, since a request is not valid without; so do `Trailer`, `Expect` and `Content-Length`.
/// * Kept: exactly `te: trailers` if the client sent that among its `TE`; `Upgrade` if the request is a
///   [handshake](upgrade::handshake) (`version` is that of the request: HTTP/1.0 and HTTP/2 know no `Upgrade`). `Connection` afterwards
///   names what was kept and nothing else, so the head is valid as it stands for HTTP/1.1.
/// * Removed from a request of HTTP/1.0: `Expect`, which means nothing there (RFC 9110 §10.1.1).
///
/// Lines of `Cookie` that HTTP/2 split for its compression are joined (RFC 9113 §8.2.3): other hops read only one.
///
/// Bytes that are no field name are passed over, wherever they stand. One look at each field; nothing more for a head without any of these.
pub fn strip_request(headers: &mut HeaderMap, version: Version) -> Stripped {
    let found = Found::scan(headers);
    strip_found(headers, version, found).0
}

/// The fields that `Connection` names beyond those that are always of a connection; `None` where it names none. They go from the trailers,
/// too (RFC 9110 §7.6.1).
pub(crate) type Nominated = Option<Box<[HeaderName]>>;

/// The same for a head that was scanned already.
pub(crate) fn strip_found(headers: &mut HeaderMap, version: Version, found: Found) -> (Stripped, Nominated) {
    if version >= Version::HTTP_2 {
        join_cookies(headers);
    } else if version < Version::HTTP_11 {
        // RFC 9110 §10.1.1: what HTTP/1.0 cannot mean, and nobody is to wait for.
        headers.remove(EXPECT);
    }
    if found.is_empty() {
        return (Stripped::default(), None);
    }
    let handshake = if found.has(UPGRADE_BIT) { upgrade::handshake(headers, version) } else { None };
    let trailers = found.has(TE_BIT) && accepts_trailers(headers);
    let nominated = found.strip(headers);
    let upgrade = handshake.is_some();
    if let Some(handshake) = handshake {
        headers.insert(UPGRADE, handshake.into_value());
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    let connection = match (upgrade, trailers) {
        (false, false) => None,
        (true, false) => Some("upgrade"),
        (false, true) => Some("te"),
        (true, true) => Some("te, upgrade"),
    };
    if let Some(connection) = connection {
        headers.insert(CONNECTION, HeaderValue::from_static(connection));
    }
    (Stripped { upgrade, trailers, nominated: nominated.is_some() }, nominated)
}

/// Takes off a response what concerns only the connection it came on; the same fields as [`strip_request`].
///
/// With `switching` (a `101` that [answers a handshake](upgrade::check_switch)) `Upgrade` stays and `Connection` names it.
pub fn strip_response(headers: &mut HeaderMap, switching: bool) {
    let found = Found::scan(headers);
    if found.is_empty() {
        return;
    }
    let upgrade = if switching { headers.get(UPGRADE).cloned() } else { None };
    found.strip(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(UPGRADE, upgrade);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// True if a field concerns one connection of itself, whether `Connection` names it or not.
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    bit(name.as_str()) & !OTHERS != 0
}

/// The non-empty elements of a comma-separated list of tokens, without the white space around them.
pub(crate) fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    elements(value.as_bytes())
}

/// The same of a value's bytes.
pub(crate) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// True if any line of the list field `name` has the element `token`, in any case.
pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &[u8]) -> bool {
    headers.get_all(name).iter().flat_map(tokens).any(|found| found.eq_ignore_ascii_case(token))
}

/// RFC 9113 §8.2.3: with `; ` between them.
fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(COOKIE).iter();
    if lines.next().is_none() || lines.next().is_none() {
        return;
    }
    let lines: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// RFC 9110 §10.1.4: `t-codings = "trailers" / ( transfer-coding [ weight ] )`.
fn accepts_trailers(headers: &HeaderMap) -> bool {
    has_token(headers, &TE, b"trailers")
}

/// Which of the fields below a head has, and of those that a proxy looks at besides, as a set of bits.
#[derive(Clone, Copy)]
pub(crate) struct Found(u16);

impl Found {
    pub(crate) fn scan(headers: &HeaderMap) -> Self {
        Self::scan_for(headers, |_| false)
    }

    /// The same, and whether there is a field of a name that is `looked_for`.
    pub(crate) fn scan_for(headers: &HeaderMap, looked_for: impl Fn(&HeaderName) -> bool) -> Self {
        let mut bits = 0;
        for name in headers.keys() {
            bits |= bit(name.as_str());
            if looked_for(name) {
                bits |= LOOKED_FOR_BIT;
            }
        }
        Self(bits)
    }

    /// True if there is one.
    pub(crate) fn has_looked_for(self) -> bool {
        self.has(LOOKED_FOR_BIT)
    }

    /// True if there is a `Content-Length` or a `Transfer-Encoding`.
    pub(crate) fn has_framing(self) -> bool {
        self.has(CONTENT_LENGTH_BIT | TRANSFER_ENCODING_BIT)
    }

    /// True if there is an `Upgrade`.
    pub(crate) fn has_upgrade(self) -> bool {
        self.has(UPGRADE_BIT)
    }

    /// True if there is a `Via`.
    pub(crate) fn has_via(self) -> bool {
        self.has(VIA_BIT)
    }

    /// True if nothing concerns one connection only.
    fn is_empty(self) -> bool {
        self.0 & !OTHERS == 0
    }

    fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }

    /// Removes what was found, and what `Connection` names besides.
    fn strip(self, headers: &mut HeaderMap) -> Nominated {
        let nominated = if self.has(CONNECTION_BIT) { remove_nominated(headers) } else { None };
        for (name, bit) in &FIELDS {
            if self.has(*bit) {
                headers.remove(name);
            }
        }
        nominated
    }
}

/// Removes the fields that `Connection` names and that are not hop-by-hop of themselves.
fn remove_nominated(headers: &mut HeaderMap) -> Nominated {
    let options = || headers.get_all(CONNECTION).iter().flat_map(tokens);
    if !options().any(is_nomination) {
        return None;
    }
    let named = options().filter(|option| is_nomination(option));
    let named: Box<[HeaderName]> = named.filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
    for name in &named {
        headers.remove(name);
    }
    Some(named)
}

/// True unless the option is one of the connection itself, a field that goes anyway, or `Host`.
fn is_nomination(option: &[u8]) -> bool {
    !OPTIONS.iter().any(|known| option.eq_ignore_ascii_case(known.as_bytes()))
}

const OPTIONS: [&str; 6] = ["close", "keep-alive", "upgrade", "te", "http2-settings", "host"];

/// The bit of a field's name, 0 for those that are of no interest: by length first, so that most names cost one comparison of integers.
fn bit(name: &str) -> u16 {
    match (name.len(), name) {
        (2, "te") => TE_BIT,
        (3, "via") => VIA_BIT,
        (7, "upgrade") => UPGRADE_BIT,
        (10, "connection") => CONNECTION_BIT,
        (10, "keep-alive") => 1 << 3,
        (14, "content-length") => CONTENT_LENGTH_BIT,
        (14, "http2-settings") => 1 << 4,
        (16, "proxy-connection") => 1 << 5,
        (17, "transfer-encoding") => TRANSFER_ENCODING_BIT,
        (18, "proxy-authenticate") => 1 << 7,
        (19, "proxy-authorization") => 1 << 8,
        _ => 0,
    }
}

const TE_BIT: u16 = 1;
const UPGRADE_BIT: u16 = 1 << 1;
const CONNECTION_BIT: u16 = 1 << 2;
const TRANSFER_ENCODING_BIT: u16 = 1 << 6;
const VIA_BIT: u16 = 1 << 9;
const CONTENT_LENGTH_BIT: u16 = 1 << 10;
const LOOKED_FOR_BIT: u16 = 1 << 11;
/// Those that go on to the next hop.
const OTHERS: u16 = VIA_BIT | CONTENT_LENGTH_BIT | LOOKED_FOR_BIT;

static FIELDS: [(HeaderName, u16); 9] = [
    (TE, TE_BIT),
    (UPGRADE, UPGRADE_BIT),
    (CONNECTION, CONNECTION_BIT),
    (HeaderName::from_static("keep-alive"), 1 << 3),
    (HeaderName::from_static("http2-settings"), 1 << 4),
    (HeaderName::from_static("proxy-connection"), 1 << 5),
    (TRANSFER_ENCODING, TRANSFER_ENCODING_BIT),
    (PROXY_AUTHENTICATE, 1 << 7),
    (PROXY_AUTHORIZATION, 1 << 8),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(fields: &[(&str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn cookies_that_http_2_split_are_one_line_again() {
        let lines = [("cookie", &b"a=1"[..]), ("x", b"y"), ("cookie", b"b=2; c=3")];
        let mut headers = head(&lines);
        strip_request(&mut headers, Version::HTTP_2);
        assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
        let mut headers = head(&lines);
        strip_request(&mut headers, Version::HTTP_11);
        assert_eq!(headers.get_all("cookie").iter().count(), 2);
    }

    #[test]
    fn strips_every_field_that_is_hop_by_hop_of_itself() {
        let mut headers = head(&[
            ("host", b"h"),
            ("connection", b"keep-alive"),
            ("keep-alive", b"timeout=5"),
            ("proxy-connection", b"keep-alive"),
            ("proxy-authorization", b"Basic x"),
            ("proxy-authenticate", b"Basic"),
            ("te", b"gzip"),
            ("transfer-encoding", b"chunked"),
            ("upgrade", b"h2c"),
            ("http2-settings", b"AAMAAABkAAQAAP__"),
            ("trailer", b"x-sum"),
            ("expect", b"100-continue"),
        ]);
        let stripped = strip_request(&mut headers, Version::HTTP_11);
        assert_eq!(stripped, Stripped::default());
        assert_eq!(names(&headers), ["expect", "host", "trailer"]);
    }

    #[test]
    fn strips_fields_named_by_a_second_connection_line_after_an_empty_first() {
        let mut headers = head(&[
            ("connection", b""),
            ("connection", b"X-One ,, x-tWo\t"),
            ("connection", b"x-three"),
            ("x-one", b"1"),
            ("x-two", b"2"),
            ("x-two", b"2"),
            ("x-three", b"3"),
            ("x-four", b"4"),
        ]);
        assert!(strip_request(&mut headers, Version::HTTP_11).nominated);
        assert_eq!(names(&headers), ["x-four"]);
    }

    #[test]
    fn host_stays_even_where_connection_names_it() {
        let mut headers = head(&[("host", b"h"), ("connection", b"Host, close")]);
        strip_request(&mut headers, Version::HTTP_11);
        assert_eq!(names(&headers), ["host"]);
    }

    #[test]
    fn bytes_that_are_no_names_neither_panic_nor_stop_the_rest() {
        let mut headers =
            head(&[("connection", b"\xff\xfe, x y, x-one"), ("te", b"\xff"), ("upgrade", b"\xff"), ("x-one", b"1")]);
        strip_request(&mut headers, Version::HTTP_11);
        assert!(headers.is_empty());
    }

    #[test]
    fn te_is_kept_as_exactly_trailers() {
        for value in ["trailers", "Trailers", "gzip, trailers", "gzip;q=0.5,\ttrailers"] {
            let mut headers = head(&[("te", value.as_bytes())]);
            assert!(strip_request(&mut headers, Version::HTTP_2).trailers, "{value}");
            assert_eq!(headers.get("te").unwrap(), "trailers");
            assert_eq!(headers.get("connection").unwrap(), "te");
        }
        let mut headers = head(&[("te", b"gzip, trailers;q=1, xtrailers")]);
        assert!(!strip_request(&mut headers, Version::HTTP_11).trailers);
        assert!(headers.is_empty());
    }

    #[test]
    fn upgrade_is_kept_for_a_handshake_in_http_1_1_only() {
        let fields: &[(&str, &[u8])] =
            &[("connection", b"keep-alive, Upgrade, x-gone"), ("upgrade", b"WebSocket"), ("x-gone", b"1")];
        let mut headers = head(fields);
        assert!(strip_request(&mut headers, Version::HTTP_11).upgrade);
        assert_eq!(headers, head(&[("upgrade", b"WebSocket"), ("connection", b"upgrade")]));

        let mut headers = head(fields);
        assert!(!strip_request(&mut headers, Version::HTTP_10).upgrade);
        assert!(headers.is_empty());
    }

    #[test]
    fn a_response_loses_the_same_and_keeps_upgrade_only_when_switching() {
        let fields: &[(&str, &[u8])] = &[
            ("connection", b"Upgrade"),
            ("connection", b"x-gone"),
            ("upgrade", b"foo"),
            ("x-gone", b"1"),
            ("a", b"1"),
        ];
        let mut headers = head(fields);
        strip_response(&mut headers, false);
        assert_eq!(headers, head(&[("a", b"1")]));

        let mut headers = head(fields);
        strip_response(&mut headers, true);
        assert_eq!(headers, head(&[("a", b"1"), ("upgrade", b"foo"), ("connection", b"upgrade")]));
    }

    #[test]
    fn the_table_and_the_lookup_agree() {
        for (name, expected) in &FIELDS {
            assert_eq!(bit(name.as_str()), *expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_no_nominated_field_is_left(
            lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..24), 0..4),
            nominated in "[a-z]{3}-[a-z]{1,5}",
        ) {
            let mut headers = HeaderMap::new();
            for line in &lines {
                if let Ok(value) = HeaderValue::from_bytes(line) {
                    headers.append(CONNECTION, value.clone());
                    headers.append(TE, value.clone());
                    headers.append(UPGRADE, value);
                }
            }
            headers.append(CONNECTION, HeaderValue::from_str(&nominated).unwrap());
            headers.append(HeaderName::from_bytes(nominated.as_bytes()).unwrap(), HeaderValue::from_static("x"));
            let mut response = headers.clone();
            strip_response(&mut response, false);
            prop_assert!(response.is_empty());
            let stripped = strip_request(&mut headers, Version::HTTP_11);
            prop_assert!(!headers.contains_key(&nominated));
            prop_assert_eq!(headers.contains_key(UPGRADE), stripped.upgrade);
            prop_assert_eq!(headers.contains_key(TE), stripped.trailers);
            prop_assert_eq!(headers.contains_key(CONNECTION), stripped.upgrade || stripped.trailers);
        }
    }
}
