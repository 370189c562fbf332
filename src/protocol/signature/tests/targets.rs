//! Hosts, queries and bytes, what is restored, and keys that change.

use super::*;

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
    assert_eq!(refused(&parts), Refusal::Malformed("Host differs from the target"));
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
        let BodySigning::Ready(stamp, _) = signer().cover(&mut parts.headers, Empty::<Bytes>::new()) else { panic!() };
        assert_eq!(stamp.sign(&mut parts, at(CREATED)).unwrap_err().kind(), ErrorKind::InvalidTarget);
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
    // RFC 9421 §2.5: the base is ASCII.
    let mut encoded = raw.clone();
    encoded.uri = Uri::from_static("/%C3%A4?%C3%B6");
    verify(&encoded).unwrap();
    encoded.uri = Uri::from_static("/%c3%a4?%c3%b6");
    assert_eq!(refused(&encoded), Refusal::Mismatch);
    let mut empty = outgoing("GET", "/", &[("host", "h")]);
    empty.uri = Uri::try_from("/\u{e4}?".as_bytes()).unwrap();
    sign(&signer(), &mut empty);
    verify(&empty).unwrap();
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
        let BodySigning::Ready(stamp, _) = signer.cover(&mut parts.headers, Empty::<Bytes>::new()) else { panic!() };
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
    let BodySigning::Ready(stamp, body) = signer.cover(&mut parts.headers, Full::from("")) else { panic!() };
    let shown = format!("{keyring:?} {signer:?} {verifier:?} {stamp:?} {body:?}");
    assert!(!shown.contains("secret that"), "{shown}");
    assert!(!shown.contains("116, 104, 101"), "{shown}");
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
