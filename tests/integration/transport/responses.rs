//! Outcomes of responses: each line of the table in the docs of `nexthop::transport`.

use nexthop::{Error, ErrorKind, ExactProxy, TransparentProxy};

use crate::support::{Front, InMemory, RawUpstream, fetch, get, read, send};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Answers the first connection with `bytes` and closes it. Later connections answer with [`OK`] and stay open.
fn once(bytes: impl Into<Vec<u8>>) -> RawUpstream {
    let bytes: Vec<u8> = bytes.into();
    RawUpstream::tcp(move |mut conn| {
        let bytes = bytes.clone();
        async move {
            conn.request().await;
            if conn.index == 0 {
                return conn.write(bytes).await;
            }
            conn.write(OK).await;
            conn.request().await;
        }
    })
}

/// Answers the first request with `bytes`, and all later ones, on any connection, with [`OK`].
fn staying(bytes: impl Into<Vec<u8>>) -> RawUpstream {
    let bytes: Vec<u8> = bytes.into();
    RawUpstream::tcp(move |mut conn| {
        let bytes = bytes.clone();
        async move {
            conn.request().await;
            conn.write(if conn.index == 0 { &bytes } else { OK.as_bytes() }).await;
            loop {
                conn.request().await;
                conn.write(OK).await;
            }
        }
    })
}

async fn refused(bytes: impl Into<Vec<u8>>) -> Error {
    let upstream = once(bytes);
    let error = send(&ExactProxy::new(), get(upstream.url("/"))).await.expect_err("502");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Upstream, false), "{error:?}");
    error
}

/// Returns status and body of the response `bytes`, and true if its connection served the next request, too.
async fn answered(request: &str, bytes: &str) -> (u16, String, bool) {
    let upstream = staying(bytes);
    let proxy = ExactProxy::new();
    let first = http::Request::builder().method(request).uri(upstream.url("/")).body(nexthop::Body::empty()).unwrap();
    let (status, text) = fetch(&proxy, first).await;
    assert_eq!(fetch(&proxy, get(upstream.url("/"))).await, (200, "ok".to_owned()));
    (status, text, upstream.connections() == 1)
}

