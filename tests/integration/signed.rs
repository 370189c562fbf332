//! Verification of signatures for an application, and the refusal of requests without a valid one.

use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, Request};
use http_body_util::BodyExt;
use nexthop::{
    Body, Error, ErrorKind,
    ext::{Carried, OriginalRequest, TrustedBy},
    middleware::{ProxyMiddleware, RestoredHeaders, Trust},
    protocol::{
        carry::CarriedKeys,
        keyring::Keyring,
        replay::{Nonce, NonceCheck, NonceStatus, ReplayStore},
        signature::{
            BodySigning, Signer, UnsignedBodies, Verifier,
            classic::{ClassicSigner, ClassicVerifier},
        },
    },
    secret::Secret,
};

use tower::{Layer, ServiceExt};

use super::support::{
    body::{fed, pieces},
    mock::{Saw, request, through},
};

const EDGE: &str = "10.0.0.1";
const STRANGER: &str = "203.0.113.9";

const FIELDS: [(&str, &str); 6] = [
    ("x-forwarded-for", "192.0.2.7, 198.51.100.1"),
    ("x-forwarded-scheme", "https"),
    ("x-forwarded-server", "shop.example"),
    ("x-forwarded-script-name", "/shop"),
    ("x-traversal-path", "/deep"),
    ("x-wsgiproxy-str-1", "user alice"),
];

fn keys() -> Keyring {
    Keyring::new("k1", Secret::from_bytes([7; 32]).unwrap()).unwrap()
}

fn signer() -> Signer {
    Signer::builder(keys()).build().unwrap()
}

fn layer(trust: Trust) -> ProxyMiddleware {
    let keys = CarriedKeys::builder().named_string("user").build().unwrap();
    ProxyMiddleware::builder().trust(trust).carried(keys).build().unwrap()
}

/// Accepts requests with a valid signature only.
fn signatures() -> ProxyMiddleware {
    layer(Trust::signature(keys()))
}

async fn sign_with(signer: &Signer, request: Request<Body>, now: SystemTime) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    let (stamp, body) = match signer.cover(&mut parts.headers, body) {
        BodySigning::Ready(stamp, body) => (stamp, body),
        BodySigning::Reading(reading) => reading.await.unwrap(),
        _ => unreachable!("there are two ways to cover a body"),
    };
    stamp.sign(&mut parts, now).unwrap();
    Request::from_parts(parts, Body::new(body))
}

async fn sign(request: Request<Body>) -> Request<Body> {
    sign_with(&signer(), request, SystemTime::now()).await
}

#[track_caller]
fn admitted(layer: &ProxyMiddleware, request: Request<Body>) -> impl Future<Output = Saw> {
    let at = std::panic::Location::caller();
    let layer = layer.clone();
    async move { through(&layer, request).await.unwrap_or_else(|refused| panic!("{at}: refused: {refused:?}")) }
}

#[track_caller]
fn refused(layer: &ProxyMiddleware, request: Request<Body>) -> impl Future<Output = Error> {
    let at = std::panic::Location::caller();
    let layer = layer.clone();
    async move {
        match through(&layer, request).await {
            Ok(saw) => panic!("{at}: the application ran and saw {:?}", saw.parts),
            Err((_, error)) => error,
        }
    }
}

#[tokio::test]
async fn all_covered_fields_are_restored_whoever_the_peer_is() {
    for peer in [STRANGER, "", "uid:0"] {
        let saw = admitted(&signatures(), sign(request(peer, "/deep/x?a", &FIELDS)).await).await;
        let origin = saw.origin();
        assert_eq!((saw.client().as_deref(), origin.scheme().as_str()), (Some("192.0.2.7"), "https"));
        assert_eq!((saw.header("host").as_deref(), origin.prefix()), (Some("shop.example"), "/shop"));
        assert_eq!((saw.parts.uri.to_string().as_str(), origin.hops().len()), ("/x?a", 2));
        assert_eq!(origin.trusted_by(), &TrustedBy::Signature { key_id: "k1".into() });
        assert_eq!(saw.parts.extensions.get::<Carried>().unwrap().text("user"), Some("alice"));
        assert_eq!(saw.parts.headers.len(), 1, "{:?}", saw.parts.headers);
    }
}

#[tokio::test]
async fn a_signer_that_names_no_client_is_not_taken_for_it() {
    let saw = admitted(&signatures(), sign(request("127.0.0.1", "/", &[])).await).await;
    assert_eq!(saw.client(), None);
}

