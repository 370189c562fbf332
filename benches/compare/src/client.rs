//! The load: clients of five kinds. An exchange is one request (or message) and its whole answer, every byte of it compared.

use std::{future::poll_fn, io, net::SocketAddr};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    http1::{ACCEPT, Connection, PATTERN, SMALL},
    proxies::Listening,
    websocket,
    workload::Kind,
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ=="; // RFC 6455 §1.3

pub enum Client {
    /// One connection; the request's bytes, and the answer's body.
    KeepAlive { connection: Connection, request: Bytes, expected: Bytes },
    /// A new connection for each exchange.
    Fresh { address: SocketAddr },
    /// One stream at a time; eight such clients share a connection.
    Http2 { requests: SendRequest<Bytes>, address: SocketAddr },
    /// One message at a time.
    WebSocket { connection: Connection, frame: Bytes, payload: Bytes },
}

impl Client {
    /// Opens `count` clients. Each has done one exchange by then, so the proxy is known to answer rightly and its pool is full.
    pub async fn open(kind: Kind, count: usize, proxy: &Listening) -> io::Result<Vec<Self>> {
        let mut clients = Vec::with_capacity(count);
        while clients.len() < count {
            if kind == Kind::Http2 {
                let requests = http2(proxy.http2).await?;
                let client = |requests| Self::Http2 { requests, address: proxy.http2 };
                clients.extend(std::iter::repeat_n(requests, 8).map(client));
            } else {
                clients.push(Self::one(kind, proxy.http1).await?);
            }
        }
        // All at once: one after the other would share a single connection to the origin, and opening the others would be measured.
        let mut first = tokio::task::JoinSet::new();
        clients.into_iter().for_each(|mut client| {
            first.spawn(async move { client.exchange().await.map(|()| client) });
        });
        first.join_all().await.into_iter().collect()
    }

    async fn one(kind: Kind, address: SocketAddr) -> io::Result<Self> {
        let connect = async || Connection::new(TcpStream::connect(address).await?);
        let keep_alive =
            async |request, expected| Ok(Self::KeepAlive { connection: connect().await?, request, expected });
        match kind {
            Kind::Get { fields } => keep_alive(get("/small", address, fields), Bytes::from_static(SMALL)).await,
            Kind::Download => keep_alive(get("/bulk", address, 0), PATTERN.clone()).await,
            Kind::Echo => keep_alive(post("/echo", address), PATTERN.clone()).await,
            Kind::NewConnection => Ok(Self::Fresh { address }),
            Kind::WebSocket { size } => {
                let mut connection = connect().await?;
                upgrade(&mut connection, address).await?;
                let payload = PATTERN.slice(..size);
                Ok(Self::WebSocket { connection, frame: websocket::frame(&payload, true), payload })
            }
            Kind::Http2 => unreachable!("eight clients share a connection"),
        }
    }

    pub async fn exchange(&mut self) -> io::Result<()> {
        match self {
            Self::KeepAlive { connection, request, expected } => exchange(connection, request, expected).await,
            Self::Fresh { address } => {
                let mut connection = Connection::new(TcpStream::connect(*address).await?)?;
                let request = format!("GET /small HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
                exchange(&mut connection, request.as_bytes(), SMALL).await
            }
            Self::Http2 { requests, address } => exchange_http2(requests, *address).await.map_err(io::Error::other),
            Self::WebSocket { connection, frame, payload } => {
                connection.stream.write_all(frame).await?;
                match websocket::message(connection).await? == *payload {
                    true => Ok(()),
                    false => Err(io::Error::other("the message is not what was sent")),
                }
            }
        }
    }
}

async fn exchange(connection: &mut Connection, request: &[u8], expected: &[u8]) -> io::Result<()> {
    connection.stream.write_all(request).await?;
    let head = connection.response().await?;
    if (head.status, head.length) != (200, expected.len()) {
        return Err(io::Error::other(format!("answered {} with {} bytes", head.status, head.length)));
    }
    connection.expect(expected).await?;
    match connection.buffer.is_empty() {
        true => Ok(()),
        false => Err(io::Error::other("bytes after the response")),
    }
}

fn get(path: &str, host: SocketAddr, fields: usize) -> Bytes {
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: compare\r\nAccept: */*\r\n");
    for number in 0..fields {
        request.push_str(&format!("X-Request-Field-{number}: the value of field number {number}\r\n"));
    }
    request.push_str("\r\n");
    request.into()
}

fn post(path: &str, host: SocketAddr) -> Bytes {
    let length = PATTERN.len();
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    request.extend_from_slice(&PATTERN);
    request.into()
}

async fn upgrade(connection: &mut Connection, host: SocketAddr) -> io::Result<()> {
    let request = format!(
        "GET /websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    connection.stream.write_all(request.as_bytes()).await?;
    let head = connection.response().await?;
    match head.status == 101 && head.accept == ACCEPT {
        true => Ok(()),
        false => Err(io::Error::other(format!("the upgrade was answered with {} {}", head.status, head.accept))),
    }
}

async fn http2(address: SocketAddr) -> io::Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (requests, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
    tokio::spawn(async move { connection.await.ok() }); // an error reaches the streams, too
    Ok(requests)
}

async fn exchange_http2(
    requests: &mut SendRequest<Bytes>,
    host: SocketAddr,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let request = http::Request::get(format!("http://{host}/small")).header("user-agent", "compare").body(())?;
    poll_fn(|cx| requests.poll_ready(cx)).await?;
    let (response, _) = requests.send_request(request, true)?;
    let response = response.await?;
    if response.status() != 200 {
        return Err(format!("answered {}", response.status()).into());
    }
    let mut body = response.into_body();
    let mut received = Vec::with_capacity(SMALL.len());
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        received.extend_from_slice(&data);
    }
    match received == SMALL {
        true => Ok(()),
        false => Err("the body is not what the origin sent".into()),
    }
}
