//! The fields that hold URLs, and where in their values the URLs stand.

use std::ops::Range;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_LOCATION, Entry, LINK, LOCATION, REFRESH, SET_COOKIE},
};

use crate::message::location::{Mapping, cookie};

/// A part of a value, and what takes its place.
pub(super) type Edit = (Range<usize>, Vec<u8>);

/// Finds what changes in one value.
type Find = fn(&Mapping, &[u8]) -> Vec<Edit>;

pub(super) fn apply(mapping: &Mapping, headers: &mut HeaderMap) {
    let found = found(headers);
    let fields: [(HeaderName, Find); 5] =
        [(LOCATION, whole), (CONTENT_LOCATION, whole), (REFRESH, refresh), (LINK, link), (SET_COOKIE, cookie::edits)];
    if found == 0 {
        return;
    }
    for (name, edits) in fields {
        if found & bit(name.as_str()) == 0 {
            continue;
        }
        if let Entry::Occupied(mut entry) = headers.entry(name) {
            for value in entry.iter_mut() {
                edit(value, edits(mapping, value.as_bytes()));
            }
        }
    }
}

/// True if a head has any of these fields.
pub(crate) fn concerns(headers: &HeaderMap) -> bool {
    found(headers) != 0
}

fn found(headers: &HeaderMap) -> u8 {
    headers.keys().fold(0, |found, name| found | bit(name.as_str()))
}

fn bit(name: &str) -> u8 {
    match name {
        "location" => 1,
        "content-location" => 2,
        "refresh" => 4,
        "link" => 8,
        "set-cookie" => 16,
        _ => 0,
    }
}

/// Puts the edits, which stand in order and do not overlap, into the value.
fn edit(value: &mut HeaderValue, edits: Vec<Edit>) {
    if edits.is_empty() {
        return;
    }
    let old = value.as_bytes();
    let mut new = Vec::with_capacity(old.len() + 32);
    let mut at = 0;
    for (range, part) in edits {
        new.extend_from_slice(old.get(at..range.start).unwrap_or_default());
        new.extend_from_slice(&part);
        at = range.end;
    }
    new.extend_from_slice(old.get(at..).unwrap_or_default());
    // Every part comes from a field value, so the whole is one; if not, the upstream's words stand.
    if let Ok(new) = HeaderValue::from_maybe_shared(bytes::Bytes::from(new)) {
        *value = new;
    }
}

/// `Location` and `Content-Location`: the value is the reference.
fn whole(mapping: &Mapping, value: &[u8]) -> Vec<Edit> {
    mapping.reference(value).map(|mapped| (0..value.len(), mapped)).into_iter().collect()
}

/// `Refresh`: `5; url=/x`, as browsers read it: `;` or `,` before it, quotes around it or none.
fn refresh(mapping: &Mapping, value: &[u8]) -> Vec<Edit> {
    let url = || {
        let mut at = value.iter().position(|byte| matches!(byte, b';' | b','))? + 1;
        at += white(value.get(at..)?);
        at += value.get(at..at + 3).filter(|word| word.eq_ignore_ascii_case(b"url"))?.len();
        at += white(value.get(at..)?);
        at += value.get(at..)?.starts_with(b"=").then_some(1)?;
        at += white(value.get(at..)?);
        let rest = value.get(at..)?;
        let range = match rest.first() {
            Some(quote @ (b'"' | b'\'')) => {
                let inside = rest.get(1..)?;
                let len = inside.iter().position(|byte| byte == quote).unwrap_or(inside.len());
                at + 1..at + 1 + len
            }
            _ => at..at + rest.trim_ascii_end().len(),
        };
        let mapped = mapping.reference(value.get(range.clone())?)?;
        Some((range, mapped))
    };
    url().into_iter().collect()
}

/// `Link` (RFC 8288 §3): every `<reference>` that stands outside quotes.
fn link(mapping: &Mapping, value: &[u8]) -> Vec<Edit> {
    let mut edits = Vec::new();
    let (mut quoted, mut escaped, mut open) = (false, false, None);
    for (at, byte) in value.iter().enumerate() {
        match (byte, open) {
            (b'>', Some(start)) => {
                if let Some(mapped) = value.get(start..at).and_then(|reference| mapping.reference(reference)) {
                    edits.push((start..at, mapped));
                }
                open = None;
            }
            (_, Some(_)) => {}
            _ if escaped => escaped = false,
            (b'\\', None) if quoted => escaped = true,
            (b'"', None) => quoted = !quoted,
            (b'<', None) if !quoted => open = Some(at + 1),
            _ => {}
        }
    }
    edits
}

fn white(bytes: &[u8]) -> usize {
    bytes.len() - bytes.trim_ascii_start().len()
}
