use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, request, uri::Scheme};
use http_body_util::{BodyExt, Empty, Full};
use proptest::prelude::*;
use tower::ServiceExt;

use super::{
    ForwardedFor, HostField, PathPrefix, ProxyApp, ProxyAppBuilder, Via,
    forwarded::{self, Way},
    front::{Front, Mount, scheme},
    rewrite,
};
use crate::{
    Body, Error,
    ext::{ConnectTo, Hop, OverTls, PeerAddr, RequestOrigin, TrustedBy, UnixPeer},
    message::target::Href,
    protocol::Family,
};

fn app() -> ProxyAppBuilder {
    // Port 1 on loopback: whatever is sent there finds nobody.
    ProxyApp::builder("http://127.0.0.1:1/app?k=1".parse().unwrap())
}

fn get(uri: &str) -> request::Parts {
    Request::get(uri).header("host", "front.example").body(()).unwrap().into_parts().0
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn origin(peer: Option<&str>, client: Option<&str>, hops: &[&str], trusted_by: TrustedBy) -> RequestOrigin {
    RequestOrigin {
        peer: peer.map(|peer| PeerAddr::Tcp((ip(peer), 4711).into())),
        client: client.map(ip),
        client_port: None,
        scheme: Scheme::HTTPS,
        host: None,
        prefix: "/outer".to_owned(),
        hops: hops.iter().map(|hop| Hop::Addr(ip(hop), None)).collect(),
        trusted_by,
    }
}

async fn answer_to(app: ProxyAppBuilder, request: Request<Full<Bytes>>) -> Response<Body> {
    app.build().unwrap().oneshot(request).await.unwrap()
}

async fn status_of(app: ProxyAppBuilder, request: request::Builder) -> u16 {
    answer_to(app, request.body(Full::default()).unwrap()).await.status().as_u16()
}

/// The head as a hook sees it; the hook answers, so nothing is sent.
async fn aimed(app: ProxyAppBuilder, request: request::Parts) -> request::Parts {
    let (seen, see) = std::sync::mpsc::channel();
    let app = app.rewrite_request(move |parts| {
        seen.send(parts.clone()).unwrap();
        Err(Box::new(Response::new(Body::empty())))
    });
    let answer = app.build().unwrap().oneshot(Request::from_parts(request, Empty::<Bytes>::new())).await.unwrap();
    assert_eq!(answer.status(), 200, "{:?}", answer.extensions().get::<Error>());
    see.try_recv().unwrap()
}

// === refusing ===

#[tokio::test]
async fn a_method_that_is_not_allowed_is_answered_with_those_that_are() {
    let app = app().allowed_methods([Method::GET, Method::HEAD]);
    let request = Request::post("/").header("host", "h").body(Full::default()).unwrap();
    let answer = answer_to(app, request).await;
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.headers()["allow"], "GET, HEAD");
    assert_eq!(answer.extensions().get::<Error>().unwrap().status(), 405);
}

#[tokio::test]
async fn what_cannot_be_forwarded_is_refused_before_anybody_is_contacted() {
    for (expected, request) in [
        (501, Request::builder().method("CONNECT").uri("h:443").header("host", "h:443")),
        (400, Request::get("/")),
        (400, Request::get("/").header("host", "a").header("host", "a")),
        (400, Request::get("/").header("host", "a b")),
        (400, Request::get("/").header("host", "u@a")),
        (400, Request::get("*").header("host", "a")),
        (400, Request::get("a:80").header("host", "a")),
        (400, Request::get("ftp://a/").header("host", "a")),
        (
            400,
            Request::post("/").header("host", "a").header("content-length", "1").header("transfer-encoding", "chunked"),
        ),
    ] {
        assert_eq!(status_of(app(), request).await, expected);
    }
}

