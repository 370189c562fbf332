//! The assertions of wsgiprox's own tests, each with an absolute URL, with plain HTTP in a tunnel and with TLS in a
//! tunnel.

use std::{convert::Infallible, time::Duration};

use axum::{Router, routing::get};
use http::{Request, Response};
use nexthop::{Body, forward::HostMismatchPolicy};

use super::tools::{Proxy, WAYS, Way, says};
use crate::support::{RawClient, body::fed, within};

#[tokio::test]
async fn a_url_becomes_a_path_below_the_prefix() {
    let proxy = Proxy::page(|builder| builder).await;
    for way in WAYS {
        let url = format!("{}://example.com/path/file?foo=bar&addproxyhost=true", way.scheme());
        let response = proxy.get(way, "example.com", way.port(), "/path/file?foo=bar&addproxyhost=true").await;
        says(
            &response,
            &[
                &format!("GET /prefix/{url}"),
                &format!("url: {url}"),
                &format!("scheme: {}", way.scheme()),
                &format!("tls: {}", way == Way::Tls),
                "host: example.com",
                "proxy: wsgiprox false",
                "peer: true",
            ],
        );
    }
}

#[tokio::test]
async fn a_port_of_its_own_stands_in_the_url() {
    let proxy = Proxy::page(|builder| builder).await;
    for way in WAYS {
        for host in ["example.com:123", "10.0.1.10:7890", "[2001:db8::1]:8443", "[::ffff:10.0.1.10]:8443"] {
            let (name, port) = host.rsplit_once(':').unwrap();
            let response = proxy.get(way, name, port.parse().unwrap(), "/path").await;
            says(&response, &[&format!("GET /prefix/{}://{host}/path", way.scheme()), &format!("host: {host}")]);
            if way != Way::Absolute {
                let bare = name.trim_start_matches('[').trim_end_matches(']');
                says(&response, &[&format!("connect: {bare} Some({port})")]);
            }
        }
    }
}

#[tokio::test]
async fn the_name_that_tls_asks_for_is_the_urls_where_that_is_the_policy() {
    let proxy = Proxy::page(|builder| builder.host_mismatch(HostMismatchPolicy::UseSni)).await;
    let io = proxy.tls(proxy.tunnel("93.184.216.34:443").await, "example.com").await;
    let response = RawClient::over(io).exchange("GET /path?foo=bar HTTP/1.1\r\nHost: 93.184.216.34\r\n\r\n").await;
    says(
        &response,
        &[
            "GET /prefix/https://example.com/path?foo=bar",
            "host: example.com",
            "connect: 93.184.216.34 Some(443)",
            "sni: example.com",
        ],
    );
}

#[tokio::test]
async fn a_body_reaches_the_application() {
    let proxy = Proxy::page(|builder| builder).await;
    for way in WAYS {
        let mut channel = proxy.open(way, "example.com", way.port()).await;
        let sized = channel.exchange("POST", "/path", "Content-Length: 7\r\n", "foo=bar").await;
        says(&sized, &[&format!("POST /prefix/{}://example.com/path", way.scheme()), "body: foo=bar"]);
        let chunked = channel
            .exchange("PUT", "/path", "Transfer-Encoding: chunked\r\n", "3\r\nfoo\r\n4\r\n=bar\r\n0\r\n\r\n")
            .await;
        says(&chunked, &["body: foo=bar"]);
        // Any method starts plain HTTP in a tunnel, not only `GET`.
        let mut first = proxy.open(way, "example.com", way.port()).await;
        says(
            &first.exchange("DELETE", "/path", "", "").await,
            &["connect: - None"][..usize::from(way == Way::Absolute)],
        );
    }
}

#[tokio::test]
async fn the_proxys_own_host_and_its_aliases_are_not_prefixed() {
    let proxy = Proxy::page(|builder| builder.host_alias("proxy-alias")).await;
    for way in WAYS {
        for host in ["wsgiprox", "proxy-alias"] {
            let response = proxy.get(way, host, way.port(), "/path/file?foo=bar").await;
            let proxy_host = format!("proxy: {host} true");
            says(&response, &["GET /path/file?foo=bar", &proxy_host, &format!("host: {host}")]);
        }
    }
}

#[tokio::test]
async fn a_host_has_its_own_application() {
    let app = Router::new().route("/path/file", get(async |uri: http::Uri| format!("Custom App: {uri}")));
    let proxy = Proxy::page(|builder| builder.app("proxy-app-1", app)).await;
    for way in WAYS {
        let response = proxy.get(way, "proxy-app-1", way.port(), "/path/file?foo=bar").await;
        assert_eq!(response.text(), "Custom App: /path/file?foo=bar");
    }
}

#[tokio::test]
async fn requests_for_the_application_itself_pass_untouched() {
    let proxy = Proxy::page(|builder| builder).await;
    let response = proxy.front.exchange("GET /path/file?foo=bar HTTP/1.1\r\nHost: localhost:8080\r\n\r\n").await;
    says(&response, &["GET /path/file?foo=bar", "host: localhost:8080", "url: -", "proxy: - false"]);
}

/// Starts an application that streams: in chunks to HTTP/1.1 clients, until the connection closes to HTTP/1.0 clients.
async fn streaming() -> Proxy {
    let app = tower::service_fn(async |_: Request<Body>| {
        let (feed, body) = fed();
        tokio::spawn(async move {
            for piece in ["one ", "two ", "three"] {
                feed.data(piece).await;
            }
        });
        Ok::<_, Infallible>(Response::new(Body::new(body)))
    });
    Proxy::over(app, |builder| builder.resolver(nexthop::forward::Resolver::fixed("/"))).await
}

