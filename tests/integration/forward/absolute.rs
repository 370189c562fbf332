//! Requests with absolute URLs as targets: their routing, and the requests that applications and upstreams receive.

use std::{convert::Infallible, ops::ControlFlow};

use http::{Request, Response, StatusCode};
use nexthop::{
    Body, ExactProxy,
    forward::{ConnectAction, ForwardProxyBuilder, Resolved, Resolver},
};

use super::tools::{Proxy, WAYS, Way, page, says};
use crate::support::{Front, RawUpstream};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Starts a forward proxy on an `ExactProxy` that may connect to loopback addresses.
async fn forwarding() -> Proxy {
    let exact = ExactProxy::new();
    Proxy::over(exact.clone(), |builder| builder.client(exact).dangerous_dial_anywhere()).await
}

#[tokio::test]
async fn a_target_in_origin_form_passes_untouched() {
    let proxy = Proxy::page(|builder| builder).await;
    let request = "GET /path?a=b HTTP/1.1\r\nHost: anything\r\nProxy-Connection: keep-alive\r\n\r\n";
    let response = proxy.front.exchange(request).await;
    says(&response, &["GET /path?a=b", "host: anything", "url: -", "proxy: - false", "left: proxy-connection"]);
}

#[tokio::test]
async fn a_url_goes_on_as_it_is_byte_for_byte() {
    let upstream = RawUpstream::answering([OK]);
    let (proxy, addr) = (forwarding().await, upstream.addr());
    let mut client = proxy.front.client().await;
    let request = format!(
        "POST http://{addr}/a%2Fb//c;d?x=%20&x HTTP/1.1\r\nHost: other.test\r\nProxy-Connection: keep-alive\r\n\
         Proxy-Authorization: Basic c2VjcmV0\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-End: 2\r\nContent-Length: 4\r\n\r\nbody"
    );
    for _ in 0..2 {
        assert_eq!(client.exchange(&request).await.text(), "ok");
    }
    let seen = &upstream.requests()[0];
    assert_eq!(seen.line(), "POST /a%2Fb//c;d?x=%20&x HTTP/1.1");
    // RFC 9112 §3.2.2: the target takes precedence over `Host`.
    assert_eq!(seen.header("host"), Some(addr.to_string().as_str()));
    assert_eq!((seen.header("x-end"), seen.body.as_slice()), (Some("2"), &b"body"[..]));
    for gone in ["proxy-connection", "proxy-authorization", "connection", "x-hop"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    assert!(seen.header("via").unwrap().starts_with("1.1 nexthop-"), "RFC 9110 §7.6.3");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn what_the_url_lacks_is_not_made_up() {
    let upstream = RawUpstream::answering([OK]);
    let proxy = forwarding().await;
    for (url, target) in [("", "/"), ("?q", "/?q"), ("/?", "/?")] {
        let url = upstream.url(url);
        assert_eq!(proxy.front.exchange(format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n")).await.text(), "ok");
        assert_eq!(upstream.requests().last().unwrap().target(), target);
    }
}

#[tokio::test]
async fn targets_that_are_no_urls_of_http_are_refused() {
    let proxy = forwarding().await;
    for request in [
        "GET ftp://h.test/ HTTP/1.1\r\nHost: h.test\r\n\r\n",
        "GET http://user:secret@h.test/ HTTP/1.1\r\nHost: h.test\r\n\r\n",
        "GET http://h.test/ HTTP/1.1\r\n\r\n",
        "GET http://h.test/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET http://h.test/ HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET http://h.test:0/ HTTP/1.1\r\nHost: h.test\r\n\r\n",
    ] {
        let response = proxy.front.exchange(request).await;
        assert_eq!(response.status(), 400, "{request}");
        assert!(!response.text().contains("secret"));
    }
}

#[tokio::test]
async fn a_failure_says_what_and_in_which_step_but_not_where() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let exact = ExactProxy::new();
    for verbose in [false, true] {
        let exact = exact.clone();
        let settings = |builder: ForwardProxyBuilder| {
            builder.client(exact.clone()).dangerous_dial_anywhere().verbose_errors(verbose)
        };
        let proxy = Proxy::over(exact.clone(), settings).await;
        let response = proxy.front.exchange(format!("GET http://{nobody}/secret HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let text = response.text();
        assert_eq!(response.status(), 502);
        assert!(text.starts_with("Bad Gateway: no connection to the upstream (connecting: "), "{text}");
        assert!(text.to_lowercase().contains("connection refused") && !text.contains("secret"), "{text}");
        if !verbose {
            assert!(!text.contains("127.0.0.1"), "{text}");
        }
    }
}

#[tokio::test]
async fn an_application_that_fails_is_an_answer_too() {
    let failing = tower::service_fn(async |_: Request<Body>| Err::<Response<Body>, _>("out of luck at 10.0.0.1"));
    let proxy = Proxy::over(failing, |builder| builder.resolver(Resolver::fixed("/x/"))).await;
    let response = proxy.get(Way::Absolute, "h.test", 80, "/").await;
    assert_eq!((response.status(), response.text()), (500, "Internal Server Error: the application failed\n"));
}

#[tokio::test]
async fn a_resolver_is_asked_for_every_url_with_the_head_that_came() {
    let by_field = Resolver::function(|url, parts| match parts.headers.get("x-to").and_then(|to| to.to_str().ok()) {
        Some("gone") => Resolved::Refuse(StatusCode::GONE),
        Some("wrong") => Resolved::Path("nowhere".to_owned()),
        Some(to) => Resolved::Path(format!("/{to}/{url}")),
        None => Resolved::Direct,
    });
    let proxy = Proxy::page(|builder| builder.resolver(by_field)).await;
    let ask = async |field: &str| {
        proxy.front.exchange(format!("GET http://h.test:81/a?b HTTP/1.1\r\nHost: h.test:81\r\n{field}\r\n")).await
    };
    says(&ask("X-To: there\r\n").await, &["GET /there/http://h.test:81/a?b", "host: h.test:81"]);
    says(&ask("").await, &["GET http://h.test:81/a?b"]);
    assert_eq!(ask("X-To: gone\r\n").await.status(), 410);
    assert_eq!(ask("X-To: wrong\r\n").await.status(), 500);
}

#[tokio::test]
async fn an_application_of_the_proxys_own_may_decline() {
    let one = tower::service_fn(async |request: Request<Body>| {
        Ok::<_, Infallible>(Response::new(Body::from(format!("one {}", request.uri()))))
    });
    let proxy = Proxy::page(|builder| {
        builder.app("proxy-app-1", one).app_or_decline("proxy-app-2", async |request: Request<Body>| {
            match request.uri().path() {
                "/foo" => ControlFlow::Break(Response::new(Body::from("two"))),
                _ => ControlFlow::Continue(request),
            }
        })
    })
    .await;
    for way in WAYS {
        assert_eq!(proxy.get(way, "proxy-app-1", way.port(), "/path/?a").await.text(), "one /path/?a");
        assert_eq!(proxy.get(way, "Proxy-App-2", 8080, "/foo").await.text(), "two");
        let declined = proxy
            .open(way, "proxy-app-2", way.port())
            .await
            .exchange("POST", "/bar", "Content-Length: 4\r\n", "body")
            .await;
        says(&declined, &["POST /bar", "proxy: proxy-app-2 true", "host: proxy-app-2", "body: body"]);
    }
}

#[tokio::test]
async fn without_an_application_the_proxys_own_host_is_nowhere() {
    let exact = ExactProxy::new();
    let declining = async |request: Request<Body>| ControlFlow::Continue(request);
    let proxy = Proxy::over(exact.clone(), |builder| builder.client(exact).app_or_decline("app.test", declining)).await;
    assert_eq!(proxy.get(Way::Absolute, "app.test", 80, "/page").await.status(), 404);
    let response = proxy.get(Way::Absolute, "wsgiprox", 80, "/page").await;
    assert_eq!((response.status(), response.text()), (404, "Not Found\n"));
}

/// Browsers open a tunnel for `ws:` URLs on any port.
#[tokio::test]
async fn a_tunnel_to_a_host_of_the_proxys_own_leads_there_unless_decided_otherwise() {
    let app = tower::service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::from("one"))));
    let builder = nexthop::ForwardProxy::builder()
        .resolver(Resolver::fixed("/x/"))
        .app("app.invalid", app)
        .host_alias("me.invalid");
    for (builder, status) in [(builder.clone(), 200), (builder.on_connect(|_| ConnectAction::Deny), 403)] {
        let front = Front::serve(tower::Layer::layer(&builder.build().unwrap(), tower::service_fn(page))).await;
        for (host, text) in
            [("app.invalid", "one"), ("APP.invalid.", "one"), ("me.invalid", "GET /a"), ("nexthop", "GET /a")]
        {
            let mut client = front.client().await;
            client.send(format!("CONNECT {host}:80 HTTP/1.1\r\nHost: {host}:80\r\n\r\n")).await;
            let answer = client.head_response().await;
            assert_eq!(answer.status(), status, "{host}");
            if status == 200 {
                let response = client.exchange(format!("GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
                assert!(response.text().starts_with(text), "{host}: {}", response.text());
            }
        }
    }
}

#[tokio::test]
async fn own_hosts_are_the_applications_whatever_the_form_of_the_target() {
    let proxy = Proxy::page(|builder| builder.local_hosts(["www.example.test", "*.example.org:8080"])).await;
    for (url, own) in [
        ("http://www.example.test/a", true),
        ("http://WWW.example.test:81/a", true),
        ("http://a.example.org:8080/a", true),
        ("http://a.example.org/a", false),
        ("http://example.test/a", false),
    ] {
        let response = proxy.front.exchange(format!("GET {url} HTTP/1.1\r\nHost: h\r\n\r\n")).await;
        let line = if own { format!("GET {url}") } else { format!("GET /prefix/{url}") };
        says(&response, &[&line]);
    }
}

#[tokio::test]
async fn a_request_that_comes_back_to_the_proxy_ends_there() {
    let upstream = RawUpstream::answering([OK]);
    let (proxy, other) = (forwarding().await, forwarding().await);
    let ask = async |proxy: &Proxy, via: &str| {
        let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n{via}\r\n", upstream.url("/"));
        proxy.front.exchange(request).await.status()
    };
    assert_eq!(ask(&proxy, "").await, 200);
    let via = format!("Via: 1.1 other, {}\r\n", upstream.only_request().header("via").unwrap());
    assert_eq!((ask(&proxy, &via).await, ask(&other, &via).await), (508, 200));
    let seen = upstream.requests();
    assert_eq!((seen.len(), seen[1].headers("via").len()), (2, 2), "each proxy adds an entry");
}

#[tokio::test]
async fn max_forwards_is_counted_down_and_ends_here() {
    let upstream = RawUpstream::answering([OK]);
    let (proxy, url) = (forwarding().await, upstream.url("/"));
    let ask = async |method: &str, left: u32| {
        let request = format!("{method} {url} HTTP/1.1\r\nHost: x\r\nMax-Forwards: {left}\r\n\r\n");
        proxy.front.exchange(request).await.status()
    };
    assert_eq!((ask("OPTIONS", 1).await, ask("OPTIONS", 0).await, ask("TRACE", 0).await), (200, 200, 405));
    assert_eq!(upstream.only_request().header("max-forwards"), Some("0"));
}

#[tokio::test]
async fn an_http_1_0_client_gets_its_answer_without_chunks() {
    let upstream =
        RawUpstream::answering(["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"]);
    let proxy = forwarding().await;
    let response = proxy.front.exchange(format!("GET {} HTTP/1.0\r\n\r\n", upstream.url("/"))).await;
    assert_eq!((response.head.starts_with("HTTP/1.0 200"), response.text()), (true, "one"));
    assert_eq!(response.header("transfer-encoding"), None);
}

#[tokio::test]
async fn a_handshake_that_is_not_carried_takes_no_other_field_along() {
    let upstream = RawUpstream::answering([OK]);
    let exact = ExactProxy::new();
    let settings =
        |builder: ForwardProxyBuilder| builder.client(exact.clone()).dangerous_dial_anywhere().websockets(false);
    let proxy = Proxy::over(exact.clone(), settings).await;
    let fields = "Connection: Upgrade, X-Hop\r\nUpgrade: websocket\r\nX-Hop: 1\r\n";
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n{fields}\r\n", upstream.url("/"));
    assert_eq!(proxy.front.exchange(request).await.text(), "ok");
    let seen = upstream.only_request();
    assert_eq!((seen.header("upgrade"), seen.header("connection"), seen.header("x-hop")), (None, None, None));
}
