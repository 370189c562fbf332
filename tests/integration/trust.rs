//! Known vulnerabilities of trusted-proxy handling in other software: each attack fails here.

use http::{HeaderName, Method, Request};
use nexthop::{
    Body,
    ext::OriginalRequest,
    middleware::{ProxyMiddleware, ProxyMiddlewareBuilder, ProxyMiddlewareService, RestoredHeaders, Trust},
    protocol::{ForwardedHeaders, carry::CarriedKeys, keyring::Keyring, signature::classic::ClassicVerifier},
    secret::Secret,
    serve::ProxyProtocol,
};
use proptest::prelude::*;
use tower::Layer;

use super::support::{
    Front, RawClient,
    log::Log,
    mock::{admitted, ask, request, through},
};

const STRANGER: &str = "203.0.113.9";
const EDGE: &str = "10.0.0.1";

fn behind_edge(family: ForwardedHeaders) -> ProxyMiddlewareBuilder {
    ProxyMiddleware::builder().trust(Trust::peers(["10.0.0.0/8"]).unwrap()).read_headers(family)
}

fn x_forwarded() -> ProxyMiddleware {
    behind_edge(ForwardedHeaders::XForwarded).restore(RestoredHeaders::all()).build().unwrap()
}

/// CVE-2020-28483, CVE-2020-35590 and many more.
#[tokio::test]
async fn a_forged_leftmost_hop_is_not_the_client() {
    let saw = admitted(&x_forwarded(), EDGE, "/", &[("x-forwarded-for", "9.9.9.9, 192.0.2.7")]).await;
    assert_eq!(saw.client().as_deref(), Some("192.0.2.7"));
    assert_eq!(saw.origin().hops().len(), 1);
}

#[tokio::test]
async fn a_trusted_address_planted_in_the_list_does_not_stop_or_shift_the_walk() {
    for list in ["10.0.0.5, 192.0.2.7", "6.6.6.6, 10.0.0.5, 192.0.2.7, 10.0.0.2", "10.0.0.5,6.6.6.6,10.0.0.6,192.0.2.7"]
    {
        let saw = admitted(&x_forwarded(), EDGE, "/", &[("x-forwarded-for", list)]).await;
        assert_eq!(saw.client().as_deref(), Some("192.0.2.7"), "{list}");
    }
}

#[tokio::test]
async fn several_lines_are_read_as_one_list_to_its_last_line() {
    let fields = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "7.7.7.7"), ("x-forwarded-for", "192.0.2.7")];
    let saw = admitted(&x_forwarded(), EDGE, "/", &fields).await;
    assert_eq!(saw.client().as_deref(), Some("192.0.2.7"));
    let fields = [("forwarded", "for=6.6.6.6;proto=https"), ("forwarded", "for=192.0.2.7;proto=http")];
    let saw = admitted(&behind_edge(ForwardedHeaders::Rfc7239).build().unwrap(), EDGE, "/", &fields).await;
    assert_eq!((saw.client().as_deref(), saw.origin().scheme().as_str()), (Some("192.0.2.7"), "http"));
}

#[tokio::test]
async fn an_unreadable_hop_makes_the_client_unknown_and_never_its_left_neighbour() {
    for last in ["_hidden", "unknown", "garbage", "1.2.3.4.5", "10.0.0.300", "\"", "10.0.0.2:x"] {
        let list = format!("6.6.6.6, {last}");
        let saw = admitted(&x_forwarded(), EDGE, "/", &[("x-forwarded-for", &list)]).await;
        assert_eq!(saw.client(), None, "{list}");
        let list = format!("6.6.6.6, {last}, 10.0.0.2");
        let saw = admitted(&x_forwarded(), EDGE, "/", &[("x-forwarded-for", &list)]).await;
        assert_eq!(saw.client(), None, "{list}");
    }
    let layer = behind_edge(ForwardedHeaders::Rfc7239).build().unwrap();
    for list in [
        "for=6.6.6.6, for=_obf",
        "for=6.6.6.6, for=\"",
        "for=6.6.6.6, proto=https",
        "for=6.6.6.6, for=1.1.1.1;for=2.2.2.2",
    ] {
        let saw = admitted(&layer, EDGE, "/", &[("forwarded", list)]).await;
        assert_eq!(saw.client(), None, "{list}");
    }
}

