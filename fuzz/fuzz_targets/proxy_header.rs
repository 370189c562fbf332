//! PROXY protocol headers, complete or cut into three pieces: the result is the same. Only version 2 can name the
//! balancer itself as the client.
#![no_main]

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use libfuzzer_sys::fuzz_target;
use nexthop::{Body, ext::PeerAddr, serve::ProxyProtocol};
use nexthop_fuzz::{Client, block_on, cut};

/// Returns the peer that the application saw, if it was called.
async fn peer(pieces: &[Bytes], balancer: SocketAddr) -> Option<Option<SocketAddr>> {
    let seen = Arc::new(Mutex::new(None));
    let sees = seen.clone();
    let app = tower::service_fn(move |request: Request<Incoming>| {
        let peer = match request.extensions().get() {
            Some(PeerAddr::Tcp(addr)) => Some(*addr),
            _ => None,
        };
        sees.lock().expect("not poisoned").get_or_insert(peer);
        async { Ok::<_, Infallible>(Response::new(Body::empty())) }
    });
    let client = Client::of(app, |serve| serve.proxy_protocol(ProxyProtocol::Required), Some(PeerAddr::Tcp(balancer)));
    client.await.say(pieces).await;
    seen.lock().expect("not poisoned").take()
}

fuzz_target!(|input: ([u16; 2], &[u8])| {
    let (cuts, head) = input;
    let bytes = [head, b"GET / HTTP/1.0\r\n\r\n"].concat();
    let balancer = SocketAddr::from(([192, 0, 2, 1], 1));
    block_on(async {
        let whole = peer(&[Bytes::copy_from_slice(&bytes)], balancer).await;
        assert_eq!(whole, peer(&cut(&bytes, &cuts), balancer).await, "{cuts:?} {head:?}");
        if whole == Some(Some(balancer)) {
            // Either LOCAL, or the header contains the balancer's address.
            assert!(
                head.starts_with(b"\r\n\r\n\0\r\nQUIT\n") || head.starts_with(b"PROXY TCP4 192.0.2.1 "),
                "{head:?}"
            );
        }
    });
});
