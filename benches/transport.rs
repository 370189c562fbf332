//! Measures the parts of a proxied request, without sockets: `cargo bench --profile fat -p nexthop-benches --bench
//! transport`.
//!
//! Exchanges are measured on an in-memory connection whose peer answers on the same thread, so the result includes the
//! upstream's share.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Request, Version};
use http_body_util::BodyExt;
use nexthop::{
    Body, ExactProxy, ProxyApp,
    internals::{forwarded, hop, target::join},
    net::{ByteStream, Connect, Connecting, Destination},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tower::{Service, ServiceExt};

/// Connects to an upstream task that answers each request with a body of this size in bytes.
struct Upstream(usize);

impl Connect for Upstream {
    fn connect(&self, _: &Destination) -> Connecting {
        let (ours, theirs) = tokio::io::duplex(256 * 1024);
        tokio::spawn(answer(theirs, self.0));
        Box::pin(async move { Ok(Box::new(ours) as Box<dyn ByteStream>) })
    }
}

async fn answer(mut io: DuplexStream, bytes: usize) {
    let mut response = format!("HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: {bytes}\r\n\r\n").into_bytes();
    response.resize(response.len() + bytes, b'x');
    let (mut request, mut end) = (vec![0; 64 * 1024], 0);
    while let Ok(read @ 1..) = io.read(&mut request[end..]).await {
        end += read;
        if request[..end].ends_with(b"\r\n\r\n") {
            end = 0;
            if io.write_all(&response).await.is_err() {
                return;
            }
        }
    }
}

fn request(fields: usize) -> Request<Body> {
    let mut request = Request::get("http://upstream.test/a/path?q=1").header("host", "www.example.com");
    for index in 0..fields {
        request = request.header(format!("x-request-field-{index}"), "of some length");
    }
    request.body(Body::empty()).unwrap()
}

fn exchanges(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut group = c.benchmark_group("exchange");
    for (name, fields, bytes) in [("small", 0, 13), ("30 more fields", 30, 13), ("1 MiB down", 0, 1 << 20)] {
        let exact = || ExactProxy::builder().connector(Upstream(bytes)).build().unwrap();
        let (client, href) = (exact(), "http://upstream.test");
        let app = ProxyApp::builder(href).client(exact()).build().unwrap();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("ExactProxy, {name}"), |b| {
            b.to_async(&runtime).iter_batched(
                || request(fields),
                |request| whole(client.clone(), request),
                BatchSize::SmallInput,
            );
        });
        group.bench_function(format!("ProxyApp, {name}"), |b| {
            let origin_form = || {
                let mut request = request(fields);
                *request.uri_mut() = "/a/path?q=1".parse().unwrap();
                request
            };
            b.to_async(&runtime).iter_batched(
                origin_form,
                |request| whole(app.clone(), request),
                BatchSize::SmallInput,
            );
        });
    }
}

async fn whole<S>(service: S, request: Request<Body>) -> Bytes
where
    S: Service<Request<Body>, Response = http::Response<Body>>,
    S::Error: std::fmt::Debug,
{
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap().to_bytes()
}

fn heads(c: &mut Criterion) {
    let headers: HeaderMap = request(30).headers().clone();
    c.bench_function("hop::strip_request, nothing to strip in 31 fields", |b| {
        b.iter_batched_ref(
            || headers.clone(),
            |headers| hop::strip_request(headers, Version::HTTP_11),
            BatchSize::SmallInput,
        );
    });
    c.bench_function("target::join", |b| {
        b.iter(|| join("/base", black_box("/a/path/of/some/length"), black_box(Some("q=1&r=2")), Some("k=1")));
    });
    let name = http::HeaderName::from_static("x-forwarded-for");
    let list =
        HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("192.0.2.7, 198.51.100.17, 2001:db8::1"))]);
    c.bench_function("forwarded::for_hops, three", |b| b.iter(|| forwarded::for_hops(black_box(&list), &name)));
}

criterion_group!(benches, exchanges, heads);
criterion_main!(benches);
