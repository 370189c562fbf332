//! What must be refused.

use super::*;

#[test]
fn a_request_without_a_signature_is_refused() {
    assert_eq!(refused(&outgoing("GET", "/", &[("host", "back")])), Refusal::Missing);
    let mut parts = signed(&[]);
    parts.headers.remove(SIGNATURE);
    assert_eq!(refused(&parts), Refusal::Missing);
}

#[test]
fn a_changed_head_is_refused() {
    let good = signed(&[("x-forwarded-for", "192.0.2.7")]);
    let with_uri = |uri: &'static str| {
        let mut parts = good.clone();
        parts.uri = Uri::from_static(uri);
        parts
    };
    let with_field = |name: &'static str, value: &'static str| {
        let mut parts = good.clone();
        parts.headers.insert(name, HeaderValue::from_static(value));
        parts
    };
    let mut with_method = good.clone();
    with_method.method = http::Method::HEAD;
    let mut duplicated = good.clone();
    duplicated.headers.append("x-forwarded-for", HeaderValue::from_static("192.0.2.7"));

    assert_eq!(good.uri, "/a%2Fb/c?x=1&y=%20");
    for changed in [
        with_uri("/a/b/c?x=1&y=%20"),
        with_uri("/a%2fb/c?x=1&y=%20"),
        with_uri("/a%2Fb/c/?x=1&y=%20"),
        with_uri("/a%2Fb//c?x=1&y=%20"),
        with_uri("/a%2Fb/c?y=%20&x=1"),
        with_uri("/a%2Fb/c?x=1&y=+"),
        with_uri("/a%2Fb/c?x=1&y=%20&"),
        with_uri("/a%2Fb/c"),
        with_field("x-forwarded-for", "192.0.2.8"),
        with_field("x-forwarded-for", "192.0.2.7, 192.0.2.7"),
        with_field("host", "back.example:8080"),
        with_field("host", "evil.example"),
        with_method,
        duplicated,
    ] {
        assert_eq!(refused(&changed), Refusal::Mismatch, "{changed:?}");
    }
    verify(&with_field("host", "BACK.example")).unwrap();
    verify(&with_field("x-forwarded-for", " 192.0.2.7\t")).unwrap();
}

