//! Handshakes and their answers, of HTTP/1.1 and as extended `CONNECT`: nothing panics, and what we make of one is one.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use libfuzzer_sys::fuzz_target;
use nexthop::message::{
    extended::{accept, extended_connect, switch, write_handshake},
    upgrade::{check_switch, handshake},
};

fn fields(lines: &[(u8, &[u8])]) -> HeaderMap {
    let names =
        ["connection", "upgrade", "sec-websocket-key", "sec-websocket-accept", "te"].map(HeaderName::from_static);
    let line = |(name, value): &(u8, &[u8])| {
        Some((names[usize::from(*name) % names.len()].clone(), HeaderValue::from_bytes(value).ok()?))
    };
    // Not `collect`, which keeps the last of several lines.
    let mut fields = HeaderMap::new();
    lines.iter().filter_map(line).for_each(|(name, value)| {
        fields.append(name, value);
    });
    fields
}

fuzz_target!(|input: (Vec<(u8, &[u8])>, Vec<(u8, &[u8])>, &str, [u8; 16])| {
    let (request, response, protocol, nonce) = input;
    let (request, response) = (fields(&request), fields(&response));
    let asked = handshake(&request, Version::HTTP_11);
    let _ = check_switch(asked.as_ref(), &response);
    assert!(handshake(&request, Version::HTTP_10).is_none());

    let mut stripped = request.clone();
    match extended_connect(&Method::GET, Version::HTTP_11, &mut stripped) {
        Some(asked) => {
            assert!(!["connection", "upgrade", "sec-websocket-key"].iter().any(|name| stripped.contains_key(*name)));
            let mut answer = response.clone();
            switch(&asked, &mut answer);
            assert!(check_switch(Some(&asked), &answer).is_ok(), "{asked:?} {answer:?}");
        }
        None => assert_eq!(stripped, request),
    }

    let mut written = request;
    if write_handshake(&mut written, protocol, nonce).is_ok() {
        let asked = handshake(&written, Version::HTTP_11).expect("what was written is a handshake");
        assert_eq!(asked.protocol(), protocol);
        let mut answer = response;
        switch(&asked, &mut answer);
        assert!(check_switch(Some(&asked), &answer).is_ok());
        accept(&mut answer);
        assert!(!answer.contains_key("upgrade"));
    }
});
