//! What the upstream is told of the client.

use http::{HeaderMap, HeaderValue, Version, request, uri::Scheme};

use super::{get, origin};
use crate::{
    app::{
        ForwardedFor,
        forwarded::{self, Way},
        front::Front,
    },
    ext::{OriginalRequest, PeerAddr, TrustedBy, UnixPeer},
    message::target::{ClientPrefix, UpstreamUrl},
    protocol::ForwardedHeaders,
};

fn front(host: Option<&'static str>, prefix: &str) -> Front {
    Front {
        host: host.map(HeaderValue::from_static),
        scheme: Scheme::HTTPS,
        prefix: ClientPrefix::of(prefix).unwrap(),
        version: Version::HTTP_11,
        is_head: false,
        unframed: false,
    }
}

fn fields(set: ForwardedHeaders, request: &request::Parts, rule: ForwardedFor, front: &Front) -> Vec<(String, String)> {
    let mut headers = HeaderMap::new();
    let href: UpstreamUrl = "http://b:8080/app?k=1".parse().unwrap();
    forwarded::write(&mut headers, &[set], &Way::of(&request.extensions, rule), front);
    forwarded::write_common(&mut headers, &[set], &front.scheme, &href);
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
        fields(ForwardedHeaders::WsgiProxy, &request, ForwardedFor::Append, &front),
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
        fields(ForwardedHeaders::XForwarded, &request, ForwardedFor::Append, &front),
        pairs(&[
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-host", "front.example:8443"),
            ("x-forwarded-port", "8443"),
            ("x-forwarded-prefix", "/api"),
            ("x-forwarded-proto", "https"),
        ])
    );
    assert_eq!(
        fields(ForwardedHeaders::Rfc7239, &request, ForwardedFor::Append, &front),
        pairs(&[("forwarded", "for=192.0.2.7;host=\"front.example:8443\";proto=https")])
    );
}

#[test]
fn nothing_is_invented_where_nothing_is_known() {
    let mut request = get("/");
    let nobody = front(None, "");
    let expected = pairs(&[("x-forwarded-proto", "https")]);
    assert_eq!(fields(ForwardedHeaders::XForwarded, &request, ForwardedFor::Append, &nobody), expected);
    request.extensions.insert(PeerAddr::Unix(UnixPeer::unknown()));
    assert_eq!(fields(ForwardedHeaders::XForwarded, &request, ForwardedFor::Append, &nobody), expected);
    assert_eq!(
        fields(ForwardedHeaders::Rfc7239, &request, ForwardedFor::Append, &nobody),
        pairs(&[("forwarded", "for=unknown;proto=https")])
    );
    assert_eq!(
        fields(ForwardedHeaders::XForwarded, &request, ForwardedFor::Append, &front(Some("[::1]"), ""))[1..],
        pairs(&[("x-forwarded-port", "443"), ("x-forwarded-proto", "https")])
    );
}

#[test]
fn addresses_are_appended_only_to_hops_that_are_believed() {
    #[track_caller]
    fn says(origin: OriginalRequest, rule: ForwardedFor, expected: Option<&str>) {
        let mut request = get("/");
        // What the socket says is in the origin; a later claim beside it does not count.
        request.extensions.insert(PeerAddr::Tcp("203.0.113.99:1".parse().unwrap()));
        request.extensions.insert(origin);
        let found = fields(ForwardedHeaders::WsgiProxy, &request, rule, &front(None, ""));
        let found = found.iter().find(|(name, _)| name == "x-forwarded-for").map(|(_, value)| value.as_str());
        assert_eq!(found, expected);
    }
    let (peer, client, hops) = (Some("10.0.0.1"), Some("192.0.2.1"), &["192.0.2.1", "10.0.0.2"]);
    says(origin(peer, client, hops, TrustedBy::Peer), ForwardedFor::Append, Some("192.0.2.1, 10.0.0.2, 10.0.0.1"));
    says(origin(peer, client, hops, TrustedBy::Peer), ForwardedFor::Replace, Some("192.0.2.1"));
    says(origin(peer, client, hops, TrustedBy::Peer), ForwardedFor::Omit, None);
    says(origin(peer, peer, hops, TrustedBy::None), ForwardedFor::Append, Some("10.0.0.1"));
    says(origin(None, client, hops, TrustedBy::Peer), ForwardedFor::Append, Some("192.0.2.1, 10.0.0.2"));
    says(origin(None, client, &[], TrustedBy::Peer), ForwardedFor::Append, Some("192.0.2.1"));
    says(origin(None, None, &[], TrustedBy::None), ForwardedFor::Append, None);
    says(origin(peer, None, &[], TrustedBy::Peer), ForwardedFor::Replace, None);
}

#[cfg(feature = "axum")]
#[test]
fn connect_info_is_the_peer_where_no_acceptor_named_one() {
    let mut request = get("/");
    let info: std::net::SocketAddr = "192.0.2.5:80".parse().unwrap();
    request.extensions.insert(::axum::extract::ConnectInfo(info));
    let first = |request: &request::Parts| {
        fields(ForwardedHeaders::WsgiProxy, request, ForwardedFor::Append, &front(None, ""))[0].1.clone()
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
    forwarded::write(&mut headers, &[ForwardedHeaders::XForwarded], &way, &front(Some("front"), ""));
    assert_eq!(headers["x-forwarded-host"], "hook.example");
}
