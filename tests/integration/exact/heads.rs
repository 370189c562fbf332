//! Request heads on the wire.

use http::{HeaderValue, Request, Uri, Version};
use nexthop::{Body, ExactProxy};

use crate::support::{RawUpstream, ReceivedRequest, fetch, get};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Sends one request and returns it as the upstream received it.
async fn sent(proxy: &ExactProxy, upstream: &RawUpstream, request: Request<Body>) -> ReceivedRequest {
    assert_eq!(fetch(proxy, request).await, (200, "ok".to_owned()));
    upstream.requests().pop().unwrap()
}

#[tokio::test]
async fn a_head_goes_out_as_it_is_and_nothing_is_added() {
    let upstream = RawUpstream::answering([OK]);
    let request = Request::builder()
        .method("PURGE")
        .uri(upstream.url("/a"))
        .header("x-b", "1")
        .header("host", "elsewhere.example")
        .header("x-a", HeaderValue::from_bytes(b"caf\xc3\xa9\t \"x\"").unwrap())
        .header("x-b", "")
        .header("cookie", "a=1; b=2");
    let seen = sent(&ExactProxy::new(), &upstream, request.body(Body::empty()).unwrap()).await;
    assert_eq!(
        seen.head,
        "PURGE /a HTTP/1.1\r\nx-b: 1\r\nx-b: \r\nhost: elsewhere.example\r\nx-a: caf\u{e9}\t \"x\"\r\ncookie: a=1; b=2\r\n\r\n"
    );
}

#[tokio::test]
async fn targets_go_out_byte_for_byte() {
    let upstream = RawUpstream::answering([OK]);
    let proxy = ExactProxy::new();
    for target in [
        "/",
        "//",
        "///x//",
        "/%2F",
        "/%252f%00%0a",
        "/./a/../b/.",
        "/a;b=c;d",
        "/+~!$&'()*,=:@",
        "/[]{}|^\"\\",
        "/\u{e9}\u{4e16}?\u{e9}",
        "/?",
        "/??",
        "/?a=b=c&&=&a",
        "/?a?b/../c",
        "/x?%zz;y",
        "/http://other.example/",
        "/*",
    ] {
        let seen = sent(&proxy, &upstream, get(upstream.url(target))).await;
        assert_eq!(seen.line(), format!("GET {target} HTTP/1.1"));
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn an_empty_path_becomes_a_slash_and_a_fragment_stays_here() {
    let upstream = RawUpstream::answering([OK]);
    let proxy = ExactProxy::new();
    for (suffix, target) in [("", "/"), ("?", "/?"), ("?q=1", "/?q=1"), ("?/x", "/?/x"), ("/a#b", "/a"), ("#b", "/")] {
        let seen = sent(&proxy, &upstream, get(upstream.url(suffix))).await;
        assert_eq!(seen.target(), target, "{suffix}");
    }
}

#[tokio::test]
async fn options_asterisk_goes_out_as_an_asterisk() {
    let upstream = RawUpstream::answering([OK]);
    let uri = Uri::builder().scheme("http").authority(upstream.addr().to_string()).path_and_query("*");
    let request = Request::options(uri.build().unwrap()).body(Body::empty()).unwrap();
    assert_eq!(sent(&ExactProxy::new(), &upstream, request).await.line(), "OPTIONS * HTTP/1.1");
}

#[tokio::test]
async fn the_version_of_a_request_is_never_copied() {
    let upstream = RawUpstream::answering([OK]);
    let proxy = ExactProxy::new();
    for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2, Version::HTTP_3] {
        let mut request = get(upstream.url("/"));
        *request.version_mut() = version;
        assert_eq!(sent(&proxy, &upstream, request).await.line(), "GET / HTTP/1.1");
    }
}

#[tokio::test]
async fn a_missing_host_is_written_from_the_authority_and_no_other_touched() {
    let upstream = RawUpstream::answering([OK]);
    let proxy = ExactProxy::new();
    let seen = sent(&proxy, &upstream, get(upstream.url("/"))).await;
    assert_eq!(seen.head, format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", upstream.addr()));
    for hosts in [&["other.example:1"][..], &[""], &["a", "b"], &["not a host"]] {
        let mut request = get(upstream.url("/"));
        for host in hosts {
            request.headers_mut().append("host", host.parse().unwrap());
        }
        assert_eq!(sent(&proxy, &upstream, request).await.headers("host"), hosts);
    }
}

#[tokio::test]
async fn fields_of_one_connection_stay_here_and_a_client_may_keep_them() {
    let upstream = RawUpstream::answering([
        "HTTP/1.1 200 OK\r\nconnection: x-one\r\nx-one: 1\r\nkeep-alive: timeout=9\r\nproxy-authenticate: Basic\r\n\
         upgrade: foo\r\nx-two: 2\r\ncontent-length: 2\r\n\r\nok",
    ]);
    let request = || {
        Request::get(upstream.url("/"))
            .header("connection", "")
            .header("connection", "X-Gone, close , host, keep-alive")
            .header("x-gone", "1")
            .header("host", "h")
            .header("keep-alive", "timeout=5")
            .header("proxy-connection", "keep-alive")
            .header("proxy-authorization", "Basic c2VjcmV0")
            .header("upgrade", "h2c")
            .header("te", "gzip, trailers")
            .header("trailer", "x-sum")
            .body(Body::empty())
            .unwrap()
    };
    let response = crate::support::send(&ExactProxy::new(), request()).await.unwrap();
    let mut fields: Vec<_> = response.headers().keys().map(|name| name.as_str()).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["content-length", "x-two"]);
    let mut lines: Vec<_> = upstream.only_request().head.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["", "GET / HTTP/1.1", "connection: te", "host: h", "te: trailers", "trailer: x-sum"]);

    let bare = ExactProxy::builder().keep_hop_by_hop().build().unwrap();
    let response = crate::support::send(&bare, request()).await.unwrap();
    for name in ["connection", "x-one", "keep-alive", "proxy-authenticate", "upgrade", "x-two"] {
        assert!(response.headers().contains_key(name), "{name}");
    }
    let head = upstream.requests().pop().unwrap().head;
    for line in ["x-gone: 1", "keep-alive: timeout=5", "proxy-authorization: Basic c2VjcmV0", "te: gzip, trailers"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }
}

#[tokio::test]
async fn closing_is_the_senders_word_where_it_is_kept() {
    let upstream = RawUpstream::answering([OK]);
    let bare = ExactProxy::builder().keep_hop_by_hop().build().unwrap();
    for _ in 0..2 {
        let request = Request::get(upstream.url("/")).header("connection", "close").body(Body::empty()).unwrap();
        sent(&bare, &upstream, request).await;
    }
    assert_eq!(upstream.connections(), 2);
}
