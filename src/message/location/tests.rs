use http::{HeaderMap, HeaderName, HeaderValue, uri::Scheme};
use proptest::prelude::*;

use super::Mapping;
use crate::message::target::{ClientPrefix, Prefix};

fn mapping(upstream: &str, host: &str, prefix: &str) -> Mapping {
    Mapping::new(upstream.parse().unwrap(), Scheme::HTTPS, host, prefix.parse().unwrap())
}

#[track_caller]
fn maps(mapping: &Mapping, name: &'static str, value: &str, expected: &str) {
    let mut headers = HeaderMap::new();
    headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    mapping.apply(&mut headers);
    assert_eq!(String::from_utf8_lossy(headers[name].as_bytes()), expected, "{name}: {value}");
}

#[test]
fn absolute_urls_of_the_upstream_become_the_clients() {
    let to = mapping("http://backend:8080/app", "front.example", "/shop");
    for name in ["location", "content-location"] {
        maps(&to, name, "http://backend:8080/app/x%2F?a=b#c", "https://front.example/shop/x%2F?a=b#c");
        maps(&to, name, "HTTP://BackEnd:8080/app", "https://front.example/shop");
        maps(&to, name, "http://backend:8080/app?x", "https://front.example/shop?x");
        maps(&to, name, "//backend:8080/app/x", "//front.example/shop/x");
        maps(&to, name, "http://backend:8080/app//x", "https://front.example/shop//x");
    }
}

#[test]
fn foreign_urls_stay_byte_for_byte() {
    let to = mapping("http://backend:8080/app", "front.example", "/shop");
    for foreign in [
        "http://other.example/app/x",
        "http://backend/app/x",
        "http://backend:80800/app",
        "ftp://backend:8080/app/x",
        "https://backend/app/x",
        "https://backend:443/app/x",
        "http://backend:8080@evil/app",
        "http://u@backend:8080/app",
        "http://backend:8080.evil/app",
        "http://backend:8080\\evil/app",
        "http://backend:8080/apple",
        "http://backend:8080/",
        "http://backend:8080",
        "/other",
        "/apple",
        "/",
        "//other/app",
        "mailto:x@backend",
        "http:/app",
        "http:app",
        "",
    ] {
        maps(&to, "location", foreign, foreign);
    }
}

#[test]
fn relative_references_are_right_as_they_are() {
    let to = mapping("http://backend/app", "front.example", "/shop");
    for relative in ["x", "../x", "./", "?q", "#f", "x/app/y", "x:y", "./app"] {
        maps(&to, "location", relative, relative);
    }
}

#[test]
fn paths_change_their_base_at_the_border_of_a_segment() {
    let to = mapping("http://backend/app", "front.example", "/shop");
    maps(&to, "location", "/app/x?y=/app", "/shop/x?y=/app");
    maps(&to, "location", "/app", "/shop");
    maps(&to, "location", "/app/", "/shop/");
    maps(&to, "location", "/app%2Fx", "/app%2Fx");
    let to = mapping("http://backend", "front.example", "/shop");
    maps(&to, "location", "/", "/shop/");
    maps(&to, "location", "http://backend", "https://front.example/shop");
    maps(&to, "location", "/x", "/shop/x");
    let to = mapping("http://backend/app", "front.example", "");
    maps(&to, "location", "/app", "/");
    maps(&to, "location", "/app?x", "/?x");
    maps(&to, "location", "/app/x", "/x");
    maps(&to, "location", "http://backend/app", "https://front.example");
}

#[test]
fn what_is_the_clients_view_already_is_not_mapped_twice() {
    let to = mapping("http://backend", "front.example", "/shop");
    maps(&to, "location", "/shop/x", "/shop/x");
    maps(&to, "location", "https://front.example/shop/x", "https://front.example/shop/x");
    maps(&to, "location", "http://backend/shop/x", "https://front.example/shop/x");
    maps(&to, "location", "/shopping", "/shop/shopping");
    maps(&to, "set-cookie", "a=b; Path=/shop", "a=b; Path=/shop");
    let to = mapping("http://backend/api/v1", "front.example", "/api");
    maps(&to, "location", "/api/v1/x", "/api/x");
}