#[tokio::test]
async fn a_request_that_was_here_is_a_loop_and_one_that_met_a_namesake_is_not() {
    let request = || Request::get("/").header("host", "h").header("via", "1.1 edge, 1.0 US");
    assert_eq!(status_of(app().via(Via::Named("us".into())), request()).await, 508);
    assert_eq!(status_of(app().via(Via::Named("edge-2".into())), request()).await, 502);
    assert_eq!(status_of(app().via(Via::Off), request()).await, 502);
    assert_eq!(status_of(app(), request()).await, 502);
}

#[tokio::test]
async fn a_declared_body_over_the_limit_is_refused_and_one_at_it_is_not() {
    let post = |body: &'static str| Request::post("/").header("host", "h").body(Full::from(body)).unwrap();
    assert_eq!(answer_to(app().max_body_bytes(4), post("12345")).await.status(), 413);
    assert_eq!(answer_to(app().max_body_bytes(4), post("1234")).await.status(), 502);
}

#[tokio::test]
async fn an_answer_names_no_address_and_carries_the_error() {
    let answer = answer_to(app(), Request::get("/secret").header("host", "h").body(Full::default()).unwrap()).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    assert!(answer.extensions().get::<Error>().unwrap().is_retryable());
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "Bad Gateway\n");
}

#[test]
fn mistakes_in_the_configuration_name_the_text() {
    let mistake = |app: ProxyAppBuilder| app.build().unwrap_err().to_string();
    assert!(mistake(app().suppress_fields(["x-a", "x b"])).contains("\"x b\""));
    assert!(mistake(app().suppress_fields(["Host"])).contains("host"));
    assert!(mistake(app().via(Via::Named("a b".into()))).contains("\"a b\""));
    assert!(mistake(app().host(HostField::Fixed(HeaderValue::from_static("a/b")))).contains("\"a/b\""));
    assert!(mistake(app().public_scheme("ftp".parse().unwrap())).contains("ftp"));
}

// === aiming ===

#[tokio::test]
async fn the_target_is_joined_below_the_upstreams_and_the_host_is_its_own() {
    let parts = aimed(app(), get("/a%2Fb//c;d?x=1?y")).await;
    assert_eq!(parts.uri, "http://127.0.0.1:1/app/a%2Fb//c;d?x=1?y&k=1");
    assert_eq!(parts.headers["host"], "127.0.0.1:1");
    assert_eq!(parts.version, Version::HTTP_11);
}

#[tokio::test]
async fn an_upstream_without_path_and_query_gets_the_target_as_it_came() {
    for target in ["/", "/?", "/a?b=c", "//x", "/%2F;?&&", "http://front.example/x?", "http://front.example?q"] {
        let bare = ProxyApp::builder("http://127.0.0.1:1".parse().unwrap());
        let expected = target.strip_prefix("http://front.example").unwrap_or(target);
        let expected = if expected.starts_with('/') { expected.to_owned() } else { format!("/{expected}") };
        assert_eq!(aimed(bare, get(target)).await.uri.to_string(), format!("http://127.0.0.1:1{expected}"), "{target}");
    }
    let mut options = get("*");
    options.method = Method::OPTIONS;
    assert_eq!(aimed(app(), options).await.uri.path_and_query().unwrap(), "*");
}

