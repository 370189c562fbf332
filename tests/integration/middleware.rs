//! Requests as an application receives them from `ProxyMiddleware`: restoration, overrides, invalid input, and axum's
//! extractors.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{ConnectInfo, OriginalUri},
    routing::any,
};
use http::{Method, Request, Uri, Version};
use http_body_util::BodyExt;
use nexthop::{
    Body,
    ext::{Hop, OriginalRequest, PeerAddr, TrustedBy},
    middleware::{ForceHost, ProxyMiddleware, ProxyMiddlewareBuilder, RestoredHeaders, Trust},
    protocol::ForwardedHeaders,
};
use tower::{Layer, ServiceExt};

use super::support::mock::{admitted, ask, request, through};

const EDGE: &str = "10.0.0.1";

fn behind_edge(family: ForwardedHeaders) -> ProxyMiddlewareBuilder {
    ProxyMiddleware::builder()
        .trust(Trust::peers(["10.0.0.0/8"]).unwrap())
        .read_headers(family)
        .restore(RestoredHeaders::all())
}

fn classic() -> ProxyMiddleware {
    behind_edge(ForwardedHeaders::WsgiProxy).build().unwrap()
}

#[tokio::test]
async fn the_classic_family_restores_the_whole_view() {
    let fields = [
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-server", "shop.example:8443"),
        ("x-forwarded-scheme", "https"),
        ("x-forwarded-script-name", "/shop"),
        ("x-traversal-path", "/myapp"),
        ("x-traversal-query-string", "some=querystring"),
        ("x-wsgiproxy-version", "0.1"),
    ];
    let saw = admitted(&classic(), EDGE, "/myapp/article/1?a=1&some=querystring", &fields).await;
    let origin = saw.origin();
    assert_eq!(saw.parts.uri, "/article/1?a=1");
    assert_eq!((origin.client(), origin.client_port()), (Some("192.0.2.7".parse().unwrap()), None));
    assert_eq!((origin.scheme().as_str(), origin.prefix(), origin.port()), ("https", "/shop", 8443));
    assert_eq!(origin.host().unwrap(), "shop.example:8443");
    assert_eq!(origin.hops(), [Hop::Addr("192.0.2.7".parse().unwrap(), None)]);
    assert_eq!(origin.trusted_by(), &TrustedBy::Peer);
    assert_eq!(origin.peer(), Some(&PeerAddr::Tcp("10.0.0.1:50000".parse().unwrap())));
    assert_eq!(saw.header("host").as_deref(), Some("shop.example:8443"));
    assert_eq!(saw.parts.headers.len(), 1);
}

#[tokio::test]
async fn a_peer_is_believed_the_client_and_the_scheme_until_more_is_asked_for() {
    let layer = ProxyMiddleware::builder()
        .trust(Trust::peers(["10.0.0.0/8"]).unwrap())
        .read_headers(ForwardedHeaders::XForwarded)
        .build()
        .unwrap();
    let fields = [
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "HTTPS"),
        ("x-forwarded-host", "a\"b"),
        ("x-forwarded-port", "no port"),
        ("x-forwarded-prefix", "//evil"),
    ];
    let saw = admitted(&layer, EDGE, "/x", &fields).await;
    let origin = saw.origin();
    assert_eq!((saw.client().as_deref(), origin.scheme().as_str()), (Some("192.0.2.7"), "https"));
    assert_eq!((origin.host().unwrap().as_str(), origin.port(), origin.prefix()), ("socket.example", 443, ""));
    assert_eq!(saw.parts.headers.len(), 1);
}

#[tokio::test]
async fn the_scheme_is_that_of_the_hop_that_named_the_client() {
    let layer = behind_edge(ForwardedHeaders::XForwarded).build().unwrap();
    for (list, protos, scheme) in [
        ("192.0.2.7, 10.0.0.2", "https, http", "https"),
        ("192.0.2.7, 10.0.0.2", "https", "https"),
        ("6.6.6.6, 192.0.2.7", "https, http", "http"),
        ("192.0.2.7", "wss", "https"),
        ("192.0.2.7", "ws", "http"),
    ] {
        let saw = admitted(&layer, EDGE, "/", &[("x-forwarded-for", list), ("x-forwarded-proto", protos)]).await;
        assert_eq!(saw.origin().scheme().as_str(), scheme, "{list} {protos}");
    }
}

