//! Response headers that contain URLs, in lines: mapping keeps the number of values, and leaves other headers
//! unchanged.
#![no_main]

use http::uri::Scheme;
use libfuzzer_sys::fuzz_target;
use nexthop::{internals::location::Mapping, message::Prefix};
use nexthop_fuzz::fields;

fuzz_target!(|text: &[u8]| {
    let mapping = Mapping::new(
        "http://backend:8080/app".parse().expect("a URL"),
        Scheme::HTTPS,
        "www.example.com",
        "/shop".parse::<Prefix>().expect("a prefix"),
    );
    let before = fields(text);
    let mut mapped = before.clone();
    mapping.apply(&mut mapped);
    assert_eq!(before.len(), mapped.len());
    for name in before.keys() {
        assert_eq!(before.get_all(name).iter().count(), mapped.get_all(name).iter().count(), "{name}");
        if !["location", "content-location", "refresh", "link", "set-cookie"].contains(&name.as_str()) {
            assert!(before.get_all(name).iter().eq(mapped.get_all(name)), "{name}");
        }
    }
});
