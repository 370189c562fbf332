//! Both ends of a hop: `ProxyApp` sends to `ProxyMiddleware`, with their defaults.

use axum::{
    Json, Router,
    extract::{OriginalUri, Request},
    routing::get,
};
use http::HeaderValue;
use nexthop::{
    app::{ProxyApp, ProxyAppBuilder},
    ext::{Carried, OriginalRequest, TrustedBy},
    middleware::{ProxyMiddleware, RestoredHeaders, Trust},
    protocol::{
        ForwardedHeaders,
        carry::CarriedKeys,
        keyring::Keyring,
        signature::{
            Signer,
            classic::{ClassicSigner, ClassicVerifier},
        },
    },
    secret::Secret,
};
use serde_json::{Value, json};
use tower::Layer;

use crate::support::{Front, RawUpstream, ReceivedRequest};

async fn tell(original: OriginalUri, request: Request) -> Json<Value> {
    let origin = request.extensions().get::<OriginalRequest>().unwrap();
    let field = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    Json(json!({
        "uri": request.uri().to_string(),
        "original": original.0.to_string(),
        "host": field("host"),
        "forwarded": field("x-forwarded-for"),
        "client": origin.client().map(|ip| ip.to_string()),
        "scheme": origin.scheme().as_str(),
        "prefix": origin.prefix(),
    }))
}

