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

/// `Refresh`: the URL as browsers find it, such as `5; url=/x`, `5;/x` or `5 "/x"`.
fn refresh(mapping: &Mapping, value: &[u8]) -> Vec<Edit> {
    let edit = || {
        let (range, quote) = refresh_url(value)?;
        let mapped = mapping.reference(value.get(range.clone())?)?;
        // A quote from the client's prefix would end the URL.
        let escape = |byte: u8| if quote == Some(byte) { format!("%{byte:02X}").into_bytes() } else { vec![byte] };
        Some((range, mapped.into_iter().flat_map(escape).collect()))
    };
    edit().into_iter().collect()
}

/// The shared declarative refresh steps of HTML: where the URL is, and the quote around it.
fn refresh_url(value: &[u8]) -> Option<(Range<usize>, Option<u8>)> {
    let mut rest = value.trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let time = rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    if digits == 0 && !rest.starts_with(b".") {
        return None;
    }
    rest = rest.get(time..)?;
    if !rest.first().is_some_and(|byte| matches!(byte, b';' | b',') || byte.is_ascii_whitespace()) {
        return None;
    }
    rest = rest.trim_ascii_start();
    rest = rest.strip_prefix(b";").or(rest.strip_prefix(b",")).unwrap_or(rest).trim_ascii_start();
    // `url` without `=` is the beginning of a relative reference.
    let named = || {
        let after = rest.get(..3).filter(|word| word.eq_ignore_ascii_case(b"url")).and_then(|_| rest.get(3..))?;
        after.trim_ascii_start().strip_prefix(b"=").map(<[u8]>::trim_ascii_start)
    };
    rest = named().unwrap_or(rest);
    let start = value.len() - rest.len();
    match rest.split_first() {
        Some((quote @ (b'"' | b'\''), inside)) => {
            let len = inside.iter().position(|byte| byte == quote).unwrap_or(inside.len());
            Some((start + 1..start + 1 + len, Some(*quote)))
        }
        _ => Some((start..start + rest.trim_ascii_end().len(), None)),
    }
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
