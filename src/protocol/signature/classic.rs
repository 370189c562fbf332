//! Signs and verifies requests with the classic signature of WSGIProxy, `X-WSGIProxy-Signature`, for a peer that
//! supports no other.
//!
//! The documents of WSGIProxy describe this signature, but no release of WSGIProxy can create or verify it. The peer must
//! therefore implement the grammar below; a peer that runs WSGIProxy itself can only be trusted by its address.
//!
//! The classic signature is weak: it proves that the holder of the secret sent *a* request to this host and path at
//! this time. It covers no method, no query, no body and no header: an intermediary can change all of them. Prefer the
//! [RFC 9421 signature](super).
//!
//! Both ends must enable it ([`ProxyAppBuilder::classic_signer`](crate::app::ProxyAppBuilder::classic_signer),
//! [`Trust::dangerous_classic_signature`](crate::middleware::Trust::dangerous_classic_signature)). A receiver then
//! trusts only the headers for which the documents of WSGIProxy require it: `X-Forwarded-For`, `X-Forwarded-Server`,
//! `X-Forwarded-Scheme`, `X-Forwarded-Script-Name`, `X-Script-Name`, `X-Traversal-Path`, `X-Traversal-Query-String` and
//! `X-WSGIProxy-Version`. It MUST NOT trust carried keys.
//!
//! # Grammar
//! ```text
//! X-WSGIProxy-Signature: HOST SP PATH SP NUMBER SP HMAC
//! Date: DATE
//! ```
//!
//! | part | value |
//! |---|---|
//! | `HOST` | `Host` as sent, in lower case, without an empty port, `:80` for `http` and `:443` for `https` |
//! | `PATH` | the path as sent, byte for byte, without the query; `/` if it is empty |
//! | `NUMBER` | decimal, below 2^128, never the same twice. A number of 2^64 or more is read as the random id of a sender times 2^64, plus a counter that MUST count up by one: each id takes 8 KiB of the verifier's memory |
//! | `HMAC` | 40 hex digits: HMAC-SHA1 of `HOST SP PATH SP NUMBER SP DATE`, with the secret as the key |
//! | `DATE` | the `Date` header, byte for byte: an HTTP date (RFC 9110 §5.6.7), at most 300 s before or after the verifier's time |
//!
//! There is no key id: the verifier MUST try each of its keys. It MUST refuse (403) a request that it has seen before.
//!
//! # Example
//! With the secret `0123456789abcdef0123456789abcdef` (32 bytes of text):
//!
//! ```text
//! GET /a%2Fb?x=1 HTTP/1.1
//! Host: back.example
//! Date: Fri, 15 Jan 2027 08:00:00 GMT
//! X-WSGIProxy-Signature: back.example /a%2Fb 7 3ebdd8f2145e51a43146a7c66d9f8706fa976632
//! ```

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hmac::Mac;
use http::{HeaderName, HeaderValue, header, request::Parts, uri::Scheme};

use super::{
    Verification, Verified,
    base::{authority, authority_received, path, scheme_received, trimmed, without_default_port},
    refusal::Refusal,
    verify::decide,
};
use crate::{
    error::{ConfigError, Error, ErrorKind},
    protocol::{
        keyring::{Key, Keyring, Keys},
        names::{
            X_FORWARDED_FOR, X_FORWARDED_SCHEME, X_FORWARDED_SCRIPT_NAME, X_FORWARDED_SERVER, X_SCRIPT_NAME,
            X_TRAVERSAL_PATH, X_TRAVERSAL_QUERY_STRING, X_WSGIPROXY_SIGNATURE, X_WSGIPROXY_VERSION, is_owned,
        },
        replay::{InMemoryReplayStore, Nonce, NonceCheck, ReplayStore},
    },
};

