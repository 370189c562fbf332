use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::ext::Hop;

fn addr(ip: &str, port: impl Into<Option<u16>>) -> Hop {
    Hop::Addr(ip.parse().unwrap(), port.into())
}

fn xff() -> HeaderName {
    HeaderName::from_static("x-forwarded-for")
}

fn lines(name: &'static str, lines: &[&[u8]]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(name, HeaderValue::from_bytes(line).unwrap());
    }
    headers
}

#[test]
fn reads_every_form_of_a_node() {
    for (text, hop) in [
        ("192.0.2.1", addr("192.0.2.1", None)),
        ("192.0.2.1:8080", addr("192.0.2.1", 8080)),
        ("192.0.2.1:_p", addr("192.0.2.1", None)),
        ("192.0.2.1:", addr("192.0.2.1", None)),
        ("[2001:db8::1]:", addr("2001:db8::1", None)),
        ("_hidden:", Hop::Obfuscated("_hidden".into())),
        ("2001:db8::1", addr("2001:db8::1", None)),
        ("::1", addr("::1", None)),
        ("[2001:db8::1]", addr("2001:db8::1", None)),
        ("[2001:db8:cafe::17]:4711", addr("2001:db8:cafe::17", 4711)),
        ("fe80::1%eth0", addr("fe80::1", None)),
        ("[fe80::1%25en0]:1", addr("fe80::1", 1)),
        ("[fe80::1%en0]:1", addr("fe80::1", 1)),
        ("::ffff:192.0.2.1", addr("192.0.2.1", None)),
        ("[::ffff:192.0.2.1]:7", addr("192.0.2.1", 7)),
        ("unknown", Hop::Unknown),
        ("UNKNOWN", Hop::Unknown),
        ("_hidden", Hop::Obfuscated("_hidden".into())),
        ("_SEVKISEK", Hop::Obfuscated("_SEVKISEK".into())),
        ("_gazonk:_x", Hop::Obfuscated("_gazonk".into())),
    ] {
        assert_eq!(parse_node(text.as_bytes()), hop, "{text}");
    }
}

#[test]
fn what_is_no_node_is_unknown() {
    for text in [
        "",
        "_",
        "_a b",
        "-",
        "localhost",
        "1.2.3",
        "1.2.3.4.5",
        "01.2.3.4",
        "256.1.1.1",
        "1.2.3.4:65536",
        "1.2.3.4:000080",
        "1.2.3.4:+80",
        "1.2.3.4:80:80",
        "[1.2.3.4]",
        "[::1",
        "[::1]x",
        "::1]",
        "[]",
        "::1%",
        "::1%a b",
        "2001:db8::1:99999",
        "http://1.2.3.4",
        "1.2.3.4/8",
        "\u{e9}",
    ] {
        assert_eq!(parse_node(text.as_bytes()), Hop::Unknown, "{text}");
    }
}

#[test]
fn several_lines_are_one_list_and_empty_elements_are_none() {
    let headers = lines("x-forwarded-for", &[b"1.1.1.1,", b" , 2.2.2.2 ,3.3.3.3:1", b""]);
    assert_eq!(for_hops(&headers, &xff()), [addr("1.1.1.1", None), addr("2.2.2.2", None), addr("3.3.3.3", 1)]);
}

#[test]
fn a_byte_beyond_ascii_spoils_its_own_element_only() {
    let headers = lines("x-forwarded-for", &[b"1.1.1.1, \xff\xfe, 2.2.2.2"]);
    assert_eq!(for_hops(&headers, &xff()), [addr("1.1.1.1", None), Hop::Unknown, addr("2.2.2.2", None)]);
}

#[test]
fn the_right_end_of_an_oversized_list_is_kept_behind_an_unknown_hop() {
    let many = vec!["6.6.6.6"; MAX_ELEMENTS + 9].join(",") + ", 192.0.2.1";
    let hops = for_hops(&lines("x-forwarded-for", &[many.as_bytes()]), &xff());
    assert_eq!((hops.len(), hops.first()), (MAX_ELEMENTS + 1, Some(&Hop::Unknown)));
    assert_eq!(hops.last(), Some(&addr("192.0.2.1", None)));

    let long = format!("{}, 192.0.2.1", "x".repeat(MAX_BYTES));
    let hops = for_hops(&lines("x-forwarded-for", &[long.as_bytes()]), &xff());
    assert_eq!(hops, [Hop::Unknown, addr("192.0.2.1", None)]);

    let commas = format!("6.6.6.6{}", ",".repeat(MAX_BYTES));
    assert_eq!(for_hops(&lines("x-forwarded-for", &[commas.as_bytes()]), &xff()), [Hop::Unknown]);

    let many = vec!["for=6.6.6.6"; MAX_ELEMENTS + 9].join(",");
    let read = lines("forwarded", &[many.as_bytes(), b"for=192.0.2.1"]);
    let read = elements(&read);
    assert_eq!((read.len(), &read[0].node), (MAX_ELEMENTS + 1, &Hop::Unknown));
    assert_eq!(read[MAX_ELEMENTS].node, addr("192.0.2.1", None));
}

