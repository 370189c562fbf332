use std::{fmt, net::IpAddr, str::FromStr};

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;
use crate::{Error, ErrorKind, ext::Carried};

#[cfg(feature = "postcard")]
mod binary;
mod refused;

#[derive(Clone, Debug, PartialEq)]
struct RemoteUser(String);

impl fmt::Display for RemoteUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RemoteUser {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "nobody" { Err("nobody is no user") } else { Ok(Self(text.to_owned())) }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Session {
    id: u64,
    groups: Vec<String>,
}

fn session() -> Session {
    Session { id: 7, groups: vec!["admin".into(), "é".into()] }
}

fn keys() -> CarriedKeys {
    CarriedKeys::builder()
        .string::<RemoteUser>("REMOTE_USER")
        .unicode::<String>("title")
        .json::<Session>("session")
        .bytes::<Vec<u8>>("token")
        .string::<IpAddr>("origin")
        .build()
        .unwrap()
}

fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (HeaderName::from_str(name).unwrap(), HeaderValue::from_str(value).unwrap())).fold(
        HeaderMap::new(),
        |mut fields, (name, value)| {
            fields.append(name, value);
            fields
        },
    )
}

fn decoded(keys: &CarriedKeys, lines: &[(&str, &str)]) -> Result<Extensions, Error> {
    let (mut fields, mut to) = (fields(lines), Extensions::new());
    keys.decode(&mut fields, &mut to).map(|()| to)
}

#[track_caller]
fn assert_refused(keys: &CarriedKeys, lines: &[(&str, &str)]) -> String {
    let error = decoded(keys, lines).expect_err("refused");
    assert_eq!((error.kind(), error.status().as_u16()), (ErrorKind::InvalidTarget, 400), "{error:?}");
    format!("{error:?}")
}

#[test]
fn brings_values_of_every_encoding_over() {
    let mut sent = Extensions::new();
    sent.insert(RemoteUser("alice".into()));
    sent.insert(String::from("Ω"));
    sent.insert(session());
    sent.insert(vec![0u8, 255]);
    sent.insert(IpAddr::from([127, 0, 0, 1]));
    let mut fields = HeaderMap::new();
    keys().encode(&sent, &mut fields).unwrap();
    assert_eq!(fields.len(), 6);
    assert_eq!(fields["x-wsgiproxy-version"], "0.1");
    assert_eq!(fields["x-wsgiproxy-str-1"], "REMOTE_USER alice");
    assert_eq!(fields["x-wsgiproxy-unicode-1"], "title b64zqk=");
    assert_eq!(fields["x-wsgiproxy-json-1"], "session b64eyJpZCI6NywiZ3JvdXBzIjpbImFkbWluIiwiw6kiXX0=");
    assert_eq!(fields["x-wsgiproxy-str-2"], "token b64AP8=");
    assert_eq!(fields["x-wsgiproxy-str-3"], "origin 127.0.0.1");

    let mut received = Extensions::new();
    keys().decode(&mut fields, &mut received).unwrap();
    assert!(fields.is_empty());
    assert_eq!(received.get(), Some(&RemoteUser("alice".into())));
    assert_eq!(received.get(), Some(&String::from("Ω")));
    assert_eq!(received.get(), Some(&session()));
    assert_eq!(received.get(), Some(&vec![0u8, 255]));
    assert_eq!(received.get(), Some(&IpAddr::from([127, 0, 0, 1])));
}

#[test]
fn sends_nothing_where_there_is_nothing() {
    let mut fields = HeaderMap::new();
    keys().encode(&Extensions::new(), &mut fields).unwrap();
    CarriedKeys::default().encode(&Extensions::new(), &mut fields).unwrap();
    assert!(fields.is_empty());
    assert!(CarriedKeys::default().is_empty() && CarriedKeys::builder().build().unwrap().is_empty());
}

