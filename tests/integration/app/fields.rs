//! Request headers: which ones are removed and which ones are added.

use std::sync::{Arc, OnceLock};

use http::{HeaderName, Request, Response, Version};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nexthop::{
    Body, ExactProxy, UpstreamUrl,
    app::{ForwardedFor, HostHeader, PathPrefix, ProxyApp, UpstreamSelector, Via},
    ext::{KeepHeaders, PeerAddr},
    middleware::{ProxyMiddleware, Trust},
    protocol::ForwardedHeaders,
};
use proptest::prelude::*;
use tokio::net::TcpStream;
use tower::{Layer, ServiceBuilder, ServiceExt};

use super::{OK, app};
use crate::support::{Front, InMemory, RawUpstream, log::Log};

#[tokio::test]
async fn hop_by_hop_fields_end_here_and_ours_cannot_be_named_away() {
    let upstream = RawUpstream::answering([OK]);
    let service = app(&upstream, "")
        .forwarded_headers([ForwardedHeaders::XForwarded])
        .via(Via::Named("us".into()))
        .build()
        .unwrap();
    let front = Front::serve(service).await;
    front
        .exchange(concat!(
            "GET /x HTTP/1.1\r\nHost: front.example\r\n",
            "Connection:\r\nConnection: close, X-Forwarded-For, X-Forwarded-Host\r\ncOnnection: x-gone,\tHost ,via\r\n",
            "X-Gone: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\n",
            "TE: gzip,\ttrailers\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nx_forwarded_for: 8.8.8.8\r\nForwarded: for=9.9.9.9\r\n",
            "X-WSGIProxy-Str-1: user root\r\nAccept: a\r\nAccept: b\r\nX-Bytes: \u{e9}\r\n\r\n",
        ))
        .await;
    let seen = upstream.only_request();
    let mut lines: Vec<_> = seen.head.lines().skip(1).filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "accept: a",
            "accept: b",
            "connection: te",
            &format!("host: {}", upstream.addr()),
            "te: trailers",
            "via: 1.1 us",
            "x-bytes: \u{e9}",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: front.example",
            "x-forwarded-port: 80",
            "x-forwarded-proto: http",
        ]
    );
}

#[tokio::test]
async fn without_a_peer_no_address_is_invented_and_nothing_else_is_added() {
    let upstream = RawUpstream::answering([OK]);
    let service = app(&upstream, "").via(Via::Off).forwarded_headers([]).build().unwrap();
    let front = Front::hyper(service).await;
    front.exchange("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(upstream.only_request().head, format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", upstream.addr()));

    let upstream = RawUpstream::answering([OK]);
    let front = Front::hyper(app(&upstream, "").build().unwrap()).await;
    front.exchange("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let seen = upstream.only_request();
    assert_eq!(seen.header("x-forwarded-for"), None);
    assert_eq!(seen.header("x-forwarded-server"), Some("h"));
    assert_eq!(seen.header("user-agent"), None);
    assert_eq!(seen.header("accept-encoding"), None);
}

#[tokio::test]
async fn each_family_is_written_as_it_is_chosen() {
    let upstream = RawUpstream::answering([OK]);
    let front = |families: Vec<ForwardedHeaders>| {
        let prefix = PathPrefix::Strip("/api".parse().unwrap());
        Front::serve(app(&upstream, "/app?k=1").forwarded_headers(families).prefix(prefix).build().unwrap())
    };
    for (families, expected) in [
        (
            vec![ForwardedHeaders::WsgiProxy],
            vec![
                "x-forwarded-for: 127.0.0.1",
                "x-forwarded-scheme: http",
                "x-forwarded-script-name: /api",
                "x-forwarded-server: f:81",
                "x-traversal-path: /app",
                "x-traversal-query-string: k=1",
            ],
        ),
        (
            vec![ForwardedHeaders::XForwarded],
            vec![
                "x-forwarded-for: 127.0.0.1",
                "x-forwarded-host: f:81",
                "x-forwarded-port: 81",
                "x-forwarded-prefix: /api",
                "x-forwarded-proto: http",
            ],
        ),
        (vec![ForwardedHeaders::Rfc7239], vec!["forwarded: for=127.0.0.1;host=\"f:81\";proto=http"]),
    ] {
        let count = upstream.requests().len();
        let front = front(families).await;
        front.exchange("GET /api/x HTTP/1.1\r\nhost: f:81\r\nforwarded: for=6.6.6.6\r\n\r\n").await;
        let seen = upstream.requests().swap_remove(count);
        let mut lines: Vec<_> =
            seen.head.lines().filter(|l| l.starts_with("x-") || l.starts_with("forwarded")).collect();
        lines.sort_unstable();
        assert_eq!(lines, expected);
    }
}

