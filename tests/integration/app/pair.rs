//! Both ends of the hop: `ProxyApp` in front, `ProxyMiddleware` behind, with their defaults.

use axum::{
    Json, Router,
    extract::{OriginalUri, Request},
    routing::get,
};
use nexthop::{
    app::ProxyApp,
    ext::RequestOrigin,
    middleware::{ProxyMiddleware, Restore, Trust},
};
use serde_json::{Value, json};
use tower::Layer;

use crate::support::Front;

async fn tell(original: OriginalUri, request: Request) -> Json<Value> {
    let origin = request.extensions().get::<RequestOrigin>().unwrap();
    let field = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    Json(json!({
        "uri": request.uri().to_string(),
        "original": original.0.to_string(),
        "host": field("host"),
        "forwarded": field("x-forwarded-for"),
        "client": origin.client().map(|ip| ip.to_string()),
        "scheme": origin.scheme().as_str(),
        "prefix": origin.prefix(),
    }))
}

#[tokio::test]
async fn the_back_sees_the_request_as_the_client_made_it() {
    let trust = Trust::peers(["loopback"]).unwrap();
    let layer = ProxyMiddleware::builder().trust(trust).restore(Restore::default().host().prefix()).build().unwrap();
    let back = Router::new().route("/x", get(tell)).fallback(tell);
    let back = Front::serve(layer.layer(back)).await;

    let service = ProxyApp::builder(back.url("/app?k=1").parse().unwrap()).public_scheme(http::uri::Scheme::HTTPS);
    let front = Front::serve(Router::new().nest_service("/api", service.build().unwrap())).await;

    for (target, uri) in [("/api/x?y", "/x?y"), ("/api/x?", "/x?"), ("/api/a%2Fb//c", "/a%2Fb//c"), ("/api/", "/")] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: front.example\r\nx-forwarded-for: 6.6.6.6\r\n\r\n");
        let answer = front.exchange(request).await;
        assert_eq!(answer.status(), 200, "{} {}", answer.head, answer.text());
        let seen: Value = serde_json::from_slice(&answer.body).unwrap();
        let expected = json!({
            "uri": uri, "original": target, "host": "front.example", "forwarded": null, "client": "127.0.0.1",
            "scheme": "https", "prefix": "/api",
        });
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn a_back_that_knows_its_prefix_is_not_mapped_twice() {
    let trust = Trust::peers(["loopback"]).unwrap();
    let layer = ProxyMiddleware::builder().trust(trust).restore(Restore::default().host().prefix()).build().unwrap();
    let back = Router::new().fallback(async |request: Request| {
        let origin = request.extensions().get::<RequestOrigin>().unwrap();
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        [("location", format!("{}://{host}{}/next", origin.scheme(), origin.prefix()))]
    });
    let back = Front::serve(layer.layer(back)).await;
    let service = ProxyApp::builder(back.url("").parse().unwrap()).build().unwrap();
    let front = Front::serve(Router::new().nest_service("/api", service)).await;
    let answer = front.exchange("GET /api/x HTTP/1.1\r\nhost: front.example\r\n\r\n").await;
    assert_eq!(answer.field("location"), Some("http://front.example/api/next"));
}