#[tokio::test]
async fn a_byte_beyond_ascii_does_not_turn_the_proxy_into_the_client() {
    let mut evil = request(EDGE, "/", &[]);
    let value = http::HeaderValue::from_bytes(b"6.6.6.6, \xff\xc3").unwrap();
    evil.headers_mut().insert("x-forwarded-for", value);
    let saw = through(&x_forwarded(), evil).await.ok().unwrap();
    assert_eq!(saw.client(), None);
    let mut evil = request(EDGE, "/", &[]);
    let value = http::HeaderValue::from_bytes(b"\xff\xc3, 192.0.2.7").unwrap();
    evil.headers_mut().insert("x-forwarded-for", value);
    let saw = through(&x_forwarded(), evil).await.ok().unwrap();
    assert_eq!(saw.client().as_deref(), Some("192.0.2.7"));
}

/// CVE-2015-0219, CVE-2025-64484.
#[tokio::test]
async fn other_spellings_do_not_carry_a_field_past_the_strip_list() {
    let fields = [
        ("x_forwarded_for", "6.6.6.6"),
        ("x-forwarded_proto", "https"),
        ("x_wsgiproxy_str_1", "user root"),
        ("remote_user", "root"),
        ("x_auth_request_email", "root@example.com"),
        ("x-real_ip", "127.0.0.1"),
        ("x.forwarded.user", "root"),
        ("x-forwarded~host", "evil.example"),
    ];
    let saw = admitted(&x_forwarded(), STRANGER, "/", &fields).await;
    assert_eq!(saw.client().as_deref(), Some(STRANGER));
    assert_eq!(saw.parts.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["host"]);
    // Other spellings from a trusted peer are neither read nor kept: the peer removes the standard names only, so these
    // come from its client.
    let saw = admitted(&x_forwarded(), EDGE, "/", &fields).await;
    assert_eq!((saw.client().as_deref(), saw.origin().scheme().as_str()), (Some(EDGE), "http"));
    assert_eq!(saw.parts.headers.len(), 1, "{:?}", saw.parts.headers);
}

/// CVE-2022-31813, CVE-2024-45410.
#[tokio::test]
async fn naming_our_fields_in_connection_neither_removes_nor_protects_them() {
    let fields = [
        ("connection", "close, x-forwarded-for"),
        ("connection", "X-Forwarded-Proto, host"),
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
    ];
    let saw = admitted(&x_forwarded(), EDGE, "/", &fields).await;
    assert_eq!((saw.client().as_deref(), saw.origin().scheme().as_str()), (Some("192.0.2.7"), "https"));
    let saw = admitted(&x_forwarded(), STRANGER, "/", &fields).await;
    assert_eq!((saw.client().as_deref(), saw.origin().scheme().as_str()), (Some(STRANGER), "http"));
    assert_eq!(saw.header("x-forwarded-for"), None);
}

#[tokio::test]
async fn a_strangers_prefix_does_not_move_the_path() {
    for (family, name) in [
        (ForwardedHeaders::XForwarded, "x-forwarded-prefix"),
        (ForwardedHeaders::WsgiProxy, "x-forwarded-script-name"),
        (ForwardedHeaders::WsgiProxy, "x-script-name"),
        (ForwardedHeaders::WsgiProxy, "script_name"),
        (ForwardedHeaders::WsgiProxy, "x-traversal-path"),
    ] {
        let layer = behind_edge(family).restore(RestoredHeaders::all()).build().unwrap();
        let saw = admitted(&layer, STRANGER, "/admin/x", &[(name, "/admin")]).await;
        assert_eq!((saw.parts.uri.path(), saw.origin().prefix()), ("/admin/x", ""), "{name}");
    }
}

