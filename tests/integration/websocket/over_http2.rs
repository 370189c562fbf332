//! WebSockets to HTTP/2 upstreams (RFC 8441), and the fallback for upstreams that do not accept them.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::server::conn::auto;
use nexthop::{
    Body, ErrorKind, ExactProxy,
    exact::ExactProxyBuilder,
    exact::HttpVersions,
    middleware::Trust,
    net::Tls,
    protocol::{keyring::Keyring, signature::Signer},
    secret::Secret,
    tunnel::Upgraded,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tower::ServiceExt;

use super::*;
use crate::support::{fetch, get, tls::TestCa};

/// hyper's server with tungstenite's sockets, for both versions of HTTP. `/base/refused` refuses the upgrade.
struct Sockets {
    url: String,
    connections: Arc<AtomicUsize>,
    /// HTTP version and method of each request.
    seen: Arc<Mutex<Vec<(Version, Method)>>>,
    _tasks: JoinSet<()>,
}

impl Sockets {
    /// Starts the server. If `extended` is true, it accepts extended `CONNECT`.
    async fn new(tls: Option<(&TestCa, &[&str])>, extended: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let acceptor = tls.map(|(ca, alpn)| tokio_rustls::TlsAcceptor::from(Arc::new(ca.server_config(alpn))));
        let mut tasks = JoinSet::new();
        let (connections, seen) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (count, seeing) = (connections.clone(), seen.clone());
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((io, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                io.set_nodelay(true).unwrap();
                let (acceptor, seeing) = (acceptor.clone(), seeing.clone());
                open.spawn(async move {
                    match acceptor {
                        None => speak(io, extended, seeing).await,
                        Some(acceptor) => speak(acceptor.accept(io).await.unwrap(), extended, seeing).await,
                    }
                });
            }
        });
        Self { url: format!("{scheme}://localhost:{port}/base"), connections, seen, _tasks: tasks }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> Vec<(Version, Method)> {
        self.seen.lock().unwrap().clone()
    }

    /// Builds a proxy to this server.
    fn proxy(&self, exact: ExactProxyBuilder) -> ProxyApp {
        ProxyApp::builder(&self.url).client(exact.build().unwrap()).build().unwrap()
    }
}

async fn speak<S>(io: S, extended: bool, seen: Arc<Mutex<Vec<(Version, Method)>>>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut server = auto::Builder::new(TokioExecutor::new());
    if extended {
        server.http2().enable_connect_protocol();
    }
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        seen.lock().unwrap().push((request.version(), request.method().clone()));
        async move { Ok::<_, std::convert::Infallible>(answer(request)) }
    });
    let _ = server.serve_connection_with_upgrades(TokioIo::new(io), service).await;
}

fn answer(mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    if request.uri().path() == "/base/refused" {
        *response.status_mut() = StatusCode::FORBIDDEN;
        *response.body_mut() = "not you".into();
        return response;
    }
    let headers = request.headers();
    if request.version() == Version::HTTP_11 && headers.contains_key("upgrade") {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let accept = derive_accept_key(headers["sec-websocket-key"].as_bytes());
        for (name, value) in [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", &accept)] {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
    } else if let Some(protocol) = request.extensions().get::<Protocol>() {
        assert_eq!((request.method(), protocol.as_str()), (&Method::CONNECT, "websocket"));
        for absent in ["sec-websocket-key", "upgrade", "connection"] {
            assert!(!headers.contains_key(absent), "{absent}");
        }
        assert_eq!(headers["sec-websocket-version"], "13");
    } else {
        return response;
    }
    if headers.get("sec-websocket-protocol").is_some_and(|asked| asked == "chat, other") {
        response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("chat"));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let io = TokioIo::new(upgrade.await.unwrap());
        again(WebSocketStream::from_raw_socket(io, Role::Server, None).await).await;
    });
    response
}

fn trusting(ca: &TestCa) -> ExactProxyBuilder {
    ExactProxy::builder().tls(Tls::roots_pem(ca.root_pem().as_bytes()).unwrap())
}

