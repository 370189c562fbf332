//! What goes no further, and what the client is told.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, request};
use http_body_util::{BodyExt, Full};
use tower::ServiceExt;

use super::app;
use crate::{
    Body, Error,
    app::{HostHeader, ProxyAppBuilder, Via},
};

async fn answer_to(app: ProxyAppBuilder, request: Request<Full<Bytes>>) -> Response<Body> {
    app.build().unwrap().oneshot(request).await.unwrap()
}

async fn status_of(app: ProxyAppBuilder, request: request::Builder) -> u16 {
    answer_to(app, request.body(Full::default()).unwrap()).await.status().as_u16()
}

#[tokio::test]
async fn a_method_that_is_not_allowed_is_answered_with_those_that_are() {
    let app = app().allowed_methods([Method::GET, Method::HEAD]);
    let request = Request::post("/").header("host", "h").body(Full::default()).unwrap();
    let answer = answer_to(app, request).await;
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.headers()["allow"], "GET, HEAD");
    assert_eq!(answer.extensions().get::<Error>().unwrap().status(), 405);
}

#[tokio::test]
async fn what_cannot_be_forwarded_is_refused_before_anybody_is_contacted() {
    for (expected, request) in [
        (501, Request::builder().method("CONNECT").uri("h:443").header("host", "h:443")),
        (400, Request::get("/")),
        (400, Request::get("/").header("host", "a").header("host", "a")),
        (400, Request::get("/").header("host", "a b")),
        (400, Request::get("/").header("host", "u@a")),
        (400, Request::get("*").header("host", "a")),
        (400, Request::get("a:80").header("host", "a")),
        (400, Request::get("ftp://a/").header("host", "a")),
        (
            400,
            Request::post("/").header("host", "a").header("content-length", "1").header("transfer-encoding", "chunked"),
        ),
    ] {
        assert_eq!(status_of(app(), request).await, expected);
    }
}

#[tokio::test]
async fn a_request_that_was_here_is_a_loop_and_one_that_met_a_namesake_is_not() {
    let request = || Request::get("/").header("host", "h").header("via", "1.1 edge, 1.0 US");
    assert_eq!(status_of(app().via(Via::Named("us".into())), request()).await, 508);
    assert_eq!(status_of(app().via(Via::Named("edge-2".into())), request()).await, 502);
    assert_eq!(status_of(app().via(Via::Off), request()).await, 502);
    assert_eq!(status_of(app(), request()).await, 502);
}

#[tokio::test]
async fn a_declared_body_over_the_limit_is_refused_and_one_at_it_is_not() {
    let post = |body: &'static str| Request::post("/").header("host", "h").body(Full::from(body)).unwrap();
    assert_eq!(answer_to(app().max_body_bytes(4), post("12345")).await.status(), 413);
    assert_eq!(answer_to(app().max_body_bytes(4), post("1234")).await.status(), 502);
}

#[tokio::test]
async fn an_answer_names_no_address_and_carries_the_error() {
    let answer = answer_to(app(), Request::get("/secret").header("host", "h").body(Full::default()).unwrap()).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    assert!(answer.extensions().get::<Error>().unwrap().is_retryable());
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "Bad Gateway\n");
}

#[test]
fn mistakes_in_the_configuration_name_the_text() {
    let mistake = |app: ProxyAppBuilder| app.build().unwrap_err().to_string();
    assert!(mistake(app().suppress_headers(["x-a", "x b"])).contains("\"x b\""));
    assert!(mistake(app().suppress_headers(["Host"])).contains("host"));
    assert!(mistake(app().via(Via::Named("a b".into()))).contains("\"a b\""));
    assert!(mistake(app().host(HostHeader::Fixed(HeaderValue::from_static("a/b")))).contains("\"a/b\""));
    assert!(mistake(app().public_scheme("ftp".parse().unwrap())).contains("ftp"));
}
