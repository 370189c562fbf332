//! HTTP versions: negotiated by ALPN or by prior knowledge, and requests that require HTTP/1.1.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::{Request, Version};
use nexthop::{Body, ErrorKind, ExactProxy, exact::HttpVersions, net::Tls};
use tokio::{net::TcpListener, task::JoinSet};

use super::call;
use crate::support::{Front, RawUpstream, echo, fetch, get, read, tls::TestCa, within};

/// hyper's server with TLS; ALPN selects the version.
struct Secure {
    url: String,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Secure {
    async fn new(ca: &TestCa, alpn: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(ca.server_config(alpn)));
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(io) = acceptor.accept(io).await else { return };
                    let is_http2 = io.get_ref().1.alpn_protocol() == Some(b"h2");
                    let io = hyper_util::rt::TokioIo::new(io);
                    let service = hyper_util::service::TowerToHyperService::new(echo());
                    let executor = hyper_util::rt::TokioExecutor::new();
                    let _ = if is_http2 {
                        hyper::server::conn::http2::Builder::new(executor).serve_connection(io, service).await
                    } else {
                        hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
                    };
                });
            }
        });
        Self { url, connections, task }
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn client(ca: &TestCa, versions: HttpVersions) -> ExactProxy {
    let tls = Tls::roots_pem(ca.root_pem().as_bytes()).unwrap();
    ExactProxy::builder().tls(tls).http_versions(versions).build().unwrap()
}

#[tokio::test]
async fn alpn_decides_over_tls() {
    let ca = TestCa::new();
    for (alpn, version) in [(&["h2", "http/1.1"][..], "HTTP/2.0"), (&["http/1.1"], "HTTP/1.1"), (&[], "HTTP/1.1")] {
        let upstream = Secure::new(&ca, alpn).await;
        let (status, echo) = fetch(&client(&ca, HttpVersions::Auto), get(&upstream.url)).await;
        assert_eq!(status, 200);
        assert!(echo.contains(version), "{alpn:?}: {echo}");
    }
}

#[tokio::test]
async fn a_version_that_is_asked_for_is_the_only_one() {
    let ca = TestCa::new();
    let upstream = Secure::new(&ca, &["h2", "http/1.1"]).await;
    let (_, echo) = fetch(&client(&ca, HttpVersions::Http1Only), get(&upstream.url)).await;
    assert!(echo.contains("HTTP/1.1"), "{echo}");
    let old = Secure::new(&ca, &["http/1.1"]).await;
    let error = within("a refusal", call(&client(&ca, HttpVersions::Http2Only), get(&old.url))).await;
    assert_eq!(error.expect_err("no HTTP/2").kind(), ErrorKind::Connect);
}

#[tokio::test]
async fn a_hundred_first_requests_by_alpn_share_one_connection() {
    let ca = TestCa::new();
    let upstream = Secure::new(&ca, &["h2", "http/1.1"]).await;
    let proxy = client(&ca, HttpVersions::Auto);
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let (proxy, url) = (proxy.clone(), upstream.url.clone());
        calls.spawn(async move { fetch(&proxy, get(url)).await.0 });
    }
    assert_eq!(calls.join_all().await, [200; 100]);
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_maximum_of_connections_does_not_keep_requests_from_sharing_one() {
    let ca = TestCa::new();
    let upstream = Secure::new(&ca, &["h2"]).await;
    let tls = Tls::roots_pem(ca.root_pem().as_bytes()).unwrap();
    let proxy = ExactProxy::builder().tls(tls).pool_max_connections(1).build().unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..150 {
        let (proxy, url) = (proxy.clone(), upstream.url.clone());
        calls.spawn(async move { fetch(&proxy, get(url)).await.0 });
    }
    assert_eq!(calls.join_all().await, [200; 150]);
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
    assert_eq!(proxy.pool_stats().opened, 1);
}

#[tokio::test]
async fn an_unused_connection_makes_room_for_one_of_http_1_1() {
    let ca = TestCa::new();
    let upstream = Secure::new(&ca, &["h2", "http/1.1"]).await;
    let tls = Tls::roots_pem(ca.root_pem().as_bytes()).unwrap();
    let proxy = ExactProxy::builder().tls(tls).pool_max_connections(1).build().unwrap();
    assert!(fetch(&proxy, get(&upstream.url)).await.1.contains("HTTP/2.0"));
    let (status, echo) = fetch(&proxy, upgrade(&upstream.url)).await;
    assert!(status == 200 && echo.contains("HTTP/1.1"), "{status} {echo}");
    assert_eq!(proxy.pool_stats().opened, 2);
}

