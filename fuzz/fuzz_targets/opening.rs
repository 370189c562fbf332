//! The first bytes of a client in a tunnel (TLS, HTTP or another protocol), complete or cut into three pieces: the
//! detected protocol is the same, and nothing panics.
#![no_main]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use libfuzzer_sys::fuzz_target;
use nexthop::{
    Body, ForwardProxy,
    forward::{Access, ConnectAction, DetectedProtocol, AccessDecision},
};
use nexthop_fuzz::{Client, block_on, cut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::Layer;

/// Returns the protocol that the policy received, if it was called.
async fn opening(pieces: &[Bytes]) -> Option<DetectedProtocol> {
    let seen = Arc::new(Mutex::new(None));
    let sees = seen.clone();
    let layer = ForwardProxy::builder()
        .access(Access::function(|_| AccessDecision::Allow))
        .on_connect(|_| ConnectAction::Peek)
        .on_detected(move |_, opening| {
            *sees.lock().expect("not poisoned") = Some(opening.clone());
            ConnectAction::Deny
        })
        .build()
        .expect("a proxy");
    let app = tower::service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty())));
    let mut client = Client::of(layer.layer(app), |serve| serve, None).await;
    client.io.write_all(b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n").await.expect("the server reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.io.read_u8().await.expect("an answer"));
    }
    assert!(head.starts_with(b"HTTP/1.1 200 "));
    client.say(pieces).await; // a denied tunnel is closed
    seen.lock().expect("not poisoned").take()
}

fuzz_target!(|input: ([u16; 2], &[u8])| {
    let (cuts, bytes) = input;
    block_on(async {
        let whole = opening(&[Bytes::copy_from_slice(bytes)]).await;
        assert_eq!(whole, opening(&cut(bytes, &cuts)).await, "{cuts:?} {bytes:?}");
    });
});