#[test]
fn a_path_never_becomes_a_host() {
    let to = mapping("http://backend/app", "front.example", "");
    maps(&to, "location", "/app//evil.example/x", "/.//evil.example/x");
    maps(&to, "location", "/app/\\evil.example", "/\\evil.example".replace("/\\", "/./\\").as_str());
    maps(&to, "location", "http://backend/app//evil", "https://front.example//evil");
    // Browsers take tabs out of a URL before they read it.
    maps(&to, "location", "/app/\t/evil.example", "/./\t/evil.example");
    maps(&to, "location", "/app/\t\t\\evil.example", "/./\t\t\\evil.example");
    maps(&to, "location", "/app/\tx", "/\tx");
}

#[test]
fn default_ports_and_the_host_that_was_sent_are_the_upstream_too() {
    let to = mapping("http://backend:80", "front.example:8443", "");
    maps(&to, "location", "http://backend/x", "https://front.example:8443/x");
    let to = mapping("https://backend", "front.example", "");
    maps(&to, "location", "https://backend:443/x", "https://front.example/x");
    let kept = Some(HeaderValue::from_static("front.example"));
    let to = Mapping::of(
        "http://backend".parse().unwrap(),
        kept.clone(),
        Scheme::HTTPS,
        kept,
        "/s".parse::<Prefix>().unwrap().into(),
    );
    maps(&to, "location", "http://front.example/x", "https://front.example/s/x");
    maps(&to, "location", "https://front.example/x", "https://front.example/x");
    maps(&to, "set-cookie", "a=b; Domain=front.example", "a=b; Domain=front.example");
}

#[test]
fn an_upstream_may_name_itself_by_the_scheme_that_it_was_sent() {
    for name in ["location", "content-location"] {
        let to = mapping("http://backend:8080/app", "front.example", "/shop");
        maps(&to, name, "https://backend:8080/app/x?y#z", "https://front.example/shop/x?y#z");
        maps(&to, name, "HTTPS://Backend:8080/app", "https://front.example/shop");
    }
    let to = mapping("http://backend/app", "front.example", "/shop");
    for url in ["https://backend", "https://backend:443", "https://backend:", "https://backend:80", "http://backend:"] {
        maps(&to, "location", &format!("{url}/app/x"), "https://front.example/shop/x");
        maps(&to, "refresh", &format!("1; url={url}/app/x"), "1; url=https://front.example/shop/x");
        maps(&to, "link", &format!("<{url}/app/x>; rel=next"), "<https://front.example/shop/x>; rel=next");
    }
    maps(&to, "location", "http://backend:443/app/x", "http://backend:443/app/x");
    maps(&to, "location", "https://other/app/x", "https://other/app/x");
    maps(&to, "location", "https://front.example/app/x", "https://front.example/app/x");
    // The other way round: an upstream with TLS behind a front end without.
    let http = |href: &str, host: Option<HeaderValue>| {
        let client = HeaderValue::from_static("front.example");
        Mapping::of(href.parse().unwrap(), host, Scheme::HTTP, Some(client), "/s".parse::<Prefix>().unwrap().into())
    };
    let to = http("https://backend", None);
    maps(&to, "location", "http://backend/x", "http://front.example/s/x");
    maps(&to, "location", "https://backend:443/x", "http://front.example/s/x");
    // By the `Host` that it was sent, too, unless both together are the client's view.
    let to = http("https://backend", Some(HeaderValue::from_static("fixed.example")));
    maps(&to, "location", "http://fixed.example/x", "http://front.example/s/x");
    let to = http("https://backend", Some(HeaderValue::from_static("front.example")));
    maps(&to, "location", "http://front.example/x", "http://front.example/x");
}

#[test]
fn without_a_host_urls_become_paths() {
    let to = mapping("http://backend/app", "", "");
    maps(&to, "location", "http://backend/app", "/");
    maps(&to, "location", "http://backend/app//x?q", "/.//x?q");
}

#[cfg(unix)]
#[test]
fn an_upstream_on_a_unix_socket_calls_itself_localhost() {
    let to = mapping("unix:/run/app.sock", "front.example", "");
    maps(&to, "location", "http://localhost/x", "https://front.example/x");
}

