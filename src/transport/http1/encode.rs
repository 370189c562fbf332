//! The head of a request, as bytes.

use std::fmt;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts};

use super::framing::RequestFraming;
use crate::{
    error::{Error, ErrorKind},
    message::{connection_auth::authenticates, fields::Fields, framing::parse_length, hop},
};

/// Writes the head of the request to `out`: target in origin form (of `CONNECT` its authority, RFC 9112 §3.2.3), every
/// field as it is, framing fields anew.
///
/// `Host` is `host`, else what the request has, else written from the authority (RFC 9112 §3.2). `more` adds fields to those of the map, which has
/// none of the same names. On the `last` request of its connection, `Connection` says so, unless the connection is to become a tunnel.
pub(crate) fn request_head(
    out: &mut Vec<u8>,
    parts: &Parts,
    framing: RequestFraming,
    host: Option<&HeaderValue>,
    last: bool,
    more: impl FnOnce(&Extensions, &mut Lines<'_>),
) -> Seen {
    let mut seen = Seen::default();
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    let target = match parts.uri.path_and_query() {
        Some(target) => target.as_str(),
        None if parts.method == Method::CONNECT => parts.uri.authority().map_or("", |authority| authority.as_str()),
        None => "/",
    };
    if !target.starts_with(['/', '*']) && parts.uri.path_and_query().is_some() {
        // `http://h?q` has an empty path, which is sent as `/` (RFC 9112 §3.2.1).
        out.push(b'/');
    }
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut has_host = host.is_some();
    if let Some(host) = host {
        line(out, &header::HOST, host.as_bytes());
    }
    for (name, value) in &parts.headers {
        match *name {
            header::CONTENT_LENGTH | header::TRANSFER_ENCODING => continue,
            header::HOST if host.is_some() => continue,
            header::HOST => has_host = true,
            // RFC 9110 §10.1.1: no expectation without content.
            header::EXPECT if !framing.has_content() && is_continue(value) => continue,
            header::EXPECT => seen.expect = true,
            header::UPGRADE => seen.upgrade = true,
            header::AUTHORIZATION | header::PROXY_AUTHORIZATION => seen.binds |= authenticates(value),
            _ => {}
        }
        line(out, name, value.as_bytes());
    }
    if !has_host {
        let authority = parts.uri.authority().map_or("", |authority| authority.as_str());
        line(out, &header::HOST, authority.as_bytes());
    }
    more(&parts.extensions, &mut Lines(out));
    if last && !seen.upgrade && parts.method != Method::CONNECT {
        // RFC 9112 §9.6: so that the upstream need not wait for another.
        line(out, &header::CONNECTION, b"close");
        seen.close = true;
    }
    match framing {
        RequestFraming::None => {}
        RequestFraming::Length(length) => {
            line(out, &header::CONTENT_LENGTH, itoa::Buffer::new().format(length).as_bytes());
        }
        RequestFraming::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
    seen
}

/// True of `100-continue`, which is the only expectation there is.
pub(crate) fn is_continue(expect: &HeaderValue) -> bool {
    expect.as_bytes().eq_ignore_ascii_case(b"100-continue")
}

/// What was written that means something to whoever sends the head.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) close: bool,
    pub(crate) expect: bool,
    pub(crate) upgrade: bool,
    /// Credentials of a scheme that authenticates connections.
    pub(crate) binds: bool,
}

/// Writes the end of a chunked body, with the trailers that may stand there (RFC 9110 §6.5.1).
pub(crate) fn last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        if !forbidden_in_trailers(name) {
            line(out, name, value.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// How the body of a request is delimited, from its head and its size. An exact size wins; a field that contradicts it is refused.
pub(crate) fn request_framing(
    method: &Method,
    headers: &HeaderMap,
    size: http_body::SizeHint,
) -> Result<RequestFraming, Error> {
    let declared = declared_length(headers)?;
    if declared.is_some_and(|declared| size.exact().is_some_and(|exact| exact != declared)) {
        return Err(Error::new(ErrorKind::RequestBody, "Content-Length differs from the length of the body"));
    }
    Ok(RequestFraming::of(method, &size, declared))
}

fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let Some(first) = headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
    let length = parse_length(first.as_bytes());
    if length.is_none()
        || headers.get_all(header::CONTENT_LENGTH).iter().any(|line| parse_length(line.as_bytes()) != length)
    {
        return Err(Error::new(ErrorKind::RequestBody, "Content-Length is not a single number"));
    }
    Ok(length)
}

/// Fields that steer framing, routing, or how a message is read, or are of one connection; they mean nothing, or harm, after the body.
pub(crate) fn forbidden_in_trailers(name: &HeaderName) -> bool {
    hop::is_hop_by_hop(name)
        || matches!(
            *name,
            header::AUTHORIZATION
                | header::CONNECTION
                | header::CONTENT_ENCODING
                | header::CONTENT_LENGTH
                | header::CONTENT_RANGE
                | header::CONTENT_TYPE
                | header::COOKIE
                | header::EXPECT
                | header::HOST
                | header::MAX_FORWARDS
                | header::SET_COOKIE
                | header::TE
                | header::TRAILER
                | header::TRANSFER_ENCODING
                | header::UPGRADE
        )
}

/// The fields of a head that is being written.
pub(crate) struct Lines<'a>(&'a mut Vec<u8>);

impl<'a> Lines<'a> {
    pub(crate) fn to(head: &'a mut Vec<u8>) -> Self {
        Self(head)
    }
}

impl Fields for Lines<'_> {
    fn set(&mut self, name: HeaderName, value: &HeaderValue) {
        line(self.0, &name, value.as_bytes());
    }

    fn set_text(&mut self, name: HeaderName, text: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result) {
        self.0.extend_from_slice(name.as_str().as_bytes());
        self.0.extend_from_slice(b": ");
        // Writing to a Vec cannot fail.
        let _ = text(self);
        self.0.extend_from_slice(b"\r\n");
    }

    fn append(&mut self, name: HeaderName, value: &HeaderValue) {
        self.set(name, value);
    }

    fn lines(&mut self) -> Option<&mut Vec<u8>> {
        Some(self.0)
    }
}

impl fmt::Write for Lines<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

fn line(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