/// CVE-2026-44437 and its kin.
#[tokio::test]
async fn a_prefix_that_could_break_out_of_a_link_is_refused_and_not_mended() {
    for prefix in [
        "//evil.example",
        "/\\evil.example",
        "\\\\evil",
        "/a//b",
        "/a/",
        "/",
        "a",
        "/..",
        "/a/../b",
        "/a/./b",
        "/%2e%2e/b",
        "/a/.%2E",
        "/a/%2f",
        "/a\"b",
        "/a'b",
        "/a;Domain=x",
        "/a b",
        "/a<b",
        "/a?b",
        "/a#b",
        "/a%0d%0aX",
        "/%00",
        "/a\u{e9}",
        "/%zz",
        "https://evil.example/",
    ] {
        assert_eq!(
            ask(&x_forwarded(), EDGE, "/", &[("x-forwarded-prefix", prefix)]).await.err(),
            Some(400),
            "{prefix}"
        );
    }
    let twice = [("x-forwarded-prefix", "/a"), ("x-forwarded-prefix", "/b")];
    assert_eq!(ask(&x_forwarded(), EDGE, "/", &twice).await.err(), Some(400));
    let saw = admitted(&x_forwarded(), EDGE, "/x", &[("x-forwarded-prefix", "/app/v1.2")]).await;
    assert_eq!((saw.origin().prefix(), saw.parts.uri.path()), ("/app/v1.2", "/x"));
}

/// As fixed in ASP.NET 8.0.17: known proxies were not checked if the client's address was not restored.
#[tokio::test]
async fn the_decision_is_one_for_all_fields_even_where_the_client_is_not_restored() {
    let layer =
        behind_edge(ForwardedHeaders::XForwarded).restore(RestoredHeaders::none().scheme().host()).build().unwrap();
    let fields = [("x-forwarded-proto", "https"), ("x-forwarded-host", "evil.example"), ("x-forwarded-for", "6.6.6.6")];
    let saw = admitted(&layer, STRANGER, "/", &fields).await;
    assert_eq!((saw.origin().scheme().as_str(), saw.header("host").as_deref()), ("http", Some("socket.example")));
    let saw = admitted(&layer, EDGE, "/", &fields).await;
    assert_eq!((saw.origin().scheme().as_str(), saw.header("host").as_deref()), ("https", Some("evil.example")));
    assert_eq!(saw.client().as_deref(), Some(EDGE));
}

#[tokio::test]
async fn a_peer_without_an_address_is_a_stranger_unless_its_user_is_named() {
    let fields = [("x-forwarded-for", "192.0.2.7")];
    for peer in ["", "uid:0", "uid:33"] {
        let saw = admitted(&x_forwarded(), peer, "/", &fields).await;
        assert_eq!(saw.client(), None, "{peer}");
        assert!(!saw.origin().trusted_by().is_trusted());
    }
    let layer = ProxyMiddleware::builder()
        .trust(Trust::unix_peer([33]))
        .read_headers(ForwardedHeaders::XForwarded)
        .build()
        .unwrap();
    assert_eq!(admitted(&layer, "uid:33", "/", &fields).await.client().as_deref(), Some("192.0.2.7"));
    assert_eq!(admitted(&layer, "uid:34", "/", &fields).await.client(), None);
    assert_eq!(admitted(&layer, "127.0.0.1", "/", &fields).await.client().as_deref(), Some("127.0.0.1"));
}

#[tokio::test]
async fn only_one_family_is_read_and_the_others_are_removed() {
    let fields = [
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-scheme", "http"),
        ("x-forwarded-server", "classic.example"),
        ("x-forwarded-host", "defacto.example"),
        ("forwarded", "for=198.51.100.1;proto=http;host=rfc.example"),
    ];
    for (family, client, scheme, host) in [
        (ForwardedHeaders::WsgiProxy, "192.0.2.7", "http", "classic.example"),
        (ForwardedHeaders::XForwarded, "192.0.2.7", "https", "defacto.example"),
        (ForwardedHeaders::Rfc7239, "198.51.100.1", "http", "rfc.example"),
    ] {
        let layer = behind_edge(family).restore(RestoredHeaders::all()).build().unwrap();
        let saw = admitted(&layer, EDGE, "/", &fields).await;
        let origin = saw.origin();
        assert_eq!((saw.client().as_deref(), origin.scheme().as_str()), (Some(client), scheme), "{family:?}");
        assert_eq!(saw.header("host").as_deref(), Some(host));
        assert_eq!(saw.parts.headers.len(), 1, "{:?}", saw.parts.headers);
    }
}