const USER: HeaderName = HeaderName::from_static("x-forwarded-user");
const MAIL: HeaderName = HeaderName::from_static("remote-email");

/// A layer of the program's own, which authenticates some clients.
fn authenticates(mut request: Request<hyper::body::Incoming>) -> Request<hyper::body::Incoming> {
    KeepHeaders::set(&mut request, USER, "ann".parse().unwrap());
    request.headers_mut().append(MAIL, "ann@a.example".parse().unwrap());
    KeepHeaders::new([MAIL, HeaderName::from_static("x-forwarded-host")]).mark(&mut request);
    request
}

#[tokio::test]
async fn headers_that_a_layer_marks_are_kept_and_a_client_can_neither_forge_nor_name_them_away() {
    let forged =
        "x-forwarded-user: root\r\nx_forwarded_user: root\r\nx-real-ip: 6.6.6.6\r\nx-forwarded-host: forged\r\n";
    let request = format!(
        "GET /x HTTP/1.1\r\nhost: front.example\r\n{forged}connection: X-Forwarded-User, remote-email, x-gone\r\nx-gone: 1\r\n\r\n"
    );
    for through_middleware in [false, true] {
        let upstream = RawUpstream::answering([OK]);
        let service = app(&upstream, "").build().unwrap();
        let front = if through_middleware {
            let layer = ProxyMiddleware::builder().build().unwrap();
            Front::serve(ServiceBuilder::new().map_request(authenticates).service(layer.layer(service))).await
        } else {
            Front::serve(ServiceBuilder::new().map_request(authenticates).service(service)).await
        };
        assert_eq!(front.exchange(&request).await.status(), 200);
        let seen = upstream.only_request();
        assert_eq!(
            (seen.headers("x-forwarded-user"), seen.headers("remote-email")),
            (vec!["ann"], vec!["ann@a.example"])
        );
        assert_eq!(seen.headers("x-forwarded-host"), ["front.example"]);
        for gone in ["x_forwarded_user", "x-real-ip", "x-gone"] {
            assert_eq!(seen.header(gone), None, "{gone} {through_middleware}");
        }
    }
    let upstream = RawUpstream::answering([OK]);
    let service = app(&upstream, "").suppress_headers(["remote_email"]).build().unwrap();
    let front = Front::serve(ServiceBuilder::new().map_request(authenticates).service(service)).await;
    front.exchange(&request).await;
    assert_eq!(upstream.only_request().header("remote-email"), None);
}

#[tokio::test]
async fn the_removal_of_an_identity_header_is_logged_once_with_its_name() {
    let (log, _guard) = Log::start();
    let upstream = RawUpstream::answering([OK; 8]);
    let service = app(&upstream, "").suppress_headers(["x-real-ip"]).build().unwrap();
    for name in ["x-forwarded-user", "remote-user", "x-forwarded-user", "x-forwarded-for", "x-real-ip", "x-user"] {
        let request = Request::get("/").header("host", "h").header(name, "secret-value").body(Body::empty()).unwrap();
        assert_eq!(service.clone().oneshot(request).await.unwrap().status(), 200);
    }
    let text = log.text();
    let logged = |name: &str| {
        text.matches(&format!("header={name} ")).count() + text.matches(&format!("header={name}\n")).count()
    };
    assert_eq!((logged("x-forwarded-user"), logged("remote-user")), (1, 1), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("KeepHeaders") && !text.contains("secret-value"), "{text}");
}

