//! Handshakes for another protocol on the same connection ([RFC 9110 §7.8]).
//!
//! [RFC 9110 §7.8]: https://www.rfc-editor.org/rfc/rfc9110#section-7.8

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{
    HeaderMap, HeaderValue, Version,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE},
};
use sha1::{Digest, Sha1};

use crate::{
    error::{Error, ErrorKind, Phase},
    message::hop::{has_token, tokens},
};

/// The protocols a request asks to switch to.
///
/// Cheap to clone: keep it beside the request's way out, to check the `101` that comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    protocols: HeaderValue,
    /// `Sec-WebSocket-Key`, of a handshake for `websocket` that has one.
    key: Option<HeaderValue>,
}

impl Handshake {
    /// True if one of the protocols is `websocket`.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        self.asks(b"websocket")
    }

    /// The value for the `Upgrade` field of the next hop.
    #[must_use]
    pub fn into_value(self) -> HeaderValue {
        self.protocols
    }

    /// The first of the protocols, as it was written.
    #[must_use]
    pub fn protocol(&self) -> &str {
        let first = tokens(&self.protocols).next().unwrap_or_default();
        std::str::from_utf8(first).unwrap_or_default()
    }

    /// True if there is only one protocol to choose.
    pub fn names_one(&self) -> bool {
        tokens(&self.protocols).count() == 1
    }

    /// Returns the `Sec-WebSocket-Key` that was sent, if any.
    pub fn key(&self) -> Option<&HeaderValue> {
        self.key.as_ref()
    }

    fn new(protocols: HeaderValue, headers: &HeaderMap) -> Self {
        let mut asked = Self { protocols, key: None };
        if asked.is_websocket() {
            let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
            asked.key = keys.next().filter(|_| keys.next().is_none()).cloned();
        }
        asked
    }

    fn asks(&self, protocol: &[u8]) -> bool {
        tokens(&self.protocols).any(|asked| asked.eq_ignore_ascii_case(protocol))
    }
}

/// The handshake a request makes, if it makes one that can be carried to another hop.
///
/// That is: HTTP/1.1, `upgrade` among the options of any `Connection` line, and a protocol in `Upgrade`. Any protocol will do but
/// those of HTTP itself and TLS (`h2c`, `HTTP/2.0`, `TLS/1.0`): they would change how *this* connection is read by two parties that do
/// not know of each other, and hide the requests after it from the proxy.
#[must_use]
pub fn handshake(headers: &HeaderMap, version: Version) -> Option<Handshake> {
    // RFC 9110 §7.8: a server MUST ignore an Upgrade field in an HTTP/1.0 request; RFC 9113 §8.2.2 forbids it in HTTP/2.
    if version != Version::HTTP_11 || !has_token(headers, &CONNECTION, b"upgrade") {
        return None;
    }
    let mut lines = headers.get_all(UPGRADE).iter();
    let first = lines.next()?;
    if lines.next().is_none() && tokens(first).all(is_carried) {
        return tokens(first).next().is_some().then(|| Handshake::new(first.clone(), headers));
    }
    let carried: Vec<&[u8]> =
        headers.get_all(UPGRADE).iter().flat_map(tokens).filter(|token| is_carried(token)).collect();
    if carried.is_empty() {
        return None;
    }
    let protocols = HeaderValue::from_bytes(&carried.join(&b", "[..])).ok()?;
    Some(Handshake::new(protocols, headers))
}

/// Checks that a `101 Switching Protocols` answers what was asked.
///
/// # Errors
/// `Upstream` (502): the request asked for no other protocol, `Connection` does not say `upgrade`, or `Upgrade` is missing or names a
/// protocol that was not asked for (compared without case); or it names `websocket`, and `Sec-WebSocket-Accept` is not what answers the
/// `Sec-WebSocket-Key` of the request ([RFC 6455 §4.2.2]): such a `101` comes from a cache, or from somebody who speaks another protocol.
/// A handshake without exactly one key proves nothing and is passed on.
///
/// [RFC 6455 §4.2.2]: https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
pub fn check_switch(asked: Option<&Handshake>, response: &HeaderMap) -> Result<(), Error> {
    let refuse = |why: &'static str| Err(Error::new(ErrorKind::Upstream, why).in_phase(Phase::ResponseHead));
    let Some(asked) = asked else {
        return refuse("upstream switched protocols without being asked");
    };
    if !has_token(response, &CONNECTION, b"upgrade") {
        return refuse("upstream switched protocols without saying so in Connection");
    }
    let mut switched = response.get_all(UPGRADE).iter().flat_map(tokens).peekable();
    if switched.peek().is_none() || !switched.all(|protocol| asked.asks(protocol)) {
        return refuse("upstream switched to a protocol that was not asked for");
    }
    let to_websocket =
        response.get_all(UPGRADE).iter().flat_map(tokens).any(|to| to.eq_ignore_ascii_case(b"websocket"));
    if let Some(key) = asked.key.as_ref().filter(|_| to_websocket) {
        let mut accepts = response.get_all(SEC_WEBSOCKET_ACCEPT).iter();
        if accepts.next() != websocket_accept(key.as_bytes()).as_ref() || accepts.next().is_some() {
            return refuse("upstream switched to websocket without the accept of this handshake");
        }
    }
    Ok(())
}