#[tokio::test]
async fn an_empty_port_is_the_default_port_also_in_forwarded_lists() {
    for (family, fields) in [
        (ForwardedHeaders::XForwarded, &[("x-forwarded-for", "192.0.2.7:"), ("x-forwarded-host", "a.example:")][..]),
        (
            ForwardedHeaders::XForwarded,
            &[("x-forwarded-for", "[::ffff:192.0.2.7]:"), ("x-forwarded-host", "b, a.example:")],
        ),
        (ForwardedHeaders::WsgiProxy, &[("x-forwarded-for", "192.0.2.7:"), ("x-forwarded-server", "a.example:")]),
        (ForwardedHeaders::Rfc7239, &[("forwarded", "for=\"192.0.2.7:\";host=\"a.example:\";proto=https")]),
    ] {
        let hosts = ["a.example:80", "a.example:443"];
        let layer = behind_edge(family).restore(RestoredHeaders::all()).allowed_hosts(hosts).build().unwrap();
        let saw = admitted(&layer, EDGE, "/", fields).await;
        assert_eq!(saw.client().as_deref(), Some("192.0.2.7"), "{fields:?}");
        assert_eq!((saw.header("host").as_deref(), saw.origin().client_port()), (Some("a.example"), None));
    }
    let layer = behind_edge(ForwardedHeaders::XForwarded).allowed_hosts(["socket.example:80"]).build().unwrap();
    let saw = admitted(&layer, STRANGER, "/", &[("host", "socket.example:")]).await;
    assert_eq!((saw.header("host").as_deref(), saw.origin().port()), (Some("socket.example"), 80));
}

#[tokio::test]
async fn by_default_the_trust_policy_decides_which_set_is_read_and_never_the_request() {
    let keys = || Keyring::new("k", Secret::from_bytes([7; 32]).unwrap()).unwrap();
    let peers = || Trust::peers(["10.0.0.0/8"]).unwrap();
    let scheme = async |trust: Trust, fields: &[(&str, &str)]| {
        let layer = ProxyMiddleware::builder().trust(trust).build().unwrap();
        admitted(&layer, EDGE, "/", fields).await.origin().scheme().to_string()
    };
    let signed = || Trust::any_of([peers(), Trust::signature(keys())]);
    let classic = || Trust::any_of([peers(), Trust::dangerous_classic_signature(ClassicVerifier::new(keys()))]);
    let both = [("x-forwarded-proto", "https"), ("x-forwarded-scheme", "http")];
    assert_eq!(scheme(peers(), &both).await, "https");
    assert_eq!(scheme(Trust::dangerous_any_peer(1), &both).await, "https");
    assert_eq!(scheme(signed(), &both).await, "http");
    assert_eq!(scheme(classic(), &both).await, "http");
    // The other set alone is not read in place of the one that is missing.
    assert_eq!(scheme(peers(), &[("x-forwarded-scheme", "https")]).await, "http");
    assert_eq!(scheme(peers(), &[("forwarded", "for=192.0.2.7;proto=https")]).await, "http");
    assert_eq!(scheme(signed(), &[("x-forwarded-proto", "https")]).await, "http");
}

#[tokio::test]
async fn a_trusted_sender_of_another_set_is_logged_once_and_with_the_headers_name() {
    const TEXT: &str = "no forwarding header of the set that is read";
    let logged = async |builder: ProxyMiddlewareBuilder, peer: &str, fields: &[(&str, &str)]| {
        let (log, _guard) = Log::start();
        let layer = builder.build().unwrap();
        for _ in 0..3 {
            admitted(&layer, peer, "/", fields).await;
        }
        let lines: Vec<_> = log.text().lines().filter(|line| line.contains(TEXT)).map(str::to_owned).collect();
        assert!(lines.len() < 2, "{lines:?}");
        lines.into_iter().next()
    };
    let x_forwarded = || behind_edge(ForwardedHeaders::XForwarded);
    let line = logged(x_forwarded(), EDGE, &[("x-forwarded-for", "192.0.2.7"), ("x-forwarded-scheme", "https")]).await;
    let line = line.expect("a warning");
    assert!(line.contains("WARN") && line.contains("header=x-forwarded-scheme read=XForwarded"), "{line}");
    for (family, fields) in [
        (ForwardedHeaders::XForwarded, &[("forwarded", "for=192.0.2.7")][..]),
        (ForwardedHeaders::WsgiProxy, &[("x-forwarded-proto", "https")]),
        (ForwardedHeaders::Rfc7239, &[("x-forwarded-for", "192.0.2.7")]),
    ] {
        assert!(logged(behind_edge(family), EDGE, fields).await.is_some(), "{family:?}");
    }
    // Enough of the set, nothing at all, or a sender that is not trusted.
    assert_eq!(logged(x_forwarded(), EDGE, &[("x-forwarded-for", "192.0.2.7")]).await, None);
    assert_eq!(
        logged(x_forwarded(), EDGE, &[("x-forwarded-proto", "https"), ("forwarded", "for=1.2.3.4")]).await,
        None
    );
    assert_eq!(logged(x_forwarded(), EDGE, &[("x-real-ip", "192.0.2.7")]).await, None);
    assert_eq!(logged(x_forwarded(), STRANGER, &[("x-forwarded-scheme", "https")]).await, None);
}