#[tokio::test]
async fn the_back_sees_the_request_as_the_client_made_it() {
    let trust = Trust::peers(["loopback"]).unwrap();
    let restore = RestoredHeaders::default().host().prefix();
    let layer = ProxyMiddleware::builder().trust(trust).read_headers(ForwardedHeaders::WsgiProxy).restore(restore);
    let layer = layer.build().unwrap();
    let back = Router::new().route("/x", get(tell)).fallback(tell);
    let back = Front::serve(layer.layer(back)).await;

    let service = ProxyApp::builder(back.url("/app?k=1")).public_scheme(http::uri::Scheme::HTTPS);
    let front = Front::serve(Router::new().nest_service("/api", service.build().unwrap())).await;

    for (target, uri) in [("/api/x?y", "/x?y"), ("/api/x?", "/x?"), ("/api/a%2Fb//c", "/a%2Fb//c"), ("/api/", "/")] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: front.example\r\nx-forwarded-for: 6.6.6.6\r\n\r\n");
        let answer = front.exchange(request).await;
        assert_eq!(answer.status(), 200, "{} {}", answer.head, answer.text());
        let seen: Value = serde_json::from_slice(&answer.body).unwrap();
        let expected = json!({
            "uri": uri, "original": target, "host": "front.example", "forwarded": null, "client": "127.0.0.1",
            "scheme": "https", "prefix": "/api",
        });
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn with_the_defaults_of_both_ends_client_scheme_host_and_prefix_arrive() {
    let signed = Trust::signature(keyring(7));
    for (trust, signer) in [(Trust::peers(["loopback"]).unwrap(), None), (signed, Some(keyring(7)))] {
        let restore = RestoredHeaders::all();
        let layer = ProxyMiddleware::builder().trust(trust).restore(restore).build().unwrap();
        let back = Front::serve(layer.layer(Router::new().fallback(tell))).await;
        let mut service = ProxyApp::builder(back.url("")).public_scheme(http::uri::Scheme::HTTPS);
        if let Some(keys) = signer {
            service = service.signer(Signer::builder(keys).build().unwrap());
        }
        let front = Front::serve(Router::new().nest_service("/api", service.build().unwrap())).await;
        let answer = front.exchange("GET /api/x?y HTTP/1.1\r\nhost: front.example:8443\r\n\r\n").await;
        let seen: Value = serde_json::from_slice(&answer.body).unwrap();
        let expected = json!({
            "uri": "/x?y", "original": "/api/x?y", "host": "front.example:8443", "forwarded": null,
            "client": "127.0.0.1", "scheme": "https", "prefix": "/api",
        });
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn a_back_that_knows_its_prefix_is_not_mapped_twice() {
    let trust = Trust::peers(["loopback"]).unwrap();
    let layer =
        ProxyMiddleware::builder().trust(trust).restore(RestoredHeaders::default().host().prefix()).build().unwrap();
    let back = Router::new().fallback(async |request: Request| {
        let origin = request.extensions().get::<OriginalRequest>().unwrap();
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        [("location", format!("{}://{host}{}/next", origin.scheme(), origin.prefix()))]
    });
    let back = Front::serve(layer.layer(back)).await;
    let service = ProxyApp::builder(back.url("")).build().unwrap();
    let front = Front::serve(Router::new().nest_service("/api", service)).await;
    let answer = front.exchange("GET /api/x HTTP/1.1\r\nhost: front.example\r\n\r\n").await;
    assert_eq!(answer.header("location"), Some("http://front.example/api/next"));
}

fn keyring(byte: u8) -> Keyring {
    Keyring::new("k1", Secret::from_bytes([byte; 32]).unwrap()).unwrap()
}

fn keys() -> CarriedKeys {
    CarriedKeys::builder().named_string("user").build().unwrap()
}

/// Answers with the carried user, the key id of the signature and the body.
async fn back(trust: Trust) -> Front {
    let layer = ProxyMiddleware::builder().trust(trust).carried(keys()).build().unwrap();
    let app = Router::new().fallback(async |request: Request| {
        let (head, body) = request.into_parts();
        let user = head.extensions.get::<Carried>().and_then(|carried| carried.text("user")).map(str::to_owned);
        let by = match head.extensions.get::<OriginalRequest>().unwrap().trusted_by() {
            TrustedBy::Signature { key_id } => key_id.to_string(),
            _ => String::new(),
        };
        match axum::body::to_bytes(body, usize::MAX).await {
            Ok(body) => format!("{user:?} by {by}: {}", String::from_utf8_lossy(&body)),
            Err(_) => "broken".to_owned(),
        }
    });
    Front::serve(layer.layer(app)).await
}

async fn front(back: &Front, sign: impl FnOnce(ProxyAppBuilder) -> ProxyAppBuilder) -> Front {
    let builder = ProxyApp::builder(back.url("/app")).carried(keys()).rewrite_request(|request| {
        let mut carried = Carried::new();
        carried.insert_text("user", "alice");
        request.extensions.insert(carried);
        request.headers.insert("x-hook", HeaderValue::from_static("1"));
    });
    Front::serve(sign(builder).build().unwrap()).await
}

const REQUESTS: [(&str, &str); 4] = [
    ("GET /x?y HTTP/1.1\r\nhost: h\r\nx-wsgiproxy-str-1: user mallory\r\n\r\n", ""),
    ("POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc", "abc"),
    ("POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc"),
    ("POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n", ""),
];

#[tokio::test]
async fn a_signed_request_brings_its_carried_keys_and_its_body() {
    let back = back(Trust::signature(keyring(7))).await;
    let front = front(&back, |app| app.signer(Signer::builder(keyring(7)).build().unwrap())).await;
    let mut client = front.client().await;
    for (request, body) in REQUESTS {
        let answer = client.exchange(request).await;
        assert_eq!(answer.text(), format!("Some(\"alice\") by k1: {body}"), "{request}");
    }
}

#[tokio::test]
async fn an_unsigned_or_wrongly_signed_request_is_refused() {
    let back = back(Trust::signature(keyring(7))).await;
    for front in [
        front(&back, |app| app).await,
        front(&back, |app| app.signer(Signer::builder(keyring(8)).build().unwrap())).await,
    ] {
        for (request, _) in REQUESTS {
            assert_eq!(front.exchange(request).await.status(), 403);
        }
    }
}

#[tokio::test]
async fn the_limit_of_a_body_holds_for_signed_requests_too() {
    let back = back(Trust::signature(keyring(7))).await;
    let signer = Signer::builder(keyring(7)).build().unwrap();
    let front = front(&back, |app| app.signer(signer).max_body_bytes(2)).await;
    for (request, body) in REQUESTS {
        let expected = if body.is_empty() { 200 } else { 413 };
        assert_eq!(front.exchange(request).await.status(), expected, "{request}");
    }
}

#[tokio::test]
async fn the_classic_signature_is_understood_but_not_for_carried_keys() {
    let verifier = ClassicVerifier::new(keyring(7));
    let back = back(Trust::dangerous_classic_signature(verifier)).await;
    let front = front(&back, |app| app.classic_signer(ClassicSigner::new(keyring(7)).unwrap())).await;
    for (request, body) in REQUESTS {
        let answer = front.exchange(request).await;
        assert_eq!(answer.text(), format!("None by k1: {body}"), "{request}");
    }
}

#[test]
fn a_request_is_signed_one_way() {
    let app = ProxyApp::builder("http://h");
    let app = app.signer(Signer::builder(keyring(7)).build().unwrap());
    let error = app.classic_signer(ClassicSigner::new(keyring(7)).unwrap()).build().unwrap_err();
    assert!(error.to_string().contains("classic_signer"));
}

#[tokio::test]
async fn a_request_that_is_sent_again_is_signed_anew() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        if conn.index == 0 {
            conn.write(super::OK).await;
            conn.request().await; // closes without a response
        } else {
            conn.write(super::OK).await;
        }
    });
    let signer = Signer::builder(keyring(7)).build().unwrap();
    let front = Front::hyper(super::app(&upstream, "").signer(signer).build().unwrap()).await;
    let mut client = front.client().await;
    for _ in 0..2 {
        assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.status(), 200);
    }
    let seen = upstream.requests();
    let signatures: Vec<_> = seen.iter().map(|seen| seen.header("signature").unwrap()).collect();
    assert_eq!((signatures.len(), upstream.connections()), (3, 2));
    assert_ne!(signatures[1], signatures[2]);
    assert_ne!(seen[1].header("signature-input"), seen[2].header("signature-input"));
}

