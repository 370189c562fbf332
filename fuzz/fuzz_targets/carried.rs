//! Carried keys in lines, as a peer sends them: keys that can be decoded can be encoded, and decode to the same again.
#![no_main]

use http::{Extensions, HeaderMap};
use libfuzzer_sys::fuzz_target;
use nexthop::{ext::Carried, protocol::carry::CarriedKeys};
use nexthop_fuzz::fields;

fuzz_target!(|text: &[u8]| {
    let keys = CarriedKeys::builder().named_string("s").named_unicode("u").named_json("j").build().expect("good names");
    let mut read = Extensions::new();
    if keys.decode(&mut fields(text), &mut read).is_err() || read.get::<Carried>().is_none() {
        return;
    }
    let (mut sent, mut again) = (HeaderMap::new(), Extensions::new());
    keys.encode(&read, &mut sent).expect("what was read can be sent");
    keys.decode(&mut sent, &mut again).expect("what was sent can be read");
    assert_eq!(read.get::<Carried>(), again.get::<Carried>());
});
