//! `ExactProxy` as a client.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use nexthop::ExactProxy;

use crate::support::{Front, RawUpstream, body::fed, echo, fetch, get, post, send, within};

#[tokio::test]
async fn posts_and_reads_what_comes_back() {
    let front = Front::hyper(echo()).await;
    let proxy = ExactProxy::new();
    let (status, text) = fetch(&proxy, post(front.url("/form"), "a=1&b=2")).await;
    let echo = crate::support::Echo::from_json(text.as_bytes());
    assert_eq!((status, echo.method.as_str(), echo.body.as_str()), (200, "POST", "a=1&b=2"));
    assert_eq!(echo.header("content-length"), Some("7"));
}

/// A body that is generated while it is sent.
struct Generated(u64);

impl http_body::Body for Generated {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        static PIECE: [u8; 64 * 1024] = [7; 64 * 1024];
        let length = self.0.min(PIECE.len() as u64);
        self.0 -= length;
        Poll::Ready((length > 0).then(|| Ok(Frame::data(Bytes::from_static(&PIECE[..length as usize])))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

#[tokio::test]
async fn uploads_and_downloads_a_large_body_whole() {
    const SIZE: u64 = 20_000_001;
    let app = axum::Router::new().fallback(async |body: axum::body::Body| {
        let length = body.collect().await.unwrap().to_bytes().len();
        axum::response::Response::builder()
            .header("x-length", length)
            .body(axum::body::Body::new(Generated(SIZE)))
            .unwrap()
    });
    let front = Front::hyper(app).await;
    let request = Request::put(front.url("/")).body(Generated(SIZE)).unwrap();
    let response = send(&ExactProxy::new(), request).await.unwrap();
    assert_eq!(response.headers()["x-length"], SIZE.to_string());
    assert_eq!(http_body::Body::size_hint(response.body()).exact(), Some(SIZE));
    let (bytes, end) = crate::support::read(response).await;
    assert!(end.is_ok());
    assert_eq!(bytes.len() as u64, SIZE);
    assert!(bytes.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn a_stream_goes_both_ways_piece_by_piece() {
    let app = axum::Router::new().fallback(async |body: axum::body::Body| axum::response::Response::new(body));
    let front = Front::hyper(app).await;
    let (feed, body) = fed();
    assert!(feed.data("first").await);
    let proxy = ExactProxy::new();
    let response = send(&proxy, Request::post(front.url("/")).body(body).unwrap()).await.unwrap();
    let mut body = response.into_body();
    for piece in ["first", "second", "third"] {
        if piece != "first" {
            assert!(feed.data(piece).await);
        }
        let frame = within("an echoed piece", body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    drop(feed);
    assert!(within("the end", body.frame()).await.is_none());
    assert_eq!(fetch(&proxy, get(front.url("/"))).await.0, 200);
}

#[tokio::test]
async fn trailers_and_an_unusual_reason_are_found_in_the_response() {
    let upstream = RawUpstream::answering([
        "HTTP/1.1 299 Just So\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\nX-Other: 2\r\nhost: x\r\n\r\n",
    ]);
    let response = send(&ExactProxy::new(), get(upstream.url("/"))).await.unwrap();
    assert_eq!(response.extensions().get::<hyper::ext::ReasonPhrase>().unwrap().as_bytes(), b"Just So");
    assert_eq!(response.version(), http::Version::HTTP_11);
    assert_eq!(response.headers()["trailer"], "x-sum");
    let body = response.into_body().collect().await.unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    trailers.insert("x-other", "2".parse().unwrap());
    assert_eq!(body.trailers(), Some(&trailers));
    assert_eq!(body.to_bytes(), "ok");
}

#[tokio::test]
async fn a_compressed_body_and_a_redirect_are_left_alone() {
    let upstream = RawUpstream::answering([
        "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc",
    ]);
    let response = send(&ExactProxy::new(), get(upstream.url("/"))).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["content-encoding"]), (302, &"gzip".parse().unwrap()));
    assert_eq!(crate::support::read(response).await.0, b"abc");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_response_outlives_its_client() {
    let (go, mut gone) = tokio::sync::mpsc::channel::<()>(1);
    let upstream = RawUpstream::tcp(move |mut conn| async move {
        conn.request().await;
        conn.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab").await;
        conn.read(0).await;
        conn.write("cd").await;
    });
    let response = send(&ExactProxy::new(), get(upstream.url("/"))).await.unwrap();
    drop(go);
    assert!(gone.recv().await.is_none());
    assert_eq!(crate::support::read(response).await.0, b"abcd");
}

#[tokio::test]
async fn bodies_of_other_crates_are_taken() {
    let upstream = RawUpstream::answering(["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"]);
    let proxy = ExactProxy::new();
    let full = http_body_util::Full::new(Bytes::from_static(b"x"));
    assert_eq!(fetch(&proxy, Request::post(upstream.url("/")).body(full).unwrap()).await.0, 200);
    let empty = http_body_util::Empty::<Bytes>::new();
    assert_eq!(fetch(&proxy, Request::post(upstream.url("/")).body(empty).unwrap()).await.0, 200);
    let axum = axum::body::Body::from("y");
    assert_eq!(fetch(&proxy, Request::post(upstream.url("/")).body(axum).unwrap()).await.0, 200);
    let bodies: Vec<_> = upstream.requests().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, [&b"x"[..], b"", b"y"]);
}
