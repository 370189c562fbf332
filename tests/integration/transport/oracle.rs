//! Compares the response parser with hyper's: if it accepts a response as complete, hyper reads the same.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use nexthop::{Body, ExactProxy};
use proptest::{collection::vec, prelude::*, sample::select};
use tower::ServiceExt;

use crate::support::InMemory;

/// A response as a client read it; `None` if any part failed.
type Reading = Option<(u16, Vec<u8>, usize)>;

async fn ours(method: Method, wire: Bytes) -> Reading {
    let upstream = InMemory::new(move |mut conn| {
        let wire = wire.clone();
        async move {
            conn.head().await;
            conn.write(wire).await;
        }
    });
    let proxy = ExactProxy::builder().connector(upstream).build().unwrap();
    let request = Request::builder().method(method).uri("http://h/").body(Body::empty()).unwrap();
    let response = proxy.oneshot(request).await.ok()?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.ok()?;
    let trailers = body.trailers().map_or(0, http::HeaderMap::len);
    Some((status, body.to_bytes().to_vec(), trailers))
}

async fn hypers(method: Method, wire: Bytes) -> Reading {
    let (io, theirs) = tokio::io::duplex(64 * 1024);
    let mut conn = crate::support::RawConn::over(theirs);
    tokio::spawn(async move {
        conn.head().await;
        conn.write(wire).await;
    });
    let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri("/").body(Empty::<Bytes>::new()).unwrap();
    let response = send.send_request(request).await.ok()?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.ok()?;
    let trailers = body.trailers().map_or(0, http::HeaderMap::len);
    Some((status, body.to_bytes().to_vec(), trailers))
}

fn field() -> impl Strategy<Value = String> {
    let lengths =
        ["0", "5", "5", "5", "4", "6", "05", "5 ", "+5", "5,5", "5, 5", "0x5", "", "18446744073709551614", "\t5"];
    let codings = [
        "chunked",
        "chunked",
        "chunked",
        "Chunked",
        " chunked ",
        "chunked\t",
        "gzip, chunked",
        "chunked, gzip",
        "chunked,",
        ",chunked",
        "chunked, chunked",
        "xchunked",
        "identity",
        "",
        "chunked;q=1",
    ];
    let others = [
        "connection: close",
        "connection: keep-alive",
        "Connection: content-length",
        "x: y",
        "x : y",
        " x: y",
        "x",
        "x:\ty",
        "x: \u{e9}",
        "transfer-encoding : chunked",
        "content-length\t: 5",
        "keep-alive: timeout=5",
        "x: a\r\n b",
    ];
    prop_oneof![
        3 => select(lengths.to_vec()).prop_map(|value| format!("content-length: {value}")),
        3 => select(codings.to_vec()).prop_map(|value| format!("Transfer-Encoding: {value}")),
        2 => select(others.to_vec()).prop_map(str::to_owned),
    ]
}

fn body() -> impl Strategy<Value = String> {
    let sizes = [
        "5",
        "5",
        "05",
        "5;a=b",
        "5 ; a",
        "5\t",
        " 5",
        "A",
        "0",
        "",
        "g",
        "5;\"\r\n\"",
        "ffffffffffffffff",
        "10000000000000005",
        "-5",
    ];
    let ends = ["\r\n", "\r\n", "\r\n", "\n", "\r", ""];
    let lasts = [
        "0\r\n\r\n",
        "0\r\n\r\n",
        "0\r\n\r\n",
        "0\r\nt: 1\r\n\r\n",
        "00\r\n\r\n",
        "0\r\n\n",
        "0\n\n",
        "0\r\nt: 1\n\n",
        "0\r\n t: 1\r\n\r\n",
        "0\r\nt\r\n\r\n",
        "0\r\n",
        "",
    ];
    let chunk = (select(sizes.to_vec()), select(ends.to_vec()), select(ends.to_vec()))
        .prop_map(|(size, end, after)| format!("{size}{end}hello{after}"));
    let chunked = (vec(chunk, 0..3), select(lasts.to_vec())).prop_map(|(chunks, last)| chunks.concat() + last);
    prop_oneof![2 => chunked, 1 => select(vec!["", "hell", "hello", "hello!", "hello\r\n"]).prop_map(str::to_owned)]
}

fn response() -> impl Strategy<Value = String> {
    let starts = [
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 304 Not Modified",
        "HTTP/1.1 500",
        "HTTP/1.1 404 ",
        "HTTP/1.1 205 x",
        "HTTP/1.2 200 OK",
        "http/1.1 200 OK",
        "HTTP/1.1 200\tOK",
    ];
    let interim = select(vec!["", "", "", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 x\r\nlink: y\r\n\r\n"]);
    let ends = select(vec!["\r\n", "\r\n", "\r\n", "\n"]);
    let beyond = select(vec!["", "", "", "x", "HTTP/1.1 200 OK\r\n\r\n"]);
    (interim, select(starts.to_vec()), vec(field(), 0..4), ends, body(), beyond).prop_map(
        |(interim, start, fields, end, body, beyond)| {
            let fields: String = fields.iter().map(|field| format!("{field}{end}")).collect();
            format!("{interim}{start}{end}{fields}{end}{body}{beyond}")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_we_take_for_a_whole_response_hyper_takes_for_the_same(wire in response(), head in prop::bool::weighted(0.1)) {
        thread_local! {
            static RUNTIME: tokio::runtime::Runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        }
        let method = if head { Method::HEAD } else { Method::GET };
        let wire = Bytes::from(wire);
        let (ours, hypers) = RUNTIME.with(|runtime| {
            runtime.block_on(async { (ours(method.clone(), wire.clone()).await, hypers(method, wire.clone()).await) })
        });
        if let Some((status, body, trailers)) = ours {
            let Some((their_status, their_body, their_trailers)) = hypers else {
                return Err(TestCaseError::fail(format!("hyper refuses {wire:?}, we read {body:?}")));
            };
            prop_assert_eq!((status, body, trailers), (their_status, their_body, their_trailers), "{:?}", wire);
        }
    }
}