/// Signs requests with `X-WSGIProxy-Signature`.
///
/// Give it to [`ProxyAppBuilder::classic_signer`](crate::app::ProxyAppBuilder::classic_signer). Sets
/// `X-WSGIProxy-Signature`, and replaces `Date` with the current time, before each attempt to send a request. Cheap to
/// clone; clones share one counter.
///
/// # Errors
/// [`ProxyApp`](crate::ProxyApp) answers 400 ([`ErrorKind::InvalidTarget`]) if a request has no authority or more than
/// one `Host`.
#[derive(Clone)]
pub struct ClassicSigner(Arc<Signing>);

struct Signing {
    keyring: Keyring,
    sender: u64,
    counter: AtomicU64,
}

impl ClassicSigner {
    /// Returns a signer that uses the first key of `keyring`.
    ///
    /// # Errors
    /// [`ConfigError::Secret`] if the operating system provides no random bytes.
    pub fn new(keyring: Keyring) -> Result<Self, ConfigError> {
        let sender = getrandom::u64().map_err(|error| ConfigError::secret("random bytes", error.to_string()))?;
        Ok(Self(Arc::new(Signing { keyring, sender, counter: AtomicU64::new(0) })))
    }

    /// Signs the head as it is now, before each attempt to send. Sets `X-WSGIProxy-Signature`, and `Date` to `now`: a
    /// client's own could be far away.
    ///
    /// # Errors
    /// `InvalidTarget` if there is no authority or more than one `Host`; `Internal` if `now` is before 1970 or after
    /// 9999.
    #[doc(hidden)]
    pub fn sign(&self, parts: &mut Parts, now: SystemTime) -> Result<(), Error> {
        let count = self.0.counter.fetch_add(1, Ordering::Relaxed);
        self.sign_with(parts, now, u128::from(self.0.sender) << 64 | u128::from(count))
    }

    fn sign_with(&self, parts: &mut Parts, now: SystemTime, number: u128) -> Result<(), Error> {
        let internal = |reason| Error::new(ErrorKind::Internal, reason);
        let since = now.duration_since(UNIX_EPOCH).ok().filter(|since| *since < YEAR_9999);
        let date = httpdate::fmt_http_date(
            UNIX_EPOCH + since.ok_or_else(|| internal("the system time is not between 1970 and 9999"))?,
        );

        self.0.keyring.look_soon(now);
        let keys = self.0.keyring.keys();
        let key = keys.active().ok_or_else(|| internal("the keyring has no key"))?;
        let target = |refusal| {
            Error::new(ErrorKind::InvalidTarget, "request has no authority or more than one Host header")
                .with_source(refusal)
        };
        let scheme = parts.uri.scheme().unwrap_or(&Scheme::HTTP);
        let host = without_default_port(authority(parts).map_err(target)?, scheme).to_ascii_lowercase();

        let mut text = [&host, path(parts), number.to_string().as_bytes()].join(&b' ');
        let mac = mac(key, &text, date.as_bytes()).finalize().into_bytes();
        text.push(b' ');
        for byte in mac {
            text.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        let unwritable = |_| internal("the signature is not a valid header value");
        parts.headers.insert(X_WSGIPROXY_SIGNATURE, HeaderValue::from_bytes(&text).map_err(unwritable)?);
        let date = HeaderValue::try_from(date).map_err(|_| internal("the system time is not between 1970 and 9999"))?;
        parts.headers.insert(header::DATE, date);
        Ok(())
    }
}

impl fmt::Debug for ClassicSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassicSigner").field("keyring", &self.0.keyring).finish_non_exhaustive()
    }
}

