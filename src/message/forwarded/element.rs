//! The elements of `Forwarded` (RFC 7239 §4).

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header};

use super::{
    list::{MAX_BYTES, MAX_ELEMENTS, into_value},
    node::{parse_node, write_node},
};
use crate::ext::Hop;

/// What one proxy said of the request as it received it.
///
/// `host` and `proto` are as they were written, escapes taken away; they are claims, to be checked by whoever believes them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Element<'a> {
    /// Who made the request; [`Hop::Unknown`] where the element does not say or cannot be read.
    pub node: Hop,
    /// The interface on which the proxy received it.
    pub by: Option<Hop>,
    /// The `Host` field the proxy received.
    pub host: Option<Cow<'a, str>>,
    /// The scheme by which the proxy received it.
    pub proto: Option<Cow<'a, str>>,
}

impl<'a> Element<'a> {
    /// An element that says `for=` and nothing else.
    #[must_use]
    pub const fn new(node: Hop) -> Self {
        Self { node, by: None, host: None, proto: None }
    }

    /// The same with `by=`.
    #[must_use]
    pub fn by(mut self, by: Hop) -> Self {
        self.by = Some(by);
        self
    }

    /// The same with `host=`.
    #[must_use]
    pub fn host(mut self, host: impl Into<Cow<'a, str>>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// The same with `proto=`.
    #[must_use]
    pub fn proto(mut self, proto: impl Into<Cow<'a, str>>) -> Self {
        self.proto = Some(proto.into());
        self
    }
}

/// Reads all lines of `Forwarded` as one list, leftmost (farthest) first.
///
/// An element that breaks the grammar or names a parameter twice stands in its place with an unknown node and nothing else, and so does a
/// line whose quotes do not pair, as a whole: a quote that a client left open must not swallow what a proxy wrote after it unseen.
#[must_use]
pub fn elements(headers: &HeaderMap) -> Vec<Element<'_>> {
    let mut found = Vec::new();
    let mut budget = MAX_BYTES;
    for line in headers.get_all(header::FORWARDED).iter().rev() {
        let Some(left) = budget.checked_sub(line.len() + 1) else {
            found.push(Element::new(Hop::Unknown));
            break;
        };
        budget = left;
        match split_outside_quotes(line.as_bytes(), b',') {
            Some(parts) => found.extend(
                parts
                    .into_iter()
                    .rev()
                    .filter(|part| !part.is_empty())
                    .map(|part| parse_element(part).unwrap_or_else(unreadable)),
            ),
            None => found.push(unreadable()),
        }
    }
    if found.len() > MAX_ELEMENTS {
        found.truncate(MAX_ELEMENTS);
        found.push(unreadable());
    }
    found.reverse();
    found
}

/// Writes one `Forwarded` line: values that are no token are quoted and escaped as the ABNF asks, IPv6 addresses and ports always are.
pub fn write_elements<'a, 'b: 'a>(elements: impl IntoIterator<Item = &'a Element<'b>>) -> HeaderValue {
    let mut line = String::new();
    let mut node = String::new();
    for element in elements {
        if !line.is_empty() {
            line.push_str(", ");
        }
        for (name, hop) in [("for=", Some(&element.node)), (";by=", element.by.as_ref())] {
            if let Some(hop) = hop {
                node.clear();
                // Writing to a String cannot fail.
                let _ = write_node(&mut node, hop, true);
                write_pair(&mut line, name, &node);
            }
        }
        for (name, value) in [(";host=", &element.host), (";proto=", &element.proto)] {
            if let Some(value) = value {
                write_pair(&mut line, name, value);
            }
        }
    }
    into_value(line)
}

fn unreadable<'a>() -> Element<'a> {
    Element::new(Hop::Unknown)
}

/// `[ forwarded-pair ] *( ";" [ forwarded-pair ] )`; `None` if it is anything else.
fn parse_element(element: &[u8]) -> Option<Element<'_>> {
    let (mut node, mut by, mut host, mut proto) = (None, None, None, None);
    for pair in split_outside_quotes(element, b';')?.into_iter().filter(|pair| !pair.is_empty()) {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (pair.get(..equals)?, pair.get(equals + 1..)?);
        let value = parse_value(value)?;
        // RFC 7239 §4: each parameter MUST NOT occur more than once per field-value; names are case-insensitive.
        let doubled = match name {
            _ if name.eq_ignore_ascii_case(b"for") => node.replace(parse_node(&value)).is_some(),
            _ if name.eq_ignore_ascii_case(b"by") => by.replace(parse_node(&value)).is_some(),
            _ if name.eq_ignore_ascii_case(b"host") => host.replace(text(value)).is_some(),
            _ if name.eq_ignore_ascii_case(b"proto") => proto.replace(text(value)).is_some(),
            _ => !is_token(name),
        };
        if doubled {
            return None;
        }
    }
    Some(Element { node: node.unwrap_or(Hop::Unknown), by, host, proto })
}

/// `value = token / quoted-string`.
fn parse_value(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(rest) = value.strip_prefix(b"\"") else {
        // Colons and brackets must be quoted, but who forgets the quotes around an address means no harm.
        let lax = |byte: &u8| is_token_byte(*byte) || matches!(byte, b':' | b'[' | b']');
        return (!value.is_empty() && value.iter().all(lax)).then_some(Cow::Borrowed(value));
    };
    let inside = rest.strip_suffix(b"\"")?;
    if !inside.iter().any(|byte| matches!(byte, b'"' | b'\\')) {
        return Some(Cow::Borrowed(inside));
    }
    let mut plain = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => plain.push(*bytes.next()?),
            b'"' => return None,
            other => plain.push(*other),
        }
    }
    Some(Cow::Owned(plain))
}

/// What is no UTF-8 becomes U+FFFD, which no check of a host or a scheme lets pass.
fn text(value: Cow<'_, [u8]>) -> Cow<'_, str> {
    match value {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// The parts between separators that stand outside quotes, white space around them cut off; `None` where a quote stays open.
fn split_outside_quotes(bytes: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            byte if *byte == separator && !quoted => {
                parts.push(bytes.get(start..at)?.trim_ascii());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(bytes.get(start..)?.trim_ascii());
    (!quoted).then_some(parts)
}

fn write_pair(line: &mut String, name: &str, value: &str) {
    line.push_str(name);
    if !value.is_empty() && value.bytes().all(is_token_byte) {
        line.push_str(value);
        return;
    }
    line.push('"');
    // What cannot stand in a field value at all is left out: nobody else's bytes may end this line.
    for char in value.chars().filter(|char| !char.is_ascii_control() || *char == '\t') {
        if matches!(char, '"' | '\\') {
            line.push('\\');
        }
        line.push(char);
    }
    line.push('"');
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// RFC 9110 §5.6.2: tchar.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