#[tokio::test]
async fn where_every_hop_is_trusted_the_leftmost_is_the_client() {
    let saw = admitted(&x_forwarded(), EDGE, "/", &[("x-forwarded-for", "10.9.9.9, 10.0.0.3")]).await;
    assert_eq!(saw.client().as_deref(), Some("10.9.9.9"));
    assert_eq!(saw.origin().hops().len(), 2);
}

#[tokio::test]
async fn addresses_are_read_in_every_spelling_and_never_with_a_group_for_a_port() {
    for (text, client, port) in [
        ("192.0.2.7", "192.0.2.7", None),
        ("192.0.2.7:443", "192.0.2.7", Some(443)),
        ("2001:db8::1", "2001:db8::1", None),
        ("[2001:db8::1]", "2001:db8::1", None),
        ("[2001:db8::1]:443", "2001:db8::1", Some(443)),
        ("fe80::1%eth0", "fe80::1", None),
        ("::ffff:192.0.2.7", "192.0.2.7", None),
    ] {
        let saw = admitted(&x_forwarded(), EDGE, "/", &[("x-forwarded-for", text)]).await;
        assert_eq!((saw.client().as_deref(), saw.origin().client_port()), (Some(client), port), "{text}");
    }
    // A trusted hop in IPv4-mapped notation is trusted.
    let saw =
        admitted(&x_forwarded(), "::ffff:10.0.0.1", "/", &[("x-forwarded-for", "192.0.2.7, ::ffff:10.0.0.2")]).await;
    assert_eq!(saw.client().as_deref(), Some("192.0.2.7"));
}

/// CVE-2026-40575.
#[tokio::test]
async fn path_and_method_never_come_from_a_field() {
    let fields = [
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x-forwarded-uri", "/admin"),
        ("x-http-method-override", "DELETE"),
        ("x-original-method", "DELETE"),
    ];
    for peer in [STRANGER, EDGE] {
        let saw = admitted(&x_forwarded(), peer, "/public?x", &fields).await;
        assert_eq!((saw.parts.uri.to_string().as_str(), &saw.parts.method), ("/public?x", &Method::GET));
    }
    let saw = admitted(&x_forwarded(), STRANGER, "/public", &fields).await;
    assert_eq!((saw.header("x-original-url"), saw.header("x-forwarded-uri")), (None, None));
}

/// CVE-2024-28179.
#[tokio::test]
async fn upgrades_and_connect_are_held_against_the_same_policy() {
    let fields = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("x-forwarded-for", "192.0.2.7"),
        ("remote-user", "root"),
    ];
    let saw = admitted(&x_forwarded(), STRANGER, "/ws", &fields).await;
    assert_eq!((saw.client().as_deref(), saw.header("remote-user")), (Some(STRANGER), None));
    assert_eq!(
        (saw.header("upgrade").as_deref(), saw.header("connection").as_deref()),
        (Some("websocket"), Some("upgrade"))
    );
    let saw = admitted(&x_forwarded(), EDGE, "/ws", &fields).await;
    assert_eq!((saw.client().as_deref(), saw.header("remote-user").as_deref()), (Some("192.0.2.7"), Some("root")));

    let connect = |peer: &str| {
        let mut connect = request(
            peer,
            "/",
            &[("host", "a.example:443"), ("x-forwarded-for", "192.0.2.7"), ("x-forwarded-host", "b.example")],
        );
        *connect.method_mut() = Method::CONNECT;
        *connect.uri_mut() = "a.example:443".parse().unwrap();
        connect
    };
    for (peer, client) in [(STRANGER, STRANGER), (EDGE, "192.0.2.7")] {
        let saw = through(&x_forwarded(), connect(peer)).await.ok().unwrap();
        assert_eq!((saw.client().as_deref(), saw.parts.uri.to_string().as_str()), (Some(client), "a.example:443"));
        assert_eq!((saw.header("x-forwarded-for"), saw.header("host").as_deref()), (None, Some("a.example:443")));
    }
}

