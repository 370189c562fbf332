//! The prefix and the scheme by which clients reach this hop.

use http::uri::Scheme;

use super::{get, origin};
use crate::{
    app::{
        PathPrefix,
        front::{PathSplit, scheme},
    },
    ext::{OverTls, TrustedBy},
};

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
            parts.extensions.insert(crate::ext::OriginalRequest {
                prefix: outer.to_owned(),
                ..origin(None, None, &[], TrustedBy::Peer)
            });
        }
        let mount = PathSplit::of(&parts, parts.extensions.get(), rule).unwrap();
        assert_eq!((&*mount.prefix, &*mount.path), expected, "{original} {path} {outer} {rule:?}");
    }
    let (mount, keep, strip) = (PathPrefix::FromRouter, PathPrefix::Keep, PathPrefix::Strip("/v1".parse().unwrap()));
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
        assert_eq!(PathSplit::of(&get(path), None, &strip).unwrap_err().status(), 400, "{path}");
    }
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn a_prefix_that_could_do_harm_in_a_link_is_refused() {
    use bytes::Bytes;
    use http::Request;
    use http_body_util::Empty;
    use tower::ServiceExt;

    let mut parts = get("/x");
    parts.extensions.insert(::axum::extract::OriginalUri("/%2e%2e/x".parse().unwrap()));
    let answer =
        super::app().build().unwrap().oneshot(Request::from_parts(parts, Empty::<Bytes>::new())).await.unwrap();
    assert_eq!(answer.status(), 400);
}

#[test]
fn a_restored_scheme_counts_before_the_configured_one_only_where_somebody_vouched() {
    let seen = |parts: &http::request::Parts, configured| scheme(parts, parts.extensions.get(), configured);
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
    assert_eq!(seen(&with(TrustedBy::None), Some(&Scheme::HTTP)), Scheme::HTTP);
    assert_eq!(seen(&with(TrustedBy::None), None), Scheme::HTTPS);
    assert_eq!(seen(&with(TrustedBy::Peer), Some(&Scheme::HTTP)), Scheme::HTTPS);
}
