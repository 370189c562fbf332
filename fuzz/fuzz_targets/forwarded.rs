//! A parsed `Forwarded` header can be written, and parses to the same again.
#![no_main]

use http::{HeaderMap, HeaderValue, header::FORWARDED};
use libfuzzer_sys::fuzz_target;
use nexthop::internals::forwarded::{MAX_BYTES, elements, parse_node, write_elements};

fuzz_target!(|bytes: &[u8]| {
    let _ = parse_node(bytes);
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let headers = HeaderMap::from_iter([(FORWARDED, value)]);
    let read = elements(&headers);
    let written = write_elements(&read);
    if written.len() < MAX_BYTES {
        let again = HeaderMap::from_iter([(FORWARDED, written)]);
        assert_eq!(elements(&again).len(), read.len());
    }
});