#[tokio::test]
async fn an_oversized_list_hides_nobody_and_names_nobody_wrong() {
    let flood = format!("{}192.0.2.7", "10.0.0.9,".repeat(63));
    let saw = admitted(&x_forwarded(), EDGE, "/", &[("x-forwarded-for", &flood)]).await;
    assert_eq!(saw.client().as_deref(), Some("192.0.2.7"));
    let flood = format!("6.6.6.6,{}", vec!["10.0.0.9"; 64].join(","));
    let saw = admitted(&x_forwarded(), EDGE, "/", &[("x-forwarded-for", &flood)]).await;
    assert_eq!(saw.client(), None);
    let flood = format!("6.6.6.6,{},10.0.0.9", "x".repeat(5000));
    let saw = admitted(&x_forwarded(), EDGE, "/", &[("x-forwarded-for", &flood)]).await;
    assert_eq!(saw.client(), None);
    let layer = behind_edge(ForwardedHeaders::Rfc7239).build().unwrap();
    let flood = vec!["for=6.6.6.6"; 1000].join(",");
    let saw = admitted(&layer, EDGE, "/", &[("forwarded", &flood)]).await;
    assert_eq!(saw.client(), None);
}

/// A flaw of WSGIProxy: three of its four encodings accepted any key from any sender.
#[tokio::test]
async fn carried_keys_of_any_encoding_need_trust_and_a_name_on_the_list() {
    let keys = CarriedKeys::builder().named_string("user").named_json("groups").build().unwrap();
    let layer = behind_edge(ForwardedHeaders::WsgiProxy).carried(keys).build().unwrap();
    let fields = [
        ("x-wsgiproxy-version", "0.1"),
        ("x-wsgiproxy-str-1", "user alice"),
        ("x-wsgiproxy-str-2", "REMOTE_USER root"),
        ("x-wsgiproxy-json-1", "groups [1]"),
        ("x-wsgiproxy-pickle-1", "user b64gASVBAAAAAAAAABLAS4="),
    ];
    let carried = |saw: &super::support::mock::Saw| {
        saw.parts.extensions.get::<nexthop::ext::Carried>().cloned().unwrap_or_default()
    };
    for peer in [STRANGER, "", "uid:0"] {
        let saw = admitted(&layer, peer, "/", &fields).await;
        assert_eq!(carried(&saw).iter().count(), 0);
        assert_eq!(saw.parts.headers.len(), 1);
    }
    let saw = admitted(&layer, EDGE, "/", &fields).await;
    let carried = carried(&saw);
    assert_eq!((carried.text("user"), carried.iter().count()), (Some("alice"), 2));
    assert_eq!(saw.parts.headers.len(), 1);
}

#[tokio::test]
async fn by_default_nobody_is_believed_and_identity_fields_go() {
    let layer = ProxyMiddleware::builder().identity_headers([HeaderName::from_static("x-my-user")]).build().unwrap();
    let fields = [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-scheme", "https"),
        ("x-forwarded-server", "evil.example"),
        ("remote-user", "root"),
        ("cf-access-authenticated-user-email", "root@example.com"),
        ("x_my_user", "root"),
        ("proxy", "http://evil.example"),
        ("authorization", "Basic x"),
        ("cookie", "a=b"),
        ("via", "1.1 x"),
    ];
    for peer in ["127.0.0.1", STRANGER, ""] {
        let saw = admitted(&layer, peer, "/", &fields).await;
        assert_eq!(saw.client().unwrap_or_default(), peer);
        assert_eq!((saw.origin().scheme().as_str(), saw.origin().trusted_by().is_trusted()), ("http", false));
        let mut left: Vec<_> = saw.parts.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "cookie", "host", "via"]);
    }
}

