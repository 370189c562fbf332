//! Requests through a server and a proxy, on bytes cut into three pieces. The upstream parses them with httparse and
//! receives only complete requests, each with exactly one framing. The same requests, in the same order, are parsed by
//! a server without a proxy: no request is smuggled past it.
#![no_main]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::{Buf, Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use libfuzzer_sys::fuzz_target;
use nexthop::{
    Body, ExactProxy, ProxyApp,
    net::{Connect, Connecting, Destination, ByteStream},
};
use nexthop_fuzz::{Client, block_on, cut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tower::Service;

/// Method, target and body of a complete request.
type Whole = (String, String, Bytes);

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Whole>>>);

impl Log {
    fn add(&self, method: &str, target: &str, body: Bytes) {
        self.0.lock().expect("not poisoned").push((method.to_owned(), target.to_owned(), body));
    }

    fn take(&self) -> Vec<Whole> {
        std::mem::take(&mut *self.0.lock().expect("not poisoned"))
    }
}

/// An upstream with a strict parser.
impl Connect for Log {
    fn connect(&self, _: &Destination) -> Connecting {
        let (ours, theirs) = tokio::io::duplex(1024 * 1024);
        tokio::spawn(upstream(theirs, self.clone()));
        Box::pin(async move { Ok(Box::new(ours) as Box<dyn ByteStream>) })
    }
}

async fn upstream(mut io: DuplexStream, log: Log) {
    let mut read = BytesMut::new();
    loop {
        let (method, target, framing, length) = loop {
            if let Some(head) = head(&read) {
                break head;
            }
            let Ok(1..) = io.read_buf(&mut read).await else { return };
        };
        read.advance(length);
        let mut body = BytesMut::new();
        let mut left = framing.unwrap_or(0);
        let whole = loop {
            if framing.is_some() {
                let taken = left.min(read.len());
                body.extend_from_slice(&read.split_to(taken));
                left -= taken;
                if left == 0 {
                    break true;
                }
            } else if chunk(&mut read, &mut body) {
                break true;
            }
            let Ok(1..) = io.read_buf(&mut read).await else { break false };
        };
        if !whole {
            return;
        }
        log.add(&method, &target, body.freeze());
        if io.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_err() {
            return;
        }
    }
}

/// Parses a request head. Returns its method, its target, its content length (`None` for chunked) and the length of the
/// head.
fn head(read: &[u8]) -> Option<(String, String, Option<usize>, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; 200];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(read).expect("the proxy writes valid heads") {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return None,
    };
    let named = |name: &str| -> Vec<&[u8]> {
        request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value).collect()
    };
    let framing = match (named("content-length").as_slice(), named("transfer-encoding").as_slice()) {
        ([], []) => Some(0),
        ([digits], []) => {
            assert!(digits.iter().all(u8::is_ascii_digit), "{digits:?}");
            Some(std::str::from_utf8(digits).expect("digits").parse().expect("no more than was sent"))
        }
        ([], [b"chunked"]) => None,
        framings => panic!("more than one framing: {framings:?}"),
    };
    let (method, target) = (request.method.expect("complete"), request.path.expect("complete"));
    Some((method.to_owned(), target.to_owned(), framing, length))
}

/// Consumes all complete chunks. Returns true if the last chunk was among them.
fn chunk(read: &mut BytesMut, body: &mut BytesMut) -> bool {
    loop {
        let Some(line) = read.windows(2).position(|two| two == b"\r\n") else { return false };
        let digits = std::str::from_utf8(&read[..line]).expect("digits");
        assert!(digits.bytes().all(|digit| digit.is_ascii_hexdigit()), "{digits:?}");
        let size = usize::from_str_radix(digits, 16).expect("no more than was sent");
        if size == 0 {
            let Some(end) = read[line..].windows(4).position(|four| four == b"\r\n\r\n") else { return false };
            read.advance(line + end + 4);
            return true;
        }
        let end = line + 2 + size;
        if read.len() < end + 2 {
            return false;
        }
        assert_eq!(read[end..end + 2], *b"\r\n");
        body.extend_from_slice(&read[line + 2..end]);
        read.advance(end + 2);
    }
}

/// Returns a service that records its requests, for the server without a proxy.
fn recorder(
    log: &Log,
) -> impl Service<
    Request<Incoming>,
    Response = Response<Body>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
> + Clone
+ Send
+ 'static {
    let log = log.clone();
    tower::service_fn(move |request: Request<Incoming>| {
        let log = log.clone();
        async move {
            let (head, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
                // RFC 9112 §3.2.1: an empty path is sent as `/`.
                let slash = if target.starts_with('?') { "/" } else { "" };
                log.add(head.method.as_str(), &format!("{slash}{target}"), body.to_bytes());
            }
            Ok(Response::new(Body::empty()))
        }
    })
}

fuzz_target!(|input: ([u16; 2], &[u8])| {
    let pieces = cut(input.1, &input.0);
    block_on(async {
        let (alone, forwarded) = (Log::default(), Log::default());
        Client::of(recorder(&alone), |serve| serve, None).await.say(&pieces).await;
        let exact =
            ExactProxy::builder().connector(forwarded.clone()).expect_continue_timeout(std::time::Duration::ZERO);
        let exact = exact.build().expect("a proxy");
        let app = ProxyApp::builder("http://h").client(exact).build().expect("a proxy");
        Client::of(app, |serve| serve, None).await.say(&pieces).await;

        let alone = alone.take();
        let mut read = alone.iter();
        for request in forwarded.take() {
            assert!(read.any(|read| *read == request), "{request:?} is none of {alone:?}");
        }
    });
});
