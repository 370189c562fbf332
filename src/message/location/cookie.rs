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
        if name.eq_ignore_ascii_case(b"path") {
            edits.extend(mapping.cookie_path(text).map(|mapped| (text_start..text_start + text.len(), mapped)));
        } else if name.eq_ignore_ascii_case(b"domain") {
            let dot = usize::from(text.starts_with(b"."));
            let domain = text.split_at(dot).1;
            match new_domain(mapping, domain) {
                Domain::Same => {}
                Domain::Other(new) => edits.push((text_start + dot..text_start + text.len(), new)),
                // With the semicolon before it.
                Domain::None => edits.push((start - 1..start + part.len(), Vec::new())),
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

/// The client's name for the upstream's domain. Where that is no name that can have cookies of its own (an address, a single label, or
/// unknown) there is none, and the cookie is for the very host the client asked.
fn new_domain(mapping: &Mapping, domain: &[u8]) -> Domain {
    if !mapping.is_upstream_domain(domain) {
        return Domain::Same;
    }
    match mapping.client_domain() {
        Some(host) if host.eq_ignore_ascii_case(domain) => Domain::Same,
        Some(host) if host.contains(&b'.') && host.iter().any(u8::is_ascii_alphabetic) && !host.starts_with(b"[") => {
            Domain::Other(host.to_vec())
        }
        _ => Domain::None,
    }
}

const HOST_PREFIX: &[u8] = b"__Host-";
