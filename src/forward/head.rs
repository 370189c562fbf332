//! What is taken off the heads of requests to a proxy, and what stands in for it.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response,
    header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE},
    request::Parts,
    uri::Authority,
};
use hyper::upgrade::OnUpgrade;

use crate::{
    body::Body,
    error::{Error, ErrorKind},
    message::{max_forwards::is_last_hop, target::host_field},
};

/// True for a request that wants a tunnel, and none for another protocol inside HTTP/2 (RFC 8441).
pub(super) fn is_connect(parts: &Parts) -> bool {
    parts.method == Method::CONNECT && !is_extended(parts)
}

#[cfg(feature = "http2")]
fn is_extended(parts: &Parts) -> bool {
    parts.extensions.get::<hyper::ext::Protocol>().is_some()
}

#[cfg(not(feature = "http2"))]
fn is_extended(_: &Parts) -> bool {
    false
}

/// Takes off every field that is for the proxy: `Proxy-Authorization` and its kin, and `Proxy`, which CGI programs mistake for their own
/// setting.
pub(super) fn strip_proxy_fields(headers: &mut HeaderMap) {
    let is_for_proxy = |name: &&HeaderName| {
        name.as_str().strip_prefix("proxy").is_some_and(|rest| matches!(rest.as_bytes(), [] | [b'-', ..]))
    };
    while let Some(name) = headers.keys().find(is_for_proxy).cloned() {
        headers.remove(name);
    }
}

/// Makes of a request for another protocol one that asks for none.
///
/// # Errors
/// `Unsupported` (501): an extended `CONNECT`, which is nothing else.
pub(super) fn without_upgrade(parts: &mut Parts) -> Result<(), Error> {
    if is_extended(parts) {
        return Err(Error::new(ErrorKind::Unsupported, "the proxy carries no other protocols"));
    }
    // `Connection` stays: it may name other fields, which must not go further.
    if parts.headers.remove(UPGRADE).is_some() {
        parts.extensions.remove::<OnUpgrade>();
    }
    Ok(())
}

/// The host and the port of an authority that was found valid: `http` would look for a user's name in it, each time.
pub(super) fn split(authority: &Authority) -> (&str, Option<u16>) {
    let text = authority.as_str();
    let before = text.trim_end_matches(|end: char| end.is_ascii_digit());
    match before.strip_suffix(':') {
        Some(host) => (host, text.get(before.len()..).and_then(|port| port.parse().ok())),
        None => (text, None),
    }
}

/// `Host`, of which there is one at most, as the URL has it.
///
/// # Errors
/// `InvalidTarget` (400), which a valid authority never is.
pub(super) fn set_host(headers: &mut HeaderMap, authority: &Authority) -> Result<(), Error> {
    if host_field(headers).is_some_and(|host| host.as_bytes() == authority.as_str().as_bytes()) {
        return Ok(());
    }
    let host = HeaderValue::from_str(authority.as_str())
        .map_err(|error| Error::new(ErrorKind::InvalidTarget, "target names no valid host").with_source(error))?;
    headers.insert(HOST, host);
    Ok(())
}

/// RFC 9110 §7.6.2: a request that may not go further is answered here; one that may, one step less far.
///
/// # Errors
/// `MethodNotAllowed` (405) for a `TRACE` that may not.
pub(super) fn go_further(parts: &mut Parts) -> Result<Option<Response<Body>>, Error> {
    if !is_last_hop(&parts.method, &mut parts.headers) {
        return Ok(None);
    }
    if parts.method == Method::TRACE {
        return Err(Error::new(ErrorKind::MethodNotAllowed, "TRACE is not answered here"));
    }
    Ok(Some(Response::new(Body::empty())))
}

/// RFC 9110 §9.3.6: `CONNECT` has no body. Bytes behind the head are the tunnel's, and whoever frames them as a body means to have them
/// read twice.
///
/// # Errors
/// `RequestBody` (400).
pub(super) fn check_no_body(headers: &HeaderMap) -> Result<(), Error> {
    let length = headers.get_all(CONTENT_LENGTH).iter().any(|length| length != "0");
    if length || headers.contains_key(TRANSFER_ENCODING) {
        return Err(Error::new(ErrorKind::RequestBody, "CONNECT has no body"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn fields_for_the_proxy_are_taken_off_and_no_others() {
        let request = Request::get("/")
            .header("proxy-authorization", "Basic x")
            .header("proxy-connection", "keep-alive")
            .header("proxy-connection", "close")
            .header("proxy-anything", "1")
            .header("proxy", "http://evil.test")
            .header("proxying", "kept")
            .header("x-proxy", "kept");
        let mut headers = request.body(()).unwrap().into_parts().0.headers;
        strip_proxy_fields(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["proxying", "x-proxy"]);
    }

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        for (text, expected) in [
            ("a.test", ("a.test", None)),
            ("a.test:80", ("a.test", Some(80))),
            ("a.test:", ("a.test", None)),
            ("[::1]", ("[::1]", None)),
            ("[::1]:8080", ("[::1]", Some(8080))),
        ] {
            let authority: Authority = text.parse().unwrap();
            assert_eq!(split(&authority), expected);
            assert_eq!(split(&authority), (authority.host(), authority.port_u16()), "as http has it");
        }
    }

    #[test]
    fn a_request_goes_no_further_than_it_may() {
        let further = |method: Method, left: &str| {
            let request = Request::builder().method(method).uri("http://h.test/").header("max-forwards", left);
            let mut parts = request.body(()).unwrap().into_parts().0;
            let answer = go_further(&mut parts).map(|answer| answer.map(|answer| answer.status().as_u16()));
            (answer.map_err(|error| error.status().as_u16()), parts.headers["max-forwards"].clone())
        };
        assert_eq!(further(Method::OPTIONS, "2"), (Ok(None), "1".parse().unwrap()));
        assert_eq!(further(Method::OPTIONS, "0").0, Ok(Some(200)));
        assert_eq!(further(Method::TRACE, "0").0, Err(405));
        assert_eq!(further(Method::GET, "0"), (Ok(None), "0".parse().unwrap()));
    }
}
