//! Extended `CONNECT` ([RFC 8441]): how HTTP/2 asks for another protocol, and the same in HTTP/1.1.
//!
//! | | HTTP/1.1 | HTTP/2 |
//! |---|---|---|
//! | asked by | `GET`, `Connection: upgrade`, `Upgrade: websocket` | `CONNECT`, `:protocol` `websocket` |
//! | agreed by | `101` with the same two fields | any `2xx` |
//! | proven by | `Sec-WebSocket-Key`, `Sec-WebSocket-Accept` | nothing |
//!
//! [`write_handshake`] and [`accept`] are for a request that goes from HTTP/2 to HTTP/1.1 and the `101` that comes back,
//! [`extended_connect`] and [`switch`] for one that goes the other way and the `2xx`. Method, status and `:protocol` are the caller's to set.
//!
//! [RFC 8441]: https://www.rfc-editor.org/rfc/rfc8441

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{
    HeaderMap, HeaderValue, Method, Version,
    header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, TRANSFER_ENCODING, UPGRADE},
};

use crate::{
    error::{Error, ErrorKind},
    message::{
        hop::has_token,
        upgrade::{Handshake, handshake, is_carried, websocket_accept},
    },
};

/// In a request's extensions: it came as an extended `CONNECT` for this protocol, and `101` is to be answered with `200`.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "http2"), allow(dead_code, reason = "only an HTTP/2 client makes one"))]
pub(crate) struct Extended(Box<str>);

impl Extended {
    #[cfg(feature = "http2")]
    pub(crate) fn new(protocol: &str) -> Self {
        Self(protocol.into())
    }

    pub(crate) fn protocol(&self) -> &str {
        &self.0
    }
}

/// Adds to the head of an extended `CONNECT` for `protocol` what makes it a handshake of HTTP/1.1, to be sent as a `GET`: `Upgrade`,
/// `Connection` (beside the `te` that [`strip_request`](super::hop::strip_request) leaves there), and for `websocket` a
/// `Sec-WebSocket-Key` of these random bytes in place of any other.
///
/// # Errors
/// `Unsupported` (501): `protocol` is no token, or one that would hide later requests from the proxy
/// (see [`handshake`]).
///
/// ```
/// use http::HeaderMap;
/// use nexthop::internals::handshake::write_handshake;
///
/// let mut headers = HeaderMap::new();
/// write_handshake(&mut headers, "websocket", *b"the sample nonce").unwrap();
/// assert_eq!(headers["upgrade"], "websocket");
/// assert_eq!(headers["connection"], "upgrade");
/// assert_eq!(headers["sec-websocket-key"], "dGhlIHNhbXBsZSBub25jZQ==");
/// ```
pub fn write_handshake(headers: &mut HeaderMap, protocol: &str, nonce: [u8; 16]) -> Result<(), Error> {
    let refuse = || Error::new(ErrorKind::Unsupported, "the protocol asked for is not carried");
    let is_token = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b';' | b'"' | b'(' | b')' | b'=');
    if protocol.is_empty() || !protocol.bytes().all(is_token) || !is_carried(protocol.as_bytes()) {
        return Err(refuse());
    }
    let connection = if has_token(headers, &CONNECTION, b"te") { "te, upgrade" } else { "upgrade" };
    headers.insert(CONNECTION, HeaderValue::from_static(connection));
    headers.insert(UPGRADE, HeaderValue::from_str(protocol).map_err(|_| refuse())?);
    headers.remove(SEC_WEBSOCKET_KEY);
    if protocol.eq_ignore_ascii_case("websocket") {
        let key = HeaderValue::try_from(BASE64_STANDARD.encode(nonce)).map_err(|_| refuse())?;
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
    Ok(())
}

/// Makes the head of a `101` that [answers](super::upgrade::check_switch) such a handshake that of the `200` for the HTTP/2 client.
pub fn accept(headers: &mut HeaderMap) {
    for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
        headers.remove(name);
    }
}