#[tokio::test]
async fn forwarded_is_believed_of_the_element_the_walk_ends_on() {
    let layer = behind_edge(ForwardedHeaders::Rfc7239).build().unwrap();
    let list = "for=6.6.6.6;proto=http;host=evil.example, For=\"[2001:db8::7]:4711\";Proto=https;Host=\"shop.example:8443\", for=10.0.0.2;proto=http";
    let saw = admitted(&layer, EDGE, "/x", &[("forwarded", list)]).await;
    let origin = saw.origin();
    assert_eq!((saw.client().as_deref(), origin.client_port()), (Some("2001:db8::7"), Some(4711)));
    assert_eq!((origin.scheme().as_str(), saw.header("host").as_deref()), ("https", Some("shop.example:8443")));
    assert_eq!(origin.hops().len(), 2);
}

#[tokio::test]
async fn a_trusted_peer_that_names_nobody_is_itself_the_client() {
    let saw = admitted(&classic(), EDGE, "/", &[]).await;
    assert_eq!((saw.client().as_deref(), saw.origin().client_port()), (Some(EDGE), Some(50_000)));
}

#[tokio::test]
async fn believed_values_that_cannot_be_are_refused() {
    let layer = behind_edge(ForwardedHeaders::XForwarded).build().unwrap();
    for (name, value) in [
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-proto", "https\u{e9}"),
        ("x-forwarded-host", "a b"),
        ("x-forwarded-host", "user@host"),
        ("x-forwarded-host", "a/b"),
        ("x-forwarded-host", "[::1"),
        ("x-forwarded-port", "0"),
        ("x-forwarded-port", "65536"),
        ("x-forwarded-port", "+80"),
        ("x-forwarded-port", "http"),
    ] {
        assert_eq!(ask(&layer, EDGE, "/", &[(name, value)]).await.err(), Some(400), "{name}: {value}");
        assert_eq!(ask(&layer, "203.0.113.9", "/", &[(name, value)]).await.err(), None);
    }
}

#[tokio::test]
async fn a_forwarded_port_takes_the_place_of_the_hosts_own() {
    let layer = behind_edge(ForwardedHeaders::XForwarded).build().unwrap();
    for (proto, host, port, expected) in [
        ("https", "a.example", "443", "a.example"),
        ("https", "a.example", "8443", "a.example:8443"),
        ("http", "a.example:81", "80", "a.example"),
        ("http", "[::1]", "8080", "[::1]:8080"),
    ] {
        let fields = [("x-forwarded-proto", proto), ("x-forwarded-host", host), ("x-forwarded-port", port)];
        let saw = admitted(&layer, EDGE, "/", &fields).await;
        assert_eq!(saw.header("host").as_deref(), Some(expected));
        assert_eq!(saw.origin().port().to_string(), port);
    }
}

#[tokio::test]
async fn the_traversal_path_is_taken_off_at_the_border_of_a_segment_or_the_request_refused() {
    for (path, traversal, rest) in [
        // With a last slash, as the Python sender has it for an upstream at `/deep/`.
        ("/deep//x", "/deep/", Some("/x")),
        ("/deep/x", "/deep/", Some("/x")),
        ("/deep///x", "/deep/", Some("//x")),
        ("/deep//", "/deep/", Some("/")),
        ("/deep/", "/deep/", Some("/")),
        ("/deep", "/deep/", Some("/")),
        ("/deep//x", "deep/", Some("/x")),
        ("//x", "/", Some("/x")),
        ("/x", "/", Some("/x")),
        ("/deeper/x", "/deep/", None),
        ("/myapp/x", "/myapp", Some("/x")),
        ("/myapp", "/myapp", Some("/")),
        ("/myapp/", "/myapp", Some("/")),
        ("/myapp//x", "/myapp", Some("//x")),
        ("/myapp/x", "/myapp/", Some("/x")),
        ("/myapp/x", "myapp", Some("/x")),
        ("/my%2Fapp/%2e", "/my%2Fapp", Some("/%2e")),
        ("/x", "", Some("/x")),
        ("/x", "/", Some("/x")),
        ("/myapple", "/myapp", None),
        ("/myapple", "myapp", None),
        ("/my/app", "/my%2Fapp", None),
        ("/other", "/myapp", None),
        ("/MYAPP/x", "/myapp", None),
    ] {
        let saw = ask(&classic(), EDGE, path, &[("x-traversal-path", traversal)]).await;
        let expected = rest.map_or(Err(400), |rest| Ok(rest.to_owned()));
        assert_eq!(saw.map(|saw| saw.parts.uri.to_string()), expected, "{path} {traversal}");
    }
    let twice = [("x-traversal-path", "/a"), ("x-traversal-path", "/a")];
    assert_eq!(ask(&classic(), EDGE, "/a/x", &twice).await.err(), Some(400));
}

