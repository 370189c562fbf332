use std::{
    error::Error as _,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header, request::Parts, uri::Scheme};
use http_body::{Frame, SizeHint};
use http_body_util::{Empty, Full};
use proptest::prelude::*;

use super::{base::Base, refusal::Refusal, *};
use crate::{
    error::{Error, ErrorKind},
    protocol::{
        keyring::Keyring,
        names::{CONTENT_DIGEST, SIGNATURE, SIGNATURE_INPUT},
        replay::{Answer, LocalReplay, Nonce, ReplayStore, Seen},
    },
    secret::Secret,
};

const SECRET: [u8; 32] = [7; 32];
const CREATED: u64 = 1_800_000_000;
const SENDER: u64 = 0x0123_4567_89ab_cdef;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn keyring() -> Keyring {
    Keyring::new("k1", Secret::from_bytes(SECRET).unwrap()).unwrap()
}

fn signer() -> Signer {
    Signer::builder(keyring()).build_with_sender(SENDER)
}

fn verifier() -> Verifier {
    Verifier::builder(keyring()).build().unwrap()
}

/// A request as `ProxyApp` has it before it signs.
fn outgoing(method: &str, uri: &str, fields: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request.body(()).unwrap().into_parts().0
}

/// The same request as a server has it.
fn received(sent: &Parts) -> Parts {
    let mut parts = sent.clone();
    if !parts.headers.contains_key(header::HOST) {
        let host = sent.uri.authority().unwrap().as_str();
        parts.headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
    }
    let query = sent.uri.query().map_or(String::new(), |query| format!("?{query}"));
    parts.uri = format!("{}{query}", sent.uri.path()).parse().unwrap();
    parts
}

fn sign(signer: &Signer, parts: &mut Parts) {
    let Covering::Ready(stamp, _) = signer.cover(&mut parts.headers, Empty::<Bytes>::new()) else {
        panic!("there is nothing to read")
    };
    stamp.sign(parts, at(CREATED)).unwrap();
}

fn signed(fields: &[(&str, &str)]) -> Parts {
    let mut parts = outgoing("GET", "http://Back.Example:80/a%2Fb/c?x=1&y=%20", fields);
    sign(&signer(), &mut parts);
    received(&parts)
}

fn verify_at(verifier: &Verifier, parts: &Parts, now: u64) -> Result<Verified, Error> {
    match verifier.verify(parts, &Empty::<Bytes>::new(), at(now))? {
        Verdict::Now(verified) => Ok(verified),
        Verdict::Later(_) => panic!("a local store knows at once"),
    }
}

fn verify(parts: &Parts) -> Result<Verified, Error> {
    verify_at(&verifier(), parts, CREATED)
}

fn reason(error: &Error) -> Refusal {
    assert_eq!(error.kind(), ErrorKind::Signature);
    assert_eq!(error.to_string(), "signature refused");
    *error.source().unwrap().downcast_ref::<Refusal>().unwrap()
}

#[track_caller]
fn refused(parts: &Parts) -> Refusal {
    reason(&verify(parts).unwrap_err())
}

fn text<'a>(parts: &'a Parts, name: &HeaderName) -> &'a str {
    parts.headers[name].to_str().unwrap()
}

fn replace(parts: &mut Parts, name: &HeaderName, from: &str, to: &str) {
    let changed = text(parts, name).replacen(from, to, 1);
    assert_ne!(changed, text(parts, name), "{from} is there");
    parts.headers.insert(name, changed.parse().unwrap());
}

// === the profile on the wire ===

#[test]
fn the_vector_of_rfc_9421_b_2_5_is_reproduced() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use hmac::Mac;

    let secret = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
    let secret = Secret::from_bytes(STANDARD.decode(secret).unwrap()).unwrap();
    let keyring = Keyring::new("test-shared-secret", secret).unwrap();
    let date = HeaderValue::from_static("Tue, 20 Apr 2021 02:07:55 GMT");
    let json = HeaderValue::from_static("application/json");

    let mut base = Base::new();
    base.field("date", std::iter::once(&date));
    base.authority(b"example.com", &Scheme::HTTPS);
    base.field("content-type", std::iter::once(&json));
    let base = base.finish(br#"("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#);

    let mac = keyring.keys().active().unwrap().hmac_sha256().chain_update(base.as_bytes()).finalize().into_bytes();
    assert_eq!(STANDARD.encode(mac), "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=");
}

/// The worked example of the module's documentation.
#[test]
fn the_worked_example_is_what_is_sent() {
    let secret = Secret::from_bytes("0123456789abcdef0123456789abcdef").unwrap();
    let signer = Signer::builder(Keyring::new("k1", secret).unwrap()).build_with_sender(SENDER);
    let mut parts = outgoing(
        "POST",
        "http://back.example/a%2Fb?x=1",
        &[("content-type", "text/plain"), ("x-forwarded-for", "192.0.2.7"), ("x-forwarded-proto", "https")],
    );
    let Covering::Reading(reading) = signer.cover(&mut parts.headers, Full::from("hello")) else { panic!("small") };
    let (stamp, _body) = now(reading).unwrap();
    stamp.sign(&mut parts, at(CREATED)).unwrap();

    for (name, documented) in
        [(&CONTENT_DIGEST, "Content-Digest: "), (&SIGNATURE_INPUT, "Signature-Input: "), (&SIGNATURE, "Signature: ")]
    {
        let line = format!("{documented}{}", text(&parts, name));
        assert!(include_str!("mod.rs").contains(&line), "mod.rs has not: {line}");
    }
}