#[test]
fn a_field_beside_the_list_is_read_as_many_elements_from_the_right() {
    let headers = lines("x-forwarded-proto", &[b"ftp, https", b"http"]);
    let name = HeaderName::from_static("x-forwarded-proto");
    assert_eq!(from_right(&headers, &name, 1), Some(&b"http"[..]));
    assert_eq!(from_right(&headers, &name, 2), Some(&b"https"[..]));
    assert_eq!(from_right(&headers, &name, 9), Some(&b"ftp"[..]));
    assert_eq!(from_right(&HeaderMap::new(), &name, 1), None);
}

#[test]
fn the_walk_stops_at_the_first_hop_that_is_not_trusted() {
    let hops = [addr("6.6.6.6", None), addr("192.0.2.1", None), addr("10.0.0.1", None), addr("10.0.0.2", None)];
    let ours = |ip: IpAddr| ip.to_string().starts_with("10.");
    assert_eq!(walk(&hops, usize::MAX, ours), Some(1));
    assert_eq!(walk(&hops, 2, ours), Some(2));
    assert_eq!(walk(&hops, 1, ours), Some(3));
    assert_eq!(walk(&hops, usize::MAX, |_| true), Some(0));
    assert_eq!(walk(&hops, 3, |_| true), Some(1));
    assert_eq!(walk(&[], usize::MAX, |_| true), None);
}

#[test]
fn the_walk_never_steps_over_a_hop_without_an_address() {
    for hidden in [Hop::Unknown, Hop::Obfuscated("_x".into())] {
        let hops = [addr("1.1.1.1", None), hidden, addr("10.0.0.2", None)];
        assert_eq!(walk(&hops, usize::MAX, |_| true), Some(1));
    }
}

/// RFC 7239 §4, §6.1, §6.3 and §7.1.
#[test]
fn reads_the_examples_of_rfc_7239() {
    let headers = lines("forwarded", &[b"for=\"_gazonk\""]);
    assert_eq!(elements(&headers), [Element::new(Hop::Obfuscated("_gazonk".into()))]);
    let headers = lines("forwarded", &[b"For=\"[2001:db8:cafe::17]:4711\""]);
    assert_eq!(elements(&headers), [Element::new(addr("2001:db8:cafe::17", 4711))]);
    let headers = lines("forwarded", &[b"for=192.0.2.60;proto=http;by=203.0.113.43"]);
    assert_eq!(
        elements(&headers),
        [Element::new(addr("192.0.2.60", None)).proto("http").by(addr("203.0.113.43", None))]
    );
    let headers = lines("forwarded", &[b"for=192.0.2.43, for=198.51.100.17"]);
    let read = [Element::new(addr("192.0.2.43", None)), Element::new(addr("198.51.100.17", None))];
    assert_eq!(elements(&headers), read);
    let headers = lines("forwarded", &[b"for=192.0.2.43", b"for=\"198.51.100.17\""]);
    assert_eq!(elements(&headers), read);
    let headers = lines("forwarded", &[b"for=_hidden, for=_SEVKISEK"]);
    assert_eq!(
        elements(&headers),
        [Element::new(Hop::Obfuscated("_hidden".into())), Element::new(Hop::Obfuscated("_SEVKISEK".into()))]
    );
    let headers = lines("forwarded", &[b"for=192.0.2.43,for=\"[2001:db8:cafe::17]\",for=unknown"]);
    assert_eq!(
        elements(&headers),
        [
            Element::new(addr("192.0.2.43", None)),
            Element::new(addr("2001:db8:cafe::17", None)),
            Element::new(Hop::Unknown)
        ]
    );
}

