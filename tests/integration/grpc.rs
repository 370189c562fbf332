//! A gRPC client and server of tonic through [`ProxyApp`]: HTTP/2 on both sides, with and without TLS.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::{Buf, BufMut};
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use nexthop::{ExactProxy, ProxyApp, exact::HttpVersions, net::Tls};
use tokio::{net::TcpListener, sync::Notify};
use tokio_stream::{StreamExt, iter};
use tonic::{
    Code, Request, Response, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};
use tower::service_fn;

use crate::support::{Front, tls::TestCa, within};

/// Codec for messages that are plain text, which needs no generated code.
#[derive(Clone, Copy, Default)]
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, text: String, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(text.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        String::from_utf8(bytes.to_vec()).map(Some).map_err(|_| Status::data_loss("not a text"))
    }
}

/// Notified when a call of `Wait` starts and when it is cancelled.
#[derive(Clone, Default)]
struct Waits {
    begun: Arc<Notify>,
    left: Arc<Notify>,
}

type Answers = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<String, Status>> + Send>>;

/// Notifies when it is dropped.
struct Told(Arc<Notify>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// The gRPC service.
async fn answer(
    request: http::Request<Incoming>,
    waits: Waits,
) -> Result<http::Response<tonic::body::Body>, Infallible> {
    let mut grpc = tonic::server::Grpc::new(Text);
    assert_eq!(request.headers()["te"], "trailers");
    let path = request.uri().path().to_owned();
    Ok(match path.as_str() {
        "/test.Texts/Unary" => {
            let unary = |request: Request<String>| async move {
                let mut response = Response::new(format!("{}!", request.get_ref()));
                if let Some(id) = request.metadata().get("x-id") {
                    response.metadata_mut().insert("x-id", id.clone());
                }
                Ok::<_, Status>(response)
            };
            grpc.unary(service_fn(unary), request).await
        }
        "/test.Texts/Fail" => {
            let fail =
                |_: Request<String>| async { Err::<Response<String>, _>(Status::failed_precondition("not now")) };
            grpc.unary(service_fn(fail), request).await
        }
        "/test.Texts/Count" => {
            let count = |request: Request<String>| async move {
                let to: u32 = request.get_ref().parse().map_err(|_| Status::invalid_argument("no number"))?;
                let counted = (1..=to).map(|n| Ok(n.to_string())).chain([Err(Status::out_of_range("that is all"))]);
                Ok::<_, Status>(Response::new(Box::pin(iter(counted.collect::<Vec<_>>())) as Answers))
            };
            grpc.server_streaming(service_fn(count), request).await
        }
        "/test.Texts/Join" => {
            let join = |request: Request<Streaming<String>>| async move {
                let texts: Vec<String> = request.into_inner().collect::<Result<_, _>>().await?;
                Ok::<_, Status>(Response::new(texts.concat()))
            };
            grpc.client_streaming(service_fn(join), request).await
        }
        "/test.Texts/Echo" => {
            let echo = |request: Request<Streaming<String>>| async move {
                Ok::<_, Status>(Response::new(Box::pin(request.into_inner()) as Answers))
            };
            grpc.streaming(service_fn(echo), request).await
        }
        "/test.Texts/Wait" => {
            assert_eq!(request.headers()["grpc-timeout"], "1000000u");
            let wait = |_: Request<String>| {
                let (told, begun) = (Told(waits.left.clone()), waits.begun.clone());
                async move {
                    begun.notify_one();
                    std::future::pending::<()>().await;
                    drop(told);
                    Ok::<_, Status>(Response::new(String::new()))
                }
            };
            grpc.unary(service_fn(wait), request).await
        }
        _ => http::Response::builder().status(404).body(tonic::body::Body::empty()).unwrap(),
    })
}

struct Path {
    client: Grpc<Channel>,
    waits: Waits,
    _fronts: (Front, Option<Front>),
    _secure: Option<tokio::task::JoinHandle<()>>,
}

/// Connects tonic's client, `serve`, `ProxyApp` and the service.
async fn path(secure: bool) -> Path {
    let waits = Waits::default();
    let told = waits.clone();
    let service = service_fn(move |request| answer(request, told.clone()));
    let (href, exact, upstream, task) = if secure {
        let ca = TestCa::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let href = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(ca.server_config(&["h2", "http/1.1"])));
        let task = tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                let io = hyper_util::rt::TokioIo::new(acceptor.accept(io).await.unwrap());
                let service = hyper_util::service::TowerToHyperService::new(service.clone());
                let server = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
                tokio::spawn(server.serve_connection(io, service));
            }
        });
        // ALPN negotiates HTTP/2 without further settings.
        let exact = ExactProxy::builder().tls(Tls::roots_pem(ca.root_pem().as_bytes()).unwrap());
        (href, exact, None, Some(task))
    } else {
        let upstream = Front::hyper(service).await;
        (upstream.url(""), ExactProxy::builder().http_versions(HttpVersions::Http2Only), Some(upstream), None)
    };
    let app = ProxyApp::builder(href).client(exact.build().unwrap()).build().unwrap();
    let front = Front::serve(app).await;
    let channel = Endpoint::from_shared(front.url("")).unwrap().connect().await.unwrap();
    Path { client: Grpc::new(channel), waits, _fronts: (front, upstream), _secure: task }
}