#[test]
fn what_is_signed_verifies_and_vouches_for_every_field_of_ours() {
    let parts = signed(&[("x-forwarded-for", "192.0.2.7"), ("accept", "*/*"), ("x-wsgiproxy-str-1", "user bob")]);
    assert_eq!(
        text(&parts, &SIGNATURE_INPUT),
        "nexthop=(\"@method\" \"@authority\" \"@path\" \"@query\" \"x-forwarded-for\" \"x-wsgiproxy-str-1\")\
         ;created=1800000000;nonce=\"0123456789abcdef-0000000000000000\"\
         ;alg=\"hmac-sha256\";keyid=\"k1\";tag=\"nexthop\""
    );
    let verified = verify(&parts).unwrap();
    assert_eq!(&**verified.key_id(), "k1");
    assert_eq!(verified.uncovered(), &[] as &[HeaderName]);
    assert!(verified.covers(&HeaderName::from_static("x-forwarded-for")));
    assert!(!verified.covers(&HeaderName::from_static("accept")), "not ours");
}

#[test]
fn a_second_attempt_has_a_new_nonce_and_one_signature() {
    let signer = signer();
    let verifier = verifier();
    let mut parts = outgoing("GET", "http://back/", &[("x-forwarded-for", "192.0.2.7")]);
    let Covering::Ready(stamp, _) = signer.cover(&mut parts.headers, Empty::<Bytes>::new()) else { panic!() };
    for attempt in 0..3 {
        stamp.sign(&mut parts, at(CREATED)).unwrap();
        assert_eq!(parts.headers.get_all(SIGNATURE_INPUT).iter().count(), 1);
        assert_eq!(parts.headers.get_all(SIGNATURE).iter().count(), 1);
        assert!(text(&parts, &SIGNATURE_INPUT).contains(&format!("-{attempt:016x}\"")));
        verify_at(&verifier, &received(&parts), CREATED).unwrap();
    }
}

#[test]
fn a_signature_of_somebody_else_passes_through_beside_ours() {
    let theirs = [("signature-input", "sig1=(\"@method\");tag=\"web-bot-auth\""), ("signature", "sig1=:AAAA:")];
    let mut parts = signed(&theirs);
    let verified = verify(&parts).unwrap();
    verified.restore(&mut parts.headers);
    for (name, value) in theirs {
        let left: Vec<_> = parts.headers.get_all(name).iter().collect();
        assert_eq!(left, [value], "{name}");
    }
}

#[test]
fn a_clients_claim_to_our_label_or_tag_is_replaced() {
    for forged in
        ["nexthop=(\"@method\")", "a=(\"@method\");tag=\"nexthop\"", "nonsense;;", "nexthop", "a=1, nexthop=2"]
    {
        let parts = signed(&[("signature-input", forged), ("signature", "nexthop=:AAAA:")]);
        assert_eq!(parts.headers.get_all(SIGNATURE_INPUT).iter().count(), 1, "{forged}");
        verify(&parts).unwrap();
    }
}

#[test]
fn the_httpsig_crate_verifies_ours() {
    use httpsig::prelude::{message_component::HttpMessageComponent, *};

    let parts = signed(&[("x-forwarded-for", "192.0.2.7"), ("x-forwarded-for", "198.51.100.1")]);
    let lines = [
        "\"@method\": GET",
        "\"@authority\": back.example",
        "\"@path\": /a%2Fb/c",
        "\"@query\": ?x=1&y=%20",
        "\"x-forwarded-for\": 192.0.2.7, 198.51.100.1",
    ];
    let lines: Vec<_> = lines.iter().map(|line| HttpMessageComponent::try_from(*line).unwrap()).collect();
    let fields = HttpSignatureHeaders::try_parse(text(&parts, &SIGNATURE), text(&parts, &SIGNATURE_INPUT)).unwrap();
    let ours = fields.get("nexthop").unwrap();
    let base = HttpSignatureBase::try_new(&lines, ours.signature_params()).unwrap();
    base.verify_signature_headers(&SharedKey::HmacSha256(SECRET.to_vec()), ours).unwrap();
}

