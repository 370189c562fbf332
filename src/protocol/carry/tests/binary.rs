//! Values in binary formats.

use http::{Extensions, HeaderMap};

use super::{Session, assert_refused, session};
use crate::protocol::carry::{CarriedKeys, Codec};

fn keys() -> CarriedKeys {
    CarriedKeys::builder().binary::<Session>("session", Codec::Postcard).build().unwrap()
}

#[test]
fn brings_a_value_over() {
    let (mut sent, mut map, mut received) = (Extensions::new(), HeaderMap::new(), Extensions::new());
    sent.insert(session());
    keys().encode(&sent, &mut map).unwrap();
    assert_eq!(map["x-wsgiproxy-bin-1"], "session postcard:BwIFYWRtaW4Cw6k=");
    keys().decode(&mut map, &mut received).unwrap();
    assert_eq!(received.get(), Some(&session()));
}

#[test]
fn refuses_other_codecs_trailing_bytes_and_plain_text() {
    for line in [
        "session bincode:BwIFYWRtaW4Cw6k=",
        "session postcard:BwIFYWRtaW4Cw6kA",
        "session postcard:BwIFYWRtaW4Cw6k",
        "session postcard:",
        "session BwIFYWRtaW4Cw6k=",
        "session b64BwIFYWRtaW4Cw6k=",
        "session Postcard:BwIFYWRtaW4Cw6k=",
        "session postcard: BwIFYWRtaW4Cw6k=",
    ] {
        assert_refused(&keys(), &[("x-wsgiproxy-bin-1", line)]);
    }
}

#[test]
fn believes_no_length_that_the_bytes_do_not_hold() {
    // id 1, then 2^63 groups of which none follows.
    assert_refused(&keys(), &[("x-wsgiproxy-bin-1", "session postcard:AYCAgICAgICAgAE=")]);
}

#[cfg(feature = "bincode")]
#[test]
fn knows_bincode_too() {
    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Other(u8);

    let keys = CarriedKeys::builder()
        .binary::<Session>("session", Codec::Bincode)
        .binary::<Other>("other", Codec::Postcard)
        .build()
        .unwrap();
    let (mut sent, mut map, mut received) = (Extensions::new(), HeaderMap::new(), Extensions::new());
    sent.insert(session());
    sent.insert(Other(3));
    keys.encode(&sent, &mut map).unwrap();
    assert_eq!(map["x-wsgiproxy-bin-1"], "session bincode:BwIFYWRtaW4Cw6k=");
    assert_eq!(map["x-wsgiproxy-bin-2"], "other postcard:Aw==");
    keys.decode(&mut map, &mut received).unwrap();
    assert_eq!((received.get(), received.get()), (Some(&session()), Some(&Other(3))));
    // A length of 2^62 bytes: refused by the limit, not by the allocator.
    assert_refused(&keys, &[("x-wsgiproxy-bin-1", "session bincode:Af0AAAAAAAAAQA==")]);
}
