//! WebSockets with a client and a server that are not aware of the proxy, over HTTP/1.1 and HTTP/2 (RFC 8441).

mod over_http2;

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Method, Request};
use http_body_util::Empty;
use hyper::{client::conn::http2::SendRequest, ext::Protocol};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nexthop::{ProxyApp, ProxyMiddleware, serve::Drain};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        handshake::server::{ErrorResponse, Request as Asked, Response as Agreed},
        protocol::{
            CloseFrame, Role,
            frame::{
                Frame,
                coding::{CloseCode, Data, OpCode},
            },
        },
    },
};
use tower::Layer;

use crate::support::{Front, within};

/// Echoes each message, and accepts the subprotocol `chat`. The message `close` closes the socket, `vanish` drops the
/// connection.
async fn upstream() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut sockets = JoinSet::new();
        while let Ok((io, _)) = listener.accept().await {
            io.set_nodelay(true).unwrap();
            sockets.spawn(async move {
                if let Ok(socket) = accept_hdr_async(io, agree).await {
                    again(socket).await;
                }
            });
        }
    });
    (addr, tasks)
}

#[expect(clippy::result_large_err, reason = "tungstenite's signature")]
fn agree(asked: &Asked, mut agreed: Agreed) -> Result<Agreed, ErrorResponse> {
    if asked.headers().get("sec-websocket-protocol").is_some_and(|asked| asked == "chat, other") {
        agreed.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("chat"));
    }
    Ok(agreed)
}

async fn again<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) if text == "close" => {
                let reason = CloseFrame { code: CloseCode::Library(4001), reason: "asked to".into() };
                socket.close(Some(reason)).await.unwrap();
            }
            Message::Text(text) if text == "vanish" => return,
            Message::Text(_) | Message::Binary(_) if socket.send(message.clone()).await.is_err() => return,
            _ => {}
        }
    }
}

fn proxy(to: SocketAddr) -> ProxyApp {
    ProxyApp::builder(format!("http://{to}/base")).build().unwrap()
}

/// Opens a WebSocket over HTTP/1.1.
async fn http_1(front: SocketAddr) -> WebSocketStream<TcpStream> {
    let io = TcpStream::connect(front).await.unwrap();
    io.set_nodelay(true).unwrap();
    let mut request = format!("ws://{front}/chat?room=1").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("chat, other"));
    let (socket, response) = within("a handshake", client_async(request, io)).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    socket
}

/// Opens an HTTP/2 connection and waits for the server's SETTINGS.
async fn connect_2(front: SocketAddr) -> SendRequest<Empty<Bytes>> {
    let io = TcpStream::connect(front).await.unwrap();
    io.set_nodelay(true).unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    let first = Request::builder().uri(format!("http://{front}/")).method("OPTIONS").header("max-forwards", "0");
    within("an answer", sender.send_request(first.body(Empty::new()).unwrap())).await.unwrap();
    sender
}

/// Opens a WebSocket on an HTTP/2 stream.
async fn http_2(
    sender: &mut SendRequest<Empty<Bytes>>,
    front: SocketAddr,
) -> WebSocketStream<TokioIo<hyper::upgrade::Upgraded>> {
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://{front}/chat?room=1"))
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat, other");
    let response = within("an answer", sender.send_request(request.body(Empty::new()).unwrap())).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    let io = TokioIo::new(within("the stream", hyper::upgrade::on(response)).await.unwrap());
    WebSocketStream::from_raw_socket(io, Role::Client, None).await
}

/// Exercises all features of a WebSocket, up to the close by the server.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    for message in [Message::text("h\u{e9}llo"), Message::binary(vec![0, 255, 10, 13]), Message::text("")] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), message);
    }
    socket.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
    let pong = within("a pong", socket.next()).await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong(Bytes::from_static(b"there?")));
    socket.send(Message::text("close")).await.unwrap();
    let Message::Close(Some(close)) = within("a close", socket.next()).await.unwrap().unwrap() else {
        panic!("no close");
    };
    assert_eq!((close.code, close.reason.as_str()), (CloseCode::Library(4001), "asked to"));
    assert!(within("the end", socket.next()).await.is_none());
}