#[test]
fn refresh_is_mapped_in_every_form_browsers_read() {
    let to = mapping("http://backend/app", "f.example", "/s");
    maps(&to, "refresh", "5; url=http://backend/app/x", "5; url=https://f.example/s/x");
    maps(&to, "refresh", "0;URL='/app/x'", "0;URL='/s/x'");
    maps(&to, "refresh", "0, url = \"/app\" ", "0, url = \"/s\" ");
    maps(&to, "refresh", "0;url=/app/x ", "0;url=/s/x ");
    for (value, mapped) in [
        ("5;/app/x", "5;/s/x"),
        ("5; \"/app/x\"", "5; \"/s/x\""),
        ("5; '/app/x' and more", "5; '/s/x' and more"),
        ("5 /app/x", "5 /s/x"),
        ("5 ; /app/x", "5 ; /s/x"),
        (" 5,/app/x", " 5,/s/x"),
        ("5.25; url=/app/x", "5.25; url=/s/x"),
        (".5; url=/app/x", ".5; url=/s/x"),
        ("5 url=/app/x", "5 url=/s/x"),
        ("5;url = '/app/x", "5;url = '/s/x"),
        ("5;\turl=/app/x?a=b;c", "5;\turl=/s/x?a=b;c"),
        ("5; http://backend/app/x", "5; https://f.example/s/x"),
    ] {
        maps(&to, "refresh", value, mapped);
    }
    for same in [
        "5",
        "5;",
        "5; url",
        "5; url=",
        "5; x=/app",
        "5; url='",
        "; url=http://other/app",
        "x; url=/app",
        "; url=/app",
        "5x; url=/app",
        "5; url /app",
        "5; ur=/app",
        "5;; /app",
    ] {
        maps(&to, "refresh", same, same);
    }
}

#[test]
fn a_prefix_of_any_legal_bytes_ends_neither_a_url_nor_an_attribute() {
    let prefix = |prefix: &str| {
        let host = Some(HeaderValue::from_static("f.example"));
        let prefix = ClientPrefix::of(prefix).unwrap();
        Mapping::of("http://backend/app".parse().unwrap(), None, Scheme::HTTPS, host, prefix)
    };
    let quote = prefix("/o'brien");
    maps(&quote, "location", "/app/x", "/o'brien/x");
    maps(&quote, "refresh", "0; url='/app/x'", "0; url='/o%27brien/x'");
    maps(&quote, "refresh", "0; url=\"/app/x\"", "0; url=\"/o'brien/x\"");
    maps(&quote, "set-cookie", "a=b; Path=/app; Secure", "a=b; Path=/o'brien; Secure");
    let semicolon = prefix("/t;v=1");
    maps(&semicolon, "location", "http://backend/app/x", "https://f.example/t;v=1/x");
    maps(&semicolon, "set-cookie", "a=b; Path=/app; Secure", "a=b; Secure");
    maps(&semicolon, "set-cookie", "a=b; Path=/", "a=b");
    maps(&prefix("/caf\u{e9}/a%2Fb"), "location", "/app/x", "/caf\u{e9}/a%2Fb/x");
}

#[test]
fn every_target_of_link_is_mapped_and_quoted_texts_are_not() {
    let to = mapping("http://backend/app", "f.example", "/s");
    maps(
        &to,
        "link",
        r#"</app/a>; rel=next; title="</app/b>, \"<", <http://backend/app/c>;rel="x", <d>, <http://o/app>"#,
        r#"</s/a>; rel=next; title="</app/b>, \"<", <https://f.example/s/c>;rel="x", <d>, <http://o/app>"#,
    );
    for same in ["<", ">", "</app", "\"</app>", "x"] {
        maps(&to, "link", same, same);
    }
}

#[test]
fn cookie_paths_and_domains_are_mapped() {
    let to = mapping("http://backend.internal:81/app", "www.example.com:8443", "/s");
    maps(&to, "set-cookie", "a=/app; Path=/app; Domain=backend.internal", "a=/app; Path=/s; Domain=www.example.com");
    maps(
        &to,
        "set-cookie",
        "a=b;path = /app/x ;DOMAIN=.Backend.Internal;Secure",
        "a=b;path = /s/x ;DOMAIN=.www.example.com;Secure",
    );
    maps(&to, "set-cookie", "a=b; Path=/; Domain=internal", "a=b; Path=/s; Domain=internal");
    maps(&to, "set-cookie", "a=b; Path=/apple; HttpOnly", "a=b; Path=/apple; HttpOnly");
    maps(&to, "set-cookie", "Path=/app", "Path=/app");
    let to = mapping("http://backend", "www.example.com", "/s");
    maps(&to, "set-cookie", "a=b; Path=/", "a=b; Path=/s");
    maps(&to, "set-cookie", "a=b; Path=/x/", "a=b; Path=/s/x/");
    let to = mapping("http://backend/app", "www.example.com", "");
    maps(&to, "set-cookie", "a=b; Path=/app", "a=b; Path=/");
}