/// Verifies requests that are signed with `X-WSGIProxy-Signature`.
///
/// Give it to [`Trust::dangerous_classic_signature`](crate::middleware::Trust::dangerous_classic_signature). After
/// verification, all [owned headers](crate::protocol#owned-headers) are removed except the [trusted ones](self). The
/// body is passed on unchecked. Cheap to clone; clones share one replay store.
///
/// # Errors
/// [`ProxyMiddleware`](crate::ProxyMiddleware) answers 403 ([`ErrorKind::Signature`]) if the signature is missing and
/// the trust policy requires one, or if it is malformed, wrong, expired or replayed, and 503
/// ([`ErrorKind::Unavailable`]) if the replay store is full or unreachable.
///
/// ```
/// use http::{Request, Response};
/// use nexthop::{
///     Body, ProxyMiddleware,
///     middleware::Trust,
///     protocol::{keyring::Keyring, signature::classic::ClassicVerifier},
///     secret::Secret,
/// };
/// use tower::{Layer, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), nexthop::BoxError> {
/// let keys = Keyring::new("k1", Secret::from_bytes([7; 32])?)?;
/// let trust = Trust::dangerous_classic_signature(ClassicVerifier::new(keys));
/// let layer = ProxyMiddleware::builder().trust(trust).build()?;
/// let app = layer.layer(tower::service_fn(|_request: Request<Body>| async {
///     Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
/// }));
///
/// let unsigned = Request::get("/").header("host", "app.example").body(Body::empty())?;
/// assert_eq!(app.oneshot(unsigned).await?.status(), 403);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ClassicVerifier(Arc<Verifying>);

struct Verifying {
    keyring: Keyring,
    replay: Box<dyn ReplayStore>,
}

impl ClassicVerifier {
    /// Returns a verifier that accepts all keys of `keyring`, with a new [`InMemoryReplayStore`].
    #[must_use]
    pub fn new(keyring: Keyring) -> Self {
        Self::with_replay(keyring, InMemoryReplayStore::new())
    }

    /// Returns a verifier that accepts all keys of `keyring`, with this store of seen requests.
    #[must_use]
    pub fn with_replay(keyring: Keyring, store: impl ReplayStore) -> Self {
        Self(Arc::new(Verifying { keyring, replay: Box::new(store) }))
    }

    /// Verifies a request's head, and remembers its number. The request must be as it came in, its URI and `Host` too.
    /// Touches nothing.
    ///
    /// # Errors
    /// `Signature` (403), with the reason as its source, for the log. `Unavailable` (503): the replay store is full or
    /// out of reach.
    #[doc(hidden)]
    pub fn verify(&self, parts: &Parts, now: SystemTime) -> Result<Verification, Error> {
        let keyring = &self.0.keyring;
        let keys = keyring.keys();
        let mut checked = self.check(parts, now, &keys);
        if let Err(Refusal::Mismatch) = checked
            && let Some(keys) = keyring.newer(&keys, now)
        {
            checked = self.check(parts, now, &keys);
        }
        let (verified, answer) = checked?;
        keyring.look_soon(now);
        decide(verified, answer)
    }

    fn check(&self, parts: &Parts, now: SystemTime, keys: &Keys) -> Result<(Verified, NonceCheck), Refusal> {
        let field = single(parts, &X_WSGIPROXY_SIGNATURE)?.ok_or(Refusal::Missing)?;
        let date = single(parts, &header::DATE)?.ok_or(Refusal::Malformed("Date"))?;
        let claim = Claim::parse(field).ok_or(Refusal::Malformed("X-WSGIProxy-Signature"))?;

        let scheme = scheme_received(parts, &Scheme::HTTP);
        let host = without_default_port(authority_received(parts, scheme)?, scheme);
        if !host.eq_ignore_ascii_case(claim.host) || claim.path != path(parts) {
            return Err(Refusal::Mismatch);
        }
        let holds = |key: &&Key| mac(key, claim.signed, date).verify_slice(&claim.mac).is_ok();
        let key = keys.iter().find(holds).ok_or(Refusal::Mismatch)?;

        let until = check_date(date, now)?;
        let text = claim.nonce();
        let now = now.duration_since(UNIX_EPOCH).map_err(|_| Refusal::Early)?.as_secs();
        let answer = self.0.replay.remember(Nonce { key_id: key.id(), text: &text, until, now });

        let is_uncovered = |name: &&HeaderName| is_owned(name) && !VOUCHED_FOR.contains(name);
        let uncovered = parts.headers.keys().filter(is_uncovered).cloned().collect();
        Ok((Verified::without_body(Arc::clone(key.id()), uncovered), answer))
    }
}

