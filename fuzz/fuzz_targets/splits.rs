//! Any response of an upstream, complete or cut into four pieces, is parsed to the same result. The requests are a
//! `GET`, a `HEAD`, a `CONNECT`, an upgrade and a WebSocket handshake, so that the inputs cover `101` and `2xx` heads,
//! bytes sent together with them, chunks and trailers.
#![no_main]

use std::{cell::OnceCell, io};

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use libfuzzer_sys::{arbitrary, fuzz_target};
use nexthop::{
    Body, ExactProxy,
    ext::ConnectTo,
    net::{Connect, Connecting, Destination, ByteStream}, tunnel::Upgraded,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tower::ServiceExt;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Asked {
    Get,
    Head,
    Connect,
    Protocol,
    Websocket,
}

/// All properties of a response that a client can observe; `None` if it received no response.
#[derive(Debug, PartialEq)]
struct Reading {
    status: u16,
    fields: HeaderMap,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    ended_well: bool,
    tunnelled: Option<Vec<u8>>,
}

/// Connects to an upstream that reads a request and answers with these pieces.
#[derive(Clone)]
struct Wire(Vec<Bytes>);

impl Connect for Wire {
    fn connect(&self, _: &Destination) -> Connecting {
        let (ours, theirs) = tokio::io::duplex(1024 * 1024);
        let wire = self.clone();
        tokio::spawn(async move {
            // The client may disconnect before the end of the response.
            let _ = wire.answer(theirs).await;
        });
        Box::pin(async move { Ok(Box::new(ours) as Box<dyn ByteStream>) })
    }
}

impl Wire {
    async fn answer(self, mut io: DuplexStream) -> io::Result<()> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(io.read_u8().await?);
        }
        for piece in &self.0 {
            io.write_all(piece).await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

fn request(asked: Asked) -> Request<Body> {
    let request = match asked {
        Asked::Get => Request::get("http://h/"),
        Asked::Head => Request::head("http://h/"),
        Asked::Connect => {
            let proxy = ConnectTo::Authority(http::uri::Authority::from_static("h:1"));
            Request::builder().method(Method::CONNECT).uri("h:443").extension(proxy)
        }
        Asked::Protocol => Request::get("http://h/").header("connection", "upgrade").header("upgrade", "foo"),
        Asked::Websocket => Request::get("http://h/")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    };
    request.body(Body::empty()).expect("a request")
}

async fn read(asked: Asked, pieces: Vec<Bytes>) -> Option<Reading> {
    let proxy = ExactProxy::builder().connector(Wire(pieces)).build().expect("a proxy");
    let mut response = proxy.oneshot(request(asked)).await.ok()?;
    let tunnelled = match Upgraded::take(&mut response) {
        None => None,
        Some(mut io) => {
            let mut bytes = Vec::new();
            io.read_to_end(&mut bytes).await.expect("the rest of an in-memory stream");
            Some(bytes)
        }
    };
    let (head, mut body) = response.into_parts();
    let mut reading = Reading {
        status: head.status.as_u16(),
        fields: head.headers,
        body: Vec::new(),
        trailers: None,
        ended_well: true,
        tunnelled,
    };
    while let Some(frame) = body.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => reading.body.extend_from_slice(&data),
            Ok(Err(frame)) => reading.trailers = frame.into_trailers().ok(),
            Err(_) => {
                reading.ended_well = false;
                break;
            }
        }
    }
    Some(reading)
}

fuzz_target!(|input: (Asked, [u16; 3], &[u8])| {
    thread_local! {
        static RUNTIME: OnceCell<tokio::runtime::Runtime> = const { OnceCell::new() };
    }
    let (asked, cuts, bytes) = input;
    let mut rest = Bytes::copy_from_slice(bytes);
    let whole = vec![rest.clone()];
    let mut pieces: Vec<_> = cuts.map(|cut| rest.split_to(usize::from(cut).min(rest.len()))).into();
    pieces.push(rest);
    pieces.retain(|piece| !piece.is_empty());
    RUNTIME.with(|runtime| {
        let runtime = runtime
            .get_or_init(|| tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"));
        runtime.block_on(async {
            let (whole, cut) = (read(asked, whole).await, read(asked, pieces.clone()).await);
            assert_eq!(whole, cut, "{asked:?} in {pieces:?}");
        });
    });
});
