use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, Version, request, uri::Scheme};
use http_body_util::Empty;
use proptest::prelude::*;
use tower::ServiceExt;

use super::{ProxyApp, ProxyAppBuilder, rewrite};
use crate::{
    Body, Error,
    ext::{Hop, OriginalRequest, PeerAddr, TrustedBy},
};

mod aiming;
mod forwarding;
mod mounts;
mod refusing;

fn app() -> ProxyAppBuilder {
    // Port 1 on loopback: whatever is sent there finds nobody.
    ProxyApp::builder("http://127.0.0.1:1/app?k=1")
}

fn get(uri: &str) -> request::Parts {
    Request::get(uri).header("host", "front.example").body(()).unwrap().into_parts().0
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn origin(peer: Option<&str>, client: Option<&str>, hops: &[&str], trusted_by: TrustedBy) -> OriginalRequest {
    OriginalRequest {
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

#[test]
fn the_service_can_be_shared_and_sent() {
    fn check<T: Clone + Send + Sync + 'static>() {}
    fn send<T: Send + 'static>() {}
    check::<ProxyApp>();
    send::<super::ProxyAppFuture>();
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
