//! Requests and responses: heads, framing and streaming.

use std::time::Duration;

use crate::{
    conformance::{
        client::{Answer, Fields, Speaks},
        upstream::{Asked, BODY, Does, Kind, Upstream},
    },
    support::{Front, within},
};

const MINUTE: Duration = Duration::from_secs(60);

/// Sends each request to an upstream that answers. Returns each as the upstream received it, with its response and the
/// host.
async fn exchange(
    speaks: Speaks,
    kind: Kind,
    fields: Fields<'_>,
    requests: &[(&str, &str, Option<&'static str>)],
) -> Vec<(Asked, Answer, String)> {
    let mut upstream = Upstream::new(kind, Does::Answer).await;
    let front = Front::serve(upstream.proxy(MINUTE)).await;
    let mut client = speaks.client(&front).await;
    let mut exchanges = Vec::new();
    for (method, target, body) in requests {
        let answer = client.exchange(method, target, fields, *body).await;
        exchanges.push((upstream.asked().await, answer, upstream.host.clone()));
    }
    upstream.not_asked_again();
    exchanges
}

pub(super) async fn a_request_arrives(speaks: Speaks, kind: Kind) {
    let own = [("accept", "one"), ("accept", "two"), ("cookie", "a=1"), ("te", "trailers"), ("x-bytes", ",\"x\"")];
    // HTTP/1.1 sends one `Cookie` line, HTTP/2 may split it. Connection-specific headers exist in HTTP/1.1 only.
    let others: Fields<'_> = match speaks {
        Speaks::Http1 => &[
            ("connection", "TE, x-gone"),
            ("Connection", "keep-alive, Via"),
            ("x-gone", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
        ],
        Speaks::Http2 => &[("cookie", "b=2")],
    };
    let mut exchanges = exchange(speaks, kind, &[&own, others].concat(), &[("GET", "/a%2Fb/../c?x=1&&y", None)]).await;
    let (asked, answer, host) = exchanges.remove(0);
    assert_eq!(answer.status, 200);
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/a%2Fb/../c?x=1&&y"));
    assert_eq!(asked.hosts, [host]);
    assert_eq!(asked.fields.all("accept"), ["one", "two"]);
    assert_eq!(asked.fields.one("x-bytes"), Some(",\"x\""));
    let cookies = if speaks == Speaks::Http1 { "a=1" } else { "a=1; b=2" };
    assert_eq!(asked.fields.one("cookie"), Some(cookies));
    let via = asked.fields.one("via").expect("a name in Via");
    assert!(via.starts_with(&format!("{} nexthop-", speaks.version())), "{via}");
    asked.fields.none_of(&["x-gone", "keep-alive", "proxy-connection", "upgrade", "http2-settings"]);
    asked.fields.none_of(&["content-length", "transfer-encoding"]);
    // The proxy sends `TE` on its own behalf; HTTP/1.1 requires it to be listed in `Connection`.
    assert_eq!(asked.fields.one("te"), Some("trailers"));
    assert_eq!(asked.fields.one("connection"), (!kind.is_http2()).then_some("te"));
}

pub(super) async fn a_response_arrives(speaks: Speaks, kind: Kind) {
    let (_, answer, _) = exchange(speaks, kind, &[], &[("GET", "/", None)]).await.remove(0);
    assert_eq!((answer.status, answer.body.as_slice()), (200, BODY.as_bytes()));
    assert_eq!(answer.fields.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.fields.one("x-end"), Some("1"));
    answer.fields.none_of(&["connection", "x-gone", "keep-alive", "proxy-connection", "transfer-encoding"]);
}

pub(super) async fn bodies_are_framed(speaks: Speaks, kind: Kind) {
    let requests = [("HEAD", "/", None), ("POST", "/", Some("abc")), ("PUT", "/", Some("")), ("GET", "/", None)];
    let lengths = [None, Some("3"), Some("0"), None];
    let exchanges = exchange(speaks, kind, &[], &requests).await;
    for (((method, _, body), length), (asked, answer, _)) in requests.into_iter().zip(lengths).zip(exchanges) {
        assert_eq!((asked.method.as_str(), asked.body.as_slice()), (method, body.unwrap_or_default().as_bytes()));
        assert_eq!(asked.fields.one("content-length"), length, "{method}");
        asked.fields.none_of(&["transfer-encoding"]);
        assert_eq!(answer.fields.one("content-length"), Some("5"), "{method}");
        let content = if method == "HEAD" { "" } else { BODY };
        assert_eq!((answer.status, answer.body.as_slice()), (200, content.as_bytes()), "{method}");
    }
}

pub(super) async fn both_bodies_stream(speaks: Speaks, kind: Kind) {
    let mut upstream = Upstream::new(kind, Does::Echo).await;
    let front = Front::serve(upstream.proxy(MINUTE)).await;
    let mut fields = vec![("te", "trailers"), ("trailer", "x-client")];
    if speaks == Speaks::Http1 {
        fields.push(("connection", "te"));
    }
    let mut open = speaks.client(&front).await.open("POST", "/", &fields).await;
    for (index, part) in ["one", "two", "three"].into_iter().enumerate() {
        // Each part is echoed before the next one is sent.
        open.send(part).await;
        if index == 0 {
            let (status, head) = open.head().await;
            assert_eq!((status, head.one("trailer")), (200, Some("x-sum")));
            assert_eq!(head.one("transfer-encoding"), (speaks == Speaks::Http1).then_some("chunked"));
        }
        assert_eq!(open.part().await, part.as_bytes());
    }
    open.finish("x-client", "1").await;
    assert_eq!(open.trailers().await.one("x-sum"), Some("3"));
    let asked = within("the whole request", upstream.asked()).await;
    assert_eq!((asked.body.as_slice(), asked.trailers.one("x-client")), (&b"onetwothree"[..], Some("1")));
    assert_eq!(asked.fields.one("transfer-encoding"), (!kind.is_http2()).then_some("chunked"));
    assert_eq!((asked.fields.one("te"), asked.fields.one("trailer")), (Some("trailers"), Some("x-client")));
    asked.fields.none_of(&["content-length"]);
}