#[tokio::test]
async fn without_a_signature_the_application_never_runs() {
    let error = refused(&signatures(), request(EDGE, "/", &FIELDS)).await;
    assert_eq!((error.kind(), error.status().as_u16()), (ErrorKind::Signature, 403));
    let foreign = [("signature-input", "sig1=(\"@method\");created=1"), ("signature", "sig1=:AAAA:")];
    assert_eq!(refused(&signatures(), request(EDGE, "/", &foreign)).await.kind(), ErrorKind::Signature);
}

#[tokio::test]
async fn a_field_that_is_not_covered_is_removed() {
    let mut request = sign(request(STRANGER, "/", &FIELDS[..1])).await;
    for (name, value) in [
        ("x-forwarded-scheme", "https"),
        ("x-forwarded-server", "evil.example"),
        ("x_forwarded_for", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("x-wsgiproxy-str-1", "user root"),
        ("remote-user", "root"),
    ] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let saw = admitted(&signatures(), request).await;
    let origin = saw.origin();
    assert_eq!((saw.client().as_deref(), origin.scheme().as_str()), (Some("192.0.2.7"), "http"));
    assert_eq!(saw.header("host").as_deref(), Some("socket.example"));
    assert!(saw.parts.extensions.get::<Carried>().is_none_or(|carried| carried.text("user").is_none()));
    assert_eq!(saw.parts.headers.len(), 1, "{:?}", saw.parts.headers);
}

#[tokio::test]
async fn whatever_is_changed_after_signing_is_refused() {
    type Change = fn(&mut Request<Body>);
    let changes: [(&str, Change); 10] = [
        ("method", |request| *request.method_mut() = Method::POST),
        ("path", |request| *request.uri_mut() = "/deep/y?a".parse().unwrap()),
        ("path spelling", |request| *request.uri_mut() = "/deep/%78?a".parse().unwrap()),
        ("query", |request| *request.uri_mut() = "/deep/x?b".parse().unwrap()),
        ("host", |request| drop(request.headers_mut().insert("host", HeaderValue::from_static("other.example")))),
        ("client", |request| {
            drop(request.headers_mut().insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6")))
        }),
        ("second line", |request| {
            request.headers_mut().append("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
        }),
        ("covered field gone", |request| drop(request.headers_mut().remove("x-forwarded-scheme"))),
        ("signature twice", |request| {
            let line = request.headers()["signature-input"].clone();
            request.headers_mut().append("signature-input", line);
        }),
        ("body", |request| *request.body_mut() = Body::from("x")),
    ];
    for (what, change) in changes {
        let mut request = sign(request(EDGE, "/deep/x?a", &FIELDS)).await;
        change(&mut request);
        assert_eq!(refused(&signatures(), request).await.status(), 403, "{what}");
    }
    let other = Keyring::new("k1", Secret::from_bytes([8; 32]).unwrap()).unwrap();
    let other = Signer::builder(other).build().unwrap();
    let request = sign_with(&other, request(EDGE, "/", &FIELDS), SystemTime::now()).await;
    assert_eq!(refused(&signatures(), request).await.status(), 403);
}

#[tokio::test]
async fn a_copy_and_a_signature_out_of_its_time_are_refused() {
    let layer = signatures();
    let first = sign(request(EDGE, "/", &FIELDS[..1])).await;
    let copy = first.clone_head();
    admitted(&layer, first).await;
    assert_eq!(refused(&layer, copy).await.status(), 403);
    for then in [SystemTime::now() - Duration::from_secs(200), SystemTime::now() + Duration::from_secs(200)] {
        let request = sign_with(&signer(), request(EDGE, "/", &FIELDS), then).await;
        assert_eq!(refused(&layer, request).await.status(), 403);
    }
}

trait CloneHead {
    fn clone_head(&self) -> Self;
}

impl CloneHead for Request<Body> {
    fn clone_head(&self) -> Self {
        let mut copy = Self::new(Body::empty());
        *copy.method_mut() = self.method().clone();
        *copy.uri_mut() = self.uri().clone();
        *copy.headers_mut() = self.headers().clone();
        *copy.extensions_mut() = self.extensions().clone();
        copy
    }
}

#[tokio::test]
async fn accepting_unsigned_requests_believes_them_nothing_and_bad_signatures_still_less() {
    let layer = ProxyMiddleware::builder().trust(Trust::signature(keys())).dangerous_accept_unsigned().build().unwrap();
    let saw = admitted(&layer, request(EDGE, "/", &FIELDS)).await;
    assert_eq!((saw.client().as_deref(), saw.origin().trusted_by()), (Some(EDGE), &TrustedBy::None));
    assert_eq!(saw.parts.headers.len(), 1);
    let foreign = [("signature-input", "sig1=(\"@method\");created=1"), ("signature", "sig1=:AAAA:")];
    let saw = admitted(&layer, request(EDGE, "/", &foreign)).await;
    assert_eq!(saw.header("signature").as_deref(), Some("sig1=:AAAA:"), "signatures of other programs are kept");
    let mut bad = sign(request(EDGE, "/", &FIELDS)).await;
    *bad.uri_mut() = "/other".parse().unwrap();
    assert_eq!(refused(&layer, bad).await.status(), 403);
}

#[tokio::test]
async fn all_of_asks_for_both_and_any_of_for_one() {
    let edge = || Trust::peers(["10.0.0.0/8"]).unwrap();
    let both = layer(Trust::all_of([edge(), Trust::signature(keys())]));
    let saw = admitted(&both, sign(request(EDGE, "/deep", &FIELDS)).await).await;
    assert_eq!(saw.origin().trusted_by(), &TrustedBy::PeerAndSignature { key_id: "k1".into() });
    assert_eq!(saw.header("host").as_deref(), Some("shop.example"));
    assert_eq!(refused(&both, sign(request(STRANGER, "/", &FIELDS)).await).await.kind(), ErrorKind::Denied);
    assert_eq!(refused(&both, request(EDGE, "/", &FIELDS)).await.kind(), ErrorKind::Signature);

    let either = layer(Trust::any_of([edge(), Trust::signature(keys())]));
    let saw = admitted(&either, request(EDGE, "/deep", &FIELDS)).await;
    assert_eq!((saw.client().as_deref(), saw.origin().trusted_by()), (Some("198.51.100.1"), &TrustedBy::Peer));
    assert_eq!(saw.header("host").as_deref(), Some("socket.example"), "by default the host of a peer is not restored");
    let saw = admitted(&either, sign(request(STRANGER, "/deep", &FIELDS)).await).await;
    assert_eq!(saw.origin().trusted_by(), &TrustedBy::Signature { key_id: "k1".into() });
    assert_eq!(refused(&either, request(STRANGER, "/", &FIELDS)).await.kind(), ErrorKind::Signature);
    let mut bad = sign(request(EDGE, "/", &FIELDS)).await;
    *bad.uri_mut() = "/other".parse().unwrap();
    assert_eq!(
        refused(&either, bad).await.kind(),
        ErrorKind::Signature,
        "an invalid signature is refused even from a trusted peer"
    );
}

#[tokio::test]
async fn several_signatures_in_one_policy_are_a_mistake() {
    let trust = Trust::any_of([Trust::signature(keys()), Trust::all_of([Trust::signature(keys())])]);
    assert!(ProxyMiddleware::builder().trust(trust).restore(RestoredHeaders::all()).build().is_err());
}

/// Otherwise a client could set the peer address that inner layers trust.
#[tokio::test]
async fn a_client_that_a_signature_vouches_for_is_no_sockets_peer_to_a_layer_within() {
    let inner = ProxyMiddleware::builder()
        .trust(Trust::peers(["192.0.2.0/24"]).unwrap())
        .peer_from_connect_info()
        .build()
        .unwrap();
    let stack = signatures().layer(inner.layer(tower::service_fn(|request: Request<Body>| async move {
        let origin = request.extensions().get::<OriginalRequest>().unwrap();
        assert_eq!((origin.peer(), origin.trusted_by()), (None, &TrustedBy::None));
        Ok::<_, std::convert::Infallible>(http::Response::new(Body::empty()))
    })));
    let request = sign(request("", "/", &[("x-forwarded-for", "192.0.2.7")])).await;
    assert_eq!(stack.oneshot(request).await.unwrap().status(), 200);
}

// === bodies ===

fn post(body: Body) -> Request<Body> {
    let mut post = request(EDGE, "/", &[]);
    *post.method_mut() = Method::POST;
    *post.body_mut() = body;
    post
}

#[tokio::test]
async fn a_small_body_is_checked_before_the_application_runs() {
    let saw = admitted(&signatures(), sign(post(Body::from("hello"))).await).await;
    assert_eq!(saw.body.unwrap(), b"hello");
    for changed in ["hellO", "hell", "hello!", ""] {
        let mut request = sign(post(Body::from("hello"))).await;
        *request.body_mut() = Body::from(changed);
        assert_eq!(refused(&signatures(), request).await.status(), 403, "{changed:?}");
    }
}

#[tokio::test]
async fn a_streamed_body_ends_well_only_if_it_is_the_one_that_was_signed() {
    let saw = admitted(&signatures(), sign(post(Body::new(pieces(&["hel", "lo"])))).await).await;
    assert_eq!(saw.body.unwrap(), b"hello");

    let signed = sign(post(Body::new(pieces(&["hel", "lo"])))).await;
    let (parts, body) = signed.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().unwrap().clone();
    for (what, data, trailers) in [
        ("changed", "hellO", Some(trailers.clone())),
        ("cut", "hell", Some(trailers.clone())),
        ("longer", "hello!", Some(trailers)),
        ("without its trailers", "hello", None),
    ] {
        let (feed, body) = fed();
        let layer = signatures();
        let feeding = async {
            feed.data(data).await;
            if let Some(trailers) = trailers {
                feed.trailers(trailers).await;
            }
            drop(feed);
        };
        let request = Request::from_parts(parts.clone(), Body::new(body));
        let (saw, ()) = tokio::join!(admitted(&layer, request), feeding);
        assert_eq!(saw.body.unwrap_err().kind(), ErrorKind::Signature, "{what}");
    }
}

#[tokio::test]
async fn a_client_that_breaks_its_body_off_is_not_a_forger() {
    let (parts, body) = sign(post(Body::from("hello"))).await.into_parts();
    drop(body);
    let (feed, body) = fed();
    feed.fail("reset").await;
    let error = refused(&signatures(), Request::from_parts(parts, Body::new(Sized(body)))).await;
    assert_eq!(error.kind(), ErrorKind::RequestBody);
}

#[tokio::test(start_paused = true)]
async fn a_small_body_that_does_not_arrive_is_not_waited_for_for_ever() {
    let (parts, _) = sign(post(Body::from("hello"))).await.into_parts();
    let (feed, body) = fed();
    feed.data("hel").await;
    let start = tokio::time::Instant::now();
    let error = refused(&signatures(), Request::from_parts(parts, Body::new(Sized(body)))).await;
    assert_eq!((error.status(), start.elapsed()), (http::StatusCode::REQUEST_TIMEOUT, Duration::from_secs(60)));
    drop(feed);
}

/// Declares a length of five bytes.
struct Sized<B>(B);

impl<B: http_body::Body + Unpin> http_body::Body for Sized<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<B::Data>, B::Error>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(cx)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(5)
    }
}

#[tokio::test]
async fn an_uncovered_body_needs_a_word_on_both_ends() {
    let signer = Signer::builder(keys()).dangerous_unsigned_bodies(UnsignedBodies::All).build().unwrap();
    let request = async || sign_with(&signer, post(Body::from("hello")), SystemTime::now()).await;
    assert_eq!(refused(&signatures(), request().await).await.status(), 403);
    let verifier = Verifier::builder(keys()).dangerous_accept_unsigned_bodies(UnsignedBodies::All).build().unwrap();
    let saw = admitted(&layer(Trust::verifier(verifier)), request().await).await;
    assert_eq!(saw.body.unwrap(), b"hello");
}

// === a replay store elsewhere ===

#[derive(Debug)]
struct Elsewhere(NonceStatus);

impl ReplayStore for Elsewhere {
    fn remember(&self, _: Nonce<'_>) -> NonceCheck {
        let seen = self.0;
        NonceCheck::Later(Box::pin(async move {
            tokio::task::yield_now().await;
            seen
        }))
    }
}

#[tokio::test]
async fn a_store_elsewhere_is_awaited_before_the_application_runs() {
    let layer = |seen| layer(Trust::verifier(Verifier::builder(keys()).replay(Elsewhere(seen)).build().unwrap()));
    let saw = admitted(&layer(NonceStatus::Fresh), sign(request(EDGE, "/deep/x", &FIELDS)).await).await;
    assert_eq!((saw.client().as_deref(), saw.parts.uri.path()), (Some("192.0.2.7"), "/x"));
    let saw = admitted(&layer(NonceStatus::Fresh), sign(post(Body::from("hello"))).await).await;
    assert_eq!(saw.body.unwrap(), b"hello");
    let error = refused(&layer(NonceStatus::Replayed), sign(request(EDGE, "/", &FIELDS)).await).await;
    assert_eq!(error.status(), 403);
    let error = refused(&layer(NonceStatus::Unavailable), sign(request(EDGE, "/", &FIELDS)).await).await;
    assert_eq!((error.kind(), error.status().as_u16()), (ErrorKind::Unavailable, 503));
}

// === the classic signature ===

async fn sign_classic(request: Request<Body>) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    ClassicSigner::new(keys()).unwrap().sign(&mut parts, SystemTime::now()).unwrap();
    Request::from_parts(parts, body)
}