#[test]
fn the_changed_parameters_of_a_signature_are_refused() {
    let good = signed(&[("x-forwarded-for", "192.0.2.7"), ("date", "now")]);
    for (from, to, why) in [
        ("created=1800000000", "created=1800000001", Refusal::Mismatch),
        ("created=1800000000", "created=-1800000000", Refusal::Malformed("signature parameter")),
        ("created=1800000000", "created=1800000000.5", Refusal::Malformed("signature parameter")),
        ("created=1800000000", "created=\"1800000000\"", Refusal::Malformed("signature parameter")),
        ("created=1800000000", "created=9999999999999999", Refusal::Malformed("Signature-Input")),
        ("created=1800000000;", "", Refusal::Malformed("created")),
        ("created=1800000000", "created=1800000000;created=1800000000", Refusal::Malformed("signature parameter")),
        ("created=1800000000", "created=1800000000;expires=1800000100", Refusal::Mismatch),
        ("created=1800000000", "created=1800000000;other=1", Refusal::Malformed("signature parameter")),
        ("nonce=\"0", "nonce=\"1", Refusal::Mismatch),
        ("nonce=\"0123456789abcdef-0000000000000000\"", "nonce=\"\"", Refusal::Malformed("nonce")),
        ("nonce=\"0123", "nonce=\"\\\\123", Refusal::Malformed("signature parameter")),
        (";nonce=\"0123456789abcdef-0000000000000000\"", "", Refusal::Malformed("nonce")),
        ("hmac-sha256", "hmac-sha512", Refusal::Algorithm),
        ("hmac-sha256", "none", Refusal::Algorithm),
        (";alg=\"hmac-sha256\"", "", Refusal::Mismatch),
        ("keyid=\"k1\"", "keyid=\"k2\"", Refusal::UnknownKey),
        (";keyid=\"k1\"", "", Refusal::Malformed("keyid")),
        ("tag=\"nexthop\"", "tag=\"other\"", Refusal::Malformed("tag")),
        (";tag=\"nexthop\"", "", Refusal::Malformed("tag")),
        ("\"@method\" ", "", Refusal::Uncovered("@method")),
        ("\"@authority\" ", "", Refusal::Uncovered("@authority")),
        ("\"@path\" ", "", Refusal::Uncovered("@path")),
        ("\"@query\" ", "", Refusal::Uncovered("@query")),
        (" \"x-forwarded-for\"", "", Refusal::Mismatch),
        ("\"x-forwarded-for\"", "\"x-forwarded-for\" \"date\"", Refusal::Mismatch),
        ("\"@method\"", "\"@method\" \"@method\"", Refusal::Component("covered twice")),
        ("\"x-forwarded-for\"", "\"x-forwarded-for\" \"X-Forwarded-For\"", Refusal::Component("invalid name")),
        ("\"x-forwarded-for\"", "\"x-forwarded-for\";bs", Refusal::Mismatch),
        ("\"x-forwarded-for\"", "\"x-forwarded-for\" \"x-forwarded-for\";bs", Refusal::Component("covered twice")),
        ("\"x-forwarded-for\"", "\"x-forwarded-for\";sf", Refusal::Component("unsupported parameter")),
        ("\"x-forwarded-for\"", "\"x-forwarded-for\";tr", Refusal::Component("not allowed in a head")),
        ("\"x-forwarded-for\"", "\"x-missing\"", Refusal::Component("the header is missing")),
        ("\"x-forwarded-for\"", "\"@scheme\"", Refusal::Component("unsupported")),
        ("\"x-forwarded-for\"", "\"@status\"", Refusal::Component("unsupported")),
        ("\"x-forwarded-for\"", "\"@query-param\";name=\"x\"", Refusal::Component("unsupported parameter")),
        ("\"x-forwarded-for\"", "\"\"", Refusal::Component("invalid name")),
        ("\"x-forwarded-for\"", "x-forwarded-for", Refusal::Malformed("component")),
        ("nexthop=", "other=", Refusal::Label),
        ("nexthop=(", "nexthop=1;x=(", Refusal::Malformed("Signature-Input")),
    ] {
        let mut changed = good.clone();
        replace(&mut changed, &SIGNATURE_INPUT, from, to);
        assert_eq!(refused(&changed), why, "{from} -> {to}");
    }
}

#[test]
fn a_second_signature_of_ours_is_refused() {
    let good = signed(&[]);
    let same = good.headers[SIGNATURE_INPUT].clone();
    let renamed: HeaderValue = text(&good, &SIGNATURE_INPUT).replacen("nexthop=", "other=", 1).parse().unwrap();
    for second in [same, renamed] {
        let mut parts = good.clone();
        parts.headers.append(SIGNATURE_INPUT, second);
        assert_eq!(refused(&parts), Refusal::Ambiguous);
    }
    let mut parts = good.clone();
    let same = good.headers[SIGNATURE].clone();
    parts.headers.append(SIGNATURE, same);
    assert_eq!(refused(&parts), Refusal::Ambiguous);
}

#[test]
fn a_malformed_signature_is_refused() {
    let good = signed(&[]);
    for (value, why) in [
        ("nexthop=:AAAA:", Refusal::Mismatch),
        ("nexthop=::", Refusal::Mismatch),
        ("nexthop=\"text\"", Refusal::Malformed("Signature")),
        ("nexthop=(1 2)", Refusal::Malformed("Signature")),
        ("nexthop", Refusal::Malformed("Signature")),
        ("nexthop=:AAAA:;x", Refusal::Malformed("Signature")),
        ("nexthop=:@:", Refusal::Malformed("Signature")),
        ("other=:AAAA:", Refusal::Missing),
        ("", Refusal::Missing),
    ] {
        let mut parts = good.clone();
        parts.headers.insert(SIGNATURE, HeaderValue::from_static(value));
        assert_eq!(refused(&parts), why, "{value}");
    }
}

