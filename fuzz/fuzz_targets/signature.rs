//! No Signature-Input and Signature that was not made with the key is believed, and none panics.
#![no_main]

use std::time::SystemTime;

use http::{HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use nexthop::{
    Body,
    protocol::{keyring::Keyring, signature::Verifier},
    secret::Secret,
};

fuzz_target!(|lines: (&[u8], &[u8])| {
    let (Ok(input), Ok(signature)) = (HeaderValue::from_bytes(lines.0), HeaderValue::from_bytes(lines.1)) else {
        return;
    };
    let secret = Secret::from_bytes([7; 32]).expect("long enough");
    let verifier = Verifier::builder(Keyring::new("k", secret).expect("a good id")).build().expect("defaults");
    let request = Request::get("http://h.test/a?b").header("signature-input", input).header("signature", signature);
    let (parts, ()) = request.body(()).expect("a request").into_parts();
    assert!(verifier.verify(&parts, &Body::empty(), SystemTime::now()).is_err());
});
