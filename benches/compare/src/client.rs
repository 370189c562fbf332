//! The load: clients of four kinds. An exchange is one request (or message) and its whole response.

use std::{future::poll_fn, io, net::SocketAddr};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    http1::{ACCEPT, Connection, PATTERN, SMALL},
    proxies::Listening,
    transfer::{Mode, Transfer, connect},
    websocket,
    workload::Kind,
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ=="; // RFC 6455 §1.3

pub struct Client {
    link: Link,
    transfer: Transfer,
}

enum Link {
    /// One connection; the request's bytes, and the response's body.
    KeepAlive { connection: Connection, request: Bytes, expected: Bytes },
    /// A new connection for each exchange.
    Fresh { address: SocketAddr },
    /// One stream at a time; eight such clients share a connection.
    Http2 { requests: SendRequest<Bytes>, address: SocketAddr },
    /// One message at a time.
    WebSocket { connection: Connection, frame: Bytes, payload: Bytes },
}

impl Client {
    /// Opens `count` clients. Each makes one exchange, so that the proxy's pool is full before anything is measured.
    pub async fn open(kind: Kind, mode: Mode, count: usize, proxy: &Listening) -> io::Result<Vec<Self>> {
        let mut links = Vec::with_capacity(count);
        while links.len() < count {
            if kind == Kind::Http2 {
                let requests = http2(proxy.http2).await?;
                let link = |requests| Link::Http2 { requests, address: proxy.http2 };
                links.extend(std::iter::repeat_n(requests, 8).map(link));
            } else {
                links.push(Link::open(kind, mode, proxy.http1).await?);
            }
        }
        // All at once: sequential requests would share one connection to the origin, and the others would open during the measurement.
        let mut first = tokio::task::JoinSet::new();
        for link in links {
            let mut client = Self { link, transfer: Transfer::new(mode) };
            first.spawn(async move { client.exchange().await.map(|()| client) });
        }
        first.join_all().await.into_iter().collect()
    }

    pub async fn exchange(&mut self) -> io::Result<()> {
        let transfer = &mut self.transfer;
        match &mut self.link {
            Link::KeepAlive { connection, request, expected } => {
                exchange(connection, transfer, request, expected).await
            }
            Link::Fresh { address } => {
                let mut connection = Connection::new(TcpStream::connect(*address).await?)?;
                let request = format!("GET /small HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
                exchange(&mut connection, transfer, request.as_bytes(), SMALL).await
            }
            Link::Http2 { requests, address } => {
                exchange_http2(requests, transfer, *address).await.map_err(io::Error::other)
            }
            Link::WebSocket { connection, frame, payload } => {
                transfer.send(&mut connection.stream, frame).await?;
                let header = websocket::header(connection).await?;
                match header.size == payload.len() {
                    true => transfer.receive(connection, payload).await,
                    false => Err(io::Error::other(format!("a message of {} bytes", header.size))),
                }
            }
        }
    }
}

impl Link {
    async fn open(kind: Kind, mode: Mode, address: SocketAddr) -> io::Result<Self> {
        let keep_alive = async |request, expected| {
            Ok(Self::KeepAlive { connection: connect(mode, address).await?, request, expected })
        };
        match kind {
            Kind::Get { fields } => keep_alive(get("/small", address, fields), Bytes::from_static(SMALL)).await,
            Kind::Download => keep_alive(get("/bulk", address, 0), PATTERN.clone()).await,
            Kind::Echo => keep_alive(post("/echo", address), PATTERN.clone()).await,
            Kind::NewConnection => Ok(Self::Fresh { address }),
            Kind::WebSocket { size } => {
                let mut connection = connect(mode, address).await?;
                upgrade(&mut connection, address).await?;
                let payload = PATTERN.slice(..size);
                Ok(Self::WebSocket { connection, frame: websocket::frame(&payload, true), payload })
            }
            Kind::Http2 => unreachable!("eight clients share a connection"),
        }
    }
}

async fn exchange(
    connection: &mut Connection,
    transfer: &mut Transfer,
    request: &[u8],
    expected: &[u8],
) -> io::Result<()> {
    transfer.send(&mut connection.stream, request).await?;
    let head = connection.response().await?;
    if (head.status, head.length) != (200, expected.len()) {
        return Err(io::Error::other(format!("status {} with {} bytes", head.status, head.length)));
    }
    transfer.receive(connection, expected).await?;
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
        false => Err(io::Error::other(format!(
            "status {} to the upgrade, Sec-WebSocket-Accept {:?}",
            head.status, head.accept
        ))),
    }
}

async fn http2(address: SocketAddr) -> io::Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (requests, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
    tokio::spawn(async move { connection.await.ok() }); // the streams return its error
    Ok(requests)
}

async fn exchange_http2(
    requests: &mut SendRequest<Bytes>,
    transfer: &Transfer,
    host: SocketAddr,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let request = http::Request::get(format!("http://{host}/small")).header("user-agent", "compare").body(())?;
    poll_fn(|cx| requests.poll_ready(cx)).await?;
    let (response, _) = requests.send_request(request, true)?;
    let response = response.await?;
    if response.status() != 200 {
        return Err(format!("status {}", response.status()).into());
    }
    let mut body = response.into_body();
    let mut received = Vec::with_capacity(SMALL.len());
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        received.extend_from_slice(&data);
    }
    match transfer.accepts(&received, SMALL) {
        true => Ok(()),
        false => Err("the body is not what the origin sent".into()),
    }
}
