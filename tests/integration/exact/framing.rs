//! Framing of request bodies: as announced and as sent.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use nexthop::{Body, Error, ErrorKind, ExactProxy, TransparentProxy};

use crate::support::{
    Front, RawUpstream, ReceivedRequest,
    body::{fed, pieces},
    fetch, send,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn request(method: &str, upstream: &RawUpstream, fields: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(upstream.url("/"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

fn stream(of: &[&'static str]) -> Body {
    Body::new(pieces(of))
}

async fn sent(method: &str, fields: &[(&str, &str)], body: Body) -> ReceivedRequest {
    let upstream = RawUpstream::answering([OK]);
    let request = request(method, &upstream, fields, body);
    assert_eq!(fetch(&ExactProxy::new(), request).await.0, 200);
    upstream.only_request()
}

async fn refused(method: &str, fields: &[(&str, &str)], body: Body) -> Error {
    let upstream = RawUpstream::answering([OK]);
    let request = request(method, &upstream, fields, body);
    let error = send(&ExactProxy::new(), request).await.expect_err("refused");
    assert_eq!(upstream.connections(), 0, "no connection is opened");
    error
}

fn framing(seen: &ReceivedRequest) -> (Vec<&str>, Vec<&str>) {
    (seen.headers("content-length"), seen.headers("transfer-encoding"))
}

#[tokio::test]
async fn a_body_of_known_size_is_announced_by_its_length() {
    for fields in [&[][..], &[("content-length", "5")], &[("content-length", "5"), ("content-length", "5")]] {
        for method in ["POST", "GET", "DELETE", "FOO"] {
            let seen = sent(method, fields, Body::from("hello")).await;
            assert_eq!((framing(&seen), seen.body.as_slice()), ((vec!["5"], vec![]), &b"hello"[..]));
        }
    }
    let seen = sent("POST", &[("transfer-encoding", "gzip, chunked")], Body::new(Full::from("hello"))).await;
    assert_eq!(framing(&seen), (vec!["5"], vec![]));
}

#[tokio::test]
async fn a_length_that_is_none_or_not_the_bodys_is_refused_before_anything_is_connected() {
    for length in ["4", "6", "0", "5, 5", "+5", "-5", "0x5", "", "five", "99999999999999999999"] {
        let error = refused("POST", &[("content-length", length)], Body::from("hello")).await;
        assert_eq!((error.kind(), error.status().as_u16()), (ErrorKind::RequestBody, 400), "{length}");
        assert!(!error.is_retryable());
    }
    refused("POST", &[("content-length", "5"), ("content-length", "6")], Body::from("hello")).await;
    refused("POST", &[("content-length", "5")], Body::empty()).await;
    refused("POST", &[("content-length", "5, 5")], stream(&["hello"])).await;
}

#[tokio::test]
async fn an_empty_body_is_announced_where_the_method_expects_one_or_the_client_did() {
    for method in ["POST", "PUT", "PATCH"] {
        let seen = sent(method, &[], Body::empty()).await;
        assert_eq!(framing(&seen), (vec!["0"], vec![]), "{method}");
    }
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "FOO"] {
        let upstream = RawUpstream::answering(["HTTP/1.1 204 No Content\r\n\r\n"]);
        for (fields, length) in [(&[][..], vec![]), (&[("content-length", "0")], vec!["0"])] {
            fetch(&ExactProxy::new(), request(method, &upstream, fields, Body::empty())).await;
            assert_eq!(framing(&upstream.requests().pop().unwrap()), (length, vec![]), "{method}");
        }
    }
}

#[tokio::test]
async fn a_body_of_unknown_size_is_chunked_whatever_the_method() {
    for method in ["GET", "POST", "DELETE", "OPTIONS"] {
        let seen = sent(method, &[("transfer-encoding", "chunked")], stream(&["hel", "", "lo"])).await;
        assert_eq!(framing(&seen), (vec![], vec!["chunked"]));
        assert_eq!(seen.wire_body, b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
    }
    assert_eq!(sent("POST", &[], stream(&[])).await.wire_body, b"0\r\n\r\n");
}

#[tokio::test]
async fn a_body_of_unknown_size_keeps_the_length_that_was_declared() {
    for body in [&["hello"][..], &["h", "", "ello"]] {
        let seen = sent("PUT", &[("content-length", "5")], stream(body)).await;
        assert_eq!((framing(&seen), seen.wire_body.as_slice()), ((vec!["5"], vec![]), &b"hello"[..]));
    }
    assert_eq!(framing(&sent("PUT", &[("content-length", "0")], stream(&[])).await), (vec!["0"], vec![]));
}

#[tokio::test]
async fn a_body_that_breaks_its_declared_length_is_never_sent_as_a_whole_one() {
    for body in [&["hell"][..], &["hel", "loo"], &[]] {
        let upstream = RawUpstream::tcp(|mut conn| async move {
            conn.head().await;
            assert!(conn.read_to_end().await.len() < 5, "the upstream must see a body that is cut");
        });
        let request = request("POST", &upstream, &[("content-length", "5")], stream(body));
        let error = send(&ExactProxy::new(), request).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::RequestBody, false));
        upstream.wait_closed().await;
    }
}

#[tokio::test]
async fn a_body_that_fails_is_never_sent_as_a_whole_one() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        assert_eq!(conn.read_to_end().await, b"3\r\nhel\r\n");
    });
    let (feed, body) = fed();
    let sending = send(&ExactProxy::new(), request("POST", &upstream, &[], Body::new(body)));
    let feeding = async {
        feed.data("hel").await;
        feed.fail("the client went away").await;
    };
    let (error, ()) = tokio::join!(sending, feeding);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::RequestBody);
    upstream.wait_closed().await;
}

