//! Carried keys: from the extensions of one program to those of another, over a socket.

use axum::{
    Extension, Router,
    routing::{any, get},
};
use nexthop::{
    app::ProxyApp,
    axum::CarriedKey,
    ext::Carried,
    middleware::{ProxyMiddleware, Trust},
    protocol::{
        carry::{CarriedKeys, Codec, MAX_VALUE_BYTES},
        keyring::Keyring,
        signature::Signer,
    },
    secret::Secret,
};
use serde::{Deserialize, Serialize};
use tower::Layer;

use super::support::{Front, RawUpstream};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Rights(Vec<u8>);

fn keys() -> CarriedKeys {
    CarriedKeys::builder()
        .json::<User>("user")
        .unicode::<String>("title")
        .binary::<Rights>("rights", Codec::Postcard)
        .named_string("REMOTE_USER")
        .build()
        .unwrap()
}

fn keyring() -> Keyring {
    Keyring::new("test", Secret::from_bytes([7; 32]).unwrap()).unwrap()
}

fn alice() -> User {
    User { id: 7, name: "älice".into() }
}

fn by_name() -> Carried {
    let mut carried = Carried::new();
    carried.insert_text("REMOTE_USER", " padded ");
    carried.insert_text("private", "stays");
    carried
}

/// Starts an application that answers with the carried keys it received.
async fn back(trust: Trust) -> Front {
    let app = Router::new().route(
        "/",
        any(
            async |user: Option<CarriedKey<User>>,
                   title: Option<CarriedKey<String>>,
                   rights: Option<CarriedKey<Rights>>,
                   by_name: Carried| {
                let (user, title, rights) = (user.map(|key| key.0), title.map(|key| key.0), rights.map(|key| key.0));
                format!("{user:?} {title:?} {rights:?} {:?} {}", by_name.text("REMOTE_USER"), by_name.iter().count())
            },
        ),
    );
    let strict = app.route("/strict", get(async |CarriedKey(user): CarriedKey<User>| user.name));
    Front::serve(ProxyMiddleware::builder().trust(trust).carried(keys()).build().unwrap().layer(strict)).await
}

/// Starts a program that authenticates the user and forwards requests.
async fn front(to: &str, signed: bool) -> Front {
    let mut app = ProxyApp::builder(to).carried(keys());
    if signed {
        app = app.signer(Signer::builder(keyring()).build().unwrap());
    }
    let app = Router::new().fallback_service(app.build().unwrap());
    let app = app.layer(Extension(alice())).layer(Extension(Rights(vec![1, 2]))).layer(Extension(by_name()));
    Front::serve(app).await
}

#[tokio::test]
async fn typed_values_come_over_a_signed_hop() {
    let back = back(Trust::signature(keyring())).await;
    let front = front(&back.url(""), true).await;
    let response = front.exchange("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    let expected = format!("{:?} None {:?} Some(\" padded \") 1", Some(alice()), Some(Rights(vec![1, 2])));
    assert_eq!((response.status(), response.text()), (200, expected.as_str()));
}

#[tokio::test]
async fn typed_values_come_over_a_hop_from_a_trusted_peer() {
    let back = back(Trust::peers(["loopback"]).unwrap()).await;
    let front = front(&back.url(""), false).await;
    let response = front.exchange("GET /strict HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert_eq!((response.status(), response.text()), (200, "älice"));
}

#[tokio::test]
async fn they_stand_on_the_wire_as_the_protocol_page_says() {
    let upstream = RawUpstream::answering(["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]);
    let front = front(&upstream.url(""), false).await;
    front.exchange("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    let seen = upstream.only_request();
    assert_eq!(seen.header("x-wsgiproxy-version"), Some("0.1"));
    assert_eq!(seen.header("x-wsgiproxy-json-1"), Some("user b64eyJpZCI6NywibmFtZSI6IsOkbGljZSJ9"));
    assert_eq!(seen.header("x-wsgiproxy-bin-1"), Some("rights postcard:AgEC"));
    assert_eq!(seen.header("x-wsgiproxy-str-1"), Some("REMOTE_USER b64IHBhZGRlZCA="));
    assert_eq!(seen.header("x-wsgiproxy-unicode-1"), None);
}

#[tokio::test]
async fn a_client_cannot_slip_keys_of_its_own_past_the_front() {
    let back = back(Trust::signature(keyring())).await;
    let front = front(&back.url(""), true).await;
    for forged in [
        "X-WSGIProxy-Unicode-1: title forged",
        "X-WSGIProxy-Unicode-7: title forged",
        "X_WSGIProxy_Unicode_1: title forged",
        "X-WSGIProxy-Json-2: user {\"id\":0,\"name\":\"root\"}",
        "Connection: X-WSGIProxy-Json-1, X-WSGIProxy-Bin-1, X-WSGIProxy-Str-1, X-WSGIProxy-Version",
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\n{forged}\r\nConnection: close\r\n\r\n");
        let response = front.exchange(request).await;
        let expected = format!("{:?} None {:?} Some(\" padded \") 1", Some(alice()), Some(Rights(vec![1, 2])));
        assert_eq!((response.status(), response.text()), (200, expected.as_str()), "{forged}");
    }
}

#[tokio::test]
async fn nobody_is_believed_without_trust() {
    let back = back(Trust::none()).await;
    let front = front(&back.url(""), true).await;
    let response = front.exchange("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert_eq!((response.status(), response.text()), (200, "None None None None 0"));
    let response = front.exchange("GET /strict HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn a_malformed_key_from_a_trusted_peer_is_a_bad_request() {
    let back = back(Trust::peers(["loopback"]).unwrap()).await;
    for field in [
        "X-WSGIProxy-Json-1: user {",
        "X-WSGIProxy-Unicode-1: title",
        "X-WSGIProxy-Unicode-1: title a\r\nX-WSGIProxy-Unicode-2: title a",
        "X-WSGIProxy-Unicode-1: title a\r\nX-WSGIProxy-Version: 1.0",
        "X-WSGIProxy-Bin-1: rights bincode:AgEC",
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\n{field}\r\nConnection: close\r\n\r\n");
        let response = back.exchange(request).await;
        assert_eq!(response.status(), 400, "{field}");
        assert!(!response.text().contains("user") && !response.text().contains("title"), "{}", response.text());
    }
    let ignored = "GET / HTTP/1.1\r\nHost: h\r\nX-WSGIProxy-Pickle-1: user b64Y29z\r\nX-WSGIProxy-Str-1: wsgi.input x\r\n\
                   Connection: close\r\n\r\n";
    assert_eq!(back.exchange(ignored).await.text(), "None None None None 0");
}

#[tokio::test]
async fn a_value_too_long_to_be_carried_stops_the_request() {
    let upstream = RawUpstream::answering(["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]);
    let app = ProxyApp::builder(upstream.url("")).carried(keys()).build().unwrap();
    let app = Router::new().fallback_service(app).layer(Extension("a".repeat(MAX_VALUE_BYTES + 1)));
    let front = Front::serve(app).await;
    let response = front.exchange("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert_eq!(response.status(), 500);
    assert_eq!(upstream.connections(), 0);
}
