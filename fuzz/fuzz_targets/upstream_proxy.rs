//! Responses of an upstream proxy, over HTTP and SOCKS5, complete or cut into four pieces: the outcome is the same, and
//! nothing panics.
#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use libfuzzer_sys::{arbitrary, fuzz_target};
use nexthop::{
    Body, ExactProxy,
    net::{Connect, Connecting, Destination, ByteStream},
};
use nexthop_fuzz::{Pieces, block_on, cut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tower::ServiceExt;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Spoken {
    Http,
    Socks,
    SocksWithPassword,
}

/// Connects to a SOCKS5 proxy that answers with these pieces, whatever it receives. The handshake alternates strictly,
/// so each piece is one response.
#[derive(Clone)]
struct Turns(Vec<Bytes>);

impl Connect for Turns {
    fn connect(&self, _: &Destination) -> Connecting {
        let (ours, theirs) = tokio::io::duplex(1024 * 1024);
        tokio::spawn(self.clone().answer(theirs));
        Box::pin(async move { Ok(Box::new(ours) as Box<dyn ByteStream>) })
    }
}

impl Turns {
    async fn answer(self, mut io: DuplexStream) {
        let mut asked = [0; 4096];
        let Ok(1..) = io.read(&mut asked).await else { return };
        for piece in &self.0 {
            // The client may have disconnected.
            if io.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Returns status and body of a response through the proxy; `None` if there was none.
async fn ask(spoken: Spoken, pieces: Vec<Bytes>) -> Option<(u16, Option<Bytes>)> {
    let (url, exact) = match spoken {
        Spoken::Http => ("http://proxy:3128", ExactProxy::builder().connector(Pieces(pieces))),
        Spoken::Socks => ("socks5h://proxy:1080", ExactProxy::builder().connector(Turns(pieces))),
        Spoken::SocksWithPassword => {
            ("socks5h://user:password@proxy:1080", ExactProxy::builder().connector(Turns(pieces)))
        }
    };
    let proxy = exact.upstream_proxy(url.parse().expect("a proxy's URL")).build().expect("a proxy");
    let request = Request::get("http://far.example/").body(Body::empty()).expect("a request");
    let response = proxy.oneshot(request).await.ok()?;
    let status = response.status().as_u16();
    Some((status, response.into_body().collect().await.ok().map(|body| body.to_bytes())))
}

fuzz_target!(|input: (Spoken, [u16; 3], &[u8])| {
    let (spoken, cuts, bytes) = input;
    block_on(async {
        let whole = ask(spoken, vec![Bytes::copy_from_slice(bytes)]).await;
        assert_eq!(whole, ask(spoken, cut(bytes, &cuts)).await, "{spoken:?} {cuts:?} {bytes:?}");
    });
});