#[tokio::test]
async fn an_empty_port_of_the_clients_host_is_the_default_port() {
    for (scheme, port) in [(http::uri::Scheme::HTTP, "80"), (http::uri::Scheme::HTTPS, "443")] {
        let answer = "HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: http://elsewhere/\r\n\r\n";
        let upstream = RawUpstream::tcp(move |mut conn| async move {
            let host = conn.request().await.header("host").unwrap().to_owned();
            conn.write(answer.replace("elsewhere", &host)).await;
        });
        let families = [ForwardedHeaders::WsgiProxy, ForwardedHeaders::XForwarded, ForwardedHeaders::Rfc7239];
        let service = app(&upstream, "").forwarded_headers(families).public_scheme(scheme.clone());
        let front = Front::serve(service.host(HostHeader::Keep).build().unwrap()).await;
        let answer = front.exchange("GET /x HTTP/1.1\r\nhost: front.example:\r\n\r\n").await;
        assert_eq!(answer.header("location"), Some(&*format!("{scheme}://front.example/")));
        let seen = upstream.only_request();
        for name in ["host", "x-forwarded-host", "x-forwarded-server"] {
            assert_eq!(seen.header(name), Some("front.example"), "{name}");
        }
        assert_eq!(seen.header("x-forwarded-port"), Some(port));
        assert!(seen.header("forwarded").unwrap().contains(";host=front.example;"));
    }
    let upstream = RawUpstream::answering([OK]);
    let front = Front::serve(app(&upstream, "").build().unwrap()).await;
    let io = TokioIo::new(TcpStream::connect(front.addr).await.unwrap());
    let (mut send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://front.example:/x").header("host", "front.example:80");
    let response = send.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(upstream.only_request().header("x-forwarded-port"), Some("80"));
}

#[tokio::test]
async fn by_default_the_headers_of_wsgiproxy_and_x_forwarded_are_sent_and_each_once() {
    let upstream = RawUpstream::answering([OK]);
    let prefix = PathPrefix::Strip("/api".parse().unwrap());
    let front = Front::serve(app(&upstream, "/app?k=1").prefix(prefix).via(Via::Off).build().unwrap()).await;
    let forged = "forwarded: for=6.6.6.6\r\nx-forwarded-for: 6.6.6.6\r\nx-forwarded-proto: https\r\n";
    front.exchange(format!("GET /api/x HTTP/1.1\r\nhost: f:81\r\n{forged}\r\n")).await;
    let seen = upstream.only_request();
    let mut lines: Vec<_> = seen.head.lines().filter(|line| !line.is_empty()).skip(1).collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            &format!("host: {}", upstream.addr()),
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: f:81",
            "x-forwarded-port: 81",
            "x-forwarded-prefix: /api",
            "x-forwarded-proto: http",
            "x-forwarded-scheme: http",
            "x-forwarded-script-name: /api",
            "x-forwarded-server: f:81",
            "x-traversal-path: /app",
            "x-traversal-query-string: k=1",
        ]
    );
}

/// Returns the header lines that the upstream receives. With `hook`, the headers pass through a hook's `HeaderMap`;
/// without it, they are written directly with the head.
async fn told(
    families: &[ForwardedHeaders],
    fields: &[(&str, String)],
    peer: bool,
    via: bool,
    hook: bool,
) -> Vec<String> {
    let (seen, mut see) = tokio::sync::mpsc::unbounded_channel();
    let upstream = InMemory::new(move |mut conn| {
        let seen = seen.clone();
        async move {
            seen.send(conn.request().await.head).unwrap();
            conn.write(OK).await;
        }
    });
    let exact = ExactProxy::builder().connector(upstream).build().unwrap();
    let builder = ProxyApp::builder("http://u.example/app?k=1").client(exact);
    let builder =
        builder.forwarded_headers(families.to_vec()).via(if via { Via::Named("us".into()) } else { Via::Off });
    let builder = builder.suppress_headers(["via-nobody", "x-forwarded-for"]);
    let builder = if hook { builder.rewrite_request(|_| ()) } else { builder };
    let mut request = Request::get("/x").header("host", "front.example:81");
    for (name, value) in fields {
        request = request.header(*name, value);
    }
    if peer {
        request = request.extension(PeerAddr::Tcp("192.0.2.7:4711".parse().unwrap()));
    }
    let response = builder.build().unwrap().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let head = see.recv().await.unwrap();
    let mut lines: Vec<_> = head.lines().map(str::to_owned).collect();
    // The order of headers with different names is irrelevant; the stable sort keeps the order of lines with one name.
    lines.sort_by(|one, other| one.split(':').next().cmp(&other.split(':').next()));
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_told_is_the_same_whether_a_hook_could_see_it_or_not(
        families in proptest::collection::vec(
            prop_oneof![Just(ForwardedHeaders::WsgiProxy), Just(ForwardedHeaders::XForwarded), Just(ForwardedHeaders::Rfc7239)], 0..4),
        fields in proptest::collection::vec((
            prop_oneof![
                Just("via"), Just("x-forwarded-for"), Just("x_forwarded_for"), Just("x-forwarded-proto"), Just("forwarded"),
                Just("connection"), Just("te"), Just("x-other"), Just("x-wsgiproxy-str-1"), Just("cookie"),
            ],
            prop_oneof![Just("via, x-forwarded-for, x-forwarded-server".to_owned()), "[a-z0-9][a-z0-9 .,=]{0,12}[a-z]"],
        ), 0..8),
        peer: bool,
        via: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (written, seen) = runtime.block_on(async {
            (told(&families, &fields, peer, via, false).await, told(&families, &fields, peer, via, true).await)
        });
        prop_assert_eq!(written, seen);
    }
}

