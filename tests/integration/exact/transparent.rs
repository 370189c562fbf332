//! `TransparentProxy` on a hyper server, with requests as browsers send them.

use http::Request;
use nexthop::{Body, Error, ErrorKind, ExactProxy, TransparentProxy};
use tower::ServiceExt;

use crate::support::{Front, RawUpstream, get};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn forced(upstream: &RawUpstream) -> TransparentProxy {
    TransparentProxy::builder().force_host(upstream.addr().to_string()).build().unwrap()
}

#[tokio::test]
async fn an_origin_form_request_goes_where_its_host_says() {
    let upstream = RawUpstream::answering([OK]);
    let front = Front::hyper(TransparentProxy::new()).await;
    let host = upstream.addr();
    let response = front.exchange(format!("GET /a%2F?b HTTP/1.1\r\nHost: {host}\r\nX: 1\r\n\r\n")).await;
    assert_eq!((response.status(), response.text()), (200, "ok"));
    assert_eq!(upstream.only_request().head, format!("GET /a%2F?b HTTP/1.1\r\nhost: {host}\r\nx: 1\r\n\r\n"));
}

#[tokio::test]
async fn it_is_a_forward_proxy_for_absolute_form_requests_whose_host_is_replaced() {
    let upstream = RawUpstream::answering([OK]);
    let front = Front::hyper(TransparentProxy::new()).await;
    let host = upstream.addr();
    for (target, path) in [("/a?b", "/a?b"), ("", "/"), ("?x", "/?x"), ("//a/../%2f", "//a/../%2f")] {
        let request =
            format!("GET http://{host}{target} HTTP/1.1\r\nHost: other.example\r\nProxy-Connection: x\r\n\r\n");
        assert_eq!(front.exchange(request).await.status(), 200);
        assert_eq!(upstream.requests().pop().unwrap().head, format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    }
    let response = front.exchange(format!("OPTIONS * HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(upstream.requests().pop().unwrap().line(), "OPTIONS * HTTP/1.1");
}

#[tokio::test]
async fn many_requests_share_the_connection_of_a_client_and_one_upstream_connection() {
    let upstream = RawUpstream::answering([OK]);
    let front = Front::hyper(TransparentProxy::new()).await;
    let mut client = front.client().await;
    for n in 0..5 {
        // `Connection: close` of the client does not close the upstream connection.
        let connection = if n == 4 { "Connection: close\r\n" } else { "" };
        let request = format!("GET /{n} HTTP/1.1\r\nHost: {}\r\n{connection}\r\n", upstream.addr());
        assert_eq!(client.exchange(request).await.text(), "ok");
    }
    front.exchange(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", upstream.addr())).await;
    assert_eq!((upstream.requests().len(), upstream.connections()), (6, 1));
}

#[tokio::test]
async fn a_forced_host_is_where_every_request_goes_with_its_own_host() {
    let upstream = RawUpstream::answering([OK]);
    let front = Front::hyper(forced(&upstream)).await;
    for (request, host) in [
        ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(), "a.example".to_owned()),
        ("GET http://b.example:8080/ HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(), "b.example:8080".to_owned()),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), upstream.addr().to_string()),
    ] {
        assert_eq!(front.exchange(request).await.status(), 200);
        assert_eq!(upstream.requests().pop().unwrap().header("host"), Some(host.as_str()));
    }
}

#[tokio::test]
async fn a_forced_scheme_is_spoken_whatever_the_request_says() {
    let upstream = RawUpstream::answering([OK]);
    let proxy = TransparentProxy::builder().force_scheme("HTTP").build().unwrap();
    let mut request = get(format!("https://{}/", upstream.addr()));
    request.headers_mut().insert("host", "x".parse().unwrap());
    assert_eq!(proxy.oneshot(request).await.unwrap().status(), 200);

    let ca = crate::support::tls::TestCa::new();
    let secure = RawUpstream::tls(&ca, &["http/1.1"], |mut conn| async move {
        conn.request().await;
        conn.write(OK).await;
    });
    let tls = nexthop::net::Tls::rustls_config(ca.client_config(&[]));
    let exact = ExactProxy::builder().tls(tls).build().unwrap();
    let builder = TransparentProxy::builder().client(exact).force_scheme("https");
    let front = Front::hyper(builder.build().unwrap()).await;
    let response = front.exchange(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", secure.addr())).await;
    assert_eq!(response.text(), "ok");
}

#[tokio::test]
async fn wrong_settings_are_named() {
    for host in ["", "a b", "http://h", "u@h", "h/x", "h:99999"] {
        let error = TransparentProxy::builder().force_host(host).build().unwrap_err();
        assert!(error.to_string().contains(&format!("{host:?}")), "{error}");
    }
    let error = TransparentProxy::builder().force_scheme("ftp").build().unwrap_err();
    assert!(error.to_string().contains("ftp"), "{error}");
}

#[tokio::test]
async fn bad_hosts_and_targets_are_answered_with_400_and_connect_with_501() {
    let upstream = RawUpstream::answering([OK]);
    let front = Front::hyper(forced(&upstream)).await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/../x\r\n\r\n", 400),
        ("GET http://u:p@h/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ftp://h/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET h:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", 501),
    ] {
        assert_eq!(front.exchange(request).await.status(), status, "{request}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_request_to_the_forward_proxy_itself_ends_where_only_whole_urls_are_taken() {
    let upstream = RawUpstream::answering([OK]);
    let front = Front::hyper(TransparentProxy::builder().absolute_form_only().build().unwrap()).await;
    let (itself, other) = (front.addr, upstream.addr());
    for (request, status) in [
        (format!("GET http://{other}/ HTTP/1.1\r\nHost: {other}\r\n\r\n"), 200),
        (format!("GET / HTTP/1.1\r\nHost: {other}\r\n\r\n"), 400),
        (format!("OPTIONS * HTTP/1.1\r\nHost: {other}\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nHost: {itself}\r\n\r\n"), 400),
        (format!("GET http://{itself}/ HTTP/1.1\r\nHost: {itself}\r\n\r\n"), 400),
    ] {
        assert_eq!(front.exchange(&request).await.status(), status, "{request}");
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn errors_are_answers_that_tell_outer_layers_why_and_clients_nothing() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let request = Request::get("/secret").header("host", closed.to_string()).body(Body::empty()).unwrap();
    let response = TransparentProxy::new().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 502);
    assert_eq!(response.extensions().get::<Error>().unwrap().kind(), ErrorKind::Connect);
    let (text, _) = crate::support::read(response).await;
    assert_eq!(String::from_utf8(text).unwrap(), "Bad Gateway\n");
}
