//! `Path` and `Domain` of `Set-Cookie` (RFC 6265 §4.1).

use crate::message::location::{Mapping, fields::Edit};

/// What changes in one `Set-Cookie`.
pub(super) fn edits(mapping: &Mapping, value: &[u8]) -> Vec<Edit> {
    // A cookie of this name without `Path=/`, or with a domain, is thrown away by browsers.
    if value.get(..HOST_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(HOST_PREFIX)) {
        return Vec::new();
    }
    let mut edits = Vec::new();
    let mut at = 0;
    for (index, part) in value.split(|byte| *byte == b';').enumerate() {
        let start = at;
        at += part.len() + 1;
        if index == 0 {
            continue;
        }
        let Some(equals) = part.iter().position(|byte| *byte == b'=') else {
            continue;
        };
        let (name, rest) = part.split_at(equals);
        let text = rest.get(1..).unwrap_or_default();
        let leading = text.len() - text.trim_ascii_start().len();
        let text_start = start + equals + 1 + leading;
        let text = text.trim_ascii();
        let name = name.trim_ascii();
        // With the semicolon before it.
        let attribute = start - 1..start + part.len();
        if name.eq_ignore_ascii_case(b"path") {
            edits.extend(mapping.cookie_path(text).map(|mapped| {
                // A path cannot be said with a semicolon in it. Without the attribute, it is that of the request.
                if mapped.contains(&b';') {
                    (attribute, Vec::new())
                } else {
                    (text_start..text_start + text.len(), mapped)
                }
            }));
        } else if name.eq_ignore_ascii_case(b"domain") {
            let dot = usize::from(text.starts_with(b"."));
            let domain = text.split_at(dot).1;
            match new_domain(mapping, domain) {
                Domain::Same => {}
                Domain::Other(new) => edits.push((text_start + dot..text_start + text.len(), new)),
                Domain::None => edits.push((attribute, Vec::new())),
            }
        }
    }
    edits
}

enum Domain {
    Same,
    Other(Vec<u8>),
    None,
}

/// The client's name for the upstream's domain. There is none if that is no name that can have cookies of its own (an
/// address, a single label, or unknown): the cookie is then for the very host of the client's request. Nor is there one
/// if the upstream's is such a name: the cookie was for one host, and is not to become one for all below another.
fn new_domain(mapping: &Mapping, domain: &[u8]) -> Domain {
    if !mapping.is_upstream_domain(domain) {
        return Domain::Same;
    }
    match mapping.client_domain() {
        Some(host) if host.eq_ignore_ascii_case(domain) => Domain::Same,
        Some(host) if is_domain(host) && is_domain(domain) => Domain::Other(host.to_vec()),
        _ => Domain::None,
    }
}

/// True for a name of several labels that is no IP address, whose last label has a letter then.
fn is_domain(host: &[u8]) -> bool {
    let host = host.strip_suffix(b".").unwrap_or(host);
    let mut labels = host.rsplit(|byte| *byte == b'.');
    let last = labels.next().unwrap_or_default();
    labels.next().is_some_and(|label| !label.is_empty())
        && last.iter().any(u8::is_ascii_alphabetic)
        && !host.starts_with(b"[")
        && !is_hexadecimal(last)
}

/// `0x7f.1` is an address to browsers.
fn is_hexadecimal(label: &[u8]) -> bool {
    let digits = label.strip_prefix(b"0x").or(label.strip_prefix(b"0X"));
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

const HOST_PREFIX: &[u8] = b"__Host-";
