//! Joining a target and splitting it again returns the original bytes. Input: a base, a path, a query and another path,
//! in lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nexthop::{UpstreamUrl, internals::target::{join, split, split_query}, message::Prefix};

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let (base, path) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let (query, extra) = (lines.next(), lines.next());
    let _ = base.parse::<UpstreamUrl>();
    let _ = Prefix::from_bytes(path.as_bytes());
    let Ok(base) = Prefix::from_bytes(base.as_bytes()) else { return };
    if !path.starts_with('/') || path.contains(['?', '#']) {
        return;
    }
    if let Ok(target) = join(base.as_str(), path, query, extra) {
        assert_eq!(split(target.path(), base.as_str()), Some(path));
        if let Some(extra) = extra.filter(|extra| !extra.is_empty()) {
            assert!(split_query(target.query(), extra).is_some());
        }
    }
});