#[test]
fn a_cookie_for_more_than_the_upstreams_part_is_not_sent_to_the_clients_other_services() {
    let to = mapping("http://backend/a/b", "www.example.com", "/s");
    for path in ["/", "/a", "/a/", "/a/b", "/a/b/"] {
        maps(&to, "set-cookie", &format!("a=b; Path={path}"), "a=b; Path=/s");
    }
    maps(&to, "set-cookie", "a=b; Path=/a/bc", "a=b; Path=/a/bc");
    maps(&to, "set-cookie", "a=b; Path=a", "a=b; Path=a");
}

#[test]
fn a_domain_that_the_clients_host_cannot_have_is_left_out() {
    for host in ["localhost:80", "127.0.0.1", "[::1]:80", ""] {
        let to = mapping("http://backend", host, "");
        maps(&to, "set-cookie", "a=b; Domain=backend; Secure", "a=b; Secure");
    }
}

#[test]
fn a_cookie_for_one_host_is_not_widened_to_all_below_the_clients() {
    for (upstream, domain) in [
        ("http://127.0.0.1:9000", "127.0.0.1"),
        ("http://[::1]:9000", "[::1]"),
        ("http://backend:9000", "backend"),
        ("http://backend", ".Backend"),
        ("http://0x7f.0x1", "0x7f.0x1"),
    ] {
        let to = mapping(upstream, "www.example.com", "");
        maps(&to, "set-cookie", &format!("a=b; Domain={domain}; Secure"), "a=b; Secure");
    }
    let to = mapping("http://app.internal", "www.example.com", "");
    maps(&to, "set-cookie", "a=b; Domain=app.internal", "a=b; Domain=www.example.com");
    maps(&to, "set-cookie", "a=b; Domain=other", "a=b; Domain=other");
}

#[test]
fn a_path_of_two_slashes_is_not_the_root() {
    let to = mapping("http://backend/app", "f.example", "/s");
    maps(&to, "set-cookie", "a=b; Path=/", "a=b; Path=/s");
    maps(&to, "set-cookie", "a=b; Path=//", "a=b; Path=//");
}

#[test]
fn host_cookies_keep_what_their_name_promises() {
    let to = mapping("http://backend", "www.example.com", "/s");
    maps(&to, "set-cookie", "__Host-a=b; Path=/; Secure", "__Host-a=b; Path=/; Secure");
}

#[test]
fn every_line_is_mapped_and_none_is_joined() {
    let to = mapping("http://backend/app", "f.example", "/s");
    let mut headers = HeaderMap::new();
    for value in ["a=1; Path=/app", "b=2", "c=3; Path=/app/c"] {
        headers.append("set-cookie", HeaderValue::from_static(value));
    }
    to.apply(&mut headers);
    let lines: Vec<_> = headers.get_all("set-cookie").iter().collect();
    assert_eq!(lines, ["a=1; Path=/s", "b=2", "c=3; Path=/s/c"]);
}

proptest! {
    #[test]
    fn no_bytes_panic_and_foreign_ones_stay(
        value in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            "[0-9;, ]{0,4}(url|path|domain|<|\"|)?[ =]{0,3}['\"]?(http:|//|/app|backend|[a-z;=<>\"'/\\\\]{0,6}){0,6}".prop_map(String::into_bytes),
        ],
    ) {
        let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
        let to = mapping("http://backend/app", "front.example", "/shop");
        let fields = ["location", "content-location", "refresh", "link", "set-cookie"].map(HeaderName::from_static);
        let mut headers: HeaderMap = fields.iter().map(|name| (name.clone(), value.clone())).collect();
        to.apply(&mut headers);
        let named = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        if !named.contains("/app") && !named.contains("backend") {
            prop_assert!(fields.iter().all(|name| headers[name] == value));
        }
    }
}
