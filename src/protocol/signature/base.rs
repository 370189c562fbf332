//! The signature base (RFC 9421 §2.5): the bytes that a MAC is over, line by line.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, header, request::Parts, uri::Scheme};

use super::refusal::Refusal;
use crate::ext::OverTls;

/// What one line of the base is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Component<'a> {
    /// `@method`.
    Method,
    /// `@authority`.
    Authority,
    /// `@path`.
    Path,
    /// `@query`.
    Query,
    /// `@request-target`.
    RequestTarget,
    /// A field of the head; wrapped with `;bs`.
    Field { name: &'a str, wrapped: bool },
    /// A field of the trailers, `;tr`.
    Trailer { name: &'a str },
    /// `"signature";key="nexthop"`: the signature of the head, in that of the trailers.
    HeadSignature,
}

impl Component<'_> {
    /// True if the two speak of the same thing, wrapped or not.
    pub(super) fn is_same(&self, other: &Component<'_>) -> bool {
        match (self, other) {
            (Self::Field { name, .. }, Component::Field { name: other, .. })
            | (Self::Trailer { name }, Component::Trailer { name: other }) => name == other,
            (one, other) => one == other,
        }
    }
}

/// A base that is being written; ends with [`finish`](Self::finish).
pub(super) struct Base(Vec<u8>);

impl Base {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(1_024))
    }

    /// `"@method"` (RFC 9421 §2.2.1).
    pub(super) fn method(&mut self, parts: &Parts) {
        self.line(br#""@method": "#, parts.method.as_str().as_bytes());
    }

    /// `"@authority"` (§2.2.3): lower case, without the scheme's default port.
    pub(super) fn authority(&mut self, authority: &[u8], scheme: &Scheme) {
        self.0.extend_from_slice(br#""@authority": "#);
        let start = self.0.len();
        self.0.extend_from_slice(without_default_port(authority, scheme));
        if let Some(written) = self.0.get_mut(start..) {
            written.make_ascii_lowercase();
        }
        self.0.push(b'\n');
    }

    /// `"@path"` (§2.2.6), as sent.
    pub(super) fn path(&mut self, parts: &Parts) {
        self.0.extend_from_slice(br#""@path": "#);
        self.target(path(parts));
        self.0.push(b'\n');
    }

    /// `"@query"` (§2.2.7), as sent, with its `?`; `?` alone also if there is no query.
    pub(super) fn query(&mut self, parts: &Parts) {
        self.0.extend_from_slice(br#""@query": ?"#);
        self.target(parts.uri.query().unwrap_or_default().as_bytes());
        self.0.push(b'\n');
    }

    /// `"@request-target"` (§2.2.5) in origin form.
    pub(super) fn request_target(&mut self, parts: &Parts) {
        self.0.extend_from_slice(br#""@request-target": "#);
        self.target(path(parts));
        if let Some(query) = parts.uri.query() {
            self.0.push(b'?');
            self.target(query.as_bytes());
        }
        self.0.push(b'\n');
    }

    /// A part of the target. A base is ASCII (§2.5), so other bytes are percent-encoded; on the wire, they stay as they are.
    fn target(&mut self, bytes: &[u8]) {
        if bytes.is_ascii() {
            self.0.extend_from_slice(bytes);
            return;
        }
        for &byte in bytes {
            if byte.is_ascii() {
                self.0.push(byte);
            } else {
                self.0.extend_from_slice(format!("%{byte:02X}").as_bytes());
            }
        }
    }

    /// A field (§2.1), its lines joined.
    pub(super) fn field<'v>(&mut self, name: &str, values: impl Iterator<Item = &'v HeaderValue>) {
        self.identifier(name, b"");
        self.values(values);
    }

    /// A field of the trailers, with the parameter `tr` (§2.1.4).
    pub(super) fn trailer<'v>(&mut self, name: &str, values: impl Iterator<Item = &'v HeaderValue>) {
        self.identifier(name, b";tr");
        self.values(values);
    }

    fn values<'v>(&mut self, values: impl Iterator<Item = &'v HeaderValue>) {
        for (at, value) in values.enumerate() {
            self.0.extend_from_slice(if at == 0 { b"" } else { b", " });
            self.0.extend_from_slice(trimmed(value));
        }
        self.0.push(b'\n');
    }

    /// A field with the parameter `bs` (§2.1.3): each line as a byte sequence, for values outside ASCII.
    pub(super) fn wrapped<'v>(&mut self, name: &str, values: impl Iterator<Item = &'v HeaderValue>) {
        self.identifier(name, b";bs");
        for (at, value) in values.enumerate() {
            self.0.extend_from_slice(if at == 0 { b":" } else { b", :" });
            self.0.extend_from_slice(STANDARD.encode(trimmed(value)).as_bytes());
            self.0.push(b':');
        }
        self.0.push(b'\n');
    }

    /// `"signature";key="nexthop"` (§2.1.2).
    pub(super) fn head_signature(&mut self, signature: &[u8]) {
        self.0.extend_from_slice(HEAD_SIGNATURE.as_bytes());
        self.0.extend_from_slice(b": :");
        self.0.extend_from_slice(STANDARD.encode(signature).as_bytes());
        self.0.extend_from_slice(b":\n");
    }

    /// The last line, `"@signature-params"` (§2.3), without a line end.
    pub(super) fn finish(mut self, params: &[u8]) -> Self {
        self.0.extend_from_slice(br#""@signature-params": "#);
        self.0.extend_from_slice(params);
        self
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn identifier(&mut self, name: &str, params: &[u8]) {
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'"');
        self.0.extend_from_slice(params);
        self.0.extend_from_slice(b": ");
    }

    fn line(&mut self, identifier: &[u8], value: &[u8]) {
        self.0.extend_from_slice(identifier);
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }
}

/// The scheme by which a request came in, as its target or the acceptor says.
pub(super) fn scheme_received<'a>(parts: &'a Parts, default: &'a Scheme) -> &'a Scheme {
    let of_socket = || if parts.extensions.get::<OverTls>().is_some() { &Scheme::HTTPS } else { default };
    parts.uri.scheme().unwrap_or_else(of_socket)
}

/// The `Host` that is sent, or else the authority of the target.
pub(super) fn authority(parts: &Parts) -> Result<&[u8], Refusal> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => Ok(trimmed(host)),
        (Some(_), Some(_)) => Err(Refusal::Malformed("Host")),
        (None, _) => match parts.uri.authority() {
            Some(authority) => Ok(without_userinfo(authority.as_str()).as_bytes()),
            None => Err(Refusal::Component("@authority")),
        },
    }
}