#[test]
fn we_verify_what_the_httpsig_crate_signs() {
    use httpsig::prelude::{message_component::*, *};

    let covered = ["@query", "@path", "@method", "x-forwarded-for", "@authority", "date"];
    let covered: Vec<_> = covered.iter().map(|id| HttpMessageComponentId::try_from(*id).unwrap()).collect();
    let lines = [
        "\"@query\": ?x=1",
        "\"@path\": /a%2Fb",
        "\"@method\": GET",
        "\"x-forwarded-for\": 192.0.2.7",
        "\"@authority\": back.example",
        "\"date\": Tue, 20 Apr 2021 02:07:55 GMT",
    ];
    let lines: Vec<_> = lines.iter().map(|line| HttpMessageComponent::try_from(*line).unwrap()).collect();
    let mut params = HttpSignatureParams::try_new(&covered).unwrap();
    params.set_created(CREATED).set_expires(CREATED + 5).set_random_nonce().set_keyid("k1").set_tag("nexthop");
    let base = HttpSignatureBase::try_new(&lines, &params).unwrap();
    let fields = base.build_signature_headers(&SharedKey::HmacSha256(SECRET.to_vec()), Some("nexthop")).unwrap();

    let mut parts = outgoing(
        "GET",
        "/a%2Fb?x=1",
        &[
            ("host", "back.example"),
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-host", "evil.example"),
        ],
    );
    parts.headers.insert(SIGNATURE, fields.signature_header_value().parse().unwrap());
    parts.headers.insert(SIGNATURE_INPUT, fields.signature_input_header_value().parse().unwrap());
    let verifier = verifier();
    let verified = verify_at(&verifier, &parts, CREATED + 5).unwrap();
    assert_eq!(verified.uncovered(), [HeaderName::from_static("x-forwarded-host")]);
    assert_eq!(reason(&verify_at(&verifier, &parts, CREATED + 5).unwrap_err()), Refusal::Replayed);
    assert_eq!(reason(&verify_at(&verifier, &parts, CREATED + 6).unwrap_err()), Refusal::Stale, "expires is kept to");
}

// === what must be refused ===

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
        ("\"@method\"", "\"@method\" \"@method\"", Refusal::Component("it is there twice")),
        ("\"x-forwarded-for\"", "\"x-forwarded-for\" \"X-Forwarded-For\"", Refusal::Component("its name")),
        ("\"x-forwarded-for\"", "\"x-forwarded-for\";bs", Refusal::Mismatch),
        ("\"x-forwarded-for\"", "\"x-forwarded-for\" \"x-forwarded-for\";bs", Refusal::Component("it is there twice")),
        ("\"x-forwarded-for\"", "\"x-forwarded-for\";sf", Refusal::Component("its parameter")),
        ("\"x-forwarded-for\"", "\"x-forwarded-for\";tr", Refusal::Component("not in a head")),
        ("\"x-forwarded-for\"", "\"x-missing\"", Refusal::Component("the field is missing")),
        ("\"x-forwarded-for\"", "\"@scheme\"", Refusal::Component("not in this profile")),
        ("\"x-forwarded-for\"", "\"@status\"", Refusal::Component("not in this profile")),
        ("\"x-forwarded-for\"", "\"@query-param\";name=\"x\"", Refusal::Component("its parameter")),
        ("\"x-forwarded-for\"", "\"\"", Refusal::Component("its name")),
        ("\"x-forwarded-for\"", "x-forwarded-for", Refusal::Malformed("component")),
        ("nexthop=", "other=", Refusal::Ambiguous),
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
    let full = LocalReplay::builder().max_senders(0).build();
    let verifier = Verifier::builder(keyring()).replay(full).build().unwrap();
    let error = verify_at(&verifier, &signed(&[]), CREATED).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn a_store_may_answer_later() {
    #[derive(Debug)]
    struct Elsewhere(Seen);

    impl ReplayStore for Elsewhere {
        fn remember(&self, nonce: Nonce<'_>) -> Answer {
            assert_eq!((nonce.key_id, nonce.until, nonce.now), ("k1", CREATED + 90, CREATED + 1));
            let seen = self.0;
            Answer::Later(Box::pin(async move { seen }))
        }
    }

    for (seen, kind) in [
        (Seen::Fresh, None),
        (Seen::Replayed, Some(ErrorKind::Signature)),
        (Seen::Unavailable, Some(ErrorKind::Unavailable)),
    ] {
        let verifier = Verifier::builder(keyring()).replay(Elsewhere(seen)).build().unwrap();
        let verdict = verifier.verify(&signed(&[]), &Empty::<Bytes>::new(), at(CREATED + 1)).unwrap();
        let Verdict::Later(later) = verdict else { panic!("it answers later") };
        assert_eq!(now(later).err().map(|error| error.kind()), kind);
    }
}

// === authority, query, bytes ===

#[test]
fn the_default_port_is_left_out_on_both_ends() {
    for (uri, host, scheme) in [
        ("http://h/", "h", Scheme::HTTP),
        ("http://h:80/", "h:80", Scheme::HTTP),
        ("http://h:80/", "h", Scheme::HTTP),
        ("http://h:443/", "h:443", Scheme::HTTP),
        ("http://H:8080/", "h:8080", Scheme::HTTP),
        ("https://h:443/", "h", Scheme::HTTPS),
        ("https://h:80/", "h:80", Scheme::HTTPS),
        ("http://[::1]/", "[::1]", Scheme::HTTP),
        ("http://[::1]:80/", "[::1]", Scheme::HTTP),
        ("http://user@h/", "h", Scheme::HTTP),
    ] {
        let mut parts = outgoing("GET", uri, &[]);
        sign(&signer(), &mut parts);
        let mut parts = received(&parts);
        parts.headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        let verifier = Verifier::builder(keyring()).scheme(scheme).build().unwrap();
        verify_at(&verifier, &parts, CREATED).unwrap_or_else(|error| panic!("{uri} {host}: {error:?}"));
    }
}