/// Sends a `PUT` of `body` on a reused connection, which is lost after the whole body has arrived. Returns the status
/// of the response and the attempts that the upstream received.
async fn lost_put(body: &str, signed: bool) -> (u16, Vec<ReceivedRequest>) {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.write(super::OK).await;
        conn.request().await; // closes the first connection without a response
    });
    let mut app = super::app(&upstream, "");
    if signed {
        app = app.signer(Signer::builder(keyring(7)).build().unwrap());
    }
    let front = Front::hyper(app.build().unwrap()).await;
    let mut client = front.client().await;
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.status(), 200);
    let answer = client.exchange(format!("PUT / HTTP/1.1\r\nhost: h\r\n{body}")).await;
    (answer.status(), upstream.requests().split_off(1))
}

#[tokio::test]
async fn a_small_body_that_is_sent_again_is_whole_and_signed_anew() {
    let (status, seen) = lost_put("content-length: 6\r\n\r\nabcdef", true).await;
    assert_eq!((status, seen.len(), seen[1].connection), (200, 2, 1));
    assert_eq!((seen[0].body.as_slice(), seen[1].body.as_slice()), (&b"abcdef"[..], &b"abcdef"[..]));
    assert_eq!(seen[0].header("content-digest"), seen[1].header("content-digest"));
    assert_ne!(seen[0].header("signature"), seen[1].header("signature"));
    assert_ne!(seen[0].header("signature-input"), seen[1].header("signature-input"));
}

#[tokio::test]
async fn trailers_signed_with_a_lost_head_are_not_sent_again() {
    let body = "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\nx: 1\r\n\r\n";
    let (status, seen) = lost_put(body, true).await;
    assert_eq!((status, seen.len(), seen[0].body.as_slice()), (502, 1, &b"abcdef"[..]));
    assert!(String::from_utf8_lossy(&seen[0].wire_body).contains("ignature"), "{seen:?}");
    // Without a signature, the client's trailers do not depend on the head and are sent again.
    let (status, seen) = lost_put(body, false).await;
    assert_eq!((status, seen.len()), (200, 2));
    assert!(seen[1].wire_body.ends_with(b"x: 1\r\n\r\n"), "{seen:?}");
}

#[tokio::test]
async fn a_user_that_a_stranger_names_is_not_believed_behind_both_ends() {
    let layer = ProxyMiddleware::builder().trust(Trust::peers(["loopback"]).unwrap()).build().unwrap();
    let back = layer.layer(Router::new().fallback(async |request: Request| {
        ["remote-user", "x_forwarded_user"].map(|name| format!("{:?}", request.headers().get(name))).join(" ")
    }));
    let back = Front::serve(back).await;
    let front = Front::serve(ProxyApp::builder(back.url("")).build().unwrap()).await;
    let answer =
        front.exchange("GET / HTTP/1.1\r\nhost: h\r\nremote-user: root\r\nx_forwarded_user: root\r\n\r\n").await;
    assert_eq!((answer.status(), answer.text()), (200, "None None"));
}