#[test]
fn quoted_values_lose_their_escapes_and_hide_separators() {
    let headers =
        lines("forwarded", &[br#"for=1.1.1.1;host="a\"b,c;d\\e";ext="x, for=6.6.6.6", for=2.2.2.2;host="h:80""#]);
    assert_eq!(
        elements(&headers),
        [Element::new(addr("1.1.1.1", None)).host("a\"b,c;d\\e"), Element::new(addr("2.2.2.2", None)).host("h:80")]
    );
}

#[test]
fn a_broken_element_is_unknown_in_its_place() {
    for broken in [
        "for",
        "for=",
        "for=1.1.1.1;for=2.2.2.2",
        "=1.1.1.1",
        "f r=1.1.1.1;a b=c",
        "for=\"1.1.1.1\"x",
        "for=1 1",
        "for=\"a\"b\"c\"",
    ] {
        let line = format!("for=1.1.1.1;proto=https, {broken}, for=2.2.2.2");
        let headers = lines("forwarded", &[line.as_bytes()]);
        let nodes: Vec<Hop> = elements(&headers).into_iter().map(|element| element.node).collect();
        assert_eq!(nodes, [addr("1.1.1.1", None), Hop::Unknown, addr("2.2.2.2", None)], "{broken}");
    }
}

#[test]
fn a_quote_left_open_spoils_its_whole_line() {
    for line in [r#"for=", for=192.0.2.1"#, r#"for=6.6.6.6;x=", for="[2001:db8::1]:1";by="[::1]:2""#, r#"x="\"#] {
        let headers = lines("forwarded", &[b"for=1.1.1.1", line.as_bytes(), b"for=2.2.2.2"]);
        let nodes: Vec<Hop> = elements(&headers).into_iter().map(|element| element.node).collect();
        assert_eq!(nodes, [addr("1.1.1.1", None), Hop::Unknown, addr("2.2.2.2", None)], "{line}");
    }
}

#[test]
fn writes_quotes_where_the_grammar_asks_for_them() {
    let element = Element::new(addr("2001:db8::1", 80)).by(addr("10.0.0.1", None)).host("a\"\\b:8080").proto("https");
    assert_eq!(write_elements([&element]), r#"for="[2001:db8::1]:80";by=10.0.0.1;host="a\"\\b:8080";proto=https"#);
    let element = Element::new(addr("2001:db8::1", None)).host("x\r\ny");
    assert_eq!(
        write_elements([&element, &Element::new(Hop::Unknown)]),
        r#"for="[2001:db8::1]";host="xy", for=unknown"#
    );
}

#[test]
fn a_made_up_name_that_is_none_is_written_as_unknown() {
    assert_eq!(write_for([&Hop::Obfuscated("_a\r\nb".into()), &addr("::1", 9)]), "unknown, [::1]:9");
}

fn any_hop() -> impl Strategy<Value = Hop> {
    prop_oneof![
        (any::<IpAddr>(), any::<Option<u16>>()).prop_map(|(ip, port)| Hop::Addr(ip.to_canonical(), port)),
        "_[A-Za-z0-9._-]{1,9}".prop_map(Hop::Obfuscated),
        Just(Hop::Unknown),
    ]
}

fn any_element() -> impl Strategy<Value = Element<'static>> {
    let text = || proptest::option::of("[ -~\u{80}-\u{24f}]{0,12}");
    (any_hop(), proptest::option::of(any_hop()), text(), text()).prop_map(|(node, by, host, proto)| Element {
        node,
        by,
        host: host.map(Into::into),
        proto: proto.map(Into::into),
    })
}

proptest! {
    #[test]
    fn a_written_list_reads_as_it_was(hops in proptest::collection::vec(any_hop(), 1..20)) {
        let mut headers = HeaderMap::new();
        headers.insert(xff(), write_for(&hops));
        prop_assert_eq!(for_hops(&headers, &xff()), hops);
    }

    #[test]
    fn written_elements_read_as_they_were(written in proptest::collection::vec(any_element(), 1..9)) {
        let mut headers = HeaderMap::new();
        headers.insert("forwarded", write_elements(&written));
        prop_assert_eq!(elements(&headers), written);
    }

    #[test]
    fn no_bytes_panic(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..4)) {
        let mut headers = HeaderMap::new();
        for value in lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()) {
            headers.append("forwarded", value.clone());
            headers.append(xff(), value);
        }
        let hops = for_hops(&headers, &xff());
        let _ = (elements(&headers), walk(&hops, 3, |_| true), from_right(&headers, &xff(), 2));
        for line in &lines {
            let _ = parse_node(line);
        }
    }

    #[test]
    fn syntax_in_any_order_never_panics(line in r#"[a-f=;,"\\ \[\]:_%0-9.]{0,80}|(for=|by=|"|\\|,|;|\[::1\]|1\.2\.3\.4){0,20}"#) {
        let mut headers = HeaderMap::new();
        headers.insert("forwarded", HeaderValue::from_str(&line).unwrap());
        headers.insert(xff(), HeaderValue::from_str(&line).unwrap());
        let _ = (elements(&headers), for_hops(&headers, &xff()));
    }

    /// Whatever a client writes in front, on lines of its own or on the proxy's, the proxy's element is last or the walk ends unknown.
    #[test]
    fn nothing_in_front_changes_what_the_last_proxy_wrote(front in r#"[a-f=;,"\\ 0-9.]{0,40}"#, own_line: bool) {
        let ours = r#"for="[2001:db8::1]:80";proto=https"#;
        let mut headers = HeaderMap::new();
        if own_line {
            headers.append("forwarded", HeaderValue::from_str(&front).unwrap());
            headers.append("forwarded", HeaderValue::from_static(ours));
        } else {
            headers.append("forwarded", HeaderValue::from_str(&format!("{front}, {ours}")).unwrap());
        }
        let read = elements(&headers);
        let last = &read.last().unwrap().node;
        prop_assert!(*last == addr("2001:db8::1", 80) || (*last == Hop::Unknown && !own_line));
    }
}
