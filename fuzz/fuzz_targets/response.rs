//! Compares the response parser with that of hyper's client, on bytes cut into two pieces: a response that is accepted
//! as complete is the same for hyper.
//!
//! The opposite does not hold. This crate rejects, and hyper accepts: transfer codings other than one `chunked`, chunk
//! and trailer lines that do not end with CRLF, white space or line breaks in chunk extensions where a size is
//! expected, a 101 without an upgrade request, more than 4 bytes of empty lines before a head, and more than 100
//! interim responses. hyper's limit of 100 headers is raised to 128, the limit of this crate. Trailers are not
//! compared, since this crate removes those that affect the processing of the message.
#![no_main]

use std::{cell::OnceCell, io};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;
use nexthop::{
    Body, ExactProxy,
    net::{Connect, Connecting, Destination, ByteStream},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tower::ServiceExt;

/// Status and body; `None` if any part of the response failed.
type Reading = Option<(u16, Bytes)>;

#[derive(Clone)]
struct Wire {
    first: Bytes,
    second: Bytes,
}

impl Wire {
    /// Returns a stream whose peer reads a request and answers with these bytes.
    fn open(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let wire = self.clone();
        tokio::spawn(async move {
            // The client may disconnect before the end of the response.
            let _ = wire.answer(theirs).await;
        });
        ours
    }

    async fn answer(self, mut io: DuplexStream) -> io::Result<()> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(io.read_u8().await?);
        }
        io.write_all(&self.first).await?;
        tokio::task::yield_now().await;
        io.write_all(&self.second).await
    }
}

impl Connect for Wire {
    fn connect(&self, _: &Destination) -> Connecting {
        let io = self.open();
        Box::pin(async move { Ok(Box::new(io) as Box<dyn ByteStream>) })
    }
}

async fn ours(method: Method, wire: Wire) -> Reading {
    let proxy = ExactProxy::builder().connector(wire).build().ok()?;
    let request = Request::builder().method(method).uri("http://h/").body(Body::empty()).ok()?;
    let response = proxy.oneshot(request).await.ok()?;
    let status = response.status().as_u16();
    Some((status, response.into_body().collect().await.ok()?.to_bytes()))
}

async fn hypers(method: Method, wire: Wire) -> Reading {
    let mut client = hyper::client::conn::http1::Builder::new();
    let (mut send, connection) =
        client.max_headers(128).handshake::<_, Empty<Bytes>>(TokioIo::new(wire.open())).await.ok()?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri("/").header("host", "h").body(Empty::new()).ok()?;
    let response = send.send_request(request).await.ok()?;
    let status = response.status().as_u16();
    Some((status, response.into_body().collect().await.ok()?.to_bytes()))
}

fuzz_target!(|input: (bool, u16, &[u8])| {
    thread_local! {
        static RUNTIME: OnceCell<tokio::runtime::Runtime> = const { OnceCell::new() };
    }
    let (head, cut, bytes) = input;
    let method = if head { Method::HEAD } else { Method::GET };
    let mut second = Bytes::copy_from_slice(bytes);
    let first = second.split_to(usize::from(cut).min(bytes.len()));
    let wire = Wire { first, second };
    RUNTIME.with(|runtime| {
        let runtime = runtime
            .get_or_init(|| tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"));
        runtime.block_on(async {
            let Some(ours) = ours(method.clone(), wire.clone()).await else { return };
            let hypers = hypers(method, wire.clone()).await;
            assert_eq!(Some(&ours), hypers.as_ref(), "{:?} {:?}", wire.first, wire.second);
        });
    });
});
