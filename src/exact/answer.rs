//! Errors as responses: the one place where a proxy turns one into the other, and logs it.

use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};

use crate::{
    body::Body,
    error::{Error, ErrorKind},
    message::target::UpstreamUrl,
};

/// Answers with the error's status and a short text, and logs one line. `allow` is told to a client whose method is refused; `upstream`
/// is for the log alone.
pub(crate) fn answer(error: Error, allow: Option<&HeaderValue>, upstream: Option<&UpstreamUrl>) -> Response<Body> {
    log(&error, upstream);
    let mut response = Response::new(text(&error).into());
    *response.status_mut() = error.status();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if error.kind() == ErrorKind::MethodNotAllowed
        && let Some(allow) = allow
    {
        response.headers_mut().insert(ALLOW, allow.clone());
    }
    response.extensions_mut().insert(error);
    response
}

/// A client learns what is wrong with its request, but nothing of what is behind this proxy, nor why it is not believed.
fn text(error: &Error) -> String {
    let status = error.status();
    let name = status.canonical_reason().unwrap_or("Error");
    if status.is_client_error() && status != StatusCode::FORBIDDEN {
        format!("{name}: {error}\n")
    } else {
        format!("{name}\n")
    }
}

fn log(error: &Error, upstream: Option<&UpstreamUrl>) {
    let (kind, phase, status) = (error.kind(), error.phase(), error.status().as_u16());
    let source = std::error::Error::source(error).map(tracing::field::display);
    // Only where to connect: a path and a query may hold what is nobody's business.
    let socket = upstream.and_then(UpstreamUrl::socket).map(|path| tracing::field::display(path.display()));
    let upstream = upstream.filter(|_| socket.is_none()).map(|href| tracing::field::display(href.authority()));
    if error.status().is_server_error() {
        tracing::warn!(upstream, socket, ?kind, ?phase, status, source, "request failed: {error}");
    } else {
        tracing::debug!(upstream, socket, ?kind, ?phase, status, source, "request failed: {error}");
    }
}