fn method(name: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(name)
}

async fn every_kind_of_call(secure: bool) {
    let Path { mut client, _fronts, .. } = path(secure).await;
    client.ready().await.unwrap();
    let mut hello = Request::new("hello".to_owned());
    hello.metadata_mut().insert("x-id", "7".parse().unwrap());
    let unary = client.unary(hello, method("/test.Texts/Unary"), Text).await.unwrap();
    assert_eq!((unary.metadata().get("x-id").unwrap(), unary.get_ref().as_str()), (&"7".parse().unwrap(), "hello!"));

    client.ready().await.unwrap();
    let count = Request::new("3".to_owned());
    let mut counted = client.server_streaming(count, method("/test.Texts/Count"), Text).await.unwrap().into_inner();
    for n in ["1", "2", "3"] {
        assert_eq!(counted.message().await.unwrap().as_deref(), Some(n));
    }
    // The status arrives in the trailers, after the messages.
    let status = counted.message().await.expect_err("an error at the end");
    assert_eq!((status.code(), status.message()), (Code::OutOfRange, "that is all"));

    client.ready().await.unwrap();
    let texts = Request::new(iter(["a", "b", "c"].map(String::from)));
    let joined = client.client_streaming(texts, method("/test.Texts/Join"), Text).await.unwrap();
    assert_eq!(joined.get_ref(), "abc");

    client.ready().await.unwrap();
    let (feed, texts) = tokio::sync::mpsc::channel(1);
    let texts = Request::new(tokio_stream::wrappers::ReceiverStream::new(texts));
    let mut echoed = client.streaming(texts, method("/test.Texts/Echo"), Text).await.unwrap().into_inner();
    for n in 0..5 {
        // Each message is sent after the echo of the previous one.
        feed.send(n.to_string()).await.unwrap();
        assert_eq!(echoed.message().await.unwrap(), Some(n.to_string()));
    }
    drop(feed);
    assert_eq!(echoed.message().await.unwrap(), None);

    // Without a message, the status is in the response head (trailers-only).
    client.ready().await.unwrap();
    let failed = client.unary(Request::new(String::new()), method("/test.Texts/Fail"), Text).await;
    let status = failed.expect_err("a status alone");
    assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "not now"));
}

#[tokio::test]
async fn every_kind_of_call_goes_through_without_tls() {
    within("the calls", every_kind_of_call(false)).await;
}

#[tokio::test]
async fn every_kind_of_call_goes_through_to_an_upstream_found_by_alpn() {
    within("the calls", every_kind_of_call(true)).await;
}

#[tokio::test]
async fn a_deadline_reaches_the_service_and_giving_up_cancels_its_call() {
    let Path { mut client, waits, _fronts, .. } = path(false).await;
    client.ready().await.unwrap();
    let mut request = Request::new(String::new());
    request.set_timeout(Duration::from_secs(1));
    let status = within("the deadline", client.unary(request, method("/test.Texts/Wait"), Text)).await;
    assert!(matches!(status.expect_err("too late").code(), Code::Cancelled | Code::DeadlineExceeded));
    within("the service to learn of it", waits.left.notified()).await;
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled_at_the_service() {
    let Path { mut client, waits, _fronts, .. } = path(true).await;
    client.ready().await.unwrap();
    let mut request = Request::new(String::new());
    // Sends the same deadline on the wire, without tonic's own timer.
    request.metadata_mut().insert("grpc-timeout", "1000000u".parse().unwrap());
    let calling = tokio::spawn(async move { client.unary(request, method("/test.Texts/Wait"), Text).await });
    within("the call to arrive", waits.begun.notified()).await;
    calling.abort();
    within("the service to learn of it", waits.left.notified()).await;
}
