//! HTTP/2 between client and proxy: every target is an absolute URL, and each tunnel is one stream.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nexthop::forward::Access;
use tokio::net::TcpStream;

use super::tools::{Proxy, trusting};
use crate::support::within;

type Client = SendRequest<Full<Bytes>>;

async fn client(proxy: &Proxy) -> Client {
    over(TcpStream::connect(proxy.addr()).await.unwrap()).await
}

async fn over(io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static) -> Client {
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io));
    let (client, connection) = within("a handshake", handshake).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn ask(client: &mut Client, request: http::request::Builder) -> (u16, String) {
    let request = request.body(Full::default()).unwrap();
    let response = within("a response", client.send_request(request)).await.unwrap();
    let status = response.status().as_u16();
    let body = within("a body", response.into_body().collect()).await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_url_is_a_proxys_unless_it_is_one_of_the_own_hosts() {
    let proxy = Proxy::page(|builder| builder.local_hosts(["own.test"])).await;
    let mut client = client(&proxy).await;
    for (url, line) in [
        ("http://example.com/a?b", "GET /prefix/http://example.com/a?b"),
        ("https://example.com/a", "GET /prefix/https://example.com/a"),
        ("http://own.test/a", "GET http://own.test/a"),
    ] {
        let (status, text) = ask(&mut client, Request::get(url)).await;
        assert_eq!((status, text.lines().next().unwrap()), (200, line), "{url}");
        assert_eq!(text.contains("host: example.com"), !url.contains("own"), "{text}");
    }
}

#[tokio::test]
async fn tls_inside_a_stream_is_intercepted_and_its_client_known() {
    let users = Access::basic([("alice", "a")]).unwrap();
    let proxy = Proxy::page(|builder| builder.access(users)).await;
    let mut client = client(&proxy).await;
    let connect = || Request::builder().method(Method::CONNECT).uri("example.com:443");
    let (status, _) = ask(&mut client, connect()).await;
    assert_eq!(status, 407);
    let request = connect().header("proxy-authorization", "Basic YWxpY2U6YQ==").body(Full::default()).unwrap();
    let response = within("an answer", client.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    let io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(trusting(&proxy.authority, &["h2"])));
    let io = within("TLS", connector.connect("example.com".try_into().unwrap(), io)).await.unwrap();
    let mut inner = over(io).await;
    for n in 0..3 {
        let (status, text) = ask(&mut inner, Request::get(format!("https://example.com/{n}"))).await;
        assert_eq!(status, 200);
        for line in [&format!("GET /prefix/https://example.com/{n}"), "user: alice", "sni: example.com", "tls: true"] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
    }
    // The connection serves other requests beside its tunnels.
    let authorized = Request::get("http://example.com/").header("proxy-authorization", "Basic YWxpY2U6YQ==");
    assert_eq!(ask(&mut client, authorized).await.0, 200);
}

#[tokio::test]
async fn a_tunnel_that_is_refused_leaves_the_connection_as_it_is() {
    let proxy = Proxy::page(|builder| builder.connect_ports(vec![443])).await;
    let mut client = client(&proxy).await;
    for (to, expected) in [("example.com:25", 403), ("example.com:0", 400)] {
        let (status, text) = ask(&mut client, Request::builder().method(Method::CONNECT).uri(to)).await;
        assert_eq!(status, expected, "{text}");
    }
    assert_eq!(ask(&mut client, Request::get("http://example.com/")).await.0, 200);
}