#[tokio::test]
async fn host_is_replaced_kept_or_fixed() {
    let host = |parts: request::Parts| parts.headers["host"].to_str().unwrap().to_owned();
    assert_eq!(host(aimed(app(), get("/")).await), "127.0.0.1:1");
    assert_eq!(host(aimed(app().host(HostField::Keep), get("/")).await), "front.example");
    assert_eq!(host(aimed(app().host(HostField::Keep), get("http://other.example:8080/")).await), "other.example:8080");
    assert_eq!(host(aimed(app().host(HostField::Fixed(HeaderValue::from_static("f:1"))), get("/")).await), "f:1");
    let mut h2 = get("http://only.example/");
    h2.version = Version::HTTP_2;
    h2.headers.remove("host");
    assert_eq!(host(aimed(app().host(HostField::Keep), h2).await), "only.example");
    let mut old = get("/");
    old.version = Version::HTTP_10;
    old.headers.remove("host");
    assert_eq!(host(aimed(app().host(HostField::Keep), old).await), "127.0.0.1:1");
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_where_to_connect_and_nobody_else_may_say_so() {
    let parts = aimed(ProxyApp::builder("unix:/run/a.sock".parse().unwrap()), get("/x")).await;
    assert_eq!(parts.extensions.get(), Some(&ConnectTo::Unix(Arc::from(std::path::Path::new("/run/a.sock")))));
    assert_eq!(parts.headers["host"], "localhost");

    let mut request = get("/x");
    request.extensions.insert(ConnectTo::Authority("evil:1".parse().unwrap()));
    assert_eq!(aimed(app(), request).await.extensions.get::<ConnectTo>(), None);
}

#[tokio::test]
async fn the_upstream_is_chosen_by_what_the_client_asked_after_stripping() {
    let (a, b): (Href, Href) = ("http://127.0.0.1:1/a".parse().unwrap(), "http://127.0.0.1:2/b".parse().unwrap());
    let app = ProxyApp::choosing(move |parts| {
        assert!(!parts.headers.contains_key("x-forwarded-for"));
        match parts.uri.path() {
            "/a" => Ok(a.clone()),
            "/b" => Ok(b.clone()),
            _ => Err(Box::new(Response::builder().status(503).body(Body::empty()).unwrap())),
        }
    });
    let app = app.build().unwrap();
    let status = |uri: &'static str| {
        let request = Request::get(uri).header("host", "h").header("x-forwarded-for", "6.6.6.6").body(Body::empty());
        let app = app.clone();
        async move { app.oneshot(request.unwrap()).await.unwrap().status().as_u16() }
    };
    assert_eq!((status("/a").await, status("/b").await, status("/c").await), (502, 502, 503));
}

#[tokio::test]
async fn everything_of_ours_that_came_from_outside_is_removed_in_any_spelling() {
    let mut request = get("/");
    for name in [
        "x-forwarded-for",
        "x_forwarded_for",
        "x-forwarded-host",
        "x-forwarded_proto",
        "forwarded",
        "x-script-name",
        "x-traversal-path",
        "x-wsgiproxy-str-17",
        "x_wsgiproxy_pickle_1",
        "x-wsgiproxy-signature",
        "x-hidden",
        "x_hidden",
        "x-nominated",
        "proxy-authorization",
    ] {
        request.headers.append(HeaderName::from_static(name), HeaderValue::from_static("x"));
        request.headers.append(HeaderName::from_static(name), HeaderValue::from_static("y"));
    }
    request.headers.append("connection", HeaderValue::from_static("X-Nominated, host"));
    request.headers.append("accept", HeaderValue::from_static("*/*"));
    let parts = aimed(app().suppress_fields(["X-Hidden"]), request).await;
    let mut names: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "host"]);
}

#[tokio::test]
async fn cookies_that_http_2_split_are_joined() {
    let mut request = get("http://front.example/");
    request.headers.append("cookie", HeaderValue::from_static("a=1"));
    request.headers.append("cookie", HeaderValue::from_bytes(b"b=\xff").unwrap());
    request.version = Version::HTTP_2;
    let parts = aimed(app(), request).await;
    let lines: Vec<_> = parts.headers.get_all("cookie").iter().collect();
    assert_eq!(lines, [&HeaderValue::from_bytes(b"a=1; b=\xff").unwrap()]);
}

// === the mount ===

