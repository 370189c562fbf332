//! Hop-by-hop removal and the walk over X-Forwarded-For take any lines of bytes.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use libfuzzer_sys::fuzz_target;
use nexthop::message::{forwarded, hop};

fuzz_target!(|lines: Vec<(u8, &[u8])>| {
    let names = ["connection", "te", "upgrade", "x-forwarded-for", "x-a", "keep-alive"].map(HeaderName::from_static);
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(&names[usize::from(name) % names.len()], value);
        }
    }
    let hops = forwarded::for_hops(&headers, &names[3]);
    // What is beyond the cap stands as one unknown hop.
    assert!(hops.len() <= forwarded::MAX_ELEMENTS + 1);
    let written = forwarded::write_for(&hops);
    let mut again = HeaderMap::new();
    again.insert(&names[3], written);
    assert_eq!(forwarded::for_hops(&again, &names[3]).len(), hops.len());

    let stripped = hop::strip_request(&mut headers, Version::HTTP_11);
    assert_eq!(headers.contains_key("upgrade"), stripped.upgrade);
    assert!(!headers.contains_key("keep-alive"));
});
