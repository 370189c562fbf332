//! Bodies: by digest, by trailers, and uncovered.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::{super::sign::Cover, *};

#[test]
fn a_small_body_is_covered_by_its_digest() {
    let (parts, data, trailers) = send(&signer(), &[], sized_body(11, [Data("hello "), Data("world")]));
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
        assert_eq!(reason(&receive(&verifier(), &parts, wrong).unwrap_err()), Refusal::Body("wrong digest"));
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
    assert_eq!(reason(&error), Refusal::Component("Content-Digest is missing"));
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
        let BodySigning::Reading(reading) = signer().cover(&mut parts.headers, body) else { panic!("it is small") };
        assert_eq!(now(reading).unwrap_err().kind(), ErrorKind::RequestBody);
    }
}

#[test]
fn a_body_that_was_read_can_be_sent_again() {
    let mut parts = outgoing("POST", "http://back/", &[]);
    let BodySigning::Reading(reading) = signer().cover(&mut parts.headers, sized_body(5, [Data("hello")])) else {
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
        Verification::Now(verified) => verified,
        Verification::Later(_) => panic!("it knows at once"),
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
    let missing = Refusal::Body("trailers are missing");
    let mut without_digest = trailers.clone();
    without_digest.remove(CONTENT_DIGEST);

    for (steps, why) in [
        (vec![Data("ab")], missing),
        (vec![Data("ab"), Trailers(map(&[("x", "y")]))], missing),
        (vec![Data("a"), Trailers(trailers.clone())], Refusal::Body("wrong digest")),
        (vec![Data("ab"), Data("c"), Trailers(trailers.clone())], Refusal::Body("wrong digest")),
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
    let BodyVerification::Ready(body) = verify_body_head(&parts).open(forged) else { panic!("it streams") };
    let (data, trailers, error) = read(body);
    assert_eq!((data, trailers), (vec!["a".to_owned()], None));
    assert_eq!(reason(&error.unwrap()), Refusal::Body("wrong digest"));
}

#[test]
fn a_stream_that_pauses_is_not_held_back() {
    let (parts, _, trailers) = send(&signer(), &[], unsized_body([Data("ping"), Data("pong")]));
    let talk = unsized_body([Data("ping"), Pause, Pause, Data("pong"), Trailers(trailers.unwrap())]);
    let BodyVerification::Ready(body) = verify_body_head(&parts).open(talk) else { panic!("it streams") };
    assert_eq!(read(body).0, ["ping", "…", "pong"]);
}

#[test]
fn the_last_bytes_of_a_declared_length_wait_for_the_check() {
    let large: &'static str = "x".repeat(70_000).leak();
    let (parts, _, trailers) =
        send(&signer(), &[("content-length", "70001")], sized_body(70_001, [Data(large), Data("y")]));
    assert!(!parts.headers.contains_key(header::CONTENT_LENGTH), "it goes out chunked");
    let body = sized_body(70_001, [Data(large), Pause, Data("z"), Pause, Trailers(trailers.unwrap())]);
    let BodyVerification::Ready(body) = verify_body_head(&parts).open(body) else { panic!("it streams") };
    let (data, _, error) = read(body);
    assert_eq!(data, [large, "…"]);
    assert_eq!(reason(&error.unwrap()), Refusal::Body("wrong digest"));
}

#[test]
fn a_large_body_may_go_uncovered_where_both_ends_say_so() {
    let large: &'static str = "x".repeat(70_000).leak();
    let signer = Signer::builder(keyring()).dangerous_unsigned_bodies(UnsignedBodies::Large).build().unwrap();
    let lax = || Verifier::builder(keyring()).dangerous_accept_unsigned_bodies(UnsignedBodies::Large).build().unwrap();
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
    let signer = Signer::builder(keyring()).dangerous_unsigned_bodies(UnsignedBodies::All).build().unwrap();
    let lax = || Verifier::builder(keyring()).dangerous_accept_unsigned_bodies(UnsignedBodies::All).build().unwrap();
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
    let BodySigning::Ready(_, body) = signer().cover(&mut parts.headers, unsized_body([Data("a")])) else { panic!() };
    assert_eq!(read(body).2.unwrap().kind(), ErrorKind::Internal);
}

/// The client may have signed it for somebody behind this hop.
#[test]
fn a_clients_content_digest_stays_and_gets_ours_beside_another_algorithm() {
    let both = format!("sha-512=:AAAA:,{HELLO}");
    let added = format!("md5=:AA==:;a=\"x, y\", sha-512=:AAAA:, {HELLO}");
    for (sent, expected) in [
        (&[both.as_str()][..], both.as_str()),
        (&[HELLO], HELLO),
        (&["md5=:AA==:;a=\"x, y\"", "sha-512=:AAAA:"], &added),
        (&[""], HELLO),
    ] {
        let fields: Vec<_> = sent.iter().map(|value| ("content-digest", *value)).collect();
        let (parts, ..) = send(&signer(), &fields, sized_body(5, [Data("hello")]));
        assert_eq!(text(&parts, &CONTENT_DIGEST), expected);
        receive(&verifier(), &parts, sized_body(5, [Data("hello")])).unwrap();
    }
}

#[test]
fn a_clients_wrong_or_invalid_content_digest_is_a_bad_request() {
    for sent in ["sha-256=:AAAA:", "sha-256=text", "garbage;;", "sha-512=:AAAA:,", "sha-256=:AAAA:, sha-256=:AAAA:"] {
        let mut parts = outgoing("POST", "http://back/", &[("content-digest", sent)]);
        let BodySigning::Reading(reading) = signer().cover(&mut parts.headers, sized_body(5, [Data("hello")])) else {
            panic!("a small body is read")
        };
        let error = now(reading).unwrap().0.sign(&mut parts, at(CREATED)).unwrap_err();
        assert_eq!((error.status().as_u16(), error.kind()), (400, ErrorKind::RequestBody), "{sent}");
        assert_eq!(text(&parts, &CONTENT_DIGEST), sent);
    }
}

#[test]
fn a_clients_digest_in_trailers_stays_and_ours_is_taken_off_again() {
    let body = |trailer: &'static str| unsized_body([Data("hello"), Trailers(map(&[("content-digest", trailer)]))]);
    for (sent, between, left) in [
        ("sha-512=:AAAA:", format!("sha-512=:AAAA:, {HELLO}"), Some("sha-512=:AAAA:")),
        (HELLO, HELLO.to_owned(), None),
    ] {
        let (parts, data, trailers) = send(&signer(), &[], body(sent));
        let trailers = trailers.unwrap();
        assert_eq!((data.concat(), trailers[CONTENT_DIGEST].to_str().unwrap()), ("hello".to_owned(), &*between));
        let (_, trailers) = receive(&verifier(), &parts, unsized_body([Data("hello"), Trailers(trailers)])).unwrap();
        let seen = trailers.and_then(|trailers| trailers.get(CONTENT_DIGEST).cloned());
        assert_eq!(seen.as_ref().map(|value| value.to_str().unwrap()), left);
    }
    let mut parts = outgoing("POST", "http://back/", &[]);
    let BodySigning::Ready(stamp, body) = signer().cover(&mut parts.headers, body("sha-256=:AAAA:")) else { panic!() };
    stamp.sign(&mut parts, at(CREATED)).unwrap();
    assert_eq!(read(body).2.unwrap().kind(), ErrorKind::RequestBody);
}

type ReadBody = Result<(Vec<String>, Option<HeaderMap>), Error>;

/// Returns whether the outcome is known before the application runs, and the outcome.
fn opened(parts: &Parts, body: Script) -> (bool, ReadBody) {
    let Verification::Now(verified) = verifier().verify(parts, &body, at(CREATED)).unwrap() else { panic!() };
    match verified.open(body) {
        BodyVerification::Ready(_) => panic!("a digest in the head is checked first"),
        BodyVerification::Reading(reading) => match now(reading) {
            Err(error) => (true, Err(error)),
            Ok(body) => {
                let (data, trailers, error) = read(body);
                (false, error.map_or(Ok((data, trailers)), Err))
            }
        },
    }
}

#[test]
fn a_digest_in_the_head_is_checked_before_the_application_runs_whatever_the_framing() {
    let (parts, ..) = send(&signer(), &[], sized_body(5, [Data("hello")]));
    let whole = |outcome: (bool, ReadBody)| outcome.1.unwrap().0.concat();
    assert_eq!(whole(opened(&parts, unsized_body([Data("he"), Data("llo")]))), "hello");
    for wrong in [
        unsized_body([Data("hellO")]),
        unsized_body([Data("hello"), Data("!")]),
        unsized_body([]),
        sized_body(5, [Data("hellO")]),
    ] {
        let (before, outcome) = opened(&parts, wrong);
        assert!(before, "the application must not run");
        assert_eq!(reason(&outcome.unwrap_err()), Refusal::Body("wrong digest"));
    }
    let (before, outcome) = opened(&parts, unsized_body([Data("he"), Fail]));
    assert_eq!((before, outcome.unwrap_err().kind()), (true, ErrorKind::RequestBody));
}

#[test]
fn a_large_body_of_unknown_length_with_a_digest_in_the_head_is_checked_at_its_end() {
    const HALF: &str = match std::str::from_utf8(&[b'x'; 40_000]) {
        Ok(half) => half,
        Err(_) => panic!(),
    };
    let whole = [HALF, HALF, "end"].concat();
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(&whole)));
    let mut parts = outgoing("POST", "http://back/", &[("content-digest", &digest)]);
    let cover = Cover::Digest(Sha256::digest(&whole).into());
    AttemptSigner::new(signer(), cover).sign(&mut parts, at(CREATED)).unwrap();
    let parts = received(&parts);

    let (before, outcome) = opened(&parts, unsized_body([Data(HALF), Data(HALF), Pause, Data("end")]));
    assert!(!before);
    assert_eq!(outcome.unwrap().0.concat(), whole);
    let (before, outcome) = opened(&parts, unsized_body([Data(HALF), Data(HALF), Data("eNd")]));
    assert!(!before);
    assert_eq!(reason(&outcome.unwrap_err()), Refusal::Body("wrong digest"));
}

const HELLO: &str = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";