#[test]
fn numbers_present_keys_without_gaps() {
    let mut sent = Extensions::new();
    sent.insert(IpAddr::from([127, 0, 0, 1]));
    let mut fields = HeaderMap::new();
    keys().encode(&sent, &mut fields).unwrap();
    assert_eq!(fields["x-wsgiproxy-str-1"], "origin 127.0.0.1");
}

#[test]
fn reads_any_number_in_any_order() {
    let lines =
        [("x-wsgiproxy-str-99999999999999999999999", "origin ::1"), ("x-wsgiproxy-str-007", "REMOTE_USER b64Ym9i")];
    let received = decoded(&keys(), &lines).unwrap();
    assert_eq!(received.get(), Some(&RemoteUser("bob".into())));
    assert!(received.get::<IpAddr>().is_some());
}

#[test]
fn keeps_spaces_inside_a_value() {
    let received = decoded(&keys(), &[("x-wsgiproxy-str-1", "REMOTE_USER a b  c")]).unwrap();
    assert_eq!(received.get(), Some(&RemoteUser("a b  c".into())));
}

#[test]
fn takes_the_empty_value_coded_only() {
    let received = decoded(&keys(), &[("x-wsgiproxy-str-1", "REMOTE_USER b64")]).unwrap();
    assert_eq!(received.get(), Some(&RemoteUser(String::new())));
    assert_refused(&keys(), &[("x-wsgiproxy-str-1", "REMOTE_USER")]);
}

#[test]
fn ignores_and_removes_what_is_not_configured() {
    let (mut to, mut map) = (
        Extensions::new(),
        fields(&[
            ("x-wsgiproxy-str-1", "wsgi.input evil"),
            ("x-wsgiproxy-pickle-1", "REMOTE_USER b64Y29zCnN5c3RlbQo="),
            ("x-wsgiproxy-http-host", "evil"),
            ("x-wsgiproxy-str-x", "REMOTE_USER evil"),
            ("x-wsgiproxy-str-", "REMOTE_USER evil"),
            ("x_wsgiproxy_str_1", "REMOTE_USER evil"),
            ("x-wsgiproxy", "evil"),
            ("x-wsgiproxy-signature", "0 abc"),
            ("cookie", "a=b"),
        ]),
    );
    keys().decode(&mut map, &mut to).unwrap();
    assert!(to.is_empty());
    assert!(map.len() == 2 && map.contains_key("x-wsgiproxy-signature") && map.contains_key("cookie"));
}

#[test]
fn removes_all_unread_where_nothing_is_configured() {
    let mut map = fields(&[
        ("x-wsgiproxy-str-1", "malformed"),
        ("x-wsgiproxy-str-1", "twice"),
        ("x-wsgiproxy-version", "9"),
        ("x-forwarded-for", "::1"),
    ]);
    CarriedKeys::default().decode(&mut map, &mut Extensions::new()).unwrap();
    assert_eq!(map.len(), 1);
}

#[test]
fn carries_by_name_alone() {
    let keys =
        CarriedKeys::builder().named_string("user").named_unicode("title").named_json("session").build().unwrap();
    let mut carried = Carried::new();
    carried.insert_text("user", "alice");
    carried.insert_text("title", "Ω");
    carried.insert_json("session", json!({"id": 7}));
    carried.insert_text("private", "stays here");
    let (mut sent, mut map, mut received) = (Extensions::new(), HeaderMap::new(), Extensions::new());
    sent.insert(carried.clone());
    keys.encode(&sent, &mut map).unwrap();
    keys.decode(&mut map, &mut received).unwrap();
    let got = received.get::<Carried>().unwrap();
    assert_eq!(got.iter().count(), 3);
    assert!(got.iter().all(|(name, value)| carried.get(name) == Some(value)));
}

