//! Upgrade handshakes and their responses, in HTTP/1.1 and as extended `CONNECT`: no panic, and each converted
//! handshake is a valid one.
#![no_main]

use http::{Method, Version};
use libfuzzer_sys::fuzz_target;
use nexthop::internals::handshake::{accept, check_switch, extended_connect, handshake, switch, write_handshake};
use nexthop_fuzz::fields;

/// Splits the input at empty lines into request headers, response headers and the name of a protocol.
fn parts(text: &[u8]) -> Option<[&[u8]; 3]> {
    let end = text.windows(2).position(|two| two == b"\n\n")?;
    let (request, rest) = (&text[..end], &text[end + 2..]);
    let end = rest.windows(2).position(|two| two == b"\n\n").unwrap_or(rest.len());
    Some([request, &rest[..end], rest.get(end + 2..).unwrap_or_default().trim_ascii()])
}

fuzz_target!(|text: &[u8]| {
    let Some([request, response, protocol]) = parts(text) else { return };
    let (request, response) = (fields(request), fields(response));
    let (protocol, nonce) = (String::from_utf8_lossy(protocol), [7; 16]);
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
    if write_handshake(&mut written, &protocol, nonce).is_ok() {
        let asked = handshake(&written, Version::HTTP_11).expect("what was written is a handshake");
        assert_eq!(asked.protocol(), protocol);
        let mut answer = response;
        switch(&asked, &mut answer);
        assert!(check_switch(Some(&asked), &answer).is_ok());
        accept(&mut answer);
        assert!(!answer.contains_key("upgrade"));
    }
});
