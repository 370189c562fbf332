//! The heads of messages, between HTTP/1.1's shape and HTTP/2's.

use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::{
    error::{Error, ErrorKind},
    message::{
        extended::{self, Extended, extended_connect},
        hop,
        upgrade::Handshake,
    },
    transport::http1::{RequestFraming, forbidden_in_trailers, is_continue},
};

/// What becomes a tunnel by a `2xx`.
pub(super) enum Asked {
    /// Extended `CONNECT` (RFC 8441), for this handshake.
    Switch(Handshake),
    /// `CONNECT`.
    Connect,
}

/// The head of a request as HTTP/2 has it (RFC 9113 §8.3.1): `Host` as `:authority`, `Content-Length` anew, no field of the connection.
/// A handshake becomes an extended `CONNECT`.
///
/// # Errors
/// `InvalidTarget` (400) if there is more than one `Host`, or one that cannot be an authority.
pub(super) fn request(
    parts: &Parts,
    framing: RequestFraming,
    unstripped: bool,
    more: impl FnOnce(&Extensions, &mut HeaderMap),
) -> Result<(Request<()>, Option<Asked>), Error> {
    let mut headers = parts.headers.clone();
    more(&parts.extensions, &mut headers);
    if unstripped {
        hop::strip_request(&mut headers, Version::HTTP_11);
    }
    let asked = match parts.method {
        Method::CONNECT => Some(Asked::Connect),
        Method::GET if headers.contains_key(header::UPGRADE) => {
            extended_connect(&parts.method, Version::HTTP_11, &mut headers).map(Asked::Switch)
        }
        _ => None,
    };
    let named = match (&asked, parts.uri.authority()) {
        // RFC 9113 §8.5: what it asks for, whatever Host says.
        (Some(Asked::Connect), Some(authority)) => authority.clone(),
        _ => authority(&parts.uri, &headers)?,
    };
    for name in NOT_IN_HTTP_2 {
        headers.remove(name);
    }
    if headers.get(header::TE).is_some_and(|te| te != "trailers") {
        headers.remove(header::TE);
    }
    // RFC 9110 §10.1.1: no expectation without content.
    if !framing.has_content() && headers.get(header::EXPECT).is_some_and(is_continue) {
        headers.remove(header::EXPECT);
    }
    if let RequestFraming::Length(length) = framing {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let mut uri = http::uri::Parts::default();
    uri.authority = Some(named);
    if !matches!(asked, Some(Asked::Connect)) {
        uri.scheme = Some(parts.uri.scheme().cloned().unwrap_or(Scheme::HTTP));
        uri.path_and_query = Some(path_and_query(&parts.uri)?);
    }
    let mut request = Request::new(());
    *request.method_mut() = if asked.is_some() { Method::CONNECT } else { parts.method.clone() };
    if let Some(Asked::Switch(handshake)) = &asked {
        request.extensions_mut().insert(h2::ext::Protocol::from(handshake.protocol()));
    }
    *request.uri_mut() = Uri::from_parts(uri).map_err(|error| target("invalid request target").with_source(error))?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok((request, asked))
}

/// What the client asked for is what `Host` says; the URI may say only where to find it.
fn authority(uri: &Uri, headers: &HeaderMap) -> Result<Authority, Error> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let authority = match (hosts.next(), uri.authority()) {
        (Some(_), _) if hosts.next().is_some() => return Err(target("more than one Host header")),
        (Some(host), _) => Authority::try_from(host.as_bytes())
            .map_err(|error| target("the Host header is not a valid authority").with_source(error))?,
        (None, Some(authority)) => authority.clone(),
        (None, None) => return Err(target("the request has neither an authority nor a Host header")),
    };
    if authority.as_str().contains('@') {
        return Err(target("the authority contains user information"));
    }
    Ok(authority)
}

fn path_and_query(uri: &Uri) -> Result<PathAndQuery, Error> {
    match uri.path_and_query() {
        Some(target) if target.as_str().starts_with(['/', '*']) => Ok(target.clone()),
        Some(rest) => PathAndQuery::try_from(format!("/{}", rest.as_str()))
            .map_err(|error| target("invalid request target").with_source(error)),
        None => Ok(PathAndQuery::from_static("/")),
    }
}

/// Trailers without the fields that mean nothing, or harm, after the body (RFC 9110 §6.5.1).
pub(super) fn trailers(mut trailers: HeaderMap) -> HeaderMap {
    let forbidden: Vec<HeaderName> = trailers.keys().filter(|name| forbidden_in_trailers(name)).cloned().collect();
    for name in forbidden {
        trailers.remove(name);
    }
    trailers
}

/// Makes the head of a response look like any other: one length, and none on `204`.
pub(super) fn settle<B>(response: &mut Response<B>, strip: bool) {
    let status = response.status();
    let headers = response.headers_mut();
    if strip {
        hop::strip_response(headers, false);
    }
    if status == StatusCode::NO_CONTENT {
        headers.remove(header::CONTENT_LENGTH);
    } else if headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some()
        && let Some(length) = headers.get(header::CONTENT_LENGTH).cloned()
    {
        // h2 has refused those that differ.
        headers.insert(header::CONTENT_LENGTH, length);
    }
}

/// Makes the head of a `2xx` to what was asked what the client expects: the `101` of its handshake, or a `200` without a length.
pub(super) fn agree<B>(asked: &Asked, extensions: &mut Extensions, response: &mut Response<B>) {
    let headers = response.headers_mut();
    hop::strip_response(headers, false);
    // RFC 9110 §8.6, §9.3.6: no body, and no length.
    headers.remove(header::CONTENT_LENGTH);
    if extensions.remove::<Extended>().is_some() {
        extended::accept(headers);
        *response.status_mut() = StatusCode::OK;
    } else if let Asked::Switch(handshake) = asked {
        extended::switch(handshake, headers);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.version_mut() = Version::HTTP_11;
    }
}

fn target(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidTarget, reason)
}

/// RFC 9113 §8.2.2, what says the same as `:authority`, and what is written anew.
const NOT_IN_HTTP_2: [HeaderName; 7] = [
    header::HOST,
    header::CONNECTION,
    header::UPGRADE,
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