#[cfg(feature = "axum")]
#[test]
fn the_prefix_is_what_routers_took_off() {
    #[track_caller]
    fn mounted(original: &str, path: &str, outer: &str, rule: &PathPrefix, expected: (&str, &str)) {
        let mut parts = get(path);
        if !original.is_empty() {
            parts.extensions.insert(::axum::extract::OriginalUri(original.parse().unwrap()));
        }
        if !outer.is_empty() {
            parts
                .extensions
                .insert(RequestOrigin { prefix: outer.to_owned(), ..origin(None, None, &[], TrustedBy::Peer) });
        }
        let mount = Mount::of(&parts, parts.extensions.get(), rule).unwrap();
        assert_eq!((&*mount.prefix, &*mount.path), expected, "{original} {path} {outer} {rule:?}");
    }
    let (mount, keep, strip) = (PathPrefix::Mounted, PathPrefix::Keep, PathPrefix::Strip("/v1".parse().unwrap()));
    mounted("", "/x", "", &mount, ("", "/x"));
    mounted("/x", "/x", "", &mount, ("", "/x"));
    mounted("/api/x", "/x", "", &mount, ("/api", "/x"));
    mounted("/api/api/x", "/api/x", "", &mount, ("/api", "/api/x"));
    mounted("/api", "/", "", &mount, ("/api", ""));
    mounted("/api/", "/", "", &mount, ("/api", "/"));
    mounted("/api?q", "/?q", "", &mount, ("/api", ""));
    mounted("/rewritten", "/elsewhere", "", &mount, ("", "/elsewhere"));
    mounted("/apix", "/x", "", &mount, ("", "/x"));
    mounted("", "/x", "/outer", &mount, ("/outer", "/x"));
    mounted("/outer/api/x", "/x", "/outer", &mount, ("/outer/api", "/x"));
    mounted("/outer/x", "/x", "/outer", &mount, ("/outer", "/x"));
    mounted("/api/x", "/x", "", &keep, ("", "/api/x"));
    mounted("/api", "/", "", &keep, ("", "/api"));
    mounted("/outer/api/x", "/x", "/outer", &keep, ("/outer", "/api/x"));
    mounted("", "/v1/x", "", &strip, ("/v1", "/x"));
    mounted("/api/v1", "/v1", "", &strip, ("/api/v1", ""));
    mounted("/outer/api/v1/x", "/v1/x", "/outer", &strip, ("/outer/api/v1", "/x"));
    mounted("", "*", "", &strip, ("/v1", "*"));
}

