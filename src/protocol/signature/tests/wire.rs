//! The profile as it is written: vectors, a worked example, another implementation.

use super::*;

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
    let BodySigning::Reading(reading) = signer.cover(&mut parts.headers, Full::from("hello")) else { panic!("small") };
    let (stamp, _body) = now(reading).unwrap();
    stamp.sign(&mut parts, at(CREATED)).unwrap();

    for (name, documented) in
        [(&CONTENT_DIGEST, "Content-Digest: "), (&SIGNATURE_INPUT, "Signature-Input: "), (&SIGNATURE, "Signature: ")]
    {
        let line = format!("{documented}{}", text(&parts, name));
        assert!(include_str!("../mod.rs").contains(&line), "the module's page has not: {line}");
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
    let BodySigning::Ready(stamp, _) = signer.cover(&mut parts.headers, Empty::<Bytes>::new()) else { panic!() };
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

/// PyPI's `http-message-signatures` writes all members of a dictionary into one line.
#[test]
fn members_of_others_stay_in_the_line_that_held_a_member_of_ours() {
    let theirs = [
        ("signature-input", "sig1=(\"@method\");tag=\"a, nexthop=(\\\"b\";x=:AA==:,sig2=()", "sig3=()"),
        ("signature", "sig1=:AAAA:, sig2=:BBBB:", "sig3=:CC==:"),
    ];
    // The client's line has a claim to our label at its beginning, in the middle, or at its end.
    for at in 0..3 {
        let line = |(name, start, end): (&'static str, &str, &str), ours: &str| {
            let mut members = vec![start, end];
            members.insert(at, ours);
            members.retain(|member| !member.is_empty());
            (name, members.join(", "))
        };
        let forged = [line(theirs[0], "nexthop=(\"@method\");tag=\"nexthop\""), line(theirs[1], "nexthop=:AAAA:")];
        let fields: Vec<_> = forged.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut parts = signed(if at == 2 { &fields[..] } else { &fields });
        let left = |parts: &Parts, name: &HeaderName| -> Vec<String> {
            parts.headers.get_all(name).iter().map(|line| line.to_str().unwrap().replace(",sig2", ", sig2")).collect()
        };
        let expected = [line(theirs[0], "").1.replace(",sig2", ", sig2"), line(theirs[1], "").1];
        assert_eq!(left(&parts, &SIGNATURE_INPUT)[0], expected[0]);
        assert_eq!(left(&parts, &SIGNATURE)[0], expected[1]);
        verify(&parts).unwrap();

        // An intermediary joins the lines into one, ours last or first.
        for name in [SIGNATURE_INPUT, SIGNATURE] {
            let mut lines = left(&parts, &name);
            lines.rotate_left(at % 2);
            parts.headers.insert(&name, lines.join(", ").parse().unwrap());
        }
        verify(&parts).unwrap().restore(&mut parts.headers);
        assert_eq!(left(&parts, &SIGNATURE_INPUT), expected[..1]);
        assert_eq!(left(&parts, &SIGNATURE), expected[1..]);
    }
}

#[test]
fn a_line_of_trailer_that_an_intermediary_joined_loses_only_our_names() {
    let (mut parts, _, _) = send(&signer(), &[("trailer", "x-sum")], unsized_body([Data("a")]));
    let joined: Vec<_> =
        parts.headers.get_all("trailer").iter().map(|line| line.to_str().unwrap().to_owned()).collect();
    parts.headers.insert("trailer", joined.join(", ").parse().unwrap());
    let body = unsized_body([Data("a")]);
    let Verification::Now(verified) = verifier().verify(&parts, &body, at(CREATED)).unwrap() else { panic!() };
    verified.restore(&mut parts.headers);
    assert_eq!(parts.headers.get_all("trailer").iter().collect::<Vec<_>>(), ["x-sum"]);
}

#[test]
fn a_clients_claim_to_our_label_or_tag_is_replaced() {
    for forged in
        ["nexthop=(\"@method\")", "a=(\"@method\");tag=\"nexthop\"", "nonsense;;", "nexthop", "a=1, nexthop=2"]
    {
        let parts = signed(&[("signature-input", forged), ("signature", "nexthop=:AAAA:")]);
        let lines: Vec<_> = parts.headers.get_all(SIGNATURE_INPUT).iter().map(|line| line.to_str().unwrap()).collect();
        assert!(matches!(lines[..], [.., ours] if ours.starts_with("nexthop=(")), "{forged}: {lines:?}");
        assert_eq!(lines[..lines.len() - 1], *if forged.starts_with("a=1") { &["a=1"][..] } else { &[] });
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

/// RFC 9651 §4.2: an empty line among others spoils a dictionary.
#[test]
fn a_clients_empty_lines_do_not_spoil_the_signature() {
    for blank in ["", " ", "\t"] {
        let parts = signed(&[("signature-input", blank), ("signature", blank), ("signature", "sig1=:AA==:")]);
        verify(&parts).unwrap();
        assert_eq!(parts.headers.get_all("signature").iter().next().unwrap(), "sig1=:AA==:");
    }
}