impl fmt::Debug for ClassicVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verifying { keyring, replay } = &*self.0;
        f.debug_struct("ClassicVerifier").field("keyring", keyring).field("replay", replay).finish()
    }
}

/// The field, taken apart.
struct Claim<'a> {
    host: &'a [u8],
    path: &'a [u8],
    number: u128,
    mac: [u8; 20],
    /// What the MAC is over, but for the date.
    signed: &'a [u8],
}

impl<'a> Claim<'a> {
    fn parse(field: &'a [u8]) -> Option<Self> {
        let mut parts = field.split(|&byte| byte == b' ');
        let (host, path, number, hex) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || host.is_empty() || number.is_empty() || !number.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let number = std::str::from_utf8(number).ok()?.parse().ok()?;
        let signed = field.get(..field.len().checked_sub(hex.len() + 1)?)?;
        Some(Self { host, path, number, mac: unhex(hex)?, signed })
    }

    /// The number as a nonce of this crate if it is one; else the MAC, since a peer that counts from 0 counts so again
    /// after a restart.
    fn nonce(&self) -> String {
        let (sender, count) = ((self.number >> 64) as u64, self.number as u64);
        if sender == 0 {
            return self.mac.iter().map(|byte| format!("{byte:02x}")).collect();
        }
        format!("{sender:016x}-{count:016x}")
    }
}

fn unhex(digits: &[u8]) -> Option<[u8; 20]> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|&[high, low]| u8::try_from(digit(high)? << 4 | digit(low)?).ok()).collect();
    if rest.is_empty() { bytes?.try_into().ok() } else { None }
}

fn mac(key: &Key, signed: &[u8], date: &[u8]) -> impl Mac {
    key.hmac_sha1().chain_update(signed).chain_update(b" ").chain_update(date)
}

/// The one line of a field.
fn single<'a>(parts: &'a Parts, name: &HeaderName) -> Result<Option<&'a [u8]>, Refusal> {
    let mut lines = parts.headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (line, None) => Ok(line.map(trimmed)),
        (_, Some(_)) => Err(Refusal::Ambiguous),
    }
}

/// Gives the second after which the message is too old.
fn check_date(date: &[u8], now: SystemTime) -> Result<u64, Refusal> {
    let malformed = Refusal::Malformed("Date");
    let date = std::str::from_utf8(date).map_err(|_| malformed)?;
    let date = httpdate::parse_http_date(date).map_err(|_| malformed)?;
    if date.duration_since(now).is_ok_and(|ahead| ahead > MAX_DISTANCE) {
        return Err(Refusal::Early);
    }
    if now.duration_since(date).is_ok_and(|behind| behind > MAX_DISTANCE) {
        return Err(Refusal::Stale);
    }
    let date = date.duration_since(UNIX_EPOCH).map_err(|_| malformed)?;
    Ok(date.as_secs() + MAX_DISTANCE.as_secs())
}

const VOUCHED_FOR: [HeaderName; 8] = [
    X_FORWARDED_FOR,
    X_FORWARDED_SERVER,
    X_FORWARDED_SCHEME,
    X_FORWARDED_SCRIPT_NAME,
    X_SCRIPT_NAME,
    X_TRAVERSAL_PATH,
    X_TRAVERSAL_QUERY_STRING,
    X_WSGIPROXY_VERSION,
];

