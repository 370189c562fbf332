//! Hop-by-hop removal and parsing of X-Forwarded-For accept any bytes.
#![no_main]

use http::{HeaderMap, HeaderName, Version};
use libfuzzer_sys::fuzz_target;
use nexthop::internals::{forwarded, hop};
use nexthop_fuzz::fields;

fuzz_target!(|text: &[u8]| {
    let name = HeaderName::from_static("x-forwarded-for");
    let mut headers = fields(text);
    let hops = forwarded::for_hops(&headers, &name);
    // Hops beyond the limit are represented by one unknown hop.
    assert!(hops.len() <= forwarded::MAX_ELEMENTS + 1);
    let written = forwarded::write_for(&hops);
    let mut again = HeaderMap::new();
    again.insert(&name, written);
    assert_eq!(forwarded::for_hops(&again, &name).len(), hops.len());

    let stripped = hop::strip_request(&mut headers, Version::HTTP_11);
    assert_eq!(headers.contains_key("upgrade"), stripped.upgrade);
    assert!(!headers.contains_key("keep-alive"));
});