#[test]
fn the_host_that_is_sent_is_signed_not_the_address_that_is_dialled() {
    let mut parts = outgoing("GET", "http://10.0.0.1:8080/", &[("host", "www.example.com")]);
    sign(&signer(), &mut parts);
    let mut parts = received(&parts);
    verify(&parts).unwrap();
    parts.headers.insert(header::HOST, HeaderValue::from_static("10.0.0.1:8080"));
    assert_eq!(refused(&parts), Refusal::Mismatch);
}

#[test]
fn a_target_that_contradicts_host_is_refused() {
    let mut parts = signed(&[]);
    parts.uri = Uri::from_static("http://evil.example/a%2Fb/c?x=1&y=%20");
    assert_eq!(refused(&parts), Refusal::Malformed("Host and target differ"));
    parts.uri = Uri::from_static("http://BACK.example:80/a%2Fb/c?x=1&y=%20");
    verify(&parts).unwrap();
    parts.headers.remove(header::HOST);
    verify(&parts).unwrap();
    parts.headers.append(header::HOST, HeaderValue::from_static("back.example"));
    parts.headers.append(header::HOST, HeaderValue::from_static("back.example"));
    assert_eq!(refused(&parts), Refusal::Malformed("Host"));
}

#[test]
fn a_request_without_one_authority_is_not_signed() {
    for fields in [&[][..], &[("host", "a"), ("host", "b")]] {
        let mut parts = outgoing("GET", "/", fields);
        let Covering::Ready(stamp, _) = signer().cover(&mut parts.headers, Empty::<Bytes>::new()) else { panic!() };
        assert_eq!(stamp.sign(&mut parts, at(CREATED)).unwrap_err().kind(), ErrorKind::Target);
        assert!(!parts.headers.contains_key(SIGNATURE));
    }
}

#[test]
fn a_question_mark_alone_is_told_from_none() {
    let mut with = outgoing("GET", "http://back/p?", &[]);
    sign(&signer(), &mut with);
    let mut with = received(&with);
    assert!(text(&with, &SIGNATURE_INPUT).contains("\"@query\" \"@request-target\")"));
    verify(&with).unwrap();
    with.uri = Uri::from_static("/p");
    assert_eq!(refused(&with), Refusal::Mismatch);

    let mut without = outgoing("GET", "http://back/p", &[]);
    sign(&signer(), &mut without);
    let mut without = received(&without);
    verify(&without).unwrap();
    without.uri = Uri::from_static("/p?");
    assert!(matches!(refused(&without), Refusal::Uncovered(_)));
}

#[test]
fn paths_of_every_form_are_bound_byte_for_byte() {
    for uri in
        ["http://h", "http://h?q", "http://h?", "http://h//a//", "http://h/;p=1;", "http://h/a?b?c", "http://h/%00%ff"]
    {
        let mut parts = outgoing("GET", uri, &[]);
        sign(&signer(), &mut parts);
        verify(&received(&parts)).unwrap_or_else(|error| panic!("{uri}: {error:?}"));
    }
    let mut raw = outgoing("GET", "/", &[("host", "h")]);
    raw.uri = Uri::try_from("/\u{e4}?\u{f6}".as_bytes()).unwrap();
    sign(&signer(), &mut raw);
    verify(&raw).unwrap();
    let mut star = outgoing("OPTIONS", "*", &[("host", "h")]);
    sign(&signer(), &mut star);
    verify(&star).unwrap();
}

#[test]
fn values_outside_ascii_are_wrapped() {
    let mut parts = signed(&[("x-forwarded-prefix", "/ä"), ("x-forwarded-prefix", "b")]);
    assert!(text(&parts, &SIGNATURE_INPUT).contains("\"x-forwarded-prefix\";bs)"));
    verify(&parts).unwrap();
    parts.headers.insert("x-forwarded-prefix", HeaderValue::from_bytes("/ä, b".as_bytes()).unwrap());
    assert_eq!(refused(&parts), Refusal::Mismatch);
}

#[test]
fn http_2_requests_have_their_authority_in_the_target() {
    let mut parts = outgoing("GET", "https://Back.example:443/p?q", &[]);
    sign(&signer(), &mut parts);
    parts.uri = Uri::from_static("https://back.example/p?q");
    verify(&parts).unwrap();
}

// === restore ===