const MAX_DISTANCE: Duration = Duration::from_secs(300);
/// From when on a date has five digits.
const YEAR_9999: Duration = Duration::from_secs(253_402_300_800);

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use http::Request;
    use proptest::prelude::*;

    use super::*;
    use crate::secret::Secret;

    /// Fri, 15 Jan 2027 08:00:00 GMT.
    const NOW: u64 = 1_800_000_000;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn keyring() -> Keyring {
        Keyring::new("k1", Secret::from_bytes("0123456789abcdef0123456789abcdef").unwrap()).unwrap()
    }

    fn signed(fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::get("http://Back.example:80/a%2Fb?x=1");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        ClassicSigner::new(keyring()).unwrap().sign_with(&mut parts, at(NOW), 7).unwrap();
        parts.headers.insert(header::HOST, HeaderValue::from_static("back.example"));
        parts.uri = "/a%2Fb?x=1".parse().unwrap();
        parts
    }

    fn verify_at(verifier: &ClassicVerifier, parts: &Parts, now: u64) -> Result<Verified, Error> {
        match verifier.verify(parts, at(now))? {
            Verification::Now(verified) => Ok(verified),
            Verification::Later(_) => panic!("it knows at once"),
        }
    }

    fn verify(parts: &Parts) -> Result<Verified, Error> {
        verify_at(&ClassicVerifier::new(keyring()), parts, NOW)
    }

    #[track_caller]
    fn refused(parts: &Parts) -> Refusal {
        *verify(parts).unwrap_err().source().unwrap().downcast_ref::<Refusal>().unwrap()
    }

    #[test]
    fn the_worked_example_is_what_is_sent() {
        let parts = signed(&[]);
        let field = parts.headers[X_WSGIPROXY_SIGNATURE].to_str().unwrap();
        assert!(include_str!("classic.rs").contains(&format!("X-WSGIProxy-Signature: {field}")), "{field}");
        assert_eq!(parts.headers[header::DATE], "Fri, 15 Jan 2027 08:00:00 GMT");
        verify(&parts).unwrap();
    }

    #[test]
    fn it_vouches_for_classic_forwarding_fields_only() {
        let mut parts = signed(&[
            ("x-forwarded-for", "192.0.2.7"),
            ("x-traversal-path", "/app"),
            ("x-forwarded-host", "evil.example"),
            ("x-wsgiproxy-bin-1", "user postcard:AAAA"),
            ("x-wsgiproxy-str-1", "user root"),
            ("forwarded", "for=1.2.3.4"),
            ("accept", "*/*"),
        ]);
        let verified = verify(&parts).unwrap();
        assert!(verified.covers(&X_FORWARDED_FOR) && !verified.covers(&"x-wsgiproxy-bin-1".parse().unwrap()));
        verified.restore(&mut parts.headers);
        let mut left: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "date", "host", "x-forwarded-for", "x-traversal-path"]);
    }

    #[test]
    fn what_is_signed_cannot_be_changed() {
        let good = signed(&[]);
        let with = |name: HeaderName, from: &str, to: &str| {
            let mut parts = good.clone();
            let value = parts.headers[&name].to_str().unwrap().replacen(from, to, 1);
            parts.headers.insert(name, value.parse().unwrap());
            parts
        };
        let field = || X_WSGIPROXY_SIGNATURE;
        let malformed = Refusal::Malformed("X-WSGIProxy-Signature");
        for (parts, why) in [
            (with(header::HOST, "back", "other"), Refusal::Mismatch),
            (with(header::DATE, "08:00:00", "08:00:01"), Refusal::Mismatch),
            (with(field(), "back.example", "other.example"), Refusal::Mismatch),
            (with(field(), "%2F", "/"), Refusal::Mismatch),
            (with(field(), " 7 ", " 8 "), Refusal::Mismatch),
            (with(field(), " 7 ", " +7 "), malformed),
            (with(field(), " 7 ", " "), malformed),
            (with(field(), " 7 ", " 340282366920938463463374607431768211456 "), malformed),
            (with(field(), " 7 ", " 7  "), malformed),
            (with(field(), " 7 ", " 7 a"), malformed),
        ] {
            assert_eq!(refused(&parts), why, "{parts:?}");
        }
        let mut moved = good.clone();
        moved.uri = "/other?x=1".parse().unwrap();
        assert_eq!(refused(&moved), Refusal::Mismatch);
        let mut twice = good.clone();
        twice.headers.append(X_WSGIPROXY_SIGNATURE, HeaderValue::from_static("x"));
        assert_eq!(refused(&twice), Refusal::Ambiguous);
        for (name, why) in [(X_WSGIPROXY_SIGNATURE, Refusal::Missing), (header::DATE, Refusal::Malformed("Date"))] {
            let mut without = good.clone();
            without.headers.remove(name);
            assert_eq!(refused(&without), why);
        }
    }

    #[test]
    fn it_is_good_for_five_minutes_and_once() {
        let parts = signed(&[]);
        let verifier = ClassicVerifier::new(keyring());
        assert!(verify_at(&verifier, &parts, NOW - 301).is_err());
        assert!(verify_at(&verifier, &parts, NOW + 301).is_err());
        verify_at(&verifier, &parts, NOW + 300).unwrap();
        assert!(verify_at(&verifier, &parts, NOW - 300).is_err(), "seen before");
    }

    /// RFC 9110 §5.6.7: two of them are obsolete, and all are read.
    #[test]
    fn a_date_is_read_in_each_of_its_three_forms() {
        const SIGNED: &str = "back.example /a%2Fb 7";
        let keyring = keyring();
        for date in ["Fri, 15 Jan 2027 08:00:00 GMT", "Friday, 15-Jan-27 08:00:00 GMT", "Fri Jan 15 08:00:00 2027"] {
            let mac = mac(keyring.keys().active().unwrap(), SIGNED.as_bytes(), date.as_bytes()).finalize().into_bytes();
            let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
            let mut parts = signed(&[]);
            parts.headers.insert(X_WSGIPROXY_SIGNATURE, format!("{SIGNED} {hex}").parse().unwrap());
            parts.headers.insert(header::DATE, HeaderValue::from_static(date));
            verify(&parts).unwrap_or_else(|error| panic!("{date}: {error:?}"));
            let verifier = ClassicVerifier::new(keyring.clone());
            assert!(verify_at(&verifier, &parts, NOW + 301).is_err(), "{date}");
        }
    }

    #[test]
    fn each_request_has_its_number() {
        let (signer, verifier) = (ClassicSigner::new(keyring()).unwrap(), ClassicVerifier::new(keyring()));
        let mut parts = Request::get("http://h/").body(()).unwrap().into_parts().0;
        for _ in 0..3 {
            signer.sign(&mut parts, at(NOW)).unwrap();
            verify_at(&verifier, &parts, NOW).unwrap();
            assert!(verify_at(&verifier, &parts, NOW).is_err());
        }
    }

    #[test]
    fn any_key_of_the_ring_verifies() {
        let new = Keyring::new("new", Secret::from_bytes([9; 32]).unwrap()).unwrap();
        let old = Secret::from_bytes("0123456789abcdef0123456789abcdef").unwrap();
        let verifier = ClassicVerifier::new(new.with("old", old).unwrap());
        assert_eq!(&**verify_at(&verifier, &signed(&[]), NOW).unwrap().key_id(), "old");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(field in prop::collection::vec(prop::num::u8::ANY, 0..80), date in "[ -~]{0,40}") {
            let mut parts = signed(&[]);
            if let Ok(field) = HeaderValue::from_bytes(&field) {
                parts.headers.insert(X_WSGIPROXY_SIGNATURE, field);
                prop_assert!(verify(&parts).is_err());
            }
            let mut parts = signed(&[]);
            parts.headers.insert(header::DATE, date.parse().unwrap());
            prop_assert!(verify(&parts).is_err());
        }

        #[test]
        fn one_changed_bit_is_refused(at in 0..1_000_usize, bit in 0..8_u8) {
            let mut parts = signed(&[]);
            let mut value = parts.headers[X_WSGIPROXY_SIGNATURE].as_bytes().to_vec();
            let at = at % value.len();
            let before = value[at];
            value[at] ^= 1 << bit;
            // Hex digits are read in either case, and the case of a host is no difference (RFC 9110 §4.2.3).
            let same = before.eq_ignore_ascii_case(&value[at]) && at > "back.example /a%2Fb".len();
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                parts.headers.insert(X_WSGIPROXY_SIGNATURE, value);
                prop_assert_eq!(verify(&parts).is_ok(), same);
            }
        }
    }
}