#[tokio::test]
async fn a_head_that_is_not_http_is_502() {
    for bytes in [
        "hello\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/0.9 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\na : b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\na\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n a: b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\0c\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\rc\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: b\r\ncontent-length: 0\r\n\r\n",
    ] {
        refused(bytes).await;
    }
    let many = (0..129).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    refused(format!("HTTP/1.1 200 OK\r\n{many}\r\n")).await;
    refused(format!("HTTP/1.1 200 OK\r\na: {}\r\ncontent-length: 0\r\n\r\n", "x".repeat(64 * 1024))).await;
    let (status, ..) =
        answered("GET", &format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", &many[..many.len() - 20])).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn lengths_that_are_none_or_differ_are_502() {
    for lengths in ["x", "", "-1", "+2", "2, 2", "2,3", "0x2", "2\r\ncontent-length: 3", "18446744073709551615"] {
        refused(format!("HTTP/1.1 200 OK\r\ncontent-length: {lengths}\r\n\r\nok")).await;
    }
}

#[tokio::test]
async fn the_same_length_twice_is_passed_on_once() {
    let upstream = staying("HTTP/1.1 200 OK\r\ncontent-length: 3\r\nContent-Length: 3\r\n\r\nabc");
    let proxy = ExactProxy::new();
    let response = send(&proxy, get(upstream.url("/"))).await.unwrap();
    assert_eq!(response.headers().get_all("content-length").iter().collect::<Vec<_>>(), ["3"]);
    assert_eq!(read(response).await.0, b"abc");
    fetch(&proxy, get(upstream.url("/"))).await;
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn chunks_win_over_a_length_which_is_dropped_with_the_connection() {
    for fields in ["content-length: 3\r\ntransfer-encoding: chunked", "Transfer-Encoding: Chunked\r\nContent-Length: 3"]
    {
        let upstream = staying(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
        let proxy = ExactProxy::new();
        let response = send(&proxy, get(upstream.url("/"))).await.unwrap();
        assert!(response.headers().is_empty(), "{:?}", response.headers());
        assert_eq!(read(response).await.0, b"hello");
        fetch(&proxy, get(upstream.url("/"))).await;
        assert_eq!(upstream.connections(), 2);

        let front = Front::hyper(TransparentProxy::new()).await;
        let upstream = staying(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
        let response = front.exchange(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", upstream.addr())).await;
        assert_eq!((response.header("content-length"), response.text()), (None, "hello"));
    }
}

#[tokio::test]
async fn another_transfer_coding_or_one_in_http_1_0_is_502() {
    for coding in ["gzip", "gzip, chunked", "chunked, gzip", "xchunked", "chunked, chunked", "identity", ",chunked", ""]
    {
        refused(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {coding}\r\n\r\n0\r\n\r\n")).await;
    }
    refused("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n").await;
    refused("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn a_body_without_framing_ends_where_the_upstream_closes() {
    for version in ["1.0", "1.1"] {
        let upstream = once(format!("HTTP/{version} 200 OK\r\nx: 1\r\n\r\nall of it"));
        let proxy = ExactProxy::new();
        let response = send(&proxy, get(upstream.url("/"))).await.unwrap();
        assert_eq!(response.version(), http::Version::HTTP_11);
        let (bytes, end) = read(response).await;
        assert_eq!((bytes.as_slice(), end.is_ok()), (&b"all of it"[..], true));

        let front = Front::hyper(TransparentProxy::new()).await;
        let upstream = once(format!("HTTP/{version} 200 OK\r\nx: 1\r\n\r\nall of it"));
        let mut client = front.client().await;
        for text in ["all of it", "ok"] {
            let response = client.exchange(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", upstream.addr())).await;
            assert!(response.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", response.head);
            assert_eq!(response.text(), text);
        }
    }
}

#[tokio::test]
async fn a_long_body_arrives_whole_however_it_is_framed() {
    let body: Vec<u8> = (0..(1 << 20) + 7_u32).map(|n| (n % 251) as u8).collect();
    let lengthy = [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat();
    let mut chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(100_000) {
        chunked.extend_from_slice(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    for bytes in [lengthy, chunked] {
        let (upstream, proxy) = (staying(bytes), ExactProxy::new());
        let (seen, end) = read(send(&proxy, get(upstream.url("/"))).await.unwrap()).await;
        assert!(end.is_ok() && seen == body);
        assert_eq!(fetch(&proxy, get(upstream.url("/"))).await, (200, "ok".to_owned()));
        assert_eq!(upstream.connections(), 1);
    }
    let upstream = once([b"HTTP/1.1 200 OK\r\n\r\n", &body[..]].concat());
    let (seen, end) = read(send(&ExactProxy::new(), get(upstream.url("/"))).await.unwrap()).await;
    assert!(end.is_ok() && seen == body);
}

#[tokio::test]
async fn http_1_0_connections_are_kept_where_both_sides_say_so() {
    assert!(answered("GET", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\ncontent-length: 1\r\n\r\nx").await.2);
    assert!(!answered("GET", "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx").await.2);
    assert!(!answered("GET", "HTTP/1.1 200 OK\r\nConnection: foo, Close\r\ncontent-length: 1\r\n\r\nx").await.2);
    assert!(answered("GET", "HTTP/1.1 200 OK\r\nConnection: foo\r\ncontent-length: 1\r\n\r\nx").await.2);
}

#[tokio::test]
async fn a_body_that_is_cut_ends_in_an_error_and_never_looks_whole_to_an_h1_client() {
    let front = Front::hyper(TransparentProxy::new()).await;
    for (answer, reset) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel", true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel", false),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n", false),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n0\r\n", false),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n0\r\nx: 1\r\n", false),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n0\r\nx: 1\r\n", true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhelX", false),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\nX", false),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\n\r\nhel", true),
    ] {
        let cut = RawUpstream::tcp(move |mut conn| async move {
            conn.request().await;
            conn.write(answer).await;
            if reset {
                conn.reset();
            }
        });
        let response = send(&ExactProxy::new(), get(cut.url("/"))).await;
        if let Ok(response) = response {
            let (bytes, end) = read(response).await;
            assert!(b"hel".starts_with(&bytes) && end.is_err(), "{answer}");
        }
        let mut client = front.client().await;
        client.send(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", cut.addr())).await;
        if let Ok(response) = client.try_response(true).await {
            assert_eq!(response.status(), 502, "{answer:?} appears to be complete: {response:?}");
        }
    }
}

#[tokio::test]
async fn bytes_beyond_a_response_are_never_another_response() {
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    for first in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: 1\r\n\r\n",
    ] {
        for beyond in [poison, "x", "\r\n"] {
            let (_, text, reused) = answered("GET", &format!("{first}{beyond}")).await;
            assert_eq!((text.as_str(), reused), ("ok", false));
        }
    }
    for (method, first) in [
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok"),
        ("GET", "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 6\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
    ] {
        let (_, text, reused) = answered(method, &format!("{first}{poison}")).await;
        assert_eq!((text.as_str(), reused), ("", false), "{first}");
    }
}

#[tokio::test]
async fn a_204_that_announces_a_body_is_the_last_of_its_connection() {
    for fields in ["content-length: 2\r\n", "transfer-encoding: chunked\r\n"] {
        let (status, text, reused) = answered("GET", &format!("HTTP/1.1 204 No Content\r\n{fields}\r\n")).await;
        assert_eq!((status, text.as_str(), reused), (204, "", false));
    }
}

#[tokio::test]
async fn bytes_that_come_later_on_an_idle_connection_are_never_a_response() {
    let (poison, poisoned) = tokio::sync::watch::channel(false);
    let (said, mut wait) = tokio::sync::mpsc::channel(1);
    let upstream = InMemory::new(move |mut conn| {
        let (mut poisoned, said) = (poisoned.clone(), said.clone());
        async move {
            conn.request().await;
            conn.write(OK).await;
            if conn.index == 0 {
                poisoned.wait_for(|poisoned| *poisoned).await.unwrap();
                conn.write("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison").await;
                said.send(()).await.unwrap();
            }
            conn.request().await;
        }
    });
    let proxy = ExactProxy::builder().connector(upstream.clone()).build().unwrap();
    assert_eq!(fetch(&proxy, get("http://h/")).await.1, "ok");
    poison.send(true).unwrap();
    wait.recv().await.unwrap();
    assert_eq!(fetch(&proxy, get("http://h/")).await.1, "ok");
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn answers_that_have_no_body_keep_their_fields_and_their_connection() {
    let front = Front::hyper(TransparentProxy::new()).await;
    for (method, answer, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", Some("5")),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", None),
        ("HEAD", "HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\netag: \"a\"\r\n\r\n", None), // hyper's server omits it
        ("GET", "HTTP/1.1 304 Not Modified\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", None),
        ("DELETE", "HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Some("0")),
    ] {
        let (_, text, reused) = answered(method, answer).await;
        assert_eq!((text.as_str(), reused), ("", true), "{answer}");
        let upstream = staying(answer);
        let mut client = front.client().await;
        client.send(format!("{method} / HTTP/1.1\r\nHost: {}\r\n\r\n", upstream.addr())).await;
        let response = client.head_response().await;
        assert_eq!(response.header("content-length"), length, "{method} {answer}");
        let next = client.exchange(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", upstream.addr())).await;
        assert_eq!(next.text(), "ok");
    }
}

#[tokio::test]
async fn a_response_reads_the_same_however_it_is_cut_into_packets() {
    for answer in [
        "HTTP/1.1 200 OK\r\nx: a\r\ncontent-length: 11\r\n\r\nhello world",
        "HTTP/1.1 200 OK\r\nx: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=\"y\"\r\n world\r\n0\r\nt: 1\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nx: a\r\nContent-Length:11\r\n\r\nhello world",
    ] {
        for step in [1, 2, 3, 7, 50] {
            let upstream = RawUpstream::tcp(move |mut conn| async move {
                conn.request().await;
                for piece in answer.as_bytes().chunks(step) {
                    conn.write(piece).await;
                    tokio::task::yield_now().await;
                }
                conn.request().await;
                conn.write(OK).await;
            });
            let proxy = ExactProxy::new();
            let response = send(&proxy, get(upstream.url("/"))).await.unwrap();
            assert_eq!(response.headers()["x"], "a");
            assert_eq!(read(response).await.0, b"hello world");
            assert_eq!(fetch(&proxy, get(upstream.url("/"))).await.1, "ok");
            assert_eq!(upstream.connections(), 1);
        }
    }
}

#[tokio::test]
async fn nothing_and_half_a_head_are_502() {
    for bytes in
        ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r", "HTTP/1.1 100 Continue\r\n\r\n"]
    {
        refused(bytes).await;
    }
}