/// Takes off the head of an HTTP/1.1 handshake what an extended `CONNECT` does not have, if it can be one: a `GET` for exactly one
/// protocol. What it asked for is given back: its [`protocol`](Handshake::protocol) is `:protocol`.
///
/// ```
/// use http::{HeaderMap, HeaderValue, Method, Version};
/// use nexthop::internals::handshake::{extended_connect, switch};
///
/// let mut headers = HeaderMap::new();
/// for (name, value) in [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")] {
///     headers.insert(name, HeaderValue::from_static(value));
/// }
/// let asked = extended_connect(&Method::GET, Version::HTTP_11, &mut headers).unwrap();
/// assert_eq!(asked.protocol(), "websocket");
/// assert!(headers.is_empty());
///
/// let mut response = HeaderMap::new(); // of a 2xx
/// switch(&asked, &mut response);
/// assert_eq!(response["upgrade"], "websocket");
/// assert_eq!(response["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
pub fn extended_connect(method: &Method, version: Version, headers: &mut HeaderMap) -> Option<Handshake> {
    let asked = handshake(headers, version).filter(|asked| *method == Method::GET && asked.names_one())?;
    for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_KEY] {
        headers.remove(name);
    }
    Some(asked)
}

/// Makes the head of a `2xx` to an extended `CONNECT` that of the `101` for the HTTP/1.1 client that [asked](extended_connect).
pub fn switch(asked: &Handshake, headers: &mut HeaderMap) {
    for name in [CONTENT_LENGTH, TRANSFER_ENCODING, SEC_WEBSOCKET_ACCEPT] {
        headers.remove(name);
    }
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, asked.clone().into_value());
    if let Some(accept) = asked.key().and_then(|key| websocket_accept(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::upgrade::check_switch;

    #[test]
    fn a_handshake_that_was_written_is_one_and_its_answer_is_checked() {
        let mut headers = HeaderMap::new();
        headers.insert("sec-websocket-key", HeaderValue::from_static("the client's own"));
        headers.insert("sec-websocket-protocol", HeaderValue::from_static("chat"));
        headers.insert("connection", HeaderValue::from_static("te"));
        write_handshake(&mut headers, "WebSocket", *b"the sample nonce").unwrap();
        assert_eq!(headers["connection"], "te, upgrade");
        let asked = handshake(&headers, Version::HTTP_11).unwrap();
        assert!(asked.is_websocket());
        assert_eq!(headers["sec-websocket-protocol"], "chat");

        let mut response = HeaderMap::new();
        switch(&asked, &mut response);
        assert!(check_switch(Some(&asked), &response).is_ok());
        response.insert("sec-websocket-protocol", HeaderValue::from_static("chat"));
        accept(&mut response);
        let left: Vec<_> = response.keys().map(|name| name.as_str()).collect();
        assert_eq!(left, ["sec-websocket-protocol"]);
    }

    #[test]
    fn another_protocol_has_no_key() {
        let mut headers = HeaderMap::new();
        write_handshake(&mut headers, "foo/2", [0; 16]).unwrap();
        assert_eq!((headers.len(), &headers["upgrade"]), (2, &HeaderValue::from_static("foo/2")));
        let asked = extended_connect(&Method::GET, Version::HTTP_11, &mut headers).unwrap();
        assert_eq!((asked.protocol(), asked.key()), ("foo/2", None));
        let mut response = HeaderMap::new();
        response.insert("content-length", HeaderValue::from_static("0"));
        switch(&asked, &mut response);
        assert_eq!(response.len(), 2);
    }

    #[test]
    fn what_is_no_protocol_or_would_hide_requests_is_refused() {
        for refused in ["", "a b", "a,b", "a\r\nb", "h2c", "TLS/1.2", "HTTP/2.0", "a;b", "\u{e9}"] {
            let mut headers = HeaderMap::new();
            let error = write_handshake(&mut headers, refused, [0; 16]).expect_err(refused);
            assert_eq!(error.status(), 501, "{refused}");
            assert!(headers.is_empty());
        }
    }

    #[test]
    fn only_a_get_for_one_protocol_becomes_an_extended_connect() {
        let head = |upgrade: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("connection", HeaderValue::from_static("upgrade"));
            headers.insert("upgrade", HeaderValue::from_static(upgrade));
            headers
        };
        assert!(extended_connect(&Method::GET, Version::HTTP_11, &mut head("foo")).is_some());
        assert!(extended_connect(&Method::POST, Version::HTTP_11, &mut head("foo")).is_none());
        assert!(extended_connect(&Method::GET, Version::HTTP_10, &mut head("foo")).is_none());
        let mut two = head("foo, bar");
        assert!(extended_connect(&Method::GET, Version::HTTP_11, &mut two).is_none());
        assert_eq!(two, head("foo, bar"), "nothing was taken off");
    }
}
