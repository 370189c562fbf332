//! WebSockets through the proxy: to an application in this process, and to an origin server.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::Empty;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nexthop::{Body, ExactProxy, ext::ProxyRequest, forward::Resolver};
use tokio::net::TcpListener;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest, handshake::derive_accept_key, protocol::Role},
};

use super::tools::{Proxy, Way, basic, connect, page};
use crate::support::{RawUpstream, tls::TestCa, wire::Wire, within};

/// Accepts a WebSocket, sends the URL of the request, and then echoes each message.
async fn sockets(mut request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let asked = request.extensions().get::<ProxyRequest>();
    let greeting = asked.map_or_else(|| "none".to_owned(), |asked| format!("{} {:?}", asked.url(), asked.user()));
    let key = request.headers().get("sec-websocket-key").map(|key| derive_accept_key(key.as_bytes()));
    if key.is_none() && request.version() < Version::HTTP_2 {
        return page(request).await;
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let io = TokioIo::new(upgrade.await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        socket.send(Message::from(greeting)).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() && socket.send(message).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(Body::empty());
    if let Some(key) = key {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for (name, value) in
            [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", key.as_str())]
        {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
    }
    Ok(response)
}

async fn speaks<S>(mut socket: WebSocketStream<S>, greeting: &str)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    assert_eq!(within("a greeting", socket.next()).await.unwrap().unwrap().to_text().unwrap(), greeting);
    for said in ["one".to_owned(), "x".repeat(100_000)] {
        socket.send(Message::from(said.clone())).await.unwrap();
        assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap().to_text().unwrap(), said);
    }
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = within("the end", socket.next()).await {}
}

async fn open(io: impl Wire, url: &str) -> WebSocketStream<impl Wire> {
    within("a handshake", client_async(url.into_client_request().unwrap(), io)).await.unwrap().0
}

#[tokio::test]
async fn reach_an_application_in_clear_text_and_over_tls() {
    let proxy = Proxy::over(tower::service_fn(sockets), |builder| builder.resolver(Resolver::fixed("/prefix/"))).await;
    let plain = proxy.tunnel("example.com:80").await;
    speaks(open(plain, "ws://example.com/chat?a").await, "http://example.com/chat?a None").await;
    let plain = proxy.tunnel("example.com:456").await;
    speaks(open(plain, "ws://example.com:456/chat").await, "http://example.com:456/chat None").await;
    let tls = proxy.tls(proxy.tunnel("example.com:443").await, "example.com").await;
    speaks(Box::pin(open(tls, "wss://example.com/chat?a")).await, "https://example.com/chat?a None").await;
    let own = proxy.tls(proxy.tunnel("wsgiprox:443").await, "wsgiprox").await;
    speaks(Box::pin(open(own, "wss://wsgiprox/chat")).await, "https://wsgiprox/chat None").await;
}

#[tokio::test]
async fn are_opened_by_a_whole_url_too_and_by_those_alone_who_may() {
    let users = nexthop::forward::Access::basic([("alice", "a")]).unwrap();
    let settings =
        |builder: nexthop::forward::ForwardProxyBuilder| builder.resolver(Resolver::fixed("/p/")).access(users);
    let proxy = Proxy::over(tower::service_fn(sockets), settings).await;
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut stranger = proxy.open(Way::Absolute, "example.com", 80).await;
    assert_eq!(stranger.exchange("GET", "/", fields, "").await.status(), 407);
    let mut alice = proxy.open_with(Way::Absolute, "example.com", 80, &basic("alice:a")).await;
    let agreed = alice.exchange("GET", "/", fields, "").await;
    assert_eq!((agreed.status(), agreed.header("sec-websocket-accept")), (101, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
    let greeting = "http://example.com/ Some(\"alice\")";
    assert_eq!(alice.raw.read(2 + greeting.len()).await[2..], *greeting.as_bytes());
    let (head, _) = connect(proxy.addr(), "example.com:443", "").await;
    assert!(head.starts_with("HTTP/1.1 407 "), "{head}");
}

#[tokio::test]
async fn are_streams_of_http_2_inside_a_tunnel() {
    let proxy = Proxy::over(tower::service_fn(sockets), |builder| builder.resolver(Resolver::fixed("/prefix/"))).await;
    let io = proxy.tls_offering(proxy.tunnel("example.com:443").await, "example.com", &["h2"]).await;
    let (mut client, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(io))
            .await
            .unwrap();
    tokio::spawn(connection);
    // hyper does not use extended `CONNECT` before it has received the server's SETTINGS.
    let request = Request::get("https://example.com/first").body(Empty::new()).unwrap();
    drop(client.send_request(request));
    client.ready().await.unwrap();
    let request = || {
        let request = Request::builder().method(Method::CONNECT).uri("https://example.com/chat");
        let mut request = request.header("sec-websocket-version", "13").body(Empty::new()).unwrap();
        request.extensions_mut().insert(Protocol::from_static("websocket"));
        request
    };
    let response = within("an answer", async {
        loop {
            match client.send_request(request()).await {
                Ok(response) => return response,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert_eq!(response.status(), 200);
    let io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let socket = WebSocketStream::from_raw_socket(io, Role::Client, None).await;
    speaks(socket, "https://example.com/chat None").await;

    let off = Proxy::over(tower::service_fn(sockets), |builder| builder.websockets(false)).await;
    let io = off.tls_offering(off.tunnel("example.com:443").await, "example.com", &["h2"]).await;
    let (mut client, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(io))
            .await
            .unwrap();
    tokio::spawn(connection);
    let status = within("an answer", async {
        loop {
            match client.send_request(request()).await {
                Ok(response) => return response.status(),
                Err(_) => {
                    client.ready().await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        }
    })
    .await;
    assert_eq!(status, 501);
}

#[tokio::test]
async fn reach_an_origin_through_a_tunnel_that_is_intercepted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let origin = tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(io).await.unwrap();
                socket.send(Message::from("from the origin")).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() && socket.send(message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let exact = ExactProxy::new();
    let proxy = Proxy::over(exact.clone(), |builder| builder.client(exact).dangerous_dial_anywhere()).await;
    let io = proxy.tunnel(&addr.to_string()).await;
    speaks(open(io, &format!("ws://{addr}/chat")).await, "from the origin").await;
    origin.abort();
}

/// Upgrades to any protocol, with TLS on both sides.
#[tokio::test]
async fn reach_an_origin_that_speaks_tls_and_take_no_password_along() {
    let ca = TestCa::new();
    let origin = RawUpstream::tls(&ca, &[], |mut conn| async move {
        conn.request().await;
        conn.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
        loop {
            let byte = conn.read(1).await;
            conn.write(byte).await;
        }
    });
    let tls = nexthop::net::Tls::roots_pem(ca.root_pem().as_bytes()).unwrap();
    let exact = ExactProxy::builder().tls(tls).build().unwrap();
    let proxy = Proxy::over(exact.clone(), |builder| builder.client(exact).dangerous_dial_anywhere()).await;
    let mut channel = proxy.open(Way::Tls, "localhost", origin.addr().port()).await;
    let fields = format!("Connection: upgrade\r\nUpgrade: echo\r\n{}", basic("alice:wonder"));
    let request = channel.request("GET", "/", &fields);
    channel.raw.send(request).await;
    assert_eq!(channel.raw.head_response().await.status(), 101);
    channel.raw.send("x").await;
    assert_eq!(channel.raw.read(1).await, b"x");
    assert_eq!(
        (origin.only_request().header("upgrade"), origin.only_request().header("proxy-authorization")),
        (Some("echo"), None)
    );
}