#[tokio::test]
async fn a_connection_that_becomes_unused_makes_room_for_one_of_http_1_1_that_waits() {
    let ca = TestCa::new();
    let upstream = Secure::new(&ca, &["h2", "http/1.1"]).await;
    let tls = Tls::roots_pem(ca.root_pem().as_bytes()).unwrap();
    let proxy = ExactProxy::builder().tls(tls).pool_max_connections(1).pool_wait_timeout(None).build().unwrap();
    let in_use = within("a response", call(&proxy, get(&upstream.url))).await.unwrap();
    let over_http1 = tokio::spawn(fetch(&proxy, upgrade(&upstream.url)));
    within("the queue", async {
        while proxy.pool_stats().waiting == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(in_use);
    let (status, echo) = over_http1.await.unwrap();
    assert!(status == 200 && echo.contains("HTTP/1.1"), "{status} {echo}");
}

#[tokio::test]
async fn an_unused_connection_of_another_runtime_makes_room() {
    let upstream = Front::hyper(echo()).await;
    let builder = ExactProxy::builder().http_versions(HttpVersions::Http2Only).pool_max_connections(1);
    let (proxy, url) = (builder.build().unwrap(), upstream.url("/"));
    assert_eq!(fetch(&proxy, get(&url)).await.0, 200);
    let elsewhere = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(fetch(&proxy, get(&url))).0
    });
    assert_eq!(elsewhere.await.unwrap(), 200);
}

#[tokio::test]
async fn connections_of_http_1_1_over_tls_are_pooled_as_ever() {
    let ca = TestCa::new();
    let upstream = Secure::new(&ca, &["http/1.1"]).await;
    let proxy = client(&ca, HttpVersions::Auto);
    for _ in 0..3 {
        assert_eq!(fetch(&proxy, get(&upstream.url)).await.0, 200);
    }
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
}

/// Starts an upstream that speaks HTTP/1.1 only and closes on the second request. Its replacement speaks both versions.
async fn replaced(ca: &TestCa, upstream: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let [old, new] = [&["http/1.1"][..], &["h2", "http/1.1"]].map(|alpn| Arc::new(ca.server_config(alpn)));
    upstream.spawn(async move {
        let (io, _) = listener.accept().await.unwrap();
        let mut conn = crate::support::RawConn::over(tokio_rustls::TlsAcceptor::from(old).accept(io).await.unwrap());
        conn.request().await;
        conn.write("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nold").await;
        conn.head().await;
        drop(conn);
        let (io, _) = listener.accept().await.unwrap();
        let io = tokio_rustls::TlsAcceptor::from(new).accept(io).await.unwrap();
        let service = hyper_util::service::TowerToHyperService::new(echo());
        let server = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
        let _ = server.serve_connection(hyper_util::rt::TokioIo::new(io), service).await;
    });
    url
}

#[tokio::test]
async fn what_was_lost_over_http_1_1_goes_again_over_it_or_with_a_body_over_http_2() {
    let ca = TestCa::new();
    for (body, version) in [("", Version::HTTP_11), ("again", Version::HTTP_2)] {
        let mut upstream = JoinSet::new();
        let url = replaced(&ca, &mut upstream).await;
        let proxy = client(&ca, HttpVersions::Auto);
        assert_eq!(fetch(&proxy, get(&url)).await, (200, "old".into()));
        let request = Request::put(&url).body(Body::from(body)).unwrap();
        let response = within("a response", call(&proxy, request)).await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, version), "{body:?}");
    }
}

#[tokio::test]
async fn prior_knowledge_needs_no_tls() {
    let upstream = Front::hyper(echo()).await;
    let proxy = ExactProxy::builder().http_versions(HttpVersions::Http2Only).build().unwrap();
    let response = within("a response", call(&proxy, get(upstream.url("/")))).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    let (body, end) = read(response).await;
    end.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("HTTP/2.0"));
    let (_, echo) = fetch(&ExactProxy::new(), get(upstream.url("/"))).await;
    assert!(echo.contains("HTTP/1.1"), "{echo}");
}

/// Requests an upgrade to one of two protocols, which HTTP/2 cannot express.
fn upgrade(url: &str) -> Request<Body> {
    let request = Request::get(url).header("connection", "upgrade").header("upgrade", "foo, bar");
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn an_upgrade_to_one_of_several_protocols_goes_over_http_1_1_or_is_refused() {
    let ca = TestCa::new();
    let upstream = RawUpstream::tls(&ca, &["h2", "http/1.1"], |mut conn| async move {
        let seen = conn.request().await;
        assert_eq!((seen.header("connection"), seen.header("upgrade")), (Some("upgrade"), Some("foo, bar")));
        conn.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno").await;
    });
    let url = upstream.url("/").replace("http:", "https:");
    assert_eq!(fetch(&client(&ca, HttpVersions::Auto), upgrade(&url)).await, (200, "no".into()));
    let error = within("a refusal", call(&client(&ca, HttpVersions::Http2Only), upgrade(&url))).await;
    assert_eq!(error.expect_err("no upgrade").status(), 501);
}

#[test]
fn settings_out_of_their_range_are_refused() {
    use std::time::Duration;
    for builder in [
        ExactProxy::builder().http2_ping_interval(Duration::ZERO),
        ExactProxy::builder().http2_ping_timeout(Duration::ZERO),
        ExactProxy::builder().http2_stream_window_bytes(65_534),
        ExactProxy::builder().http2_stream_window_bytes(20 * 1024 * 1024 + 1),
    ] {
        assert!(builder.build().is_err());
    }
    assert!(ExactProxy::builder().http2_stream_window_bytes(65_535).http2_ping_interval(None).build().is_ok());
}
