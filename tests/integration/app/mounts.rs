//! Mounting a `ProxyApp`: in axum in four ways, and with hyper alone.

use std::net::SocketAddr;

use axum::{Router, routing::get};
use nexthop::app::{PathPrefix, ProxyApp};
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
async fn empty_segments_behind_a_mount_pass_byte_for_byte() {
    for (target, seen) in [
        ("/shop//a", "//a"),
        ("/shop///a//", "///a//"),
        ("/shop//", "//"),
        ("/shop//?q", "//?q"),
        ("/shop/?q", "/?q"),
        ("/shop/a//b", "/a//b"),
        ("/shop?q", "/?q"),
        ("/shop//shop/a", "//shop/a"),
    ] {
        for keep in [false, true] {
            let upstream = RawUpstream::answering([OK]);
            let rule = if keep { PathPrefix::Keep } else { PathPrefix::FromRouter };
            let service = app(&upstream, "").prefix(rule).build().unwrap();
            let request = seen_through(Router::new().nest_service("/shop", service), target, &upstream).await;
            assert_eq!(request.target(), if keep { target } else { seen }, "{target}");
            assert_eq!(request.header("x-forwarded-prefix"), (!keep).then_some("/shop"), "{target}");
        }
    }
    // Two mounts, and one with a slash of its own.
    let upstream = RawUpstream::answering([OK]);
    let inner = Router::new().nest_service("/b", app(&upstream, "").build().unwrap());
    let seen = seen_through(Router::new().nest("/a", inner), "/a/b//x", &upstream).await;
    assert_eq!((seen.target(), seen.header("x-forwarded-prefix")), ("//x", Some("/a/b")));
}

#[tokio::test]
async fn path_parameters_of_any_legal_bytes_pass_byte_for_byte() {
    for (tenant, reported) in [
        ("o'brien", false),
        ("a;v=1", false),
        ("a%2Fb", false),
        ("a%25b", false),
        ("caf\u{e9}", false),
        ("%E2%98%95", true),
        ("a!$&()*+,=:@b", true),
        ("a%20b", true),
    ] {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nlocation: /in\r\n\r\nok";
        for keep in [false, true] {
            let upstream = RawUpstream::answering([answer]);
            let rule = if keep { PathPrefix::Keep } else { PathPrefix::FromRouter };
            let service = app(&upstream, "").prefix(rule).build().unwrap();
            let front = Front::hyper(Router::new().nest_service("/t/{tenant}", service)).await;
            let target = format!("/t/{tenant}/{tenant}//x?{}", tenant.replace('%', "%25"));
            let answer = front.exchange(format!("GET {target} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
            assert_eq!(answer.status(), 200, "{}", answer.text());
            let prefix = format!("/t/{tenant}");
            let seen = upstream.only_request();
            assert_eq!(seen.target(), if keep { &*target } else { target.strip_prefix(&prefix).unwrap() });
            // Receivers refuse a prefix of other bytes, so it is not reported; the client's view has it all the same.
            assert_eq!(seen.header("x-forwarded-prefix"), (reported && !keep).then_some(&*prefix));
            assert_eq!(answer.header("location"), Some(&*if keep { "/in".into() } else { format!("{prefix}/in") }));
        }
    }
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
