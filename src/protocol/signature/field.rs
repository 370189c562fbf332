//! The lines of `Signature-Input`, `Signature` and `Content-Digest`: put together, read, taken out.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{
    BareItemFromInput, KeyRef, Parser,
    visitor::{DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ParameterVisitor},
};

use super::{
    input::{Which, parse_input},
    refusal::Refusal,
};
use crate::{
    error::{Error, ErrorKind},
    protocol::names::{CONTENT_DIGEST, SIGNATURE, SIGNATURE_INPUT},
};

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
    let bytes = parse_bytes(field, SHA_256).map_err(|_| Refusal::Malformed("Content-Digest"))?;
    bytes.try_into().map_err(|_| Refusal::Malformed("Content-Digest"))
}

/// Removes the members of this protocol, and what cannot be read, which would make the whole header unreadable beside a
/// member of this protocol (RFC 9651 §4.2). Other members stay, also in the same line; lines without such a member stay
/// byte for byte.
pub(super) fn disown(headers: &mut HeaderMap, which: Which) {
    retain_members(headers, &SIGNATURE_INPUT, |member| parse_input(member, which) == Err(Refusal::Missing));
    retain_members(headers, &SIGNATURE, |member| parse_signature(member, which) == Err(Refusal::Missing));
}

/// Removes the SHA-256 of `Content-Digest`, and what cannot be read.
pub(super) fn disown_digest(headers: &mut HeaderMap) {
    retain_members(headers, &CONTENT_DIGEST, |member| parse_bytes(member, SHA_256) == Err(Refusal::Missing));
}

/// Adds the SHA-256 of a body to `Content-Digest`, beside the digests that are there. One that is right stays as it is:
/// the client may have signed it for a server after this hop.
///
/// # Errors
/// `RequestBody` (400) if there is another SHA-256, or no dictionary.
pub(super) fn add_digest(headers: &mut HeaderMap, digest: &[u8; 32]) -> Result<(), Error> {
    let ours = digest_value(digest)?;
    let refuse = |why: &'static str| Err(Error::new(ErrorKind::RequestBody, why));
    let value = match joined(headers, &CONTENT_DIGEST).filter(|field| !field.trim_ascii().is_empty()) {
        None => ours,
        Some(field) => match parse_bytes(&field, SHA_256) {
            Ok(there) if there == digest => return Ok(()),
            Ok(_) => return refuse("Content-Digest does not match the body"),
            Err(Refusal::Missing) => value(&[&field[..], b", ", ours.as_bytes()].concat())?,
            Err(_) => return refuse("invalid Content-Digest"),
        },
    };
    headers.insert(CONTENT_DIGEST, value);
    Ok(())
}

fn digest_value(digest: &[u8; 32]) -> Result<HeaderValue, Error> {
    value(format!("{SHA_256}=:{}:", STANDARD.encode(digest)).as_bytes())
}

pub(super) fn value(bytes: &[u8]) -> Result<HeaderValue, Error> {
    HeaderValue::from_bytes(bytes).map_err(|error| {
        Error::new(ErrorKind::Internal, "the signature is not a valid header value").with_source(error)
    })
}

fn retain_members(headers: &mut HeaderMap, name: &HeaderName, stays: impl Fn(&[u8]) -> bool) {
    let stays = |member: &&[u8]| !member.trim_ascii().is_empty() && stays(member);
    let mut changed = false;
    let mut kept: Vec<HeaderValue> = Vec::new();
    for line in headers.get_all(name) {
        let rest: Vec<&[u8]> = members(line.as_bytes()).filter(stays).map(<[u8]>::trim_ascii).collect();
        if rest.len() == members(line.as_bytes()).count() {
            kept.push(line.clone());
            continue;
        }
        changed = true;
        // Parts of a header value are one.
        kept.extend(HeaderValue::from_bytes(&rest.join(&b", "[..])).ok().filter(|line| !line.is_empty()));
    }
    if !changed {
        return;
    }
    headers.remove(name);
    for line in kept {
        headers.append(name.clone(), line);
    }
}

/// The members of a line of a dictionary: what stands between the commas outside of quoted strings (RFC 9651 §3.2). A
/// string that is not closed takes the rest of the line with it.
fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' => return !quoted,
            _ => {}
        }
        false
    })
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

/// RFC 9530 §5.
const SHA_256: &str = "sha-256";