#[test]
fn paths_outside_of_the_stripped_prefix_are_refused() {
    let strip = PathPrefix::Strip("/api".parse().unwrap());
    for path in ["/apiary", "/x", "/", "/api%2Fx", "/API/x"] {
        assert_eq!(Mount::of(&get(path), None, &strip).unwrap_err().status(), 400, "{path}");
    }
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn a_prefix_that_could_do_harm_in_a_link_is_refused() {
    let mut parts = get("/x");
    parts.extensions.insert(::axum::extract::OriginalUri("/%2e%2e/x".parse().unwrap()));
    let answer = app().build().unwrap().oneshot(Request::from_parts(parts, Empty::<Bytes>::new())).await.unwrap();
    assert_eq!(answer.status(), 400);
}

#[test]
fn a_restored_scheme_counts_before_the_configured_one_only_where_somebody_vouched() {
    let seen = |parts: &request::Parts, configured| scheme(parts, parts.extensions.get(), configured);
    let with = |trusted_by| {
        let mut parts = get("/");
        parts.extensions.insert(origin(None, None, &[], trusted_by));
        parts
    };
    assert_eq!(seen(&get("https://front.example/"), None), Scheme::HTTP);
    assert_eq!(seen(&get("/"), Some(&Scheme::HTTPS)), Scheme::HTTPS);
    let mut tls = get("/");
    tls.extensions.insert(OverTls::new());
    assert_eq!(seen(&tls, None), Scheme::HTTPS);
    assert_eq!(seen(&tls, Some(&Scheme::HTTP)), Scheme::HTTP);
    assert_eq!(seen(&with(TrustedBy::Nobody), Some(&Scheme::HTTP)), Scheme::HTTP);
    assert_eq!(seen(&with(TrustedBy::Nobody), None), Scheme::HTTPS);
    assert_eq!(seen(&with(TrustedBy::Peer), Some(&Scheme::HTTP)), Scheme::HTTPS);
}

// === forwarding fields ===

fn front(host: Option<&'static str>, prefix: &str) -> Front {
    Front {
        host: host.map(HeaderValue::from_static),
        scheme: Scheme::HTTPS,
        prefix: prefix.parse().unwrap(),
        version: Version::HTTP_11,
        unframed: false,
    }
}

fn fields(family: Family, request: &request::Parts, rule: ForwardedFor, front: &Front) -> Vec<(String, String)> {
    let mut headers = HeaderMap::new();
    let href: Href = "http://b:8080/app?k=1".parse().unwrap();
    forwarded::write(&mut headers, &[family], &Way::of(&request.extensions, rule), front);
    forwarded::write_common(&mut headers, &[family], &front.scheme, &href);
    headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn each_family_says_the_same_in_its_own_fields() {
    let mut request = get("/");
    request.extensions.insert(PeerAddr::Tcp("[::ffff:192.0.2.7]:4711".parse().unwrap()));
    let front = front(Some("front.example:8443"), "/api");
    assert_eq!(
        fields(Family::WsgiProxy, &request, ForwardedFor::Append, &front),
        pairs(&[
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-server", "front.example:8443"),
            ("x-forwarded-script-name", "/api"),
            ("x-forwarded-scheme", "https"),
            ("x-traversal-path", "/app"),
            ("x-traversal-query-string", "k=1"),
        ])
    );
    assert_eq!(
        fields(Family::XForwarded, &request, ForwardedFor::Append, &front),
        pairs(&[
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-host", "front.example:8443"),
            ("x-forwarded-port", "8443"),
            ("x-forwarded-prefix", "/api"),
            ("x-forwarded-proto", "https"),
        ])
    );
    assert_eq!(
        fields(Family::Forwarded, &request, ForwardedFor::Append, &front),
        pairs(&[("forwarded", "for=192.0.2.7;host=\"front.example:8443\";proto=https")])
    );
}

#[test]
fn nothing_is_invented_where_nothing_is_known() {
    let mut request = get("/");
    let nobody = front(None, "");
    let expected = pairs(&[("x-forwarded-proto", "https")]);
    assert_eq!(fields(Family::XForwarded, &request, ForwardedFor::Append, &nobody), expected);
    request.extensions.insert(PeerAddr::Unix(UnixPeer::unknown()));
    assert_eq!(fields(Family::XForwarded, &request, ForwardedFor::Append, &nobody), expected);
    assert_eq!(
        fields(Family::Forwarded, &request, ForwardedFor::Append, &nobody),
        pairs(&[("forwarded", "for=unknown;proto=https")])
    );
    assert_eq!(
        fields(Family::XForwarded, &request, ForwardedFor::Append, &front(Some("[::1]"), ""))[1..],
        pairs(&[("x-forwarded-port", "443"), ("x-forwarded-proto", "https")])
    );
}

#[test]
fn addresses_are_appended_only_to_hops_that_are_believed() {
    #[track_caller]
    fn says(origin: RequestOrigin, rule: ForwardedFor, expected: Option<&str>) {
        let mut request = get("/");
        // What the socket says is in the origin; a later claim beside it does not count.
        request.extensions.insert(PeerAddr::Tcp("203.0.113.99:1".parse().unwrap()));
        request.extensions.insert(origin);
        let found = fields(Family::WsgiProxy, &request, rule, &front(None, ""));
        let found = found.iter().find(|(name, _)| name == "x-forwarded-for").map(|(_, value)| value.as_str());
        assert_eq!(found, expected);
    }
    let (peer, client, hops) = (Some("10.0.0.1"), Some("192.0.2.1"), &["192.0.2.1", "10.0.0.2"]);
    says(origin(peer, client, hops, TrustedBy::Peer), ForwardedFor::Append, Some("192.0.2.1, 10.0.0.2, 10.0.0.1"));
    says(origin(peer, client, hops, TrustedBy::Peer), ForwardedFor::Replace, Some("192.0.2.1"));
    says(origin(peer, client, hops, TrustedBy::Peer), ForwardedFor::Omit, None);
    says(origin(peer, peer, hops, TrustedBy::Nobody), ForwardedFor::Append, Some("10.0.0.1"));
    says(origin(None, client, hops, TrustedBy::Peer), ForwardedFor::Append, Some("192.0.2.1, 10.0.0.2"));
    says(origin(None, client, &[], TrustedBy::Peer), ForwardedFor::Append, Some("192.0.2.1"));
    says(origin(None, None, &[], TrustedBy::Nobody), ForwardedFor::Append, None);
    says(origin(peer, None, &[], TrustedBy::Peer), ForwardedFor::Replace, None);
}

#[cfg(feature = "axum")]
#[test]
fn connect_info_is_the_peer_where_no_acceptor_named_one() {
    let mut request = get("/");
    let info: std::net::SocketAddr = "192.0.2.5:80".parse().unwrap();
    request.extensions.insert(::axum::extract::ConnectInfo(info));
    let first = |request: &request::Parts| {
        fields(Family::WsgiProxy, request, ForwardedFor::Append, &front(None, ""))[0].1.clone()
    };
    assert_eq!(first(&request), "192.0.2.5");
    request.extensions.insert(PeerAddr::Tcp("192.0.2.6:80".parse().unwrap()));
    assert_eq!(first(&request), "192.0.2.6");
}

#[test]
fn what_a_hook_wrote_stays() {
    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-host", HeaderValue::from_static("hook.example"));
    let request = get("/");
    let way = Way::of(&request.extensions, ForwardedFor::Append);
    forwarded::write(&mut headers, &[Family::XForwarded], &way, &front(Some("front"), ""));
    assert_eq!(headers["x-forwarded-host"], "hook.example");
}

// === the whole ===

#[test]
fn the_service_can_be_shared_and_sent() {
    fn check<T: Clone + Send + Sync + 'static>() {}
    fn send<T: Send + 'static>() {}
    check::<ProxyApp>();
    send::<super::ProxyFuture>();
    assert!(format!("{:?}", app().build().unwrap()).contains("127.0.0.1:1"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_head_panics_and_none_keeps_what_is_ours(
        method in "[A-Z]{1,8}|OPTIONS|CONNECT|GET",
        uri in "(http://|https://)?[a-z:@%]{0,6}[/?*#]?[ -~\u{e9}]{0,16}",
        version in 0..4_usize,
        fields in proptest::collection::vec(
            ("host|connection|via|te|upgrade|cookie|content-length|transfer-encoding|x[-_]forwarded[-_]for|forwarded|[a-z_-]{1,6}",
             proptest::collection::vec(any::<u8>(), 0..16)),
            0..8,
        ),
    ) {
        let Ok(uri) = uri.parse::<http::Uri>() else { return Ok(()) };
        let mut parts = Request::builder().method(method.as_str()).uri(uri).body(()).unwrap().into_parts().0;
        parts.version = [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2, Version::HTTP_3][version];
        for (name, value) in &fields {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
                parts.headers.append(name, value);
            }
        }
        let app = app().build().unwrap();
        let settings = app.settings();
        let found = rewrite::scan(&parts.headers);
        if let Ok(host) = rewrite::check(&parts, found, 0, settings) {
            rewrite::strip(&mut parts, found, settings);
            prop_assert!(!parts.headers.keys().any(crate::protocol::names::is_owned));
            let href = "http://b/app?k=1".parse().unwrap();
            if rewrite::aim(&mut parts, found, host, &href, settings).is_ok() {
                prop_assert!(parts.uri.path() == "*" || parts.uri.path().starts_with("/app"));
                prop_assert!(parts.headers.get_all("host").iter().count() <= 1);
            }
        }
    }
}
