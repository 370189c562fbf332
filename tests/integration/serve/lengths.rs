//! `Content-Length` of responses whose body is another one than a service announced.

use axum::{Router, body::Body as AxumBody, middleware::map_response, response::Response as AxumResponse};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nexthop::{Body, ForwardProxy, ProxyApp, app::ProxyAppBuilder};
use tokio::net::TcpStream;
use tower::Layer;

use crate::support::{Front, RawUpstream, body::pieces, within};

const PAGE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-of: upstream\r\n\r\nshort";
const LONG: &str = "longer than it was";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// The head of the upstream's response with another body.
fn with<B>(response: Response<B>, body: Body) -> Response<Body> {
    Response::from_parts(response.into_parts().0, body)
}

fn proxy(upstream: &RawUpstream, hook: impl FnOnce(ProxyAppBuilder) -> ProxyAppBuilder) -> ProxyApp {
    hook(ProxyApp::builder(upstream.url(""))).build().unwrap()
}

/// Two requests on one connection: both responses have this body, with its length or in chunks.
async fn answers_twice(front: &Front, body: &str, is_sized: bool) {
    let mut client = front.client().await;
    for _ in 0..2 {
        let answer = client.exchange(GET).await;
        assert_eq!((answer.status(), answer.text()), (200, body), "{}", answer.head);
        let length = is_sized.then(|| body.len().to_string());
        assert_eq!(answer.headers("content-length"), length.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(answer.header("transfer-encoding"), (!is_sized).then_some("chunked"));
    }
}

#[tokio::test]
async fn a_hook_that_replaces_the_body_replaces_its_length_and_the_connection_is_kept() {
    let upstream = RawUpstream::answering([PAGE, PAGE, PAGE, PAGE]);
    for body in [LONG, "", "4 by"] {
        let service =
            proxy(&upstream, |app| app.rewrite_response_async(move |page| async move { with(page, Body::from(body)) }));
        answers_twice(&Front::serve(service.clone()).await, body, true).await;
        answers_twice(&Front::hyper(service).await, body, true).await;
    }
}

#[tokio::test]
async fn a_hook_that_streams_another_body_loses_the_length() {
    let upstream = RawUpstream::answering([PAGE, PAGE, PAGE, PAGE]);
    let stream = || Body::new(pieces(&["longer than ", "it was"]));
    let service = proxy(&upstream, |app| app.rewrite_response_async(move |page| async move { with(page, stream()) }));
    answers_twice(&Front::serve(service.clone()).await, LONG, false).await;
    answers_twice(&Front::hyper(service).await, LONG, false).await;
}

#[tokio::test]
async fn a_hook_that_announces_the_length_of_its_stream_keeps_it() {
    let upstream = RawUpstream::answering([PAGE, PAGE]);
    let service = proxy(&upstream, |app| {
        app.rewrite_response_async(async |page| {
            let mut response = with(page, Body::new(pieces(&["longer than ", "it was"])));
            response.headers_mut().insert(CONTENT_LENGTH, LONG.len().into());
            response
        })
    });
    answers_twice(&Front::serve(service).await, LONG, true).await;
}

#[tokio::test]
async fn a_wrong_length_of_a_hook_on_the_head_is_not_sent() {
    for (name, value) in [("content-length", "3"), ("content-length", "nonsense"), ("transfer-encoding", "chunked")] {
        let upstream = RawUpstream::answering([PAGE, PAGE]);
        let service = proxy(&upstream, |app| {
            app.rewrite_response(move |head| {
                head.headers.append(name, value.parse().unwrap());
            })
        });
        answers_twice(&Front::serve(service).await, "short", name == "content-length").await;
    }
}

#[tokio::test]
async fn a_response_to_head_and_a_304_keep_the_length_of_another_response() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        loop {
            conn.request().await;
            conn.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await;
        }
    });
    let service = proxy(&upstream, |app| {
        app.rewrite_response_async(async |page| page).rewrite_response(|head| {
            head.headers.insert("x-hook", "1".parse().unwrap());
        })
    });
    let front = Front::serve(service).await;
    let mut client = front.client().await;
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answer = client.head_response().await;
        assert_eq!((answer.header("content-length"), answer.header("x-hook")), (Some("5"), Some("1")));
    }

    let upstream = RawUpstream::answering(["HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"; 2]);
    let service = proxy(&upstream, |app| app.rewrite_response_async(async |page| page));
    let front = Front::serve(service).await;
    let mut client = front.client().await;
    assert_eq!(client.exchange(GET).await.status(), 304);
}