#[tokio::test]
async fn a_hop_count_believes_that_many_elements_of_anybody() {
    let layer = |hops| {
        ProxyMiddleware::builder()
            .trust(Trust::dangerous_any_peer(hops))
            .read_headers(ForwardedHeaders::XForwarded)
            .build()
            .unwrap()
    };
    let fields = [("x-forwarded-for", "6.6.6.6, 192.0.2.7, 203.0.113.1")];
    assert_eq!(admitted(&layer(1), STRANGER, "/", &fields).await.client().as_deref(), Some("203.0.113.1"));
    assert_eq!(admitted(&layer(2), "", "/", &fields).await.client().as_deref(), Some("192.0.2.7"));
    assert_eq!(admitted(&layer(9), STRANGER, "/", &fields).await.client().as_deref(), Some("6.6.6.6"));
}

#[tokio::test]
async fn max_hops_ends_a_walk_among_trusted_hops() {
    let trust = Trust::peers(["10.0.0.0/8"]).unwrap().max_hops(2);
    let layer = ProxyMiddleware::builder().trust(trust).read_headers(ForwardedHeaders::XForwarded).build().unwrap();
    let saw = admitted(&layer, EDGE, "/", &[("x-forwarded-for", "6.6.6.6, 10.0.0.3, 10.0.0.2")]).await;
    assert_eq!(saw.client().as_deref(), Some("10.0.0.3"));
}

#[tokio::test]
async fn a_refusal_tells_the_client_nothing_but_a_status() {
    let mut evil: Request<Body> = request(STRANGER, "/", &[("host", "a b")]);
    evil.headers_mut().append("host", http::HeaderValue::from_static("c"));
    let (status, error) = through(&x_forwarded(), evil).await.err().unwrap();
    assert_eq!((status, error.kind()), (400, nexthop::ErrorKind::InvalidTarget));
}

#[tokio::test]
async fn the_log_says_so_where_no_acceptor_named_the_peer() {
    let (log, _guard) = Log::start();
    assert_eq!(admitted(&x_forwarded(), "", "/", &[("x-forwarded-for", "192.0.2.7")]).await.client(), None);
    assert!(log.text().contains("the acceptor does not report the peer"), "{}", log.text());
}

#[tokio::test]
async fn what_is_ignored_is_said_once_with_peer_and_field_and_without_the_value() {
    let (log, _guard) = Log::start();
    let layer = x_forwarded();
    for _ in 0..100 {
        admitted(&layer, STRANGER, "/", &[("x-forwarded-for", "6.6.6.6")]).await;
        ask(&layer, STRANGER, "/", &[("host", "a b")]).await.err().unwrap();
    }
    admitted(&layer, STRANGER, "/", &[("x-ordinary", "1")]).await;
    let text = log.text();
    let (ignored, refused): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.contains("x-forwarded-for"));
    assert_eq!((ignored.len(), refused.len()), (1, 1), "{text}");
    assert!(ignored[0].contains("WARN") && ignored[0].contains(STRANGER) && !text.contains("6.6.6.6"), "{text}");
    assert!(refused[0].contains("WARN") && refused[0].contains("400") && !text.contains("a b"), "{text}");
}

const OWNED: [&str; 12] = [
    "x-forwarded-for",
    "x-forwarded-server",
    "x-forwarded-scheme",
    "x-forwarded-script-name",
    "x-traversal-path",
    "x-traversal-query-string",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "forwarded",
    "x-wsgiproxy-json-1",
];

fn any_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        r#"(for=|host=|proto=|https|http|/a|//|%2e|\[::1\]|192\.0\.2\.7|10\.0\.0\.2|"|,|;|:80| ){0,8}"#
            .prop_map(String::into_bytes),
    ]
}

proptest! {
    /// A request from a trusted peer is refused, or reaches the application with one valid `Host` and without
    /// forwarding headers.
    #[test]
    fn no_bytes_panic_and_nothing_unread_reaches_the_application(
        family in prop_oneof![Just(ForwardedHeaders::WsgiProxy), Just(ForwardedHeaders::XForwarded), Just(ForwardedHeaders::Rfc7239)],
        uri in "/[a-z/%0-9.]{0,8}(\\?[a-z=&]{0,6})?",
        fields in proptest::collection::vec((0..OWNED.len(), any_value()), 0..6),
    ) {
        let mut evil = request(EDGE, &uri, &[]);
        for (name, value) in fields {
            if let Ok(value) = http::HeaderValue::from_bytes(&value) {
                evil.headers_mut().append(OWNED[name], value);
            }
        }
        let layer = behind_edge(family).restore(RestoredHeaders::all()).build().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        match runtime.block_on(through(&layer, evil)) {
            Ok(saw) => {
                prop_assert_eq!(saw.parts.headers.len(), 1);
                let host = saw.header("host").unwrap();
                prop_assert!(host.parse::<http::uri::Authority>().is_ok_and(|read| read == host.as_str()));
                prop_assert_eq!(saw.origin().host().unwrap().as_str(), host.as_str());
                prop_assert!(saw.parts.uri.path().starts_with('/') && saw.parts.uri.authority().is_none());
            }
            Err((status, _)) => prop_assert_eq!(status, 400),
        }
    }
}