#[test]
fn what_was_not_covered_is_removed() {
    let mut parts = signed(&[("x-forwarded-for", "192.0.2.7")]);
    parts.headers.insert("x-forwarded-host", HeaderValue::from_static("evil.example"));
    parts.headers.insert("x_forwarded_for", HeaderValue::from_static("203.0.113.9"));
    parts.headers.append("x-wsgiproxy-str-1", HeaderValue::from_static("user root"));
    parts.headers.insert("accept", HeaderValue::from_static("*/*"));

    let verified = verify(&parts).unwrap();
    assert!(!verified.covers(&HeaderName::from_static("x-forwarded-host")));
    verified.restore(&mut parts.headers);
    let mut left: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["accept", "host", "x-forwarded-for"]);
}

#[test]
fn a_covered_field_that_was_split_on_the_way_is_one_line_again() {
    let mut parts = signed(&[("x-wsgiproxy-str-1", "user bob, root")]);
    parts.headers.insert("x-wsgiproxy-str-1", HeaderValue::from_static("user bob"));
    parts.headers.append("x-wsgiproxy-str-1", HeaderValue::from_static("root"));
    let verified = verify(&parts).unwrap();
    verified.restore(&mut parts.headers);
    let left: Vec<_> = parts.headers.get_all("x-wsgiproxy-str-1").iter().collect();
    assert_eq!(left, ["user bob, root"]);
}

// === keys ===

#[test]
fn a_rotated_file_needs_no_restart() {
    const OLD: &str = "old MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n";
    const NEW: &str = "new ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=\n";

    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| std::fs::write(dir.path().join(name), content).unwrap();
    let open = |name: &str| Keyring::from_secret(Secret::from_file(dir.path().join(name)).unwrap()).unwrap();
    write("front", OLD);
    write("back", OLD);
    let (front, back) = (open("front"), open("back"));
    let signer = Signer::builder(front.clone()).build().unwrap();
    let verifier = Verifier::builder(back.clone()).build().unwrap();
    let send = |now: u64| {
        let mut parts = outgoing("GET", "http://back/", &[]);
        let Covering::Ready(stamp, _) = signer.cover(&mut parts.headers, Empty::<Bytes>::new()) else { panic!() };
        stamp.sign(&mut parts, at(now)).unwrap();
        verify_at(&verifier, &received(&parts), now).map(|verified| verified.key_id().to_string())
    };
    assert_eq!(send(CREATED).unwrap(), "old");

    write("back", &format!("{OLD}{NEW}"));
    write("front", &format!("{NEW}{OLD}"));
    front.reload();
    assert_eq!(send(CREATED + 5).unwrap(), "new", "the verifier looks when it meets an unknown key");

    write("back", NEW);
    write("front", OLD);
    front.reload();
    back.reload();
    assert_eq!(reason(&send(CREATED + 10).unwrap_err()), Refusal::UnknownKey);
}

#[test]
fn a_raw_secret_that_changed_is_read_when_a_signature_does_not_match() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, [b'a'; 32]).unwrap();
    let back = Keyring::new("k1", Secret::from_file(&path).unwrap()).unwrap();
    let verifier = Verifier::builder(back).build().unwrap();
    std::fs::write(&path, SECRET).unwrap();
    verify_at(&verifier, &signed(&[]), CREATED).unwrap();
}

#[test]
fn nothing_prints_a_secret() {
    let secret = "the secret that nobody may ever see";
    let keyring = Keyring::new("k1", Secret::from_bytes(secret).unwrap()).unwrap();
    let signer = Signer::builder(keyring.clone()).build().unwrap();
    let verifier = Verifier::builder(keyring.clone()).build().unwrap();
    let mut parts = outgoing("GET", "http://back/", &[]);
    let Covering::Ready(stamp, body) = signer.cover(&mut parts.headers, Full::from("")) else { panic!() };
    let shown = format!("{keyring:?} {signer:?} {verifier:?} {stamp:?} {body:?}");
    assert!(!shown.contains("secret that"), "{shown}");
    assert!(!shown.contains("116, 104, 101"), "{shown}");
}

// === bodies ===

/// What a future gives that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Data(&'static str),
    Trailers(HeaderMap),
    Pause,
    Fail,
}

use Step::{Data, Fail, Pause, Trailers};

/// A body that does what it is told.
#[derive(Debug)]
struct Script {
    steps: std::vec::IntoIter<Step>,
    length: Option<u64>,
}

fn unsized_body(steps: impl Into<Vec<Step>>) -> Script {
    Script { steps: steps.into().into_iter(), length: None }
}