#[tokio::test]
async fn exactly_the_traversal_query_is_taken_off_or_the_request_refused() {
    for (uri, rest) in [
        ("/x?k=1", Some("/x")),
        ("/x?&k=1", Some("/x?")),
        ("/x?a=%20&b&k=1", Some("/x?a=%20&b")),
        ("/x?k=1&a", None),
        ("/x?ak=1", None),
        ("/x", None),
    ] {
        let saw = ask(&classic(), EDGE, uri, &[("x-traversal-query-string", "k=1")]).await;
        assert_eq!(
            saw.map(|saw| saw.parts.uri.to_string()),
            rest.map_or(Err(400), |rest| Ok(rest.to_owned())),
            "{uri}"
        );
    }
}

#[tokio::test]
async fn both_spellings_of_the_script_name_are_read_and_must_not_differ() {
    for name in ["x-forwarded-script-name", "x-script-name"] {
        assert_eq!(admitted(&classic(), EDGE, "/", &[(name, "/app")]).await.origin().prefix(), "/app");
    }
    let same = [("x-forwarded-script-name", "/app"), ("x-script-name", "/app")];
    assert_eq!(admitted(&classic(), EDGE, "/", &same).await.origin().prefix(), "/app");
    let differing = [("x-forwarded-script-name", "/app"), ("x-script-name", "/other")];
    assert_eq!(ask(&classic(), EDGE, "/", &differing).await.err(), Some(400));
}

#[tokio::test]
async fn a_configured_prefix_stands_before_the_path_whatever_the_request_says() {
    let layer = behind_edge(ForwardedHeaders::WsgiProxy).prefix("/bar").build().unwrap();
    for fields in [&[][..], &[("x-forwarded-script-name", "/told")]] {
        let saw = admitted(&layer, EDGE, "/foo", fields).await;
        assert_eq!((saw.origin().prefix(), saw.parts.uri.path()), ("/bar", "/foo"));
    }
}

#[tokio::test]
async fn a_popped_prefix_moves_from_the_path_or_the_request_is_refused() {
    let layer = behind_edge(ForwardedHeaders::WsgiProxy).pop_prefix("/bar").build().unwrap();
    let saw = admitted(&layer, "", "/bar/foo?q=/bar", &[]).await;
    assert_eq!((saw.origin().prefix(), saw.parts.uri.to_string().as_str()), ("/bar", "/foo?q=/bar"));
    assert_eq!(admitted(&layer, "", "/bar", &[]).await.parts.uri, "/");
    for path in ["/barfoo", "/", "/foo", "/%62ar/foo"] {
        assert_eq!(ask(&layer, "", path, &[]).await.err(), Some(400), "{path}");
    }
    let fields = [("x-forwarded-script-name", "/told"), ("x-traversal-path", "/deep")];
    let saw = admitted(&layer, EDGE, "/deep/bar/foo", &fields).await;
    assert_eq!((saw.origin().prefix(), saw.parts.uri.path()), ("/told/bar", "/foo"));
}

#[tokio::test]
async fn configured_host_domain_port_and_scheme_win() {
    for (force, asked, host, port) in [
        (ForceHost::Host("foo.com:80".into()), "a:1", "foo.com:80", 80),
        (ForceHost::Host("[::1]:8080".into()), "a:1", "[::1]:8080", 8080),
        (ForceHost::Domain("foo.com".into()), "a:81", "foo.com:81", 81),
        (ForceHost::Domain("foo.com".into()), "a", "foo.com", 443),
        (ForceHost::Domain("foo.com".into()), "[::1]:81", "foo.com:81", 81),
        (ForceHost::Port(80), "a:81", "a:80", 80),
        (ForceHost::Port(8080), "[::1]:81", "[::1]:8080", 8080),
        (ForceHost::DomainAndPort("foo.com".into(), 81), "a", "foo.com:81", 81),
    ] {
        let layer = ProxyMiddleware::builder().scheme("HTTPS").force_host(force.clone()).build().unwrap();
        let saw = admitted(&layer, "", "/", &[("host", asked)]).await;
        assert_eq!((saw.header("host").as_deref(), saw.origin().port()), (Some(host), port), "{force:?}");
        assert_eq!(saw.origin().scheme().as_str(), "https");
    }
}

