//! Rewriting requests and responses with the user's closures.

use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use nexthop::{Body, ProxyApp, UpstreamUrl, app::UpstreamSelector, ext::ConnectTo, protocol::ForwardedHeaders};
use tower::ServiceExt;

use super::{OK, app};
use crate::support::{Front, RawUpstream, log::Log};

const GET: &str = "GET /x HTTP/1.1\r\nhost: front.example\r\nx-forwarded-host: forged\r\n\r\n";

fn teapot(text: &'static str) -> Box<Response<Body>> {
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = StatusCode::IM_A_TEAPOT;
    Box::new(answer)
}

#[tokio::test]
async fn request_hooks_run_in_order_after_stripping_and_before_our_fields() {
    let upstream = RawUpstream::answering([OK]);
    let service = app(&upstream, "/app")
        .forwarded_headers([ForwardedHeaders::XForwarded])
        .rewrite_request(|request| {
            assert!(!request.headers.contains_key("x-forwarded-host"));
            assert_eq!(request.uri.path(), "/app/x");
            request.uri = format!("http://{}/one", request.uri.authority().unwrap()).parse().unwrap();
        })
        .rewrite_request_async(|mut request| async move {
            tokio::task::yield_now().await;
            request.uri = format!("{}/two", request.uri).parse().unwrap();
            Ok(request)
        })
        .rewrite_request(|request| {
            request.headers.insert("x-forwarded-host", HeaderValue::from_static("hook.example"));
            if request.uri.path() == "/one/two" { Ok(()) } else { Err(teapot("order")) }
        })
        .build()
        .unwrap();
    let front = Front::hyper(service).await;
    assert_eq!(front.exchange(GET).await.status(), 200);
    let seen = upstream.only_request();
    assert_eq!((seen.target(), seen.header("x-forwarded-host")), ("/one/two", Some("hook.example")));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
}

#[tokio::test]
async fn request_hooks_may_answer_themselves() {
    let upstream = RawUpstream::answering([OK]);
    let now = app(&upstream, "").rewrite_request(|_| Err(teapot("now"))).build().unwrap();
    let later = app(&upstream, "").rewrite_request_async(|_| async { Err(*teapot("later")) }).build().unwrap();
    for (service, text) in [(now, "now"), (later, "later")] {
        let answer = Front::hyper(service).await.exchange(GET).await;
        assert_eq!((answer.status(), answer.text()), (418, text));
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_request_hook_may_lead_elsewhere() {
    let (named, meant) = (RawUpstream::answering([OK]), RawUpstream::answering([OK]));
    let to = ConnectTo::Authority(meant.addr().to_string().parse().unwrap());
    let service = app(&named, "")
        .rewrite_request(move |request| {
            request.extensions.insert(to.clone());
        })
        .build()
        .unwrap();
    Front::hyper(service).await.exchange(GET).await;
    assert_eq!(named.connections(), 0);
    assert_eq!(meant.only_request().header("host"), Some(&*named.addr().to_string()));
}

#[tokio::test]
async fn response_hooks_see_the_clients_view_and_may_answer_themselves() {
    let moved = "HTTP/1.1 302 Found\r\ncontent-length: 4\r\nlocation: /app/y\r\n\r\nbody";
    let upstream = RawUpstream::answering([moved]);
    let service = app(&upstream, "/app")
        .rewrite_response(|response| {
            assert_eq!(response.headers["location"], "/y");
            response.headers.insert("x-one", HeaderValue::from_static("1"));
        })
        .rewrite_response_async(|response| async move {
            let (mut head, body) = response.into_parts();
            head.headers.remove("content-length");
            head.headers.insert("x-two", head.headers["x-one"].clone());
            let bytes = body.collect().await.unwrap().to_bytes();
            Response::from_parts(head, Body::from([&bytes[..], b" and more"].concat()))
        })
        .build()
        .unwrap();
    let answer = Front::hyper(service).await.exchange(GET).await;
    assert_eq!(
        (answer.header("x-one"), answer.header("x-two"), answer.text()),
        (Some("1"), Some("1"), "body and more")
    );

    let service = app(&upstream, "").rewrite_response(|_| Err(teapot("instead"))).build().unwrap();
    let answer = Front::hyper(service).await.exchange(GET).await;
    assert_eq!((answer.status(), answer.text()), (418, "instead"));
}

#[tokio::test]
async fn the_upstream_is_chosen_by_a_function_for_each_request() {
    let (one, two) = (RawUpstream::answering([OK]), RawUpstream::answering([OK]));
    let hrefs: [UpstreamUrl; 2] = [one.url("/one").parse().unwrap(), two.url("/two").parse().unwrap()];
    let service = ProxyApp::builder(UpstreamSelector::new(move |request| match request.headers["host"].as_bytes() {
        b"one.example" => Ok(hrefs[0].clone()),
        b"two.example" => Ok(hrefs[1].clone()),
        _ => Err(teapot("nobody")),
    }));
    let front = Front::hyper(service.build().unwrap()).await;
    for (host, status) in [("one.example", 200), ("two.example", 200), ("three.example", 418)] {
        assert_eq!(front.exchange(format!("GET /x HTTP/1.1\r\nhost: {host}\r\n\r\n")).await.status(), status);
    }
    assert_eq!((one.only_request().target(), two.only_request().target()), ("/one/x", "/two/x"));
}

#[tokio::test]
async fn the_log_names_the_upstream_that_was_chosen_and_the_answer_does_not() {
    let (log, _guard) = Log::start();
    let upstream: UpstreamUrl = "http://127.0.0.1:1/private".parse().unwrap();
    let service = ProxyApp::builder(UpstreamSelector::new(move |_| upstream.clone())).build().unwrap();
    let request = Request::get("/x").header("host", "front.example").body(Body::empty()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "Bad Gateway\n");
    let text = log.text();
    assert!(text.contains("WARN") && text.contains("upstream=127.0.0.1:1") && !text.contains("private"), "{text}");
}

#[tokio::test]
async fn a_hook_that_panics_or_answers_itself_leaves_neither_side_waiting() {
    const UPLOAD: &str = "POST /x HTTP/1.1\r\nhost: front.example\r\ncontent-length: 1000\r\n\r\nhalf";
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        conn.write("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf").await;
        conn.read_to_end().await;
    });
    for request in [GET, UPLOAD] {
        let panics =
            app(&upstream, "").rewrite_response(|_| -> Result<(), Box<Response<Body>>> { panic!("in a hook") });
        let front = Front::serve(panics.build().unwrap()).await;
        let mut client = front.client().await;
        client.send(request).await;
        client.closed().await;
        upstream.wait_closed().await;

        let refuses = app(&upstream, "").rewrite_response(|_| Err(teapot("instead")));
        let front = Front::serve(refuses.build().unwrap()).await;
        let answer = front.exchange(request).await;
        assert_eq!((answer.status(), answer.text()), (418, "instead"));
        upstream.wait_closed().await;
    }
    let seen = upstream.requests().len();
    let front = Front::serve(app(&upstream, "").rewrite_request(|_| Err(teapot("early"))).build().unwrap()).await;
    let answer = front.exchange(UPLOAD).await;
    assert_eq!((answer.status(), answer.text(), upstream.requests().len()), (418, "early", seen));
}