fn sized_body(length: u64, steps: impl Into<Vec<Step>>) -> Script {
    Script { length: Some(length), ..unsized_body(steps) }
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.steps.next() {
            None => Poll::Ready(None),
            Some(Data(text)) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))),
            Some(Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Some(Pause) => Poll::Pending,
            Some(Fail) => Poll::Ready(Some(Err(std::io::Error::other("cut")))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

/// What a body gives, step by step, and how it ends.
fn read<B>(body: B) -> (Vec<String>, Option<HeaderMap>, Option<Error>)
where
    B: http_body::Body<Data = Bytes, Error = Error>,
{
    let mut body = pin!(body);
    let (mut data, mut trailers) = (Vec::new(), None);
    loop {
        match body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => data.push("…".to_owned()),
            Poll::Ready(None) => return (data, trailers, None),
            Poll::Ready(Some(Err(error))) => {
                assert!(body.is_end_stream());
                return (data, trailers, Some(error));
            }
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) => data.push(String::from_utf8(bytes.to_vec()).unwrap()),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
    }
}

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

/// Signs a request with a body; gives the head as received, and the frames that were sent.
fn send(signer: &Signer, fields: &[(&str, &str)], body: Script) -> (Parts, Vec<String>, Option<HeaderMap>) {
    let mut parts = outgoing("POST", "http://back/upload", fields);
    let (stamp, body) = match signer.cover(&mut parts.headers, body) {
        Covering::Ready(stamp, body) => (stamp, body),
        Covering::Reading(reading) => now(reading).unwrap(),
    };
    stamp.sign(&mut parts, at(CREATED)).unwrap();
    let (data, trailers, error) = read(body);
    assert!(error.is_none());
    (received(&parts), data, trailers)
}

/// Verifies head and body; the error may come from either.
fn receive(verifier: &Verifier, parts: &Parts, body: Script) -> Result<(Vec<String>, Option<HeaderMap>), Error> {
    let Verdict::Now(verified) = verifier.verify(parts, &body, at(CREATED))? else { panic!("it knows at once") };
    let body = match verified.open(body) {
        Opening::Ready(body) => body,
        Opening::Reading(reading) => now(reading)?,
    };
    match read(body) {
        (data, trailers, None) => Ok((data, trailers)),
        (_, _, Some(error)) => Err(error),
    }
}

#[test]
fn a_small_body_is_covered_by_its_digest() {
    let (parts, data, trailers) =
        send(&signer(), &[("content-digest", "sha-256=:AAAA:")], sized_body(11, [Data("hello "), Data("world")]));
    assert_eq!((data, trailers), (vec!["hello world".to_owned()], None));
    assert_eq!(text(&parts, &CONTENT_DIGEST), "sha-256=:uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=:");
    assert!(text(&parts, &SIGNATURE_INPUT).contains("\"content-digest\""));

    let good = receive(&verifier(), &parts, sized_body(11, [Data("hello world")])).unwrap();
    assert_eq!(good.0, ["hello world"]);
    let chunked = receive(&verifier(), &parts, unsized_body([Data("hello"), Data(" world")])).unwrap();
    assert_eq!(chunked.0.concat(), "hello world");
    for wrong in [
        sized_body(11, [Data("hello World")]),
        sized_body(10, [Data("hello worl")]),
        sized_body(0, []),
        unsized_body([Data("hello world"), Data("!")]),
        unsized_body([Data("hello")]),
        unsized_body([]),
    ] {
        assert_eq!(reason(&receive(&verifier(), &parts, wrong).unwrap_err()), Refusal::Body("digest"));
    }
}

#[test]
fn the_digest_itself_is_covered() {
    let (mut parts, ..) = send(&signer(), &[], sized_body(5, [Data("hello")]));
    parts.headers.insert(CONTENT_DIGEST, "sha-256=:uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=:".parse().unwrap());
    let error = receive(&verifier(), &parts, sized_body(11, [Data("hello world")])).unwrap_err();
    assert_eq!(reason(&error), Refusal::Mismatch);
    parts.headers.remove(CONTENT_DIGEST);
    let error = receive(&verifier(), &parts, sized_body(5, [Data("hello")])).unwrap_err();
    assert_eq!(reason(&error), Refusal::Component("content-digest is missing"));
}

#[test]
fn a_body_put_onto_a_request_that_had_none_is_refused() {
    let parts = signed(&[]);
    for body in [sized_body(1, [Data("x")]), unsized_body([Data("x")]), unsized_body([])] {
        assert_eq!(reason(&receive(&verifier(), &parts, body).unwrap_err()), Refusal::Uncovered("body"));
    }
    receive(&verifier(), &parts, sized_body(0, [])).unwrap();
}

#[test]
fn a_body_that_is_not_what_its_length_says_is_not_signed() {
    for (body, fields) in [
        (sized_body(5, [Data("hell")]), &[][..]),
        (sized_body(5, [Data("hello!")]), &[]),
        (sized_body(5, [Data("hel"), Fail]), &[]),
        (unsized_body([Data("hello!")]), &[("content-length", "5")]),
    ] {
        let mut parts = outgoing("POST", "http://back/", fields);
        let Covering::Reading(reading) = signer().cover(&mut parts.headers, body) else { panic!("it is small") };
        assert_eq!(now(reading).unwrap_err().kind(), ErrorKind::RequestBody);
    }
}

#[test]
fn a_body_that_was_read_can_be_sent_again() {
    let mut parts = outgoing("POST", "http://back/", &[]);
    let Covering::Reading(reading) = signer().cover(&mut parts.headers, sized_body(5, [Data("hello")])) else {
        panic!("it is small")
    };
    let (_, body) = now(reading).unwrap();
    let again = body.try_clone().unwrap();
    assert_eq!((read(body).0, read(again).0), (vec!["hello".to_owned()], vec!["hello".to_owned()]));
}

#[test]
fn an_unsized_body_is_covered_by_trailers() {
    let (parts, data, trailers) = send(
        &signer(),
        &[("trailer", "x-count")],
        unsized_body([Data("a"), Data("b"), Trailers(map(&[("x-count", "2")]))]),
    );
    let trailers = trailers.unwrap();
    assert_eq!(data, ["a", "b"]);
    assert!(text(&parts, &SIGNATURE_INPUT).contains(" \"trailer\")"));
    assert_eq!(trailers["x-count"], "2");
    assert_eq!(
        trailers[SIGNATURE_INPUT],
        "nexthop-body=(\"content-digest\";tr \"signature\";key=\"nexthop\")\
         ;alg=\"hmac-sha256\";keyid=\"k1\";tag=\"nexthop-body\""
    );

    let steps = [Data("a"), Data("b"), Trailers(trailers.clone())];
    let (data, left) = receive(&verifier(), &parts, unsized_body(steps)).unwrap();
    assert_eq!((data.concat(), left), ("ab".to_owned(), Some(map(&[("x-count", "2")]))));

    let mut restored = parts.headers.clone();
    verify_body_head(&parts).restore(&mut restored);
    assert_eq!(restored.get_all(header::TRAILER).iter().collect::<Vec<_>>(), ["x-count"]);
}

fn verify_body_head(parts: &Parts) -> Verified {
    match verifier().verify(parts, &unsized_body([]), at(CREATED)).unwrap() {
        Verdict::Now(verified) => verified,
        Verdict::Later(_) => panic!("it knows at once"),
    }
}

#[test]
fn a_streamed_body_that_is_changed_cut_or_extended_does_not_end_well() {
    let signer = signer();
    let (parts, _, trailers) = send(&signer, &[], unsized_body([Data("a"), Data("b")]));
    let (other_parts, _, other_trailers) = send(&signer, &[], unsized_body([Data("a"), Data("b")]));
    let (trailers, other_trailers) = (trailers.unwrap(), other_trailers.unwrap());
    let mut two = trailers.clone();
    two.append(SIGNATURE_INPUT, trailers[SIGNATURE_INPUT].clone());
    let missing = Refusal::Body("its trailers are missing");
    let mut without_digest = trailers.clone();
    without_digest.remove(CONTENT_DIGEST);

    for (steps, why) in [
        (vec![Data("ab")], missing),
        (vec![Data("ab"), Trailers(map(&[("x", "y")]))], missing),
        (vec![Data("a"), Trailers(trailers.clone())], Refusal::Body("digest")),
        (vec![Data("ab"), Data("c"), Trailers(trailers.clone())], Refusal::Body("digest")),
        (vec![Data("ab"), Trailers(two)], Refusal::Ambiguous),
        (vec![Data("ab"), Trailers(without_digest)], Refusal::Component("not in the trailers")),
        (vec![Data("ab"), Trailers(parts.headers.clone())], Refusal::Missing),
        (vec![Data("ab"), Trailers(other_trailers.clone())], Refusal::Mismatch),
    ] {
        let verifier = Verifier::builder(keyring()).build().unwrap();
        let error = receive(&verifier, &parts, unsized_body(steps.clone())).unwrap_err();
        assert_eq!(reason(&error), why, "{steps:?}");
    }
    let cut = receive(&verifier(), &parts, unsized_body([Data("ab"), Fail])).unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::RequestBody);
    assert_ne!(parts.headers[SIGNATURE], other_parts.headers[SIGNATURE]);
}

