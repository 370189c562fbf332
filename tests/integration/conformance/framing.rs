//! HTTP/1.1 as `serve` parses it for a `ProxyApp`: malformed requests are rejected, and connections are closed as
//! required.

use std::sync::Arc;

use nexthop::{ExactProxy, ProxyApp, net::Tls};
use tokio::net::TcpStream;

use crate::support::{Front, RawClient, RawUpstream, fetch, get, send, tls::TestCa, within};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn front(upstream: &RawUpstream) -> Front {
    Front::serve(ProxyApp::builder(upstream.url("")).build().unwrap()).await
}

/// Asserts that each request is answered with 400 and a close, and that none reaches the upstream.
async fn are_refused(requests: &[&str]) {
    let upstream = RawUpstream::answering([OK]);
    let front = front(&upstream).await;
    for request in requests {
        let mut client = front.client().await;
        let answer = client.exchange(request).await;
        assert_eq!((answer.status(), answer.header("connection")), (400, Some("close")), "{request:?}");
        client.closed().await;
    }
    assert_eq!(upstream.connections(), 0);
}

// RFC 9110 §5.5; RFC 9112 §2.2, §3, §5.1, §5.2
#[tokio::test]
async fn a_head_that_two_readers_could_read_in_two_ways_is_refused() {
    are_refused(&[
        "GET / HTTP/1.1\r\nhost : h\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\nx\t: a\r\n\r\n",
        "GET / HTTP/1.1\r\n host: h\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\nx: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\nx: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\nx: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\nx\r\n\r\n",
        "GET /a b HTTP/1.1\r\nhost: h\r\n\r\n",
        "GET  / HTTP/1.1\r\nhost: h\r\n\r\n",
        "G(T / HTTP/1.1\r\nhost: h\r\n\r\n",
        "GET / HTTP/x.1\r\nhost: h\r\n\r\n",
    ])
    .await;
}

// RFC 9110 §8.6; RFC 9112 §6.1, §6.3
#[tokio::test]
async fn a_body_without_a_certain_end_is_refused() {
    are_refused(&[
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: x\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: -3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: +3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3, 4\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 99999999999999999999\r\n\r\nabc",
    ])
    .await;
}

// RFC 9112 §6.1
#[tokio::test]
async fn a_coding_that_nobody_here_can_undo_is_refused_and_not_passed_on_without_its_name() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
    });
    let front = front(&upstream).await;
    for coding in ["gzip, chunked", "deflate\r\ntransfer-encoding: chunked", "identity, chunked"] {
        let request = format!("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: {coding}\r\n\r\n0\r\n\r\n");
        assert_eq!(front.exchange(request).await.status(), 501, "{coding}");
    }
    assert_eq!(upstream.connections(), 0);
}

// RFC 9112 §7.1, §8
#[tokio::test]
async fn chunks_that_are_none_never_make_a_whole_body() {
    for chunks in
        ["x\r\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "-3\r\nabc\r\n0\r\n\r\n", "fffffffffffffffff\r\nabc\r\n"]
    {
        let (told, mut tell) = tokio::sync::mpsc::unbounded_channel();
        let upstream = RawUpstream::tcp(move |mut conn| {
            let told = told.clone();
            async move {
                conn.head().await;
                told.send(conn.read_to_end().await).unwrap();
            }
        });
        let front = front(&upstream).await;
        let mut client = front.client().await;
        client.send(format!("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")).await;
        assert_eq!(client.response().await.status(), 400, "{chunks:?}");
        if let Ok(body) = tell.try_recv() {
            assert!(!body.ends_with(b"0\r\n\r\n"), "{chunks:?} became {:?}", String::from_utf8_lossy(&body));
        }
    }
}

// RFC 9112 §3; RFC 9110 §4.1
#[tokio::test]
async fn a_request_line_of_8000_octets_passes_and_one_too_long_is_refused() {
    let upstream = RawUpstream::answering([OK]);
    let front = front(&upstream).await;
    let target = format!("/{}", "x".repeat(8_000));
    assert_eq!(front.exchange(format!("GET {target} HTTP/1.1\r\nhost: h\r\n\r\n")).await.status(), 200);
    assert_eq!(upstream.only_request().target(), target);
    let mut client = front.client().await;
    client.send(format!("GET /{} HTTP/1.1\r\nhost: h\r\n\r\n", "x".repeat(70_000))).await;
    let status = client.response().await.status();
    assert!(matches!(status, 414 | 431), "{status}");
}

// RFC 9112 §9.3, §9.3.2
#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_their_order() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        loop {
            let seen = conn.request().await;
            conn.write(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", seen.target())).await;
        }
    });
    let front = front(&upstream).await;
    let mut client = front.client().await;
    let all: String = (1..=9).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: h\r\n\r\n")).collect();
    client.send(all).await;
    for n in 1..=9 {
        assert_eq!(client.response().await.text(), format!("/{n}"));
    }
}