#[tokio::test]
async fn trailers_go_out_behind_chunks_except_those_that_steer_a_message() {
    let mut trailers = HeaderMap::new();
    for (name, value) in [("x-sum", "1"), ("x-sum", "2"), ("content-length", "9"), ("host", "x"), ("te", "x")] {
        trailers.append(name, value.parse().unwrap());
    }
    let with_trailers = |body: &[&'static str]| {
        let trailers = trailers.clone();
        Body::new(pieces(body).with_trailers(async move { Some(Ok(trailers)) }))
    };
    let seen = sent("POST", &[("trailer", "x-sum")], with_trailers(&["hello"])).await;
    assert_eq!(seen.wire_body, b"5\r\nhello\r\n0\r\nx-sum: 1\r\nx-sum: 2\r\n\r\n");
    assert_eq!(seen.header("trailer"), Some("x-sum"));
    assert_eq!(sent("GET", &[], with_trailers(&[])).await.wire_body, b"0\r\nx-sum: 1\r\nx-sum: 2\r\n\r\n");
    // A body with `Content-Length` cannot carry trailers.
    let seen = sent("POST", &[("content-length", "5")], with_trailers(&["hello"])).await;
    assert_eq!(seen.wire_body, b"hello");
}

#[tokio::test]
async fn pieces_of_every_size_arrive_in_order() {
    let sizes = [1, 4096, 4097, 3, 70_000, 16_384, 2, 300_000, 16_385, 1];
    let all: Vec<u8> = (0..sizes.iter().sum::<usize>()).map(|at| (at % 251) as u8).collect();
    for fields in [&[][..], &[("content-length", all.len().to_string())]] {
        let upstream = RawUpstream::answering([OK]);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (feed, body) = fed();
        let sending = fetch(&ExactProxy::new(), request("POST", &upstream, &fields, Body::new(body)));
        let feeding = async {
            let mut rest = Bytes::from(all.clone());
            for size in sizes {
                feed.data(rest.split_to(size)).await;
            }
            drop(feed);
        };
        tokio::join!(sending, feeding);
        assert!(upstream.only_request().body == all, "the bytes of the body differ");
    }
}

#[tokio::test]
async fn what_a_hyper_server_received_is_framed_anew() {
    let upstream = RawUpstream::answering([OK]);
    let front = Front::hyper(TransparentProxy::new()).await;
    let exchange = async |head: &str, body: &str| {
        let request = format!("{head}Host: {}\r\n{body}", upstream.addr());
        assert_eq!(front.exchange(request).await.status(), 200);
        upstream.requests().pop().unwrap()
    };
    let chunked = "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n";
    let seen = exchange("GET / HTTP/1.1\r\n", chunked).await;
    assert_eq!((framing(&seen), seen.body.as_slice()), ((vec![], vec!["chunked"]), &b"abc"[..]));
    let seen = exchange("POST / HTTP/1.1\r\nContent-Length: 5\r\n", chunked).await;
    assert_eq!((framing(&seen), seen.body.as_slice()), ((vec![], vec!["chunked"]), &b"abc"[..]));
    let seen = exchange("POST / HTTP/1.1\r\nContent-Length: 3\r\n", "\r\nabc").await;
    assert_eq!((framing(&seen), seen.body.as_slice()), ((vec!["3"], vec![]), &b"abc"[..]));
    let seen = exchange("POST / HTTP/1.0\r\nContent-Length: 3\r\n", "\r\nabc").await;
    assert_eq!((seen.line(), framing(&seen)), ("POST / HTTP/1.1", (vec!["3"], vec![])));
    let seen = exchange("GET / HTTP/1.1\r\n", "\r\n").await;
    assert_eq!(framing(&seen), (vec![], vec![]));
}

#[tokio::test]
async fn a_body_cut_by_the_client_is_cut_at_the_upstream() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        assert_eq!(conn.read_to_end().await, b"3\r\nabc\r\n");
    });
    let front = Front::hyper(TransparentProxy::new()).await;
    let mut client = front.client().await;
    let head =
        format!("POST / HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", upstream.addr());
    client.send(head).await;
    upstream.wait_requests(1).await;
    drop(client);
    upstream.wait_closed().await;
}

#[tokio::test]
async fn a_response_may_be_a_request_again() {
    let upstream =
        RawUpstream::answering(["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", OK]);
    let proxy = ExactProxy::new();
    let first: Response<Body> = send(&proxy, request("GET", &upstream, &[], Body::empty())).await.unwrap();
    let second = Request::builder().method(Method::PUT).uri(upstream.url("/")).body(first.into_body()).unwrap();
    assert_eq!(fetch(&proxy, second).await.0, 200);
    assert_eq!(upstream.requests().pop().unwrap().body, b"abc");
}
