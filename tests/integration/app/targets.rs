//! Paths and queries, byte for byte.

use axum::Router;
use http::Method;
use nexthop::app::PathPrefix;

use super::{OK, app};
use crate::support::{Front, RawUpstream};

#[track_caller]
fn request(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: front.example\r\n\r\n")
}

#[tokio::test]
async fn every_target_goes_out_byte_for_byte() {
    for (base, target, expected) in [
        ("", "/", "/"),
        ("", "/?", "/?"),
        ("", "//", "//"),
        ("", "//x//y/", "//x//y/"),
        ("", "/a%2Fb%2f%252F%00", "/a%2Fb%2f%252F%00"),
        ("", "/./a/../b", "/./a/../b"),
        ("", "/a;b=c;/d,e+f!(g)*'~@:$&", "/a;b=c;/d,e+f!(g)*'~@:$&"),
        ("", "/[x]|{y}\"z\"", "/[x]|{y}\"z\""),
        ("", "/x?a=b=c&&d?e;f%zz", "/x?a=b=c&&d?e;f%zz"),
        ("", "/targets/NR2F1%C3%82-human/", "/targets/NR2F1%C3%82-human/"),
        ("", "/caf\u{e9}?\u{e9}", "/caf\u{e9}?\u{e9}"),
        ("", "http://elsewhere.example/x?y", "/x?y"),
        ("", "http://elsewhere.example?y", "/?y"),
        ("", "http://elsewhere.example", "/"),
        ("/app", "/", "/app/"),
        ("/app/", "/x", "/app/x"),
        ("/app", "//x", "/app//x"),
        ("/app", "/../x", "/app/../x"),
        ("/a%2Fp/\u{e9}", "/%2F?", "/a%2Fp/\u{e9}/%2F?"),
        ("/app?k=1&l", "/x", "/app/x?k=1&l"),
        ("/app?k=1&l", "/x?", "/app/x?&k=1&l"),
        ("/app?k=1&l", "/x?y&k=2?", "/app/x?y&k=2?&k=1&l"),
        ("?k=1", "/", "/?k=1"),
        ("/app", "http://elsewhere.example?y", "/app/?y"),
    ] {
        let upstream = RawUpstream::answering([OK]);
        let front = Front::hyper(app(&upstream, base).build().unwrap()).await;
        assert_eq!(front.exchange(request(target)).await.status(), 200, "{base} {target}");
        assert_eq!(upstream.only_request().target(), expected, "{base} {target}");
    }
}

#[tokio::test]
async fn a_mount_is_taken_off_at_the_border_of_a_segment() {
    for (rule, target, expected) in [
        (PathPrefix::FromRouter, "/api", Some("/app")),
        (PathPrefix::FromRouter, "/api?q", Some("/app?q")),
        (PathPrefix::FromRouter, "/api/", Some("/app/")),
        (PathPrefix::FromRouter, "/api/x%2Fy//z?", Some("/app/x%2Fy//z?")),
        (PathPrefix::FromRouter, "/api/api/x", Some("/app/api/x")),
        (PathPrefix::FromRouter, "/apiary", None),
        (PathPrefix::FromRouter, "/api%2Fx", None),
        (PathPrefix::Keep, "/api", Some("/app/api")),
        (PathPrefix::Keep, "/api/x?y", Some("/app/api/x?y")),
        (PathPrefix::Strip("/v1".parse().unwrap()), "/api/v1/x", Some("/app/x")),
        (PathPrefix::Strip("/v1".parse().unwrap()), "/api/v10/x", None),
    ] {
        let upstream = RawUpstream::answering([OK]);
        let service = app(&upstream, "/app").prefix(rule.clone()).build().unwrap();
        let front = Front::hyper(Router::new().nest_service("/api", service)).await;
        let answer = front.exchange(request(target)).await;
        let seen = upstream.requests();
        assert_eq!(seen.first().map(|seen| seen.target()), expected, "{rule:?} {target} {}", answer.head);
    }
}

#[tokio::test]
async fn options_star_goes_out_as_it_came() {
    let upstream = RawUpstream::answering([OK]);
    let front = Front::hyper(app(&upstream, "/app?k=1").build().unwrap()).await;
    let answer = front.exchange("OPTIONS * HTTP/1.1\r\nhost: front.example\r\n\r\n").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(upstream.only_request().line(), "OPTIONS * HTTP/1.1");
}

#[tokio::test]
async fn what_names_no_target_here_is_refused_and_nobody_hears_of_it() {
    let upstream = RawUpstream::answering([OK]);
    let front = Front::hyper(app(&upstream, "").build().unwrap()).await;
    for (expected, request) in [
        (400, "GET * HTTP/1.1\r\nhost: h\r\n\r\n"),
        (400, "GET evil.example:80 HTTP/1.1\r\nhost: h\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nhost: a b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nhost: u@a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nhost:\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nhost: a/../x\r\n\r\n"),
        (400, "GET http://u@h/ HTTP/1.1\r\nhost: h\r\n\r\n"),
        (400, "GET ftp://h/ HTTP/1.1\r\nhost: h\r\n\r\n"),
        (501, "CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n"),
    ] {
        let answer = front.exchange(request).await;
        assert_eq!(answer.status(), expected, "{request}");
        assert!(!answer.text().contains(&upstream.addr().to_string()));
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn trace_shows_our_fields_only_where_it_is_allowed_by_name() {
    const TRACE: &str = "TRACE / HTTP/1.1\r\nhost: h\r\n\r\n";
    let upstream = RawUpstream::answering([OK]);
    let front = Front::hyper(app(&upstream, "").build().unwrap()).await;
    assert_eq!(front.exchange(TRACE).await.status(), 501);
    assert_eq!(upstream.connections(), 0);
    let front = Front::hyper(app(&upstream, "").allowed_methods([Method::TRACE]).build().unwrap()).await;
    assert_eq!(front.exchange(TRACE).await.status(), 200);
    assert_eq!(upstream.only_request().line(), "TRACE / HTTP/1.1");
}

/// RFC 9110 §7.6.2: MUST check and update.
#[tokio::test]
async fn max_forwards_is_counted_down_and_ends_here_at_zero() {
    let request =
        |method: &str, count: &str| format!("{method} / HTTP/1.1\r\nhost: h\r\nmax-forwards: {count}\r\n\r\n");
    for (method, count, expected) in [
        ("OPTIONS", "0", None),
        ("OPTIONS", "1", Some("0")),
        ("OPTIONS", "18446744073709551616", Some("18446744073709551615")),
        ("OPTIONS", "x", Some("x")),
        ("GET", "0", Some("0")),
    ] {
        let upstream = RawUpstream::answering([OK]);
        let service = app(&upstream, "").allowed_methods([Method::OPTIONS, Method::GET]).build().unwrap();
        let answer = Front::hyper(service).await.exchange(request(method, count)).await;
        assert_eq!(answer.status(), 200);
        let seen = upstream.requests();
        assert_eq!(seen.first().map(|seen| seen.header("max-forwards").unwrap()), expected, "{method} {count}");
        assert_eq!(answer.header("allow").is_some(), expected.is_none());
    }
}