// RFC 9112 §9.6
#[tokio::test]
async fn after_a_client_has_said_close_nothing_more_of_it_is_read() {
    let upstream = RawUpstream::answering([OK]);
    let front = front(&upstream).await;
    let mut client = front.client().await;
    client.send("GET /1 HTTP/1.1\r\nhost: h\r\nconnection: x, Close\r\n\r\nGET /2 HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let answer = client.response().await;
    assert_eq!((answer.text(), answer.header("connection")), ("ok", Some("close")));
    client.closed().await;
    assert_eq!(upstream.only_request().target(), "/1");
}

// RFC 9112 §6.1, §6.2, §6.3
#[tokio::test]
async fn a_request_framed_in_two_ways_goes_on_in_chunks_and_is_the_last_of_its_connection() {
    for fields in ["content-length: 3\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 3"]
    {
        let upstream = RawUpstream::answering([OK]);
        let front = front(&upstream).await;
        let mut client = front.client().await;
        let request = format!("POST / HTTP/1.1\r\nhost: h\r\n{fields}\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        let answer = client.exchange(request).await;
        assert_eq!((answer.status(), answer.header("connection")), (200, Some("close")), "{fields}");
        client.closed().await;
        let seen = upstream.only_request();
        assert_eq!(
            (seen.header("content-length"), seen.header("transfer-encoding")),
            (None, Some("chunked")),
            "{fields}"
        );
        assert_eq!(seen.body, b"abc");
    }
}

// RFC 9112 §9.8
#[tokio::test]
async fn a_client_over_tls_is_told_that_its_connection_ends() {
    let (ca, upstream) = (TestCa::new(), RawUpstream::answering([OK]));
    let app = ProxyApp::builder(upstream.url("")).build().unwrap();
    let front = Front::serve_with(app, |serve| serve.tls(ca.server_config(&[]))).await;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(ca.client_config(&[])));
    let io = TcpStream::connect(front.addr).await.unwrap();
    let mut client = RawClient::over(connector.connect("localhost".try_into().unwrap(), io).await.unwrap());
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.text(), "ok");
    // rustls reports an end without a `close_notify` alert as an error.
    assert_eq!(client.read_to_end().await, (Vec::new(), true));
}