#[tokio::test]
async fn hosts_that_are_not_served_are_misdirected() {
    let layer =
        behind_edge(ForwardedHeaders::XForwarded).allowed_hosts(["good.example", "*.below.example"]).build().unwrap();
    for (peer, fields, status) in [
        ("", &[("host", "good.example:81")][..], None),
        ("", &[("host", "a.below.example")], None),
        ("", &[("host", "below.example")], Some(421)),
        ("", &[("host", "evil.example")], Some(421)),
        ("", &[("host", "evil.example"), ("x-forwarded-host", "good.example")], Some(421)),
        (EDGE, &[("host", "internal"), ("x-forwarded-host", "good.example")], None),
        (EDGE, &[("host", "good.example"), ("x-forwarded-host", "evil.example")], Some(421)),
    ] {
        assert_eq!(ask(&layer, peer, "/", fields).await.err(), status, "{fields:?}");
    }
}

#[tokio::test]
async fn a_bad_host_or_target_or_framing_is_refused() {
    let layer = ProxyMiddleware::builder().build().unwrap();
    for fields in [
        &[("host", "a"), ("host", "b")][..],
        &[("host", "a"), ("host", "a")],
        &[("host", "")],
        &[("host", "a b")],
        &[("host", "u@h")],
        &[("content-length", "5"), ("transfer-encoding", "chunked")],
        &[("content-length", "5"), ("content-length", "6")],
        &[("content-length", "+5")],
        &[("content-length", "")],
    ] {
        assert_eq!(ask(&layer, "", "/", fields).await.err(), Some(400), "{fields:?}");
    }
    let mut none = request("", "/", &[]);
    none.headers_mut().remove("host");
    assert_eq!(through(&layer, none).await.err().unwrap().0, 400);
    let mut old = request("", "/", &[]);
    old.headers_mut().remove("host");
    *old.version_mut() = Version::HTTP_10;
    let saw = through(&layer, old).await.ok().unwrap();
    assert_eq!((saw.origin().host(), saw.header("host")), (None, None));
    for uri in ["a.example:80", "ftp://a.example/", "*"] {
        let mut odd = request("", "/", &[]);
        *odd.uri_mut() = uri.parse().unwrap();
        assert_eq!(through(&layer, odd).await.err().unwrap().0, 400, "{uri}");
    }
}

#[tokio::test]
async fn a_whole_url_becomes_a_path_and_its_authority_the_host() {
    let layer = ProxyMiddleware::builder().build().unwrap();
    let saw = admitted(&layer, "", "http://shop.example:81/a%2Fb?x", &[("host", "other.example")]).await;
    assert_eq!(
        (saw.parts.uri.to_string().as_str(), saw.header("host").as_deref()),
        ("/a%2Fb?x", Some("shop.example:81"))
    );

    let mut h2 = request("", "https://shop.example?x", &[]);
    h2.headers_mut().remove("host");
    *h2.version_mut() = Version::HTTP_2;
    let saw = through(&layer, h2).await.ok().unwrap();
    assert_eq!((saw.parts.uri.to_string().as_str(), saw.header("host").as_deref()), ("/?x", Some("shop.example")));
    assert_eq!(saw.origin().scheme().as_str(), "http", "the client's own claim");

    let mut options = request("", "http://shop.example", &[("host", "shop.example")]);
    *options.method_mut() = Method::OPTIONS;
    *options.uri_mut() = "*".parse().unwrap();
    assert_eq!(through(&layer, options).await.ok().unwrap().parts.uri, "*");
}

#[tokio::test]
async fn the_body_passes_through() {
    let layer = ProxyMiddleware::builder().build().unwrap();
    let mut post = request("", "/", &[("content-length", "5")]);
    *post.body_mut() = Body::from("hello");
    assert_eq!(through(&layer, post).await.ok().unwrap().body.unwrap(), b"hello");
}

