//! Where a request goes, and as what.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, Request, Response, Version, request};
use tower::ServiceExt;

use super::{aimed, app, get};
use crate::{
    Body, Error, ErrorKind,
    app::{HostHeader, ProxyApp, UpstreamSelector},
    ext::ConnectTo,
    message::target::{UpstreamUrl, set_path},
};

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
        let bare = ProxyApp::builder("http://127.0.0.1:1");
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
    assert_eq!(host(aimed(app().host(HostHeader::Keep), get("/")).await), "front.example");
    assert_eq!(
        host(aimed(app().host(HostHeader::Keep), get("http://other.example:8080/")).await),
        "other.example:8080"
    );
    assert_eq!(host(aimed(app().host(HostHeader::Fixed(HeaderValue::from_static("f:1"))), get("/")).await), "f:1");
    let mut h2 = get("http://only.example/");
    h2.version = Version::HTTP_2;
    h2.headers.remove("host");
    assert_eq!(host(aimed(app().host(HostHeader::Keep), h2).await), "only.example");
    let mut old = get("/");
    old.version = Version::HTTP_10;
    old.headers.remove("host");
    assert_eq!(host(aimed(app().host(HostHeader::Keep), old).await), "127.0.0.1:1");
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_where_to_connect_and_nobody_else_may_say_so() {
    let parts = aimed(ProxyApp::builder("unix:/run/a.sock"), get("/x")).await;
    assert_eq!(parts.extensions.get(), Some(&ConnectTo::Unix(Arc::from(std::path::Path::new("/run/a.sock")))));
    assert_eq!(parts.headers["host"], "localhost");

    let mut request = get("/x");
    request.extensions.insert(ConnectTo::Authority("evil:1".parse().unwrap()));
    assert_eq!(aimed(app(), request).await.extensions.get::<ConnectTo>(), None);
}

#[tokio::test]
async fn the_upstream_is_chosen_by_what_the_client_asked_after_stripping() {
    let (a, b): (UpstreamUrl, UpstreamUrl) =
        ("http://127.0.0.1:1/a".parse().unwrap(), "http://127.0.0.1:2/b".parse().unwrap());
    let app = ProxyApp::builder(UpstreamSelector::new(move |parts| {
        assert!(!parts.headers.contains_key("x-forwarded-for"));
        match parts.uri.path() {
            "/a" => Ok(a.clone()),
            "/b" => Ok(b.clone()),
            _ => Err(Box::new(Response::builder().status(503).body(Body::empty()).unwrap())),
        }
    }));
    let app = app.build().unwrap();
    let status = |uri: &'static str| {
        let request = Request::get(uri).header("host", "h").header("x-forwarded-for", "6.6.6.6").body(Body::empty());
        let app = app.clone();
        async move { app.oneshot(request.unwrap()).await.unwrap().status().as_u16() }
    };
    assert_eq!((status("/a").await, status("/b").await, status("/c").await), (502, 502, 503));
}

#[tokio::test]
async fn a_choice_that_always_finds_one_is_the_upstream_itself() {
    let upstream: UpstreamUrl = "http://127.0.0.1:1/a".parse().unwrap();
    let app = ProxyApp::builder(UpstreamSelector::new(move |_| upstream.clone()));
    assert_eq!(aimed(app, get("/x")).await.uri, "http://127.0.0.1:1/a/x");
}

#[tokio::test]
async fn a_hook_may_set_another_path_and_what_it_cannot_is_answered() {
    let setting = |path: &'static str| app().rewrite_request(move |parts| set_path(&mut parts.uri, path));
    assert_eq!(aimed(setting("/app/new"), get("/x?q")).await.uri, "http://127.0.0.1:1/app/new?q&k=1");
    let request = Request::from_parts(get("/x"), Body::empty());
    let answer = setting("no path").build().unwrap().oneshot(request).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.extensions().get::<Error>().unwrap().kind()),
        (400, ErrorKind::InvalidTarget)
    );
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
    let parts = aimed(app().suppress_headers(["X-Hidden"]), request).await;
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