#[tokio::test]
async fn a_layer_of_any_service_that_changes_the_body_changes_the_length() {
    let app = Router::new().fallback(async || ([(CONTENT_LENGTH, "5")], "short"));
    let app = app.layer(map_response(async |page: AxumResponse| page.map(|_| AxumBody::from(LONG))));
    answers_twice(&Front::serve(app).await, LONG, true).await;
}

#[tokio::test]
async fn an_app_behind_a_forward_proxy_that_changes_the_body_changes_the_length() {
    let upstream = RawUpstream::answering([PAGE, PAGE]);
    let url = upstream.url("/");
    let app = tower::service_fn(move |request: Request<Body>| {
        let exact = nexthop::ExactProxy::new();
        async move { Ok::<_, nexthop::Error>(with(exact.request(request).await?, Body::from(LONG))) }
    });
    let front = Front::serve(ForwardProxy::builder().dangerous_dial_anywhere().build().unwrap().layer(app)).await;
    let mut client = front.client().await;
    for _ in 0..2 {
        let answer = client.exchange(format!("GET {url} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!((answer.header("x-of"), answer.text()), (Some("upstream"), LONG));
        assert_eq!(answer.headers("content-length"), ["18"]);
    }
}

/// A response that announces ten bytes and streams others.
fn announcing_ten(parts: &'static [&'static str]) -> Router {
    Router::new().fallback(async move || {
        let mut response = AxumResponse::new(AxumBody::new(pieces(parts)));
        response.headers_mut().insert(CONTENT_LENGTH, 10.into());
        response
    })
}

#[tokio::test]
async fn a_body_that_turns_out_shorter_or_longer_closes_the_connection_and_never_looks_whole() {
    for (parts, most) in [
        (&["12345"][..], 5),
        (&[], 0),
        (&["12345", "678901"], 5),
        (&["12345678901"], 0),
        // The last announced byte is only sent if no more bytes are at hand.
        (&["12345", "67890", "1"], 5),
    ] {
        let front = Front::serve(announcing_ten(parts)).await;
        let mut client = front.client().await;
        client.send(GET.repeat(2)).await;
        let (bytes, _) = client.read_to_end().await;
        let text = String::from_utf8(bytes).unwrap();
        let answers = text.matches("HTTP/1.1").count();
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!(answers <= 1 && body.len() <= most, "{parts:?}: {text:?}");
        assert!(!text.contains("content-length") || text.contains("content-length: 10\r\n"), "{text:?}");

        let io = TokioIo::new(TcpStream::connect(front.addr).await.unwrap());
        let (mut send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(front.url("/")).body(Empty::<Bytes>::new()).unwrap();
        let outcome = async {
            let response = send.send_request(request).await?;
            response.into_body().collect().await
        };
        assert!(within("the end", outcome).await.is_err(), "{parts:?}");
    }
}

#[tokio::test]
async fn a_body_that_has_its_announced_length_keeps_the_connection_and_its_trailers() {
    for parts in [&["1234567890"][..], &["12345", "", "67890", ""], &["1", "234567890"]] {
        let front = Front::serve(announcing_ten(parts)).await;
        answers_twice(&front, "1234567890", true).await;
    }
    let app = tower::service_fn(async |_: Request<hyper::body::Incoming>| {
        let (feed, body) = crate::support::body::fed();
        tokio::spawn(async move {
            feed.data("1234567890").await;
            feed.trailers([("x-sum".parse().unwrap(), "7".parse().unwrap())].into_iter().collect()).await;
        });
        Response::builder().header("content-length", "10").header("trailer", "x-sum").body(body)
    });
    let front = Front::serve(app).await;
    let io = TokioIo::new(TcpStream::connect(front.addr).await.unwrap());
    let (mut send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(front.url("/")).body(Empty::<Bytes>::new()).unwrap();
    let response = within("a response", send.send_request(request)).await.unwrap();
    let read = within("its body", response.into_body().collect()).await.unwrap();
    assert_eq!(read.trailers().unwrap()["x-sum"], "7");
    assert_eq!(read.to_bytes(), "1234567890");
}

#[tokio::test]
async fn statuses_without_a_body_have_no_length() {
    for (status, length) in [(StatusCode::NO_CONTENT, None), (StatusCode::RESET_CONTENT, Some("0"))] {
        let app = tower::service_fn(move |_: Request<hyper::body::Incoming>| {
            let response = Response::builder().status(status).header("content-length", "7");
            std::future::ready(response.body(Full::new(Bytes::new())))
        });
        let front = Front::serve(app).await;
        let mut client = front.client().await;
        for _ in 0..2 {
            let answer = client.exchange(GET).await;
            assert_eq!((answer.status(), answer.header("content-length")), (status.as_u16(), length));
        }
    }
}