/// Like [`authority`], for a request that came in: a target in absolute form must not say something else than `Host`.
pub(super) fn authority_received<'a>(parts: &'a Parts, scheme: &Scheme) -> Result<&'a [u8], Refusal> {
    let host = authority(parts)?;
    if let Some(target) = parts.uri.authority() {
        let target = without_default_port(without_userinfo(target.as_str()).as_bytes(), scheme);
        if !without_default_port(host, scheme).eq_ignore_ascii_case(target) {
            return Err(Refusal::Malformed("Host differs from the target"));
        }
    }
    Ok(host)
}

/// True if the target has a `?` and nothing behind it, which `@query` cannot tell from no `?` at all.
pub(super) fn has_empty_query(parts: &Parts) -> bool {
    parts.uri.query() == Some("")
}

/// True if a field's value may stand in a base as it is.
pub(super) fn is_plain<'v>(mut values: impl Iterator<Item = &'v HeaderValue>) -> bool {
    values.all(|value| value.as_bytes().is_ascii())
}

pub(super) fn path(parts: &Parts) -> &[u8] {
    match parts.uri.path() {
        "" => b"/",
        path => path.as_bytes(),
    }
}

fn without_userinfo(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

pub(super) fn without_default_port<'a>(authority: &'a [u8], scheme: &Scheme) -> &'a [u8] {
    let default: &[u8] = if *scheme == Scheme::HTTPS { b":443" } else { b":80" };
    authority.strip_suffix(default).or_else(|| authority.strip_suffix(b":")).unwrap_or(authority)
}

pub(super) fn trimmed(value: &HeaderValue) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let value = value.as_bytes();
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

pub(super) const HEAD_SIGNATURE: &str = r#""signature";key="nexthop""#;
