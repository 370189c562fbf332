//! Requirements of RFC 9110 that apply to proxies, and those that apply to gateways.

use http::{Request, Response};
use nexthop::{
    Body, ExactProxy, ForwardProxy, ProxyApp, TransparentProxy,
    app::Via,
    middleware::{ProxyMiddleware, Trust},
};
use tower::{Layer, service_fn};

use crate::support::{Front, RawUpstream};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const VIA: &str = "HTTP/1.1 200 OK\r\nvia: 1.0 origin\r\nconnection: via\r\ncontent-length: 2\r\n\r\nok";

/// Starts a forward proxy on an `ExactProxy` that may connect to loopback addresses.
async fn forwarding(via: Via) -> Front {
    let exact = ExactProxy::new();
    let proxy = ForwardProxy::builder().client(exact.clone()).dangerous_dial_anywhere().via(via).build().unwrap();
    Front::serve(proxy.layer(exact)).await
}

async fn transparent(via: &str) -> Front {
    Front::serve(TransparentProxy::builder().via(via).build().unwrap()).await
}

// RFC 9110 §7.6.3
#[tokio::test]
async fn a_proxy_names_itself_in_via_of_each_message_with_the_version_received() {
    for front in [forwarding(Via::Named("us".into())).await, transparent("us").await] {
        for (answer, expected) in [
            (OK, &["1.1 us"][..]),
            ("HTTP/1.1 200 OK\r\nvia: 1.0 origin\r\ncontent-length: 2\r\n\r\nok", &["1.0 origin", "1.1 us"]),
            ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", &["1.0 us"]),
            (VIA, &["1.1 us"]),
        ] {
            let upstream = RawUpstream::answering([answer]);
            let url = upstream.url("/");
            let response = front.exchange(format!("GET {url} HTTP/1.1\r\nhost: h\r\nvia: 1.0 client\r\n\r\n")).await;
            assert_eq!((response.status(), response.headers("via").as_slice()), (200, expected));
            assert_eq!(upstream.only_request().headers("via"), ["1.0 client", "1.1 us"]);
        }
    }
    let upstream = RawUpstream::answering([OK]);
    let plain = Front::serve(TransparentProxy::new()).await;
    for front in [forwarding(Via::Off).await, plain] {
        let response = front.exchange(format!("GET {} HTTP/1.1\r\nhost: h\r\n\r\n", upstream.url("/"))).await;
        assert_eq!((response.header("via"), upstream.requests().pop().unwrap().header("via")), (None, None));
    }
}

// RFC 9110 §7.6.3
#[tokio::test]
async fn what_a_proxy_answers_by_itself_did_not_come_through_it() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for front in [forwarding(Via::Named("us".into())).await, transparent("us").await] {
        let response = front.exchange(format!("GET http://{nobody}/ HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        assert_eq!((response.status(), response.header("via")), (502, None));
    }
}

// RFC 9110 §7.6, §7.6.3
#[tokio::test]
async fn a_transparent_proxy_that_has_a_name_sends_nothing_to_itself_without_end() {
    let front = transparent("us").await;
    let addr = front.addr;
    let response = front.exchange(format!("GET / HTTP/1.1\r\nhost: {addr}\r\n\r\n")).await;
    assert_eq!(response.status(), 508);
    // A client cannot hide the proxy's name in `Via` by listing `Via` in `Connection`.
    let hidden = format!("GET / HTTP/1.1\r\nhost: {addr}\r\nconnection: via\r\nvia: 1.1 US\r\n\r\n");
    assert_eq!(front.exchange(hidden).await.status(), 508);
}

// RFC 9112 §9.3
#[tokio::test]
async fn a_proxy_keeps_no_connection_with_a_client_of_http_1_0() {
    let upstream = RawUpstream::answering([OK]);
    for front in [forwarding(Via::Random).await, transparent("us").await] {
        for url in [upstream.url("/"), "http://127.0.0.1:0/".to_owned()] {
            let mut client = front.client().await;
            let request = format!("GET {url} HTTP/1.0\r\nhost: h\r\nconnection: keep-alive\r\n\r\n");
            let response = client.exchange(request).await;
            assert!(response.head.starts_with("HTTP/1.0 "), "{}", response.head);
            assert_ne!(response.header("connection"), Some("keep-alive"));
            client.closed().await;
        }
    }
    // A gateway may keep such connections open.
    let front = Front::serve(ProxyApp::builder(upstream.url("")).build().unwrap()).await;
    let mut client = front.client().await;
    for _ in 0..2 {
        let response = client.exchange("GET / HTTP/1.0\r\nhost: h\r\nconnection: keep-alive\r\n\r\n").await;
        assert_eq!((response.status(), response.header("connection")), (200, Some("keep-alive")));
    }
}

// RFC 9110 §7.4
#[tokio::test]
async fn https_in_clear_text_is_refused_unless_somebody_in_front_has_secured_it() {
    const REQUEST: &str = "GET https://h/ HTTP/1.1\r\nhost: h\r\n\r\n";
    let upstream = RawUpstream::answering([OK]);
    let app = || ProxyApp::builder(upstream.url(""));
    assert_eq!(Front::serve(app().build().unwrap()).await.exchange(REQUEST).await.status(), 421);
    let receiver = |builder: nexthop::middleware::ProxyMiddlewareBuilder| {
        let inner =
            service_fn(async |_: Request<Body>| Ok::<_, std::convert::Infallible>(Response::new(Body::empty())));
        Front::serve(builder.build().unwrap().layer(inner))
    };
    assert_eq!(receiver(ProxyMiddleware::builder()).await.exchange(REQUEST).await.status(), 421);
    assert_eq!(upstream.connections(), 0);

    let secured = app().public_scheme(http::uri::Scheme::HTTPS).build().unwrap();
    assert_eq!(Front::serve(secured).await.exchange(REQUEST).await.status(), 200);
    let trusting = ProxyMiddleware::builder().trust(Trust::peers(["127.0.0.1"]).unwrap());
    assert_eq!(receiver(trusting).await.exchange(REQUEST).await.status(), 200);
}

// RFC 9112 §3.2.4
#[tokio::test]
async fn options_of_a_url_without_a_path_goes_out_for_the_root() {
    let upstream = RawUpstream::answering([OK]);
    for front in [forwarding(Via::Random).await, transparent("us").await] {
        let request = format!("OPTIONS {} HTTP/1.1\r\nhost: h\r\n\r\n", upstream.url(""));
        assert_eq!(front.exchange(request).await.status(), 200);
        assert_eq!(upstream.requests().pop().unwrap().line(), "OPTIONS / HTTP/1.1");
    }
}

// RFC 9110 §7.6.2
#[tokio::test]
async fn a_transparent_proxy_counts_max_forwards_down_too() {
    let upstream = RawUpstream::answering([OK]);
    let front = Front::serve(TransparentProxy::new()).await;
    let request = |method: &str, count: &str| {
        format!("{method} / HTTP/1.1\r\nhost: {}\r\nmax-forwards: {count}\r\n\r\n", upstream.addr())
    };
    assert_eq!(front.exchange(request("OPTIONS", "0")).await.status(), 200);
    assert_eq!(front.exchange(request("TRACE", "0")).await.status(), 405);
    assert_eq!(upstream.connections(), 0);
    for method in ["OPTIONS", "TRACE"] {
        assert_eq!(front.exchange(request(method, "2")).await.text(), "ok");
        assert_eq!(upstream.requests().pop().unwrap().header("max-forwards"), Some("1"));
    }
}