#[tokio::test]
async fn a_field_that_two_families_share_is_written_once() {
    for families in [[ForwardedHeaders::WsgiProxy, ForwardedHeaders::XForwarded], [ForwardedHeaders::Rfc7239; 2]] {
        let lines = told(&families, &[], true, true, false).await;
        let count = |name: &str| lines.iter().filter(|line| line.starts_with(name)).count();
        let expected = if families[0] == ForwardedHeaders::Rfc7239 { (0, 1) } else { (1, 0) };
        assert_eq!((count("x-forwarded-for:"), count("forwarded:")), expected, "{lines:?}");
    }
}

#[tokio::test]
async fn the_address_can_be_left_out_and_fields_suppressed() {
    let upstream = RawUpstream::answering([OK]);
    let service =
        app(&upstream, "").forwarded_for(ForwardedFor::Omit).suppress_headers(["X-Secret", "Cookie"]).build().unwrap();
    let front = Front::serve(service).await;
    front.exchange("GET / HTTP/1.1\r\nhost: h\r\nx_secret: 1\r\nX-SECRET: 2\r\ncookie: a\r\nx-other: 3\r\n\r\n").await;
    let seen = upstream.only_request();
    assert_eq!(seen.header("x-forwarded-for"), None);
    assert!(!seen.head.contains("secret") && !seen.head.contains("cookie"));
    assert_eq!(seen.header("x-other"), Some("3"));
}

#[tokio::test]
async fn host_is_replaced_kept_or_fixed() {
    let upstream = RawUpstream::answering([OK]);
    let fixed = HostHeader::Fixed("fixed.example".parse().unwrap());
    for (rule, request, expected) in [
        (HostHeader::Replace, "GET / HTTP/1.1\r\nhost: f:81\r\n\r\n", upstream.addr().to_string()),
        (HostHeader::Keep, "GET / HTTP/1.1\r\nhost: f:81\r\n\r\n", "f:81".to_owned()),
        (HostHeader::Keep, "GET http://g:82/ HTTP/1.1\r\nhost: f:81\r\n\r\n", "g:82".to_owned()),
        (HostHeader::Keep, "GET / HTTP/1.0\r\n\r\n", upstream.addr().to_string()),
        (fixed, "GET / HTTP/1.1\r\nhost: f:81\r\n\r\n", "fixed.example".to_owned()),
    ] {
        let count = upstream.requests().len();
        let front = Front::hyper(app(&upstream, "").host(rule.clone()).build().unwrap()).await;
        front.exchange(request).await;
        assert_eq!(upstream.requests()[count].header("host"), Some(&*expected), "{rule:?}");
    }
}