/// The `Sec-WebSocket-Accept` to a `Sec-WebSocket-Key` (RFC 6455 §4.2.2). No secret: it shows that the handshake was read.
pub(crate) fn websocket_accept(key: &[u8]) -> Option<HeaderValue> {
    let digest = Sha1::new().chain_update(key.trim_ascii()).chain_update(WEBSOCKET_GUID).finalize();
    HeaderValue::try_from(BASE64_STANDARD.encode(digest)).ok()
}

/// RFC 6455 §1.3.
const WEBSOCKET_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

pub(crate) fn is_carried(protocol: &[u8]) -> bool {
    let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
    !["h2c", "h2", "http", "tls"].iter().any(|refused| name.eq_ignore_ascii_case(refused.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn head(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn asks(fields: &[(&str, &str)]) -> Option<String> {
        let handshake = handshake(&head(fields), Version::HTTP_11)?;
        Some(handshake.into_value().to_str().unwrap().to_owned())
    }

    #[test]
    fn a_handshake_needs_both_fields_and_http_1_1() {
        assert_eq!(asks(&[("connection", "Upgrade"), ("upgrade", "websocket")]).unwrap(), "websocket");
        assert_eq!(asks(&[("connection", "keep-alive, upgrade"), ("upgrade", "WebSocket")]).unwrap(), "WebSocket");
        assert_eq!(asks(&[("connection", "close"), ("connection", "UPGRADE"), ("upgrade", "foo/2")]).unwrap(), "foo/2");
        assert_eq!(asks(&[("upgrade", "websocket")]), None);
        assert_eq!(asks(&[("connection", "upgrade")]), None);
        assert_eq!(asks(&[("connection", "upgrade"), ("upgrade", "")]), None);
        assert_eq!(asks(&[("connection", "upgrade"), ("upgrade", " , ")]), None);
        let headers = head(&[("connection", "upgrade"), ("upgrade", "websocket")]);
        assert!(handshake(&headers, Version::HTTP_11).unwrap().is_websocket());
        assert_eq!(handshake(&headers, Version::HTTP_10), None);
        assert_eq!(handshake(&headers, Version::HTTP_2), None);
    }

    #[test]
    fn protocols_that_would_hide_later_requests_are_not_carried() {
        for refused in ["h2c", "H2C", "HTTP/2.0", "TLS/1.2", "h2c, http/1.1"] {
            assert_eq!(asks(&[("connection", "upgrade, http2-settings"), ("upgrade", refused)]), None, "{refused}");
        }
        assert_eq!(asks(&[("connection", "upgrade"), ("upgrade", "h2c, websocket")]).unwrap(), "websocket");
        assert_eq!(asks(&[("connection", "upgrade"), ("upgrade", "a"), ("upgrade", "h2c,b/1")]).unwrap(), "a, b/1");
    }

    #[test]
    fn a_101_must_name_what_was_asked() {
        let asked = handshake(&head(&[("connection", "upgrade"), ("upgrade", "websocket, foo/2")]), Version::HTTP_11);
        let check = |asked: Option<&Handshake>, fields: &[(&str, &str)]| check_switch(asked, &head(fields)).is_ok();
        assert!(check(asked.as_ref(), &[("connection", "Upgrade"), ("upgrade", "WebSocket")]));
        assert!(check(asked.as_ref(), &[("connection", "Upgrade"), ("upgrade", "FOO/2")]));
        assert!(!check(asked.as_ref(), &[("connection", "Upgrade"), ("upgrade", "foo/1")]));
        assert!(!check(asked.as_ref(), &[("connection", "Upgrade"), ("upgrade", "websocket, bar")]));
        assert!(!check(asked.as_ref(), &[("connection", "Upgrade")]));
        assert!(!check(asked.as_ref(), &[("upgrade", "websocket")]));
        assert!(!check(None, &[("connection", "Upgrade"), ("upgrade", "websocket")]));
        assert_eq!(check_switch(None, &HeaderMap::new()).unwrap_err().status(), 502);
    }

    #[test]
    fn a_101_to_websocket_must_answer_the_key() {
        // The example of RFC 6455 §1.3.
        let (key, right) = ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let asked = |keys: &[&str], protocols: &str| {
            let mut fields = vec![("connection", "upgrade"), ("upgrade", protocols)];
            fields.extend(keys.iter().map(|key| ("sec-websocket-key", *key)));
            handshake(&head(&fields), Version::HTTP_11)
        };
        let check = |asked: Option<Handshake>, to: &str, accepts: &[&str]| {
            let mut fields = vec![("connection", "upgrade"), ("upgrade", to)];
            fields.extend(accepts.iter().map(|accept| ("sec-websocket-accept", *accept)));
            check_switch(asked.as_ref(), &head(&fields)).is_ok()
        };
        assert!(check(asked(&[key], "websocket"), "WebSocket", &[right]));
        for wrong in [&["wrong"][..], &[], &[right, right], &[right, "x"], &["S3pPLMBiTxaQ9kYGzzhZRbK+xOo="]] {
            assert!(!check(asked(&[key], "websocket"), "websocket", wrong), "{wrong:?}");
        }
        // Nothing to check it by, or nothing to check.
        assert!(check(asked(&[], "websocket"), "websocket", &[]));
        assert!(check(asked(&[key, key], "websocket"), "websocket", &["any"]));
        assert!(check(asked(&[key], "websocket, foo"), "foo", &[]));
    }
}