fn prior_knowledge() -> ExactProxyBuilder {
    ExactProxy::builder().http_versions(HttpVersions::Http2Only)
}

/// Returns the handshake of a caller that uses the client directly.
fn handshake(url: &str) -> Request<Body> {
    let request = Request::get(url)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    request.body(Body::empty()).unwrap()
}

const BY_STREAM: (Version, Method) = (Version::HTTP_2, Method::CONNECT);
const BY_UPGRADE: (Version, Method) = (Version::HTTP_11, Method::GET);

#[tokio::test]
async fn clients_of_both_versions_get_sockets_on_one_connection_of_an_upstream_that_chose_http_2() {
    let ca = TestCa::new();
    let upstream = Sockets::new(Some((&ca, &["h2", "http/1.1"])), true).await;
    let front = Front::serve(upstream.proxy(trusting(&ca))).await;
    talk(http_1(front.addr).await).await;
    let mut sender = connect_2(front.addr).await;
    let (one, two) = (http_2(&mut sender, front.addr).await, http_1(front.addr).await);
    tokio::join!(talk(one), talk(two));
    assert_eq!(upstream.requests(), [BY_STREAM; 3]);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn large_messages_pass_from_clients_of_both_versions_by_prior_knowledge() {
    let upstream = Sockets::new(None, true).await;
    let front = Front::serve(upstream.proxy(prior_knowledge())).await;
    let mut sender = connect_2(front.addr).await;
    let two = http_2(&mut sender, front.addr).await;
    tokio::join!(send_in_pieces(http_1(front.addr).await), send_in_pieces(two));
    talk(http_1(front.addr).await).await;
    assert_eq!(upstream.connections(), 1);
    assert_eq!(upstream.requests(), [BY_STREAM; 3]);
}

#[tokio::test]
async fn a_caller_gets_the_101_it_expects_and_the_stream() {
    let upstream = Sockets::new(None, true).await;
    let client = prior_knowledge().build().unwrap();
    let url = format!("{}/chat", upstream.url);
    let mut response = within("an answer", client.clone().oneshot(handshake(&url))).await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::SWITCHING_PROTOCOLS, Version::HTTP_11));
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(response.headers()["connection"], "upgrade");
    assert_eq!(response.headers()["upgrade"], "websocket");
    let socket = WebSocketStream::from_raw_socket(Upgraded::take(&mut response).unwrap(), Role::Client, None).await;
    talk(socket).await;

    let mut request = handshake(&url);
    *request.method_mut() = Method::CONNECT;
    *request.version_mut() = Version::HTTP_2;
    for name in ["connection", "upgrade", "sec-websocket-key"] {
        request.headers_mut().remove(name);
    }
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    let mut response = within("an answer", client.oneshot(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    let socket = WebSocketStream::from_raw_socket(Upgraded::take(&mut response).unwrap(), Role::Client, None).await;
    talk(socket).await;
}

#[tokio::test]
async fn sockets_go_over_http_1_beside_where_the_upstream_takes_none_on_streams() {
    let ca = TestCa::new();
    let upstream = Sockets::new(Some((&ca, &["h2", "http/1.1"])), false).await;
    let exact = trusting(&ca).build().unwrap();
    let app = ProxyApp::builder(&upstream.url).client(exact.clone()).build().unwrap();
    let front = Front::serve(app).await;
    talk(http_1(front.addr).await).await;
    assert_eq!(upstream.connections(), 2); // one of them to learn the upstream's SETTINGS
    let mut sender = connect_2(front.addr).await;
    talk(http_2(&mut sender, front.addr).await).await;
    assert_eq!(upstream.connections(), 3);
    assert_eq!(fetch(&exact, get(&upstream.url)).await.0, 200);
    assert_eq!(upstream.connections(), 3);
    assert_eq!(upstream.requests(), [BY_UPGRADE, BY_UPGRADE, (Version::HTTP_2, Method::GET)]);
}

#[tokio::test]
async fn an_upstream_that_takes_none_is_remembered_when_its_connection_is_gone() {
    let ca = TestCa::new();
    let upstream = Sockets::new(Some((&ca, &["h2", "http/1.1"])), false).await;
    let exact = trusting(&ca).pool_max_idle(0).build().unwrap();
    let app = ProxyApp::builder(&upstream.url).client(exact).build().unwrap();
    let front = Front::serve(app).await;
    for connections in 2..6 {
        talk(http_1(front.addr).await).await;
        assert_eq!(upstream.connections(), connections);
    }
}

#[tokio::test]
async fn a_maximum_of_one_connection_leaves_room_for_a_socket_over_http_1() {
    let ca = TestCa::new();
    let upstream = Sockets::new(Some((&ca, &["h2", "http/1.1"])), false).await;
    let front = Front::serve(upstream.proxy(trusting(&ca).pool_max_connections(1))).await;
    for _ in 0..2 {
        talk(http_1(front.addr).await).await;
    }
}

#[tokio::test]
async fn where_only_http_2_is_allowed_a_socket_that_has_no_stream_is_a_501() {
    let upstream = Sockets::new(None, false).await;
    let client = prior_knowledge().build().unwrap();
    let error = within("an answer", client.clone().oneshot(handshake(&upstream.url)))
        .await
        .expect_err("the upgrade must be refused");
    assert_eq!((error.kind(), error.status()), (ErrorKind::Unsupported, StatusCode::NOT_IMPLEMENTED));
    let mut choice = handshake(&upstream.url);
    choice.headers_mut().insert("upgrade", HeaderValue::from_static("websocket, foo"));
    let error = within("an answer", client.oneshot(choice)).await.expect_err("HTTP/2 cannot express this upgrade");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(upstream.requests(), []);
}

#[tokio::test]
async fn an_upstream_that_chose_http_1_has_sockets_as_ever() {
    let ca = TestCa::new();
    let upstream = Sockets::new(Some((&ca, &["http/1.1"])), true).await;
    let front = Front::serve(upstream.proxy(trusting(&ca))).await;
    talk(http_1(front.addr).await).await;
    talk(http_2(&mut connect_2(front.addr).await, front.addr).await).await;
    assert_eq!(upstream.requests(), [BY_UPGRADE; 2]);
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn a_refusal_is_an_answer_with_its_body_and_the_connection_goes_on() {
    let upstream = Sockets::new(None, true).await;
    let client = prior_knowledge().build().unwrap();
    let front = Front::serve(upstream.proxy(prior_knowledge())).await;
    let refused = format!("{}/refused", upstream.url);
    for _ in 0..3 {
        let mut response = within("an answer", client.clone().oneshot(handshake(&refused))).await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert!(Upgraded::take(&mut response).is_none());
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "not you");
    }
    assert_eq!(fetch(&client, get(&upstream.url)).await.0, 200);
    assert_eq!(upstream.connections(), 1);

    let answer = front.exchange("GET /refused HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").await;
    assert_eq!((answer.status(), answer.text()), (403, "not you"));
    let mut sender = connect_2(front.addr).await;
    let request = Request::builder().method(Method::CONNECT).uri(format!("http://{}/refused", front.addr));
    let request = request.extension(Protocol::from_static("websocket")).body(Empty::new()).unwrap();
    let response = within("an answer", sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "not you");
}

#[tokio::test]
async fn a_signed_handshake_on_a_stream_is_believed_by_the_middleware_behind() {
    let (upstream, _tasks) = upstream().await;
    let keyring = Keyring::new("k1", Secret::random().unwrap()).unwrap();
    let trust = Trust::signature(keyring.clone());
    let layer = ProxyMiddleware::builder().trust(trust).build().unwrap();
    let back = Front::serve(layer.layer(proxy(upstream))).await;
    let app = ProxyApp::builder(back.url("")).signer(Signer::builder(keyring).build().unwrap());
    let front = Front::serve(app.client(prior_knowledge().build().unwrap()).build().unwrap()).await;
    talk(http_1(front.addr).await).await;
    talk(http_2(&mut connect_2(front.addr).await, front.addr).await).await;
}