#[tokio::test]
async fn a_request_that_comes_back_is_a_loop() {
    let own: Arc<OnceLock<UpstreamUrl>> = Arc::default();
    let here = own.clone();
    let choose = move |_: &http::request::Parts| match here.get() {
        Some(href) => Ok(href.clone()),
        None => Err(Box::new(Response::new(Body::empty()))),
    };
    let front = Front::hyper(ProxyApp::builder(UpstreamSelector::new(choose)).build().unwrap()).await;
    own.set(front.url("").parse().unwrap()).unwrap();
    assert_eq!(front.exchange("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.status(), 508);
}

#[tokio::test]
async fn two_proxies_in_a_row_are_no_loop_and_both_are_named() {
    let upstream = RawUpstream::answering([OK]);
    let inner = Front::hyper(app(&upstream, "").build().unwrap()).await;
    let outer = Front::hyper(ProxyApp::builder(inner.url("")).build().unwrap()).await;
    assert_eq!(outer.exchange("GET / HTTP/1.0\r\nvia: 1.1 first\r\n\r\n").await.status(), 200);
    let seen = upstream.only_request();
    let via = seen.headers("via");
    assert_eq!(via[0], "1.1 first");
    assert!(via[1].starts_with("1.0 nexthop-") && via[2].starts_with("1.1 nexthop-") && via.len() == 3, "{via:?}");
}

#[tokio::test]
async fn an_http_2_request_becomes_an_http_1_1_request() {
    let upstream = RawUpstream::answering([OK]);
    let front = Front::hyper(app(&upstream, "/app").host(HostHeader::Keep).build().unwrap()).await;
    let io = TokioIo::new(TcpStream::connect(front.addr).await.unwrap());
    let (mut send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://only-authority.example:81/x?y")
        .version(Version::HTTP_2)
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let response = send.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    let seen = upstream.only_request();
    assert_eq!(seen.line(), "GET /app/x?y HTTP/1.1");
    assert_eq!(seen.header("host"), Some("only-authority.example:81"));
    assert_eq!(seen.header("cookie"), Some("a=1; b=2"));
    assert_eq!(seen.header("te"), Some("trailers"));
    assert!(seen.header("via").unwrap().starts_with("2.0 "));
    connection.abort();
}

#[tokio::test]
async fn a_handshake_is_carried_and_says_where_it_came_from() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        conn.write(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: x-gone, Upgrade\r\nUpgrade: ECHO/1\r\nx-gone: 1\r\n\r\nhi",
        )
        .await;
        let said = conn.read(4).await;
        conn.write(said).await;
    });
    let front = Front::serve(app(&upstream, "").build().unwrap()).await;
    let mut client = front.client().await;
    client.send("GET /ws HTTP/1.1\r\nhost: h\r\nconnection: keep-alive, Upgrade\r\nupgrade: echo/1, h2c\r\n\r\n").await;
    let answer = client.head_response().await;
    assert_eq!(answer.status(), 101);
    assert_eq!((answer.header("upgrade"), answer.header("connection")), (Some("ECHO/1"), Some("upgrade")));
    assert_eq!(answer.header("x-gone"), None);
    assert_eq!(client.read(2).await, b"hi");
    client.send("ping").await;
    assert_eq!(client.read(4).await, b"ping");
    let seen = upstream.only_request();
    assert_eq!((seen.header("upgrade"), seen.header("connection")), (Some("echo/1"), Some("upgrade")));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
}

#[tokio::test]
async fn an_unasked_101_is_refused() {
    let upstream =
        RawUpstream::answering(["HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"]);
    let front = Front::hyper(app(&upstream, "").build().unwrap()).await;
    assert_eq!(front.exchange("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.status(), 502);
    assert_eq!(
        front.exchange("GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: y\r\n\r\n").await.status(),
        502
    );
}

/// A proxy passes identity headers only from a trusted peer: an upstream that trusts the proxy would accept them from
/// anybody.
#[tokio::test]
async fn fields_that_name_a_user_pass_where_they_are_vouched_for_and_nowhere_else() {
    const REQUEST: &str = "GET / HTTP/1.1\r\nhost: h\r\nRemote-User: root\r\nX.Auth.Request.Email: r@x\r\n\r\n";
    let upstream = RawUpstream::answering([OK]);
    let seen = async |front: Front| {
        let count = upstream.requests().len();
        assert_eq!(front.exchange(REQUEST).await.status(), 200);
        let seen = upstream.requests().swap_remove(count);
        ["remote-user", "x.auth.request.email"].map(|name| seen.header(name).map(str::to_owned))
    };
    let root = || Some("root".to_owned());
    assert_eq!(seen(Front::serve(app(&upstream, "").build().unwrap()).await).await, [None, None]);

    let vouching = ProxyMiddleware::builder().trust(Trust::peers(["loopback"]).unwrap()).build().unwrap();
    let front = Front::serve(vouching.layer(app(&upstream, "").build().unwrap())).await;
    assert_eq!(seen(front).await, [root(), None], "the peer is trusted, but the other spelling is removed");

    let strict = ProxyMiddleware::builder().build().unwrap();
    let front = Front::serve(strict.layer(app(&upstream, "").build().unwrap())).await;
    assert_eq!(seen(front).await, [None, None]);

    let front = Front::serve(app(&upstream, "").dangerous_keep_identity_headers().build().unwrap()).await;
    assert_eq!(seen(front).await, [root(), Some("r@x".to_owned())]);
}