#[tokio::test]
async fn a_two_way_stream_flows_through_a_signed_hop_and_ends_well() {
    let layer = ProxyMiddleware::builder().trust(Trust::signature(keyring(7))).build().unwrap();
    let echo = Router::new().fallback(async |request: Request| http::Response::new(request.into_body()));
    let back = Front::serve(layer.layer(echo)).await;
    let front = front(&back, |app| app.signer(Signer::builder(keyring(7)).build().unwrap())).await;
    let mut client = front.client().await;
    client.send("POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let mut head = String::new();
    for (index, word) in ["one", "two", "six"].iter().enumerate() {
        client.send(format!("3\r\n{word}\r\n")).await;
        while index == 0 && !head.ends_with("\r\n\r\n") {
            head.push(char::from(client.read(1).await[0]));
        }
        assert_eq!(String::from_utf8(client.read(8).await).unwrap(), format!("3\r\n{word}\r\n"));
    }
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    client.send("0\r\n\r\n").await;
    assert_eq!(client.read(5).await, b"0\r\n\r\n");
    // The connection is reusable: it serves another request.
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.status(), 200);
}

#[tokio::test]
async fn a_clients_own_digest_and_signature_arrive_beside_ours_and_a_wrong_digest_is_a_400() {
    let upstream = RawUpstream::answering(["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]);
    let service = ProxyApp::builder(upstream.url("")).signer(Signer::builder(keyring(7)).build().unwrap());
    let front = Front::serve(service.build().unwrap()).await;
    let post = |digest: &str| {
        format!(
            "POST /caf\u{e9} HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\ncontent-digest: {digest}\r\n\
             signature-input: nexthop=(), sig1=(\"@method\")\r\nsignature: nexthop=:AA==:, sig1=:AAAA:\r\n\r\nhello"
        )
    };
    assert_eq!(front.exchange(post("sha-256=:AAAA:")).await.status(), 400);
    assert_eq!(front.exchange(post("nonsense;;")).await.status(), 400);
    assert_eq!(upstream.connections(), 0);
    assert_eq!(front.exchange(post("sha-512=:AAAA:")).await.status(), 200);
    let seen = upstream.only_request();
    assert_eq!(seen.target(), "/caf\u{e9}");
    assert_eq!(
        seen.headers("content-digest"),
        ["sha-512=:AAAA:, sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"]
    );
    assert_eq!(seen.headers("signature-input")[0], "sig1=(\"@method\")");
    assert_eq!(seen.headers("signature")[0], "sig1=:AAAA:");
}

#[tokio::test]
async fn a_chunked_body_with_a_covered_digest_is_checked_before_the_app_runs() {
    let called = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let calls = called.clone();
    let layer = ProxyMiddleware::builder().trust(Trust::signature(keyring(7))).build().unwrap();
    let app = Router::new().fallback(async move |body: axum::body::Bytes| {
        calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        body
    });
    let back = Front::serve(layer.layer(app)).await;
    // The head as `ProxyApp` signs it, sent on with other framing and another body.
    let upstream = RawUpstream::answering(["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]);
    let service = ProxyApp::builder(upstream.url("")).signer(Signer::builder(keyring(7)).build().unwrap());
    let front = Front::serve(service.build().unwrap()).await;
    for (body, status) in [("hellO", 403), ("hello", 200)] {
        let count = upstream.requests().len();
        front.exchange("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello").await;
        let head = upstream.requests().swap_remove(count).head;
        let head = head.replace("content-length: 5\r\n", "transfer-encoding: chunked\r\n");
        let (start, end) = body.split_at(2);
        let request = format!("{head}2\r\n{start}\r\n3\r\n{end}\r\n0\r\n\r\n");
        assert_eq!(back.exchange(request).await.status(), status, "{body}");
    }
    assert_eq!(called.load(std::sync::atomic::Ordering::SeqCst), 1);
}