#[test]
fn carries_a_number_over_any_number_of_hops_as_it_is() {
    let keys = CarriedKeys::builder().named_json("n").build().unwrap();
    for number in
        ["88888888888888888888888888888888888888888888888888888888", "0.1", "1.7976931348623157e308", "5e-324"]
    {
        let once = decoded(&keys, &[("x-wsgiproxy-json-1", &format!("n {number}"))]).unwrap();
        let mut sent = HeaderMap::new();
        keys.encode(&once, &mut sent).unwrap();
        let mut twice = Extensions::new();
        keys.decode(&mut sent, &mut twice).unwrap();
        assert_eq!(once.get::<Carried>(), twice.get::<Carried>(), "{number}");
    }
}

#[test]
fn sends_a_named_value_only_as_what_it_is() {
    let mut carried = Carried::new();
    carried.insert_json("number", json!(7));
    carried.insert_json("text", json!("x"));
    carried.insert_text("json", "x");
    let (mut sent, mut map) = (Extensions::new(), HeaderMap::new());
    sent.insert(carried);
    let good = CarriedKeys::builder().named_string("text").named_json("json").build().unwrap();
    good.encode(&sent, &mut map).unwrap();
    assert_eq!(
        (&map["x-wsgiproxy-str-1"], &map["x-wsgiproxy-json-1"]),
        (&"text x".parse().unwrap(), &"json \"x\"".parse().unwrap())
    );
    let bad = CarriedKeys::builder().named_string("number").build().unwrap();
    assert_eq!(bad.encode(&sent, &mut map).unwrap_err().kind(), ErrorKind::Internal);
}

#[test]
fn holds_as_many_keys_as_it_says() {
    let all = (0..MAX_KEYS).fold(CarriedKeys::builder(), |keys, n| keys.named_string(n.to_string())).build().unwrap();
    let mut carried = Carried::new();
    (0..MAX_KEYS).for_each(|n| carried.insert_text(n.to_string(), "x"));
    let (mut sent, mut map, mut received) = (Extensions::new(), HeaderMap::new(), Extensions::new());
    sent.insert(carried.clone());
    all.encode(&sent, &mut map).unwrap();
    all.decode(&mut map, &mut received).unwrap();
    assert_eq!(received.get(), Some(&carried));
}

#[test]
fn shows_names_but_no_values() {
    assert!(format!("{:?}", keys()).contains(r#""session": Json"#));
    assert_eq!(keys().names().collect::<Vec<_>>(), ["REMOTE_USER", "title", "session", "token", "origin"]);
}

proptest! {
    #[test]
    fn every_text_and_every_bytes_come_over(user: String, title: String, token: Vec<u8>) {
        prop_assume!(user != "nobody" && user.len() + title.len() + token.len() < MAX_TOTAL_BYTES);
        let (mut sent, mut map, mut received) = (Extensions::new(), HeaderMap::new(), Extensions::new());
        sent.insert(RemoteUser(user.clone()));
        sent.insert(title.clone());
        sent.insert(token.clone());
        keys().encode(&sent, &mut map).unwrap();
        keys().decode(&mut map, &mut received).unwrap();
        prop_assert_eq!(received.get(), Some(&RemoteUser(user)));
        prop_assert_eq!(received.get(), Some(&title));
        prop_assert_eq!(received.get(), Some(&token));
    }

    #[test]
    fn no_line_panics(
        kind in "(str|unicode|json|bin|pickle)-[0-9]{0,3}",
        key in "(REMOTE_USER|session|title|bin)?",
        value in proptest::collection::vec(prop_oneof![Just(b' '), Just(b'6'), 0x20u8..0x7F, 0x80u8..], 0..40),
    ) {
        let line = [key.as_bytes(), b" ", &value].concat();
        let (mut map, mut received) = (HeaderMap::new(), Extensions::new());
        map.insert(HeaderName::from_str(&format!("x-wsgiproxy-{kind}")).unwrap(), HeaderValue::from_bytes(&line).unwrap());
        if keys().decode(&mut map, &mut received).is_ok() {
            prop_assert!(map.is_empty());
        }
    }
}
