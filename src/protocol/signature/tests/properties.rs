//! Properties.

use super::*;

/// Every place of a signed request where a bit can be changed.
fn covered_bytes(parts: &Parts) -> usize {
    ["x-forwarded-for", "x-wsgiproxy-str-1", "host"].iter().map(|name| parts.headers[*name].len()).sum::<usize>()
        + parts.uri.to_string().len()
}

/// Flips one bit of one covered byte; `None` where what comes out could not have been received.
fn flip(parts: &Parts, mut at: usize, bit: u8) -> Option<Parts> {
    let mut changed = parts.clone();
    for name in ["x-forwarded-for", "x-wsgiproxy-str-1", "host"] {
        let mut value = parts.headers[name].as_bytes().to_vec();
        if let Some(byte) = value.get_mut(at) {
            *byte ^= 1 << bit;
            changed.headers.insert(name, HeaderValue::from_bytes(&value).ok()?);
            return Some(changed);
        }
        at -= value.len();
    }
    let mut target = parts.uri.to_string().into_bytes();
    target[at] ^= 1 << bit;
    changed.uri = Uri::try_from(target).ok()?;
    Some(changed)
}

proptest! {
    #[test]
    fn one_changed_bit_of_what_is_covered_is_refused(at in 0..10_000_usize, bit in 0..8_u8) {
        let parts = signed(&[("x-forwarded-for", "192.0.2.7"), ("x-wsgiproxy-str-1", "user bob")]);
        if let Some(changed) = flip(&parts, at % covered_bytes(&parts), bit) {
            // The case of a host is no difference (RFC 9110 §4.2.3).
            let same_host = changed.headers["host"].to_str().unwrap_or("").eq_ignore_ascii_case("back.example:80");
            let same = same_host && changed.headers["host"] != parts.headers["host"];
            prop_assert_eq!(verify(&changed).is_ok(), same, "{:?}", changed);
        }
    }

    #[test]
    fn one_changed_bit_of_the_signature_is_refused(at in 0..10_000_usize, bit in 0..8_u8, input in any::<bool>()) {
        let mut parts = signed(&[("x-forwarded-for", "192.0.2.7")]);
        let name = if input { SIGNATURE_INPUT } else { SIGNATURE };
        let mut value = parts.headers[&name].as_bytes().to_vec();
        let at = at % value.len();
        value[at] ^= 1 << bit;
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            parts.headers.insert(name, value);
            prop_assert!(verify(&parts).is_err(), "{parts:?}");
        }
    }

    #[test]
    fn no_bytes_panic(
        input in prop::collection::vec(prop::num::u8::ANY, 0..200),
        signature in prop::collection::vec(prop::num::u8::ANY, 0..60),
        prefix in prop::sample::select(vec!["", "nexthop=", "nexthop=(", "nexthop=(\"@method\" ", "a=1, nexthop=();"]),
    ) {
        let mut parts = outgoing("GET", "/", &[("host", "back")]);
        let input = [prefix.as_bytes(), &input].concat();
        if let (Ok(input), Ok(signature)) = (HeaderValue::from_bytes(&input), HeaderValue::from_bytes(&signature)) {
            parts.headers.insert(SIGNATURE_INPUT, input);
            parts.headers.insert(SIGNATURE, signature);
            prop_assert!(verify(&parts).is_err());
            sign(&signer(), &mut parts);
            prop_assert!(verify(&parts).is_ok());
        }
    }

    #[test]
    fn no_structured_field_panics(
        members in prop::collection::vec("(nexthop|nexthop-body|a|b)=\\((\"(@path|@query|date|signature)\"(;bs|;tr|;key=\"nexthop\"|;x)? ?){0,5}\\)(;(created|nonce|tag|keyid)=(1|-1|\"nexthop\"|\"k1\"|:AA==:|tok)){0,5}", 0..3),
    ) {
        let mut parts = outgoing("GET", "/", &[("host", "back"), ("signature", "nexthop=:AAAA:")]);
        parts.headers.insert(SIGNATURE_INPUT, members.join(", ").parse().unwrap());
        prop_assert!(verify(&parts).is_err());
    }

    #[test]
    fn whatever_is_signed_verifies(
        path in "/[a-zA-Z0-9/%;:@!$&'()*+,=~._-]{0,20}",
        query in prop::option::of("[a-zA-Z0-9/?&=%+]{0,20}"),
        values in prop::collection::vec("[ -~\u{e4}]{0,20}", 0..4),
    ) {
        let target = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        let mut parts = outgoing("GET", &format!("http://back{target}"), &[]);
        for value in &values {
            parts.headers.append("x-forwarded-for", HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        sign(&signer(), &mut parts);
        prop_assert!(verify(&received(&parts)).is_ok());
    }

    #[test]
    fn every_split_of_a_body_verifies(cuts in prop::collection::vec(0..3_u8, 0..20)) {
        let pieces: Vec<Step> = cuts.iter().map(|&cut| Data(["", "a", "bc"][usize::from(cut)])).collect();
        let whole: String = cuts.iter().map(|&cut| ["", "a", "bc"][usize::from(cut)]).collect();
        let (parts, data, trailers) = send(&signer(), &[], unsized_body(pieces.clone()));
        prop_assert_eq!(data.concat(), whole.clone());
        let mut steps = pieces;
        steps.push(Trailers(trailers.unwrap()));
        prop_assert_eq!(receive(&verifier(), &parts, unsized_body(steps)).unwrap().0.concat(), whole);
    }
}
