//! Request heads in lines: no signature without the key is accepted, and nothing panics.
#![no_main]

use std::time::SystemTime;

use http::Request;
use libfuzzer_sys::fuzz_target;
use nexthop::{
    Body,
    protocol::{keyring::Keyring, signature::Verifier},
    secret::Secret,
};
use nexthop_fuzz::fields;

fuzz_target!(|text: &[u8]| {
    let headers = fields(text);
    if !(headers.contains_key("signature-input") && headers.contains_key("signature")) {
        return;
    }
    let secret = Secret::from_bytes([7; 32]).expect("long enough");
    let verifier = Verifier::builder(Keyring::new("k", secret).expect("a good id")).build().expect("defaults");
    let (mut parts, ()) = Request::get("http://h.test/a?b").body(()).expect("a request").into_parts();
    parts.headers = headers;
    assert!(verifier.verify(&parts, &Body::empty(), SystemTime::now()).is_err());
});
