//! The lines of `Signature-Input`, `Signature` and `Content-Digest`: put together, read, taken out.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{
    BareItemFromInput, KeyRef, Parser,
    visitor::{DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ParameterVisitor},
};

use super::{
    input::{Which, parse_input},
    refusal::Refusal,
};
use crate::protocol::names::{SIGNATURE, SIGNATURE_INPUT};

/// The lines of a field as one list, borrowed if there is but one.
pub(super) fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let mut lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let first = lines.next()?;
    Some(lines.fold(Cow::Borrowed(first), |mut joined, line| {
        joined.to_mut().extend_from_slice(b", ");
        joined.to_mut().extend_from_slice(line);
        joined
    }))
}

/// The bytes of our member of `Signature`, which must be there once.
pub(super) fn parse_signature(field: &[u8], which: Which) -> Result<Vec<u8>, Refusal> {
    parse_bytes(field, which.name()).map_err(|refusal| match refusal {
        Refusal::Malformed(_) => Refusal::Malformed("Signature"),
        other => other,
    })
}

/// The SHA-256 member of `Content-Digest` (RFC 9530 §2).
pub(super) fn parse_digest(field: &[u8]) -> Result<[u8; 32], Refusal> {
    let bytes = parse_bytes(field, "sha-256").map_err(|_| Refusal::Malformed("Content-Digest"))?;
    bytes.try_into().map_err(|_| Refusal::Malformed("Content-Digest"))
}

/// Takes the lines out that hold a member of ours, and those that would spoil the whole field: what cannot be read, and empty lines, which
/// alone are a dictionary and beside ours are none (RFC 9651 §4.2). Lines of others stay as they are.
pub(super) fn disown(headers: &mut HeaderMap, which: Which) {
    // As we write them, our members begin their lines: most of ours are known without being read.
    let begins =
        |line: &[u8]| line.strip_prefix(which.name().as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='));
    let stays = |line: &[u8]| !begins(line) && !line.trim_ascii().is_empty();
    retain_lines(headers, &SIGNATURE_INPUT, |line| stays(line) && parse_input(line, which) == Err(Refusal::Missing));
    retain_lines(headers, &SIGNATURE, |line| stays(line) && parse_signature(line, which) == Err(Refusal::Missing));
}

fn retain_lines(headers: &mut HeaderMap, name: &HeaderName, stays: impl Fn(&[u8]) -> bool) {
    let lines = headers.get_all(name);
    let kept: Vec<HeaderValue> = lines.iter().filter(|line| stays(line.as_bytes())).cloned().collect();
    if kept.len() == lines.iter().count() {
        return;
    }
    headers.remove(name);
    for line in kept {
        headers.append(name.clone(), line);
    }
}

/// The one byte sequence under a key of a dictionary.
fn parse_bytes(field: &[u8], key: &'static str) -> Result<Vec<u8>, Refusal> {
    let mut reader = BytesReader { key, found: None, refusal: None };
    if Parser::new(field).parse_dictionary_with_visitor(&mut reader).is_err() {
        return Err(reader.refusal.unwrap_or(Refusal::Malformed(key)));
    }
    reader.found.ok_or(Refusal::Missing)
}

// === impl BytesReader ===

struct BytesReader {
    key: &'static str,
    found: Option<Vec<u8>>,
    refusal: Option<Refusal>,
}

impl<'a> DictionaryVisitor<'a> for &mut BytesReader {
    type Out = ();
    type Error = Refusal;

    fn entry(&mut self, key: &'a KeyRef) -> Result<impl EntryVisitor<'a>, Refusal> {
        let ours = key.as_str() == self.key;
        if ours && self.found.is_some() {
            self.refusal = Some(Refusal::Ambiguous);
            return Err(Refusal::Ambiguous);
        }
        Ok(BytesMember { reader: self, ours })
    }

    fn finish(self) -> Result<(), Refusal> {
        Ok(())
    }
}

struct BytesMember<'r> {
    reader: &'r mut BytesReader,
    ours: bool,
}

impl<'a> EntryVisitor<'a> for BytesMember<'_> {
    type Error = Refusal;

    fn item(self) -> Result<impl ItemVisitor<'a>, Refusal> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'a>, Refusal> {
        if self.ours { Err(Refusal::Malformed("not bytes")) } else { Ok(Ignored) }
    }
}

impl<'a> ItemVisitor<'a> for BytesMember<'_> {
    type Out = Option<()>;
    type Error = Refusal;

    fn bare_item(self, item: BareItemFromInput<'a>) -> Result<impl ParameterVisitor<'a, Out = Option<()>>, Refusal> {
        match item {
            _ if !self.ours => {}
            BareItemFromInput::ByteSequence(bytes) => self.reader.found = Some(bytes),
            _ => return Err(Refusal::Malformed("not bytes")),
        }
        // Parameters of ours are refused: none is defined, and none would be covered.
        Ok(if self.ours { Some(NoParameters) } else { None })
    }
}

struct NoParameters;

impl<'a> ParameterVisitor<'a> for NoParameters {
    type Out = ();
    type Error = Refusal;

    fn parameter(&mut self, _key: &'a KeyRef, _value: BareItemFromInput<'a>) -> Result<(), Refusal> {
        Err(Refusal::Malformed("parameter"))
    }

    fn finish(self) -> Result<(), Refusal> {
        Ok(())
    }
}