#[tokio::test]
async fn the_classic_signature_vouches_for_the_classic_fields_alone() {
    let layer = layer(Trust::dangerous_classic_signature(ClassicVerifier::new(keys())));
    let mut request = sign_classic(request(STRANGER, "/deep/x?a", &FIELDS)).await;
    request.headers_mut().insert("remote-user", HeaderValue::from_static("root"));
    let saw = admitted(&layer, request).await;
    assert_eq!((saw.client().as_deref(), saw.origin().prefix()), (Some("192.0.2.7"), "/shop"));
    assert_eq!((saw.parts.uri.to_string().as_str(), saw.header("host").as_deref()), ("/x?a", Some("shop.example")));
    assert_eq!(saw.origin().trusted_by(), &TrustedBy::Signature { key_id: "k1".into() });
    assert!(saw.parts.extensions.get::<Carried>().is_none_or(|carried| carried.text("user").is_none()));
    let left: Vec<_> = saw.parts.headers.keys().filter(|name| *name != "date" && *name != "host").collect();
    assert!(left.is_empty(), "{left:?}");

    let mut moved = sign_classic(self::request(STRANGER, "/deep/x", &FIELDS)).await;
    *moved.uri_mut() = "/deep/y".parse().unwrap();
    assert_eq!(refused(&layer, moved).await.status(), 403);
    assert_eq!(refused(&layer, self::request(STRANGER, "/deep/x", &FIELDS)).await.status(), 403);
    assert_eq!(refused(&layer, sign(self::request(STRANGER, "/deep/x", &FIELDS)).await).await.status(), 403);
}