/// Sends 16 MiB in 16 frames, with a ping in between.
async fn send_in_pieces<S: AsyncRead + AsyncWrite + Unpin>(socket: WebSocketStream<S>) {
    let (mut write, mut read) = socket.split();
    let whole: Vec<u8> = (0..16 << 20_u32).map(|n| (n % 253) as u8).collect();
    let sending = async {
        for (index, piece) in whole.chunks(1 << 20).enumerate() {
            let kind = if index == 0 { Data::Binary } else { Data::Continue };
            let frame = Frame::message(piece.to_vec(), OpCode::Data(kind), index == 15);
            write.send(Message::Frame(frame)).await.unwrap();
            if index == 7 {
                write.send(Message::Ping(Bytes::new())).await.unwrap();
            }
        }
    };
    let receiving = async {
        loop {
            match read.next().await.unwrap().unwrap() {
                Message::Binary(back) => return back,
                Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let ((), back) = within("16 MiB there and back", async { tokio::join!(sending, receiving) }).await;
    assert!(back == whole);
}

#[tokio::test]
async fn a_socket_works_through_http_1_with_its_subprotocol_and_close_codes() {
    let (upstream, _tasks) = upstream().await;
    let front = Front::serve(proxy(upstream)).await;
    talk(http_1(front.addr).await).await;
    send_in_pieces(http_1(front.addr).await).await;
}

#[tokio::test]
async fn a_socket_works_through_http_2_and_several_share_a_connection() {
    let (upstream, _tasks) = upstream().await;
    let front = Front::serve(proxy(upstream)).await;
    let mut sender = connect_2(front.addr).await;
    let (one, two) = (http_2(&mut sender, front.addr).await, http_2(&mut sender, front.addr).await);
    tokio::join!(talk(one), talk(two));
    send_in_pieces(http_2(&mut sender, front.addr).await).await;
}

#[tokio::test]
async fn a_socket_passes_two_hops_and_the_middleware_between_them() {
    let (upstream, _tasks) = upstream().await;
    let layer = ProxyMiddleware::builder().build().unwrap();
    let back = Front::serve(layer.layer(proxy(upstream))).await;
    let front = Front::serve(layer.layer(proxy(back.addr))).await;
    talk(http_1(front.addr).await).await;
    let mut sender = connect_2(front.addr).await;
    talk(http_2(&mut sender, front.addr).await).await;
}

#[tokio::test]
async fn a_close_of_the_client_reaches_the_server_with_its_code() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = Front::serve(proxy(listener.local_addr().unwrap())).await;
    let server = tokio::spawn(async move {
        let mut socket = accept_hdr_async(listener.accept().await.unwrap().0, agree).await.unwrap();
        let closed = socket.next().await.unwrap().unwrap();
        (closed, socket.next().await.is_none())
    });
    let mut socket = http_1(front.addr).await;
    let close = CloseFrame { code: CloseCode::Away, reason: "bye".into() };
    socket.close(Some(close.clone())).await.unwrap();
    while within("the end", socket.next()).await.is_some() {}
    assert_eq!(within("the server", server).await.unwrap(), (Message::Close(Some(close)), true));
}

#[tokio::test]
async fn a_hundred_sockets_at_once_each_hear_their_own_and_are_counted() {
    let (upstream, _tasks) = upstream().await;
    let drain = Drain::new();
    let front = Front::serve_with(proxy(upstream), |serve| serve.drain(drain.clone())).await;
    let mut open = Vec::new();
    for _ in 0..50 {
        open.push(http_1(front.addr).await);
    }
    let mut sender = connect_2(front.addr).await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(http_2(&mut sender, front.addr).await);
    }
    assert_eq!((drain.tunnels(), drain.open()), (100, 51));
    let mut tasks = JoinSet::new();
    for (index, socket) in open.into_iter().enumerate() {
        tasks.spawn(hear(socket, index));
    }
    for (index, socket) in streams.into_iter().enumerate() {
        tasks.spawn(hear(socket, 1000 + index));
    }
    within("a hundred sockets", tasks.join_all()).await;
    within("the end of every tunnel", async {
        while drain.tunnels() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn hear<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>, index: usize) {
    for turn in 0..10 {
        let message = Message::text(format!("{index}: {turn} {}", "x".repeat(index * turn)));
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
}

#[tokio::test]
async fn an_upstream_that_vanishes_is_an_end_without_a_close() {
    let (upstream, _tasks) = upstream().await;
    let front = Front::serve(proxy(upstream)).await;
    let ends_badly = |end: Option<Result<Message, Error>>| {
        assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    };
    let mut socket = http_1(front.addr).await;
    socket.send(Message::text("vanish")).await.unwrap();
    ends_badly(within("the end", socket.next()).await);
    let mut sender = connect_2(front.addr).await;
    let mut socket = http_2(&mut sender, front.addr).await;
    socket.send(Message::text("vanish")).await.unwrap();
    ends_badly(within("the end", socket.next()).await);
    talk(http_2(&mut sender, front.addr).await).await;
}

#[tokio::test]
async fn a_client_that_vanishes_frees_its_upstream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = Front::serve(proxy(listener.local_addr().unwrap())).await;
    let mut ends = JoinSet::new();
    let accept = async || accept_hdr_async(listener.accept().await.unwrap().0, agree).await.unwrap();
    let (socket, mut server) = tokio::join!(http_1(front.addr), accept());
    ends.spawn(async move { !matches!(server.next().await, Some(Ok(_))) });
    drop(socket);
    let mut sender = connect_2(front.addr).await;
    let (socket, mut server) = tokio::join!(http_2(&mut sender, front.addr), accept());
    ends.spawn(async move { !matches!(server.next().await, Some(Ok(_))) });
    drop(socket);
    assert_eq!(within("both ends", ends.join_all()).await, [true, true]);
}
