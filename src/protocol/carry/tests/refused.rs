//! What is neither sent nor read.

use http::{Extensions, HeaderMap};

use super::{RemoteUser, assert_refused, decoded, keys};
use crate::{
    ConfigError, ErrorKind,
    ext::Carried,
    protocol::carry::{CarriedKeys, MAX_KEYS, MAX_NAME_BYTES, MAX_VALUE_BYTES},
};

#[test]
fn refuses_a_name_that_occurs_twice() {
    let text = assert_refused(
        &keys(),
        &[("x-wsgiproxy-str-1", "REMOTE_USER alice"), ("x-wsgiproxy-str-2", "REMOTE_USER alice")],
    );
    assert!(text.contains("REMOTE_USER"));
    assert_refused(&keys(), &[("x-wsgiproxy-str-1", "REMOTE_USER a"), ("x-wsgiproxy-unicode-1", "REMOTE_USER a")]);
    // Two lines of one field, which a proxy between might join.
    assert_refused(&keys(), &[("x-wsgiproxy-str-1", "REMOTE_USER a"), ("x-wsgiproxy-str-1", "origin ::1")]);
}

#[test]
fn refuses_a_key_in_another_encoding() {
    assert_refused(&keys(), &[("x-wsgiproxy-json-1", r#"REMOTE_USER "alice""#)]);
}

#[test]
fn refuses_values_that_do_not_decode() {
    for (field, line) in [
        ("x-wsgiproxy-str-1", "REMOTE_USER b64!"),
        ("x-wsgiproxy-str-1", "REMOTE_USER b64/w=="), // not UTF-8
        ("x-wsgiproxy-str-1", "REMOTE_USER nobody"),  // refused by its type
        ("x-wsgiproxy-str-1", "REMOTE_USER  two"),
        ("x-wsgiproxy-str-1", "origin 127.0.0.1.1"),
        ("x-wsgiproxy-json-1", r#"session {"id":7}"#),
        ("x-wsgiproxy-json-1", r#"session {"id":7,"groups":[]} x"#),
        ("x-wsgiproxy-json-1", "session b64eyJ"),
    ] {
        assert_refused(&keys(), &[(field, line)]);
    }
}

#[test]
fn never_says_a_value_in_an_error() {
    for (field, line) in [
        ("x-wsgiproxy-str-1", "REMOTE_USER \tsecret"),
        ("x-wsgiproxy-json-1", r#"session {"id":"secret","groups":[]}"#),
        ("x-wsgiproxy-json-1", r#"session "secret""#),
    ] {
        let text = assert_refused(&keys(), &[(field, line)]);
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn refuses_other_versions() {
    let line = ("x-wsgiproxy-str-1", "REMOTE_USER a");
    for good in ["0.1", "0.2", "0.17"] {
        assert!(decoded(&keys(), &[("x-wsgiproxy-version", good), line]).is_ok(), "{good}");
    }
    for bad in ["1.0", "0", "0.", "0.1a", "", "0.1, 0.1", "00.1"] {
        assert_refused(&keys(), &[line, ("x-wsgiproxy-version", bad)]);
    }
    assert_refused(&keys(), &[("x-wsgiproxy-version", "0.1"), ("x-wsgiproxy-version", "0.1")]);
}

#[test]
fn refuses_values_past_the_limits() {
    let longest = format!("REMOTE_USER {}", "a".repeat(MAX_VALUE_BYTES));
    assert!(decoded(&keys(), &[("x-wsgiproxy-str-1", &longest)]).is_ok());
    assert_refused(&keys(), &[("x-wsgiproxy-str-1", &format!("{longest}a"))]);

    let wide = (0..5).fold(CarriedKeys::builder(), |keys, n| keys.named_string(format!("k{n}"))).build().unwrap();
    let texts: Vec<_> = (0..5).map(|n| format!("k{n} {}", "a".repeat(MAX_VALUE_BYTES))).collect();
    let names: Vec<_> = (0..5).map(|n| format!("x-wsgiproxy-str-{n}")).collect();
    let lines: Vec<_> = names.iter().zip(&texts).map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert!(decoded(&wide, &lines[..4]).is_ok());
    assert_refused(&wide, &lines);

    let names: Vec<_> = (0..=MAX_KEYS).map(|n| format!("x-wsgiproxy-str-{n}")).collect();
    let lines: Vec<_> = names.iter().map(|name| (name.as_str(), "unknown value")).collect();
    assert!(decoded(&keys(), &lines[1..]).is_ok());
    assert_refused(&keys(), &lines);
}

#[test]
fn sends_no_value_past_the_limits() {
    let mut sent = Extensions::new();
    sent.insert(RemoteUser("a".repeat(MAX_VALUE_BYTES + 1)));
    let error = keys().encode(&sent, &mut HeaderMap::new()).unwrap_err();
    assert_eq!((error.kind(), error.status().as_u16()), (ErrorKind::Internal, 500));

    let wide = (0..5).fold(CarriedKeys::builder(), |keys, n| keys.named_string(format!("k{n}"))).build().unwrap();
    let mut carried = Carried::new();
    (0..5).for_each(|n| carried.insert_text(format!("k{n}"), "a".repeat(MAX_VALUE_BYTES)));
    sent.insert(carried);
    assert_eq!(wide.encode(&sent, &mut HeaderMap::new()).unwrap_err().kind(), ErrorKind::Internal);
}

#[test]
fn refuses_names_that_cannot_stand_in_a_field() {
    for (name, why) in [
        ("", "empty"),
        ("two words", "' '"),
        ("tab\t", "'\\t'"),
        ("line\nbreak", "'\\n'"),
        ("Ω", "'Ω'"),
        (&"n".repeat(MAX_NAME_BYTES + 1), "longer"),
    ] {
        let error = CarriedKeys::builder().named_string(name).build().unwrap_err();
        assert!(
            matches!(&error, ConfigError::Invalid { text, why: told, .. } if text == name && told.contains(why)),
            "{error}"
        );
    }
    assert!(CarriedKeys::builder().named_string("n".repeat(MAX_NAME_BYTES)).named_json("b64:,\"").build().is_ok());
}

#[test]
fn refuses_names_and_types_named_twice() {
    let error = CarriedKeys::builder().named_string("user").named_json("user").build().unwrap_err();
    assert!(error.to_string().contains("\"user\""), "{error}");
    let error = CarriedKeys::builder().string::<String>("one").unicode::<String>("two").build().unwrap_err();
    assert!(error.to_string().contains("\"one\" and \"two\""), "{error}");
    let many = (0..=MAX_KEYS).fold(CarriedKeys::builder(), |keys, n| keys.named_string(n.to_string()));
    assert!(matches!(many.build(), Err(ConfigError::Conflict { .. })));
}
