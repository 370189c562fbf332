//! An encoded value is a valid header value, and decodes to the original.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nexthop::internals::value::{decode, encode};

fuzz_target!(|bytes: &[u8]| {
    let coded = encode(bytes);
    assert!(http::HeaderValue::from_str(&coded).is_ok());
    assert_eq!(decode(coded.as_bytes(), bytes.len()).expect("an encoded value decodes").as_ref(), bytes);
    let _ = decode(bytes, 64);
});