#[tokio::test]
async fn what_is_streamed_is_chunked_for_those_who_understand() {
    let proxy = streaming().await;
    for way in WAYS {
        let mut channel = proxy.open(way, "example.com", way.port()).await;
        for _ in 0..2 {
            let response = channel.get("/").await;
            assert_eq!((response.header("transfer-encoding"), response.text()), (Some("chunked"), "one two three"));
        }
        let old = channel.request("GET", "/", "").replace("HTTP/1.1", "HTTP/1.0");
        let response = channel.raw.exchange(old).await;
        assert!(response.head.starts_with("HTTP/1.0 200 "), "{}", response.head);
        assert_eq!((response.header("transfer-encoding"), response.text()), (None, "one two three"));
        channel.raw.closed().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_applications_stream() {
    let (dropped, mut drops) = tokio::sync::mpsc::channel(1);
    let app = tower::service_fn(move |_: Request<Body>| {
        let dropped = dropped.clone();
        let (feed, body) = fed();
        tokio::spawn(async move {
            while feed.data(vec![b'x'; 64 * 1024]).await {}
            feed.dropped().await;
            dropped.send(()).await.unwrap();
        });
        std::future::ready(Ok::<_, Infallible>(Response::new(Body::new(body))))
    });
    let proxy = Proxy::over(app, |builder| builder.resolver(nexthop::forward::Resolver::fixed("/"))).await;
    for way in WAYS {
        let mut channel = proxy.open(way, "example.com", way.port()).await;
        let request = channel.request("GET", "/", "");
        channel.raw.send(request).await;
        channel.raw.read(1024).await;
        drop(channel);
        within("the end of the stream", drops.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn requests_in_a_tunnel_are_kept_alive_and_may_be_pipelined() {
    let proxy = Proxy::page(|builder| builder).await;
    for way in WAYS {
        let mut channel = proxy.open(way, "example.com", way.port()).await;
        for n in 0..60 {
            let path = format!("/{n}");
            says(&channel.get(&path).await, &[&format!("url: {}://example.com{path}", way.scheme())]);
        }
        let both = channel.request("GET", "/first", "") + &channel.request("GET", "/second", "Connection: close\r\n");
        channel.raw.send(both).await;
        for path in ["/first", "/second"] {
            says(&channel.raw.response().await, &[&format!("url: {}://example.com{path}", way.scheme())]);
        }
        channel.raw.closed().await;
        // RFC 9112 §2.2: empty lines before a request are ignored.
        let mut late = proxy.open(way, "example.com", way.port()).await;
        let request = format!("\r\n{}", late.request("GET", "/", ""));
        assert_eq!(late.raw.exchange(request).await.status(), 200);
    }
}

/// Corresponds to wsgiprox's `enable_websockets: False`: a handshake is served as an ordinary request.
#[tokio::test]
async fn a_handshake_is_a_request_like_others_where_websockets_are_off() {
    let proxy = Proxy::page(|builder| builder.websockets(false)).await;
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for way in WAYS {
        let mut channel = proxy.open(way, "example.com", way.port()).await;
        says(&channel.exchange("GET", "/", fields, "").await, &["host: example.com"]);
        says(&channel.get("/next").await, &["host: example.com"]);
    }
}

#[tokio::test]
async fn a_tunnel_without_a_word_in_it_is_closed_in_time() {
    let proxy = Proxy::page(|builder| builder.handshake_timeout(Duration::from_millis(50))).await;
    for port in [80, 443] {
        let mut client = RawClient::over(proxy.tunnel(&format!("example.com:{port}")).await);
        client.closed().await;
    }
}

#[tokio::test]
async fn the_certificate_is_to_be_had_through_the_proxy_and_the_key_is_not() {
    let proxy = Proxy::page(|builder| builder).await;
    for way in WAYS {
        let get = async |path: &'static str| proxy.get(way, "wsgiprox", way.port(), path).await;
        let pem = get("/download/pem").await;
        assert_eq!(pem.header("content-type"), Some("application/x-x509-ca-cert"));
        assert_eq!(pem.text(), proxy.authority.certificate_pem());
        let cer = get("/download/cer").await;
        assert_eq!(
            (cer.header("content-type"), cer.body.as_slice()),
            (Some("application/x-x509-ca-cert"), proxy.authority.certificate_der())
        );
        let p12 = get("/download/p12").await;
        assert_eq!((p12.status(), p12.header("content-type")), (200, Some("application/x-pkcs12")));
        let page = get("/").await;
        assert!(page.text().contains(proxy.authority.fingerprint_sha256()), "{}", page.text());
        for answer in [&pem.body, &cer.body, &p12.body, &page.body] {
            assert!(!String::from_utf8_lossy(answer).contains("PRIVATE KEY"));
        }
        says(&get("/other").await, &["GET /other", "proxy: wsgiprox true"]);
    }
    // A request in origin form bypasses the proxy: the application serves its own page.
    says(&proxy.front.exchange("GET /download/pem HTTP/1.1\r\nHost: wsgiprox\r\n\r\n").await, &["GET /download/pem"]);
}

#[tokio::test]
async fn the_certificate_may_have_a_host_of_its_own_or_none() {
    let elsewhere = Proxy::page(|builder| builder.download_host("ca.test")).await;
    let nowhere = Proxy::page(|builder| builder.download_host(None)).await;
    for way in WAYS {
        assert!(elsewhere.get(way, "ca.test", way.port(), "/download/pem").await.text().starts_with("-----BEGIN"));
        assert_eq!(elsewhere.get(way, "ca.test", way.port(), "/other").await.status(), 404);
        for proxy in [&elsewhere, &nowhere] {
            says(&proxy.get(way, "wsgiprox", way.port(), "/download/pem").await, &["GET /download/pem"]);
        }
    }
}
