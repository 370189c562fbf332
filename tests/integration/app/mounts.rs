//! Mounting a `ProxyApp`: in axum in four ways, and with hyper alone.

use std::net::SocketAddr;

use axum::{Router, routing::get};
use nexthop::app::ProxyApp;
use tokio::net::TcpListener;

use super::{OK, app};
use crate::support::{Front, RawClient, RawUpstream, ReceivedRequest};

async fn seen_through(front: Router, target: &str, upstream: &RawUpstream) -> ReceivedRequest {
    let answer = Front::hyper(front).await.exchange(format!("GET {target} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
    assert_eq!(answer.text(), "ok", "{}", answer.head);
    upstream.only_request()
}

#[tokio::test]
async fn as_a_route() {
    let upstream = RawUpstream::answering([OK]);
    let service = app(&upstream, "/app").build().unwrap();
    let seen = seen_through(Router::new().route_service("/users/{id}", service), "/users/7?x", &upstream).await;
    assert_eq!((seen.target(), seen.header("x-forwarded-script-name")), ("/app/users/7?x", None));
}

#[tokio::test]
async fn as_a_nested_service_at_any_depth() {
    let upstream = RawUpstream::answering([OK]);
    let inner = Router::new().nest_service("/v1", app(&upstream, "/app").build().unwrap());
    let seen = seen_through(Router::new().nest("/api", inner), "/api/v1/x?y", &upstream).await;
    assert_eq!((seen.target(), seen.header("x-forwarded-script-name")), ("/app/x?y", Some("/api/v1")));
}

#[tokio::test]
async fn as_a_nested_service_below_a_parameter() {
    let upstream = RawUpstream::answering([OK]);
    let router = Router::new().nest_service("/users/{id}", app(&upstream, "").build().unwrap());
    let seen = seen_through(router, "/users/a%20b/x", &upstream).await;
    assert_eq!((seen.target(), seen.header("x-forwarded-script-name")), ("/x", Some("/users/a%20b")));
}

#[tokio::test]
async fn as_the_fallback() {
    let upstream = RawUpstream::answering([OK]);
    let router = Router::new().route("/own", get(async || "own")).fallback_service(app(&upstream, "").build().unwrap());
    let front = Front::hyper(router.clone()).await;
    assert_eq!(front.exchange("GET /own HTTP/1.1\r\nhost: h\r\n\r\n").await.text(), "own");
    let seen = seen_through(router, "/any//thing%2F", &upstream).await;
    assert_eq!((seen.target(), seen.header("x-forwarded-script-name")), ("/any//thing%2F", None));
}

#[tokio::test]
async fn as_the_fallback_of_a_nested_router() {
    let upstream = RawUpstream::answering([OK]);
    let inner = Router::new().route("/own", get(async || "own")).fallback_service(app(&upstream, "").build().unwrap());
    let seen = seen_through(Router::new().nest("/api", inner), "/api/x", &upstream).await;
    assert_eq!((seen.target(), seen.header("x-forwarded-script-name")), ("/x", Some("/api")));
}

#[tokio::test]
async fn as_a_hyper_service_alone() {
    let upstream = RawUpstream::answering([OK]);
    let front = Front::hyper(app(&upstream, "").build().unwrap()).await;
    assert_eq!(front.exchange("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await.text(), "ok");
}

#[tokio::test]
async fn under_axum_serve_the_peer_is_what_connect_info_says() {
    let upstream = RawUpstream::answering([OK]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let router: Router = Router::new().fallback_service(app(&upstream, "").build().unwrap());
    let server = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>());
    let server = tokio::spawn(server.into_future());
    let answer = RawClient::tcp(addr).await.exchange("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(answer.text(), "ok");
    assert_eq!(upstream.only_request().header("x-forwarded-for"), Some("127.0.0.1"));
    server.abort();
}

#[tokio::test]
async fn behind_tower_layers_and_with_any_body() {
    use tower::{ServiceBuilder, ServiceExt};

    let upstream = RawUpstream::answering([OK]);
    let service = app(&upstream, "").build().unwrap();
    let timed = ServiceBuilder::new().timeout(crate::support::DEADLINE).service(service.clone());
    let request = http::Request::post("/x").header("host", "h");
    let request = request.body(http_body_util::Full::new(bytes::Bytes::from_static(b"abc"))).unwrap();
    assert_eq!(timed.oneshot(request).await.unwrap().status(), 200);
    assert_eq!(upstream.only_request().body, b"abc");
    fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    shared::<ProxyApp>(&service);
}