#[test]
fn the_newest_frame_is_held_back_while_more_is_at_hand() {
    let (parts, _, trailers) = send(&signer(), &[], unsized_body([Data("ab")]));
    let forged = unsized_body([Data("a"), Data("X"), Trailers(trailers.unwrap())]);
    let Opening::Ready(body) = verify_body_head(&parts).open(forged) else { panic!("it streams") };
    let (data, trailers, error) = read(body);
    assert_eq!((data, trailers), (vec!["a".to_owned()], None));
    assert_eq!(reason(&error.unwrap()), Refusal::Body("digest"));
}

#[test]
fn a_stream_that_pauses_is_not_held_back() {
    let (parts, _, trailers) = send(&signer(), &[], unsized_body([Data("ping"), Data("pong")]));
    let talk = unsized_body([Data("ping"), Pause, Pause, Data("pong"), Trailers(trailers.unwrap())]);
    let Opening::Ready(body) = verify_body_head(&parts).open(talk) else { panic!("it streams") };
    assert_eq!(read(body).0, ["ping", "…", "pong"]);
}

#[test]
fn the_last_bytes_of_a_declared_length_wait_for_the_check() {
    let large: &'static str = "x".repeat(70_000).leak();
    let (parts, _, trailers) =
        send(&signer(), &[("content-length", "70001")], sized_body(70_001, [Data(large), Data("y")]));
    assert!(!parts.headers.contains_key(header::CONTENT_LENGTH), "it goes out chunked");
    let body = sized_body(70_001, [Data(large), Pause, Data("z"), Pause, Trailers(trailers.unwrap())]);
    let Opening::Ready(body) = verify_body_head(&parts).open(body) else { panic!("it streams") };
    let (data, _, error) = read(body);
    assert_eq!(data, [large, "…"]);
    assert_eq!(reason(&error.unwrap()), Refusal::Body("digest"));
}