// RFC 9110 §6.2
#[tokio::test]
async fn a_later_minor_version_is_refused_both_ways_and_nobody_behind_hears_of_it() {
    are_refused(&["GET / HTTP/1.2\r\nhost: h\r\n\r\n", "GET / HTTP/1.9\r\nhost: h\r\n\r\n"]).await;
    let upstream = RawUpstream::answering(["HTTP/1.2 200 OK\r\ncontent-length: 2\r\n\r\nok"]);
    assert_eq!(front(&upstream).await.exchange("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.status(), 502);
}

// RFC 9112 §3
#[tokio::test]
async fn a_target_that_is_too_long_is_answered_with_414() {
    let upstream = RawUpstream::answering([OK]);
    let app = || ProxyApp::builder(upstream.url("")).build().unwrap();
    let request = |length: usize| format!("GET /{} HTTP/1.1\r\nhost: h\r\n\r\n", "x".repeat(length - 1));
    let front = Front::serve(app()).await;
    assert_eq!(front.exchange(request(16 * 1024)).await.status(), 200);
    assert_eq!(front.exchange(request(16 * 1024 + 1)).await.status(), 414);
    assert_eq!(front.exchange(request(60_000)).await.status(), 414);
    // This request exceeds the limit of the whole head, so its target is not checked.
    assert_eq!(front.exchange(request(70_000)).await.status(), 431);
    let front = Front::serve_with(app(), |serve| serve.max_target_bytes(10)).await;
    assert_eq!(front.exchange(request(10)).await.status(), 200);
    assert_eq!(front.exchange(request(11)).await.status(), 414);
    assert_eq!(upstream.requests().len(), 2);
}

// RFC 9112 §6.1
#[tokio::test]
async fn an_upstream_that_takes_no_chunks_is_sent_none() {
    const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    let upstream = RawUpstream::answering([OK]);
    let old = ExactProxy::builder().chunked_requests(false).build().unwrap();
    let front = Front::serve(ProxyApp::builder(upstream.url("")).client(old).build().unwrap()).await;
    assert_eq!(front.exchange(CHUNKED).await.status(), 411);
    assert_eq!(upstream.connections(), 0);
    let sized = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nab";
    assert_eq!(front.exchange(sized).await.status(), 200);
    assert_eq!(self::front(&upstream).await.exchange(CHUNKED).await.status(), 200);
}

// RFC 9112 §9.6
#[tokio::test]
async fn the_last_request_on_a_connection_says_that_it_is_the_last() {
    let upstream = RawUpstream::answering([OK]);
    let said = |builder: nexthop::exact::ExactProxyBuilder| {
        let (exact, upstream) = (builder.build().unwrap(), &upstream);
        async move {
            let mut said = Vec::new();
            for _ in 0..3 {
                assert_eq!(fetch(&exact, get(upstream.url("/"))).await.0, 200);
                said.push(upstream.requests().pop().unwrap().header("connection").map(str::to_owned));
            }
            said
        }
    };
    let close = || Some("close".to_owned());
    assert_eq!(said(ExactProxy::builder()).await, [None, None, None]);
    assert_eq!(said(ExactProxy::builder().pool_max_requests(2)).await, [None, close(), None]);
    assert_eq!(said(ExactProxy::builder().pool_max_idle(0)).await, [close(), close(), close()]);
    // `Keep-Alive: max=2` of the upstream counts, too: its connection serves this request and one more.
    let upstream = RawUpstream::answering(["HTTP/1.1 200 OK\r\nkeep-alive: max=2\r\ncontent-length: 2\r\n\r\nok", OK]);
    let exact = ExactProxy::new();
    for expected in [None, Some("close"), None] {
        let request = http::Request::get(upstream.url("/")).header("te", "trailers").body(nexthop::Body::empty());
        assert_eq!(fetch(&exact, request.unwrap()).await.0, 200);
        let seen = upstream.requests().pop().unwrap();
        let lines = seen.headers("connection");
        assert_eq!((lines[0], lines.get(1).copied()), ("te", expected));
    }
    assert_eq!(upstream.connections(), 2);
}

// RFC 9112 §9.8
#[tokio::test]
async fn an_upstream_over_tls_is_told_that_its_connection_ends() {
    let ca = TestCa::new();
    let (told, mut tell) = tokio::sync::mpsc::unbounded_channel();
    let upstream = RawUpstream::tls(&ca, &["http/1.1"], move |mut conn| {
        let told = told.clone();
        async move {
            let seen = conn.request().await;
            match seen.target() {
                "/whole" => conn.write(OK).await,
                _ => conn.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok").await,
            }
            // rustls reports an end without a `close_notify` alert as an error.
            told.send(conn.try_request().await.is_ok_and(|more| more.is_none())).unwrap();
        }
    });
    let url = |path: &str| format!("https://localhost:{}{path}", upstream.addr().port());
    let exact = |builder: nexthop::exact::ExactProxyBuilder| {
        builder.tls(Tls::roots_pem(ca.root_pem().as_bytes()).unwrap()).build().unwrap()
    };
    // A pooled connection, closed with the last handle of the pool.
    let proxy = exact(ExactProxy::builder());
    assert_eq!(fetch(&proxy, get(url("/whole"))).await.0, 200);
    drop(proxy);
    assert!(within("an end", tell.recv()).await.unwrap());
    // A connection that is not pooled.
    assert_eq!(fetch(&exact(ExactProxy::builder().pool_max_idle(0)), get(url("/whole"))).await.0, 200);
    assert!(within("an end", tell.recv()).await.unwrap());
    // A connection whose response is dropped before its end.
    let proxy = exact(ExactProxy::builder());
    drop(send(&proxy, get(url("/part"))).await.unwrap());
    assert!(within("an end", tell.recv()).await.unwrap());
}