// === on sockets ===

/// Answers with the client and the trust decision.
fn tells_the_client() -> axum::Router {
    axum::Router::new().fallback(async |request: axum::extract::Request| {
        let origin = request.extensions().get::<OriginalRequest>().unwrap();
        format!("{:?} {:?}", origin.client(), origin.trusted_by())
    })
}

fn behind(trust: Trust) -> ProxyMiddlewareService<axum::Router> {
    ProxyMiddleware::builder()
        .trust(trust)
        .read_headers(ForwardedHeaders::XForwarded)
        .build()
        .unwrap()
        .layer(tells_the_client())
}

/// sozu-proxy/sozu#1334: the health check of a balancer may contain bytes that resemble an address.
#[tokio::test]
async fn an_address_in_a_local_proxy_header_is_nobodys() {
    let trust = Trust::peers(["192.0.2.0/24"]).unwrap();
    let front = Front::serve_with(behind(trust), |serve| serve.proxy_protocol(ProxyProtocol::Required)).await;
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
    let header = |command: u8| {
        [b"\r\n\r\n\0\r\nQUIT\n", &[command, 0x11, 0, 12, 192, 0, 2, 7, 10, 0, 0, 1, 1, 0, 0, 80][..]].concat()
    };
    let answer = front.exchange([header(0x21), request.to_vec()].concat()).await;
    assert_eq!(answer.text(), "Some(6.6.6.6) Peer");
    let answer = front.exchange([header(0x20), request.to_vec()].concat()).await;
    assert_eq!(answer.text(), "Some(127.0.0.1) None");
}

#[tokio::test]
async fn the_peer_is_the_sockets_and_bad_heads_never_reach_the_application() {
    let front = Front::serve(behind(Trust::peers(["loopback"]).unwrap())).await;
    for (head, answer) in [
        (&b"Host: a\r\nX-Forwarded-For: 192.0.2.7"[..], Some("Some(192.0.2.7) Peer")),
        (b"Host: a\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.7", Some("Some(192.0.2.7) Peer")),
        (b"Host: a\r\nX-Forwarded-For: 192.0.2.7, \xff\xfe", Some("None Peer")),
        (b"Host: a", Some("Some(127.0.0.1) Peer")),
        (b"Host: a\r\nHost: b", None),
        (b"Host: a b", None),
        (b"X-Host: a", None),
    ] {
        let request = [b"GET / HTTP/1.1\r\n", head, b"\r\n\r\n"].concat();
        let response = front.exchange(request).await;
        let (status, text) = answer.map_or((400, ""), |answer| (200, answer));
        assert_eq!((response.status(), response.text()), (status, text), "{}", String::from_utf8_lossy(head));
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_user_at_the_other_end_of_a_unix_socket_is_the_kernels_word() {
    let dir = tempfile::tempdir().unwrap();
    let uid = rustix::process::getuid().as_raw();
    for (trusted, answer) in [(uid, "Some(192.0.2.7) Peer"), (uid + 1, "None None")] {
        let path = dir.path().join(trusted.to_string());
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let server = tokio::spawn(nexthop::serve(listener, behind(Trust::unix_peer([trusted]))).into_future());
        let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n";
        assert_eq!(RawClient::unix(&path).await.exchange(request).await.text(), answer);
        server.abort();
    }
}

#[tokio::test]
async fn of_no_hops_none_is_believed() {
    for family in [ForwardedHeaders::XForwarded, ForwardedHeaders::Rfc7239] {
        let trust = Trust::peers(["10.0.0.0/8"]).unwrap().max_hops(0);
        let layer = ProxyMiddleware::builder().trust(trust).read_headers(family).build().unwrap();
        let fields = [("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=192.0.2.7")];
        assert_eq!(admitted(&layer, EDGE, "/", &fields).await.client().as_deref(), Some(EDGE));
    }
}