#[tokio::test]
async fn the_classic_signature_does_not_make_up_for_a_bad_one_of_the_better_kind() {
    let classic = Trust::dangerous_classic_signature(ClassicVerifier::new(keys()));
    let layer = layer(Trust::any_of([classic, Trust::signature(keys())]));
    admitted(&layer, sign_classic(request(STRANGER, "/deep/x", &FIELDS)).await).await;
    let both = sign(sign_classic(request(STRANGER, "/deep/x", &FIELDS)).await).await;
    let saw = admitted(&layer, both).await;
    assert_eq!(saw.parts.extensions.get::<Carried>().unwrap().text("user"), Some("alice"));
    let mut bad = sign(sign_classic(request(STRANGER, "/deep/x", &FIELDS)).await).await;
    bad.headers_mut().insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
    assert_eq!(refused(&layer, bad).await.status(), 403);
}

#[tokio::test]
async fn a_signers_list_is_believed_no_further_than_the_policy_says() {
    let list = [("x-forwarded-for", "6.6.6.6, 192.0.2.7, 10.0.0.2")];
    let edge = || Trust::peers(["10.0.0.0/8"]).unwrap();
    let signed = || Trust::signature(keys());
    for (trust, client) in [
        (signed(), "6.6.6.6"),
        (signed().max_hops(2), "192.0.2.7"),
        (signed().max_hops(1), "10.0.0.2"),
        (Trust::all_of([edge().max_hops(2), signed()]), "192.0.2.7"),
        (Trust::all_of([edge().max_hops(2), signed().max_hops(1)]), "10.0.0.2"),
        (Trust::any_of([signed(), edge().max_hops(1)]), "6.6.6.6"),
        (Trust::any_of([signed(), edge()]).max_hops(2), "192.0.2.7"),
    ] {
        let saw = admitted(&layer(trust.clone()), sign(request(EDGE, "/", &list)).await).await;
        assert_eq!(saw.client().as_deref(), Some(client), "{trust:?}");
    }
}
