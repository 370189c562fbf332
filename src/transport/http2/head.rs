//! The heads of messages, between HTTP/1.1's shape and HTTP/2's.

use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::{
    error::{Error, ErrorKind},
    message::hop,
    transport::http1::{RequestFraming, forbidden_in_trailers},
};

/// The head of a request as HTTP/2 has it (RFC 9113 §8.3.1): `Host` as `:authority`, `Content-Length` anew, no field of the connection.
///
/// # Errors
/// `Target` (400) if there is more than one `Host`, or one that cannot be an authority.
pub(super) fn request(
    parts: &Parts,
    framing: RequestFraming,
    unstripped: bool,
    more: impl FnOnce(&Extensions, &mut HeaderMap),
) -> Result<Request<()>, Error> {
    let mut headers = parts.headers.clone();
    more(&parts.extensions, &mut headers);
    if unstripped {
        hop::strip_request(&mut headers, Version::HTTP_2);
    }
    let authority = authority(&parts.uri, &headers)?;
    for name in NOT_IN_HTTP_2 {
        headers.remove(name);
    }
    if headers.get(header::TE).is_some_and(|te| te != "trailers") {
        headers.remove(header::TE);
    }
    if let RequestFraming::Length(length) = framing {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(parts.uri.scheme().cloned().unwrap_or(Scheme::HTTP));
    uri.authority = Some(authority);
    uri.path_and_query = Some(path_and_query(&parts.uri)?);
    let mut request = Request::new(());
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() =
        Uri::from_parts(uri).map_err(|error| target("the target cannot be sent").with_source(error))?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok(request)
}

/// What the client asked for is what `Host` says; the URI may say only where to find it.
fn authority(uri: &Uri, headers: &HeaderMap) -> Result<Authority, Error> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let authority = match (hosts.next(), uri.authority()) {
        (Some(_), _) if hosts.next().is_some() => return Err(target("there is more than one Host")),
        (Some(host), _) => Authority::try_from(host.as_bytes())
            .map_err(|error| target("Host cannot be the authority of an HTTP/2 request").with_source(error))?,
        (None, Some(authority)) => authority.clone(),
        (None, None) => return Err(target("an HTTP/2 request needs an authority or Host")),
    };
    if authority.as_str().contains('@') {
        return Err(target("the authority holds user information"));
    }
    Ok(authority)
}

fn path_and_query(uri: &Uri) -> Result<PathAndQuery, Error> {
    match uri.path_and_query() {
        Some(target) if target.as_str().starts_with(['/', '*']) => Ok(target.clone()),
        Some(rest) => PathAndQuery::try_from(format!("/{}", rest.as_str()))
            .map_err(|error| target("the target cannot be sent").with_source(error)),
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

fn target(reason: &'static str) -> Error {
    Error::new(ErrorKind::Target, reason)
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