#[test]
fn a_signature_has_its_time() {
    let parts = signed(&[]);
    for (now, why) in [
        (CREATED - 31, Some(Refusal::Early)),
        (CREATED - 30, None),
        (CREATED + 90, None),
        (CREATED + 91, Some(Refusal::Stale)),
        (0, Some(Refusal::Early)),
    ] {
        let outcome = verify_at(&verifier(), &parts, now);
        assert_eq!(outcome.err().map(|error| reason(&error)), why, "{now}");
    }
    let strict = Verifier::builder(keyring()).max_age(Duration::from_secs(5)).skew(Duration::ZERO).build().unwrap();
    assert!(verify_at(&strict, &parts, CREATED + 6).is_err());
    assert!(verify_at(&strict, &parts, CREATED - 1).is_err());
    verify_at(&strict, &parts, CREATED + 5).unwrap();
}

#[test]
fn a_time_out_of_bounds_is_a_configuration_error() {
    let error = Verifier::builder(keyring()).max_age(Duration::from_secs(90_000)).build().unwrap_err();
    assert!(error.to_string().contains("90000s"), "{error}");
    assert!(Verifier::builder(keyring()).scheme("ftp".parse().unwrap()).build().is_err());
}

#[test]
fn a_replayed_request_is_refused_and_a_wrong_one_leaves_no_trace() {
    let verifier = verifier();
    let parts = signed(&[("x-forwarded-for", "192.0.2.7")]);
    let mut wrong = parts.clone();
    wrong.headers.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.8"));
    assert_eq!(reason(&verify_at(&verifier, &wrong, CREATED).unwrap_err()), Refusal::Mismatch);
    verify_at(&verifier, &parts, CREATED).unwrap();
    assert_eq!(reason(&verify_at(&verifier, &parts, CREATED).unwrap_err()), Refusal::Replayed);
    assert_eq!(reason(&verify_at(&verifier.clone(), &parts, CREATED + 90).unwrap_err()), Refusal::Replayed);
}

#[test]
fn requests_that_overtake_each_other_are_all_admitted() {
    let (signer, verifier) = (signer(), verifier());
    let mut requests: Vec<_> = (0..300)
        .map(|_| {
            let mut parts = outgoing("GET", "http://back/", &[]);
            sign(&signer, &mut parts);
            received(&parts)
        })
        .collect();
    requests.reverse();
    std::thread::scope(|scope| {
        for part in requests.chunks(100) {
            scope.spawn(|| part.iter().for_each(|parts| drop(verify_at(&verifier, parts, CREATED).unwrap())));
        }
    });
    assert!(requests.iter().all(|parts| verify_at(&verifier, parts, CREATED).is_err()));
}

#[test]
fn a_full_replay_memory_is_no_fault_of_the_request() {
    let full = InMemoryReplayStore::builder().max_senders(0).build();
    let verifier = Verifier::builder(keyring()).replay(full).build().unwrap();
    let error = verify_at(&verifier, &signed(&[]), CREATED).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn a_store_may_answer_later() {
    #[derive(Debug)]
    struct Elsewhere(NonceStatus);

    impl ReplayStore for Elsewhere {
        fn remember(&self, nonce: Nonce<'_>) -> NonceCheck {
            assert_eq!((nonce.key_id, nonce.until, nonce.now), ("k1", CREATED + 90, CREATED + 1));
            let seen = self.0;
            NonceCheck::Later(Box::pin(async move { seen }))
        }
    }

    for (seen, kind) in [
        (NonceStatus::Fresh, None),
        (NonceStatus::Replayed, Some(ErrorKind::Signature)),
        (NonceStatus::Unavailable, Some(ErrorKind::Unavailable)),
    ] {
        let verifier = Verifier::builder(keyring()).replay(Elsewhere(seen)).build().unwrap();
        let verdict = verifier.verify(&signed(&[]), &Empty::<Bytes>::new(), at(CREATED + 1)).unwrap();
        let Verification::Later(later) = verdict else { panic!("it answers later") };
        assert_eq!(now(later).err().map(|error| error.kind()), kind);
    }
}