#[test]
fn layer_and_service_can_go_anywhere() {
    fn check<T: Clone + std::fmt::Debug + Send + Sync + 'static>(_: &T) {}
    let layer = ProxyMiddleware::builder().build().unwrap();
    check(&layer);
    check(&layer.layer(Arc::new(())));
}

// === axum ===

/// An application without any use of this crate.
fn axum_app() -> Router {
    let show = |ConnectInfo(client): ConnectInfo<SocketAddr>,
                OriginalUri(original): OriginalUri,
                uri: Uri,
                headers: http::HeaderMap| async move {
        format!("{client} {original} {uri} {}", headers["host"].to_str().unwrap())
    };
    Router::new().nest("/api", Router::new().route("/{*rest}", any(show))).route("/", any(show))
}

async fn axum_says(layer: &ProxyMiddleware, request: Request<Body>) -> String {
    let response = layer.layer(axum_app()).oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    format!("{} {}", status.as_u16(), String::from_utf8_lossy(&body))
}

#[tokio::test]
async fn an_unmodified_axum_app_sees_the_client() {
    let fields = [
        ("x-forwarded-for", "192.0.2.7:4711"),
        ("x-forwarded-server", "shop.example"),
        ("x-forwarded-script-name", "/shop"),
        ("x-traversal-path", "/deep"),
    ];
    let says = axum_says(&classic(), request(EDGE, "/deep/api/a%2Fb//c?x", &fields)).await;
    assert_eq!(says, "200 192.0.2.7:4711 /shop/api/a%2Fb//c?x /a%2Fb//c?x shop.example");
    let says = axum_says(&classic(), request(EDGE, "/", &[("x-forwarded-for", "2001:db8::7")])).await;
    assert_eq!(says, "200 [2001:db8::7]:0 / / socket.example");
    let says = axum_says(&classic(), request("203.0.113.9", "/", &fields)).await;
    assert_eq!(says, "200 203.0.113.9:50000 / / socket.example");
    let says = axum_says(&classic(), request(EDGE, "/", &[("x-forwarded-for", "unknown")])).await;
    assert_eq!(says, "200 0.0.0.0:0 / / socket.example");
}

#[tokio::test]
async fn connect_info_is_a_peer_only_where_that_was_said_and_before_anything_is_restored() {
    let with_info = |info: &str| {
        let mut request = request("", "/", &[("x-forwarded-for", "192.0.2.7")]);
        request.extensions_mut().insert(ConnectInfo::<SocketAddr>(info.parse().unwrap()));
        request
    };
    let saw = through(&classic(), with_info("10.0.0.1:9")).await.ok().unwrap();
    assert_eq!((saw.origin().peer(), saw.client()), (None, None));
    assert_eq!(saw.parts.extensions.get::<ConnectInfo<SocketAddr>>().unwrap().0, "10.0.0.1:9".parse().unwrap());

    let layer = behind_edge(ForwardedHeaders::WsgiProxy).peer_from_connect_info().build().unwrap();
    let saw = through(&layer, with_info("10.0.0.1:9")).await.ok().unwrap();
    assert_eq!((saw.client().as_deref(), saw.origin().trusted_by()), (Some("192.0.2.7"), &TrustedBy::Peer));
    assert_eq!(saw.parts.extensions.get::<PeerAddr>(), Some(&PeerAddr::Tcp("10.0.0.1:9".parse().unwrap())));
    let saw = through(&layer, with_info("203.0.113.9:9")).await.ok().unwrap();
    assert_eq!(saw.client().as_deref(), Some("203.0.113.9"));

    // A second, inner layer takes the socket's peer, not the client that the first layer restored as ConnectInfo.
    let inner = tower::service_fn(|request: Request<Body>| async move {
        let origin = request.extensions().get::<OriginalRequest>().unwrap();
        assert_eq!(origin.peer(), Some(&PeerAddr::Tcp("10.0.0.1:9".parse().unwrap())));
        Ok::<_, std::convert::Infallible>(http::Response::new(Body::empty()))
    });
    let stack = layer.layer(layer.layer(inner));
    assert_eq!(stack.oneshot(with_info("10.0.0.1:9")).await.unwrap().status(), 200);
}