#[test]
fn a_large_body_may_go_uncovered_where_both_ends_say_so() {
    let large: &'static str = "x".repeat(70_000).leak();
    let signer = Signer::builder(keyring()).dangerous_uncovered(Uncovered::Large).build().unwrap();
    let lax = || Verifier::builder(keyring()).dangerous_accept_uncovered(Uncovered::Large).build().unwrap();
    let (parts, data, trailers) = send(&signer, &[("content-length", "70000")], sized_body(70_000, [Data(large)]));
    assert_eq!((data, trailers), (vec![large.to_owned()], None));
    assert_eq!(text(&parts, &header::CONTENT_LENGTH), "70000");

    assert_eq!(receive(&lax(), &parts, sized_body(70_000, [Data(large)])).unwrap().0, [large]);
    let strict = receive(&verifier(), &parts, sized_body(70_000, [Data(large)])).unwrap_err();
    assert_eq!(reason(&strict), Refusal::Uncovered("body"));
    let small = receive(&lax(), &parts, sized_body(5, [Data("hello")])).unwrap_err();
    assert_eq!(reason(&small), Refusal::Uncovered("body"));

    let (parts, _, trailers) = send(&signer, &[], unsized_body([Data("a")]));
    receive(&lax(), &parts, unsized_body([Data("a"), Trailers(trailers.unwrap())])).unwrap();
}

#[test]
fn all_bodies_may_go_uncovered_where_both_ends_say_so() {
    let signer = Signer::builder(keyring()).dangerous_uncovered(Uncovered::All).build().unwrap();
    let lax = || Verifier::builder(keyring()).dangerous_accept_uncovered(Uncovered::All).build().unwrap();
    let (parts, ..) = send(&signer, &[], sized_body(5, [Data("hello")]));
    assert!(!parts.headers.contains_key(CONTENT_DIGEST));
    let forged = map(&[("x-forwarded-for", "192.0.2.7"), ("x-count", "1")]);
    let (data, trailers) = receive(&lax(), &parts, unsized_body([Data("other"), Trailers(forged)])).unwrap();
    assert_eq!((data.concat(), trailers.unwrap()), ("other".to_owned(), map(&[("x-count", "1")])));
    assert!(receive(&verifier(), &parts, sized_body(5, [Data("hello")])).is_err());

    let (parts, ..) = send(&self::signer(), &[], sized_body(5, [Data("hello")]));
    assert!(
        receive(&lax(), &parts, sized_body(5, [Data("other")])).is_err(),
        "what is covered is checked all the same"
    );
}

#[test]
fn a_body_sent_before_its_head_was_signed_fails() {
    let mut parts = outgoing("POST", "http://back/", &[]);
    let Covering::Ready(_, body) = signer().cover(&mut parts.headers, unsized_body([Data("a")])) else { panic!() };
    assert_eq!(read(body).2.unwrap().kind(), ErrorKind::Internal);
}

// === properties ===

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

/// RFC 9651 §4.2: an empty line among others spoils a dictionary.
#[test]
fn a_clients_empty_lines_do_not_spoil_the_signature() {
    for blank in ["", " ", "\t"] {
        let parts = signed(&[("signature-input", blank), ("signature", blank), ("signature", "sig1=:AA==:")]);
        verify(&parts).unwrap();
        assert_eq!(parts.headers.get_all("signature").iter().next().unwrap(), "sig1=:AA==:");
    }
}

/// The client may have signed it for somebody behind this hop.
#[test]
fn a_clients_content_digest_stays_as_it_is_where_it_says_the_same() {
    let ours = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";
    let theirs = format!("sha-512=:AAAA:,{ours}");
    for (sent, expected) in [(theirs.as_str(), theirs.as_str()), ("sha-256=:AAAA:", ours), ("garbage", ours)] {
        let (parts, ..) = send(&signer(), &[("content-digest", sent)], sized_body(5, [Data("hello")]));
        assert_eq!(text(&parts, &CONTENT_DIGEST), expected);
        receive(&verifier(), &parts, sized_body(5, [Data("hello")])).unwrap();
    }
}

#[test]
fn the_acceptor_says_which_port_is_the_default_one() {
    let mut parts = outgoing("GET", "https://back:443/", &[("host", "back:443")]);
    sign(&signer(), &mut parts);
    let mut parts = received(&parts);
    assert_eq!(refused(&parts), Refusal::Mismatch);
    parts.extensions.insert(crate::ext::OverTls::new());
    verify(&parts).unwrap();
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
