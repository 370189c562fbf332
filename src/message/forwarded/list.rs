//! Comma-separated lists over all lines of a field, read from the right.

use std::{fmt, net::IpAddr};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::node::{parse_node, write_node};
use crate::ext::Hop;

/// How many elements of a list are read, from the right; more than that is one [`Hop::Unknown`] at the left end.
pub const MAX_ELEMENTS: usize = 64;

/// How many bytes of a list are read, from the right; more than that is one [`Hop::Unknown`] at the left end.
pub const MAX_BYTES: usize = 4096;

/// Reads all lines of `name` as one `X-Forwarded-For` list, leftmost (farthest) first.
///
/// An element that cannot be read stays in its place as [`Hop::Unknown`], whatever bytes it is made of. Empty elements are skipped
/// (RFC 9110 §5.6.1.2).
#[must_use]
pub fn for_hops(headers: &HeaderMap, name: &HeaderName) -> Vec<Hop> {
    let mut hops = Vec::new();
    let mut budget = MAX_BYTES;
    for element in headers.get_all(name).iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
        let Some(left) = budget.checked_sub(element.len() + 1).filter(|_| hops.len() < MAX_ELEMENTS) else {
            hops.push(Hop::Unknown);
            break;
        };
        budget = left;
        let element = element.trim_ascii();
        if !element.is_empty() {
            hops.push(parse_node(unquoted(element)));
        }
    }
    hops.reverse();
    hops
}

/// The element of a list field that is `depth`-th from the right (1 = the last one), or the leftmost one where the list is shorter.
///
/// For the fields beside `X-Forwarded-For` (`-Proto`, `-Host`, `-Port`), to which some proxies append while most replace: the hop that
/// named the client is `depth` elements from the right, or wrote the only element. `None` if there is none, or beyond the caps.
#[must_use]
pub fn from_right<'a>(headers: &'a HeaderMap, name: &HeaderName, depth: usize) -> Option<&'a [u8]> {
    let mut found = None;
    let mut budget = MAX_BYTES;
    let lines = headers.get_all(name).iter().rev();
    let elements = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    let mut seen = 0;
    for element in elements {
        budget = budget.checked_sub(element.len() + 1)?;
        let element = element.trim_ascii();
        if !element.is_empty() {
            found = Some(element);
            seen += 1;
        }
        if seen >= depth.min(MAX_ELEMENTS) {
            break;
        }
    }
    found
}

/// Where in `hops` the client is, looking from the right; `None` in an empty list, and where no element is believed.
///
/// The last element was written by the socket's peer, which the caller trusts. The walk goes one to the left while the hop it stands on
/// is `trusted` (then that hop wrote the element to the left) and fewer than `limit` elements were believed. It never steps over a hop
/// without an address: the client is then unknown. Where every hop is trusted, the leftmost is the client.
pub fn walk(hops: &[Hop], limit: usize, trusted: impl Fn(IpAddr) -> bool) -> Option<usize> {
    let mut at = hops.len().checked_sub(1).filter(|_| limit > 0)?;
    let mut believed = 1;
    while at > 0 && believed < limit && hops.get(at).and_then(Hop::ip).is_some_and(&trusted) {
        at -= 1;
        believed += 1;
    }
    Some(at)
}

/// Writes one `X-Forwarded-For` line, leftmost hop first. Several lines would be read differently by different recipients.
///
/// A hop that has no address is written as its made-up name or as `unknown`.
pub fn write_for<'a>(hops: impl IntoIterator<Item = &'a Hop>) -> HeaderValue {
    let mut line = String::with_capacity(ONE_HOP);
    // Writing to a String cannot fail.
    let _ = write_list(&mut line, hops);
    into_value(line)
}

/// The same, to wherever it goes.
pub(crate) fn write_list<'a>(out: &mut dyn fmt::Write, hops: impl IntoIterator<Item = &'a Hop>) -> fmt::Result {
    for (index, hop) in hops.into_iter().enumerate() {
        if index > 0 {
            out.write_str(", ")?;
        }
        write_node(out, hop, false)?;
    }
    Ok(())
}

/// A line written here, as a field value, without copying it.
pub(crate) fn into_value(line: String) -> HeaderValue {
    // Without room to spare it becomes the value's memory as it is.
    let line = Bytes::from(line.into_bytes().into_boxed_slice());
    HeaderValue::from_maybe_shared(line).unwrap_or(HeaderValue::from_static("unknown"))
}

/// Some proxies quote an IPv6 address here as they must in `Forwarded`; no address has an escape or a comma in it.
fn unquoted(element: &[u8]) -> &[u8] {
    element.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(element)
}

/// Room for an IPv4 address.
const ONE_HOP: usize = 15;
