//! Request bodies: framing and limits.

use nexthop::app::ProxyApp;
use tokio::sync::mpsc;

use super::{OK, app};
use crate::support::{Front, RawUpstream, within};

#[tokio::test]
async fn a_body_is_framed_anew_and_arrives_whole() {
    for (request, framing, body) in [
        ("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc", "content-length: 3", "abc"),
        (
            "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "transfer-encoding: chunked",
            "abc",
        ),
        (
            "GET / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "transfer-encoding: chunked",
            "abc",
        ),
        ("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n", "content-length: 0", ""),
        (
            "POST / HTTP/1.1\r\nhost: h\r\nconnection: content-length\r\ncontent-length: 3\r\n\r\nabc",
            "content-length: 3",
            "abc",
        ),
    ] {
        let upstream = RawUpstream::answering([OK]);
        let front = Front::hyper(app(&upstream, "").build().unwrap()).await;
        assert_eq!(front.exchange(request).await.status(), 200, "{request}");
        let seen = upstream.only_request();
        assert!(seen.head.contains(&format!("{framing}\r\n")), "{}", seen.head);
        assert_eq!(seen.headers("content-length").len() + seen.headers("transfer-encoding").len(), 1);
        assert_eq!(String::from_utf8_lossy(&seen.body), body);
    }
}

#[tokio::test]
async fn a_request_framed_twice_never_reaches_the_upstream_that_way() {
    for fields in [
        "content-length: 3\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 3\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: xchunked\r\n",
        "content-length: 3\r\ncontent-length: 4\r\n",
    ] {
        let upstream = RawUpstream::answering([OK]);
        let front = Front::hyper(app(&upstream, "").build().unwrap()).await;
        let mut client = front.client().await;
        client.send(format!("POST / HTTP/1.1\r\nhost: h\r\n{fields}\r\n3\r\nabc\r\n0\r\n\r\n")).await;
        let answer = client.response().await;
        for seen in upstream.requests() {
            assert_eq!(answer.status(), 200);
            assert_eq!(
                (seen.headers("content-length").len(), seen.headers("transfer-encoding")),
                (0, vec!["chunked"]),
                "{fields}"
            );
            assert_eq!(seen.body, b"abc");
        }
    }
}

#[tokio::test]
async fn a_declared_body_over_the_limit_is_refused_before_the_upstream_is_contacted() {
    let upstream = RawUpstream::answering([OK]);
    let front = Front::hyper(app(&upstream, "").max_body_bytes(3).build().unwrap()).await;
    assert_eq!(front.exchange("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\nabcd").await.status(), 413);
    assert_eq!(upstream.connections(), 0);
    assert_eq!(front.exchange("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc").await.status(), 200);
}

#[tokio::test]
async fn a_streamed_body_over_the_limit_is_refused_and_never_complete_at_the_upstream() {
    let (got, mut get) = mpsc::unbounded_channel();
    let upstream = RawUpstream::tcp(move |mut conn| {
        let got = got.clone();
        async move {
            conn.head().await;
            got.send(conn.read_to_end().await).unwrap();
        }
    });
    let front = Front::hyper(app(&upstream, "").max_body_bytes(3).build().unwrap()).await;
    let mut client = front.client().await;
    client.send("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n").await;
    upstream.wait_requests(1).await;
    client.send("2\r\ncd\r\n0\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 413);
    let body = within("the upstream's end", get.recv()).await.unwrap();
    assert!(!body.ends_with(b"0\r\n\r\n") && !body.windows(2).any(|part| part == b"cd"), "{body:?}");
}

#[tokio::test]
async fn a_streamed_body_of_exactly_the_limit_passes() {
    let upstream = RawUpstream::answering([OK]);
    let front = Front::hyper(app(&upstream, "").max_body_bytes(4).build().unwrap()).await;
    let request = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n";
    assert_eq!(front.exchange(request).await.status(), 200);
    assert_eq!(upstream.only_request().body, b"abcd");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_never_complete_at_the_upstream() {
    let (got, mut get) = mpsc::unbounded_channel();
    let upstream = RawUpstream::tcp(move |mut conn| {
        let got = got.clone();
        async move {
            conn.head().await;
            got.send(conn.read_to_end().await).unwrap();
        }
    });
    let front = Front::hyper(app(&upstream, "").build().unwrap()).await;
    let mut client = front.client().await;
    client.send("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n").await;
    upstream.wait_requests(1).await;
    client.send("zz\r\n").await;
    assert_eq!(client.response().await.status(), 400);
    let body = within("the upstream's end", get.recv()).await.unwrap();
    assert!(!body.ends_with(b"0\r\n\r\n"), "{body:?}");
}

#[tokio::test]
async fn a_method_that_is_not_allowed_is_refused_with_those_that_are() {
    let upstream = RawUpstream::answering([OK]);
    let methods = [http::Method::GET, "PURGE".parse().unwrap()];
    let front = Front::hyper(app(&upstream, "").allowed_methods(methods).build().unwrap()).await;
    let answer = front.exchange("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nx").await;
    assert_eq!((answer.status(), answer.header("allow")), (405, Some("GET, PURGE")));
    assert_eq!(upstream.connections(), 0);
    assert_eq!(front.exchange("PURGE / HTTP/1.1\r\nhost: h\r\n\r\n").await.status(), 200);
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_502_without_its_address() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let front = Front::hyper(ProxyApp::builder(format!("http://{gone}")).build().unwrap()).await;
    let answer = front.exchange("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!((answer.status(), answer.text()), (502, "Bad Gateway\n"));
}

#[cfg(unix)]
#[tokio::test]
async fn an_upstream_on_a_unix_socket_is_reached() {
    let upstream = RawUpstream::unix(|mut conn| async move {
        conn.request().await;
        conn.write(OK).await;
    });
    let href = format!("unix:{}:/app", upstream.path().display());
    let front = Front::hyper(ProxyApp::builder(href).build().unwrap()).await;
    assert_eq!(front.exchange("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await.text(), "ok");
    let seen = upstream.only_request();
    assert_eq!((seen.target(), seen.header("host")), ("/app/x", Some("localhost")));
}

#[tokio::test]
async fn trailers_go_on_without_fields_of_ours() {
    let upstream = RawUpstream::answering([OK]);
    let front = Front::hyper(app(&upstream, "").build().unwrap()).await;
    let head = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n";
    let request = format!("{head}3\r\nabc\r\n0\r\nx-sum: 1\r\nx-forwarded-for: 6.6.6.6\r\n\r\n");
    assert_eq!(front.exchange(request).await.status(), 200);
    let seen = upstream.only_request();
    assert_eq!(String::from_utf8_lossy(&seen.wire_body), "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n");
    assert_eq!(seen.header("trailer"), Some("x-sum"));
}
