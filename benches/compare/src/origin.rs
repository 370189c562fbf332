//! The origin: answers from memory, on the load generator's own thread, so that the load gets the rest of the core.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    http1::{ACCEPT, BULK, Connection, PATTERN, SMALL},
    websocket,
};

/// Starts the origin and returns its address.
///
/// * `/small`: 13 bytes.
/// * `/bulk`: 1 MiB.
/// * `/echo`: the request's body, after all of it was read.
/// * `/websocket`: each message, sent back.
pub async fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Errors are ignored: a proxy may drop a connection at any time, and the client checks every response.
            tokio::spawn(async move { serve(Connection::new(stream)?).await });
        }
    });
    Ok(address)
}

/// Answers the requests of one connection.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut connection: Connection<S>) -> io::Result<()> {
    let mut body = Vec::new();
    while let Some(head) = connection.request().await? {
        match head.path.as_str() {
            "/small" => answer(&mut connection.stream, SMALL, head.close).await?,
            "/bulk" => answer(&mut connection.stream, &PATTERN, head.close).await?,
            "/echo" if head.length <= BULK => {
                body.resize(head.length, 0);
                let early = connection.buffer.len().min(body.len());
                body[..early].copy_from_slice(&connection.buffer.split_to(early));
                connection.stream.read_exact(&mut body[early..]).await?;
                answer(&mut connection.stream, &body, head.close).await?;
            }
            "/websocket" => return echo_messages(connection).await,
            path => return Err(io::Error::other(format!("nothing at {path}"))),
        }
        if head.close {
            break;
        }
    }
    Ok(())
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin), body: &[u8], close: bool) -> io::Result<()> {
    let connection = if close { "Connection: close\r\n" } else { "" };
    let length = body.len();
    let mut response = Vec::with_capacity(192);
    response.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ");
    response.extend_from_slice(format!("{length}\r\n{connection}\r\n").as_bytes());
    if length <= SMALL.len() {
        response.extend_from_slice(body);
        stream.write_all(&response).await?;
    } else {
        stream.write_all(&response).await?;
        stream.write_all(body).await?;
    }
    stream.flush().await
}

async fn echo_messages<S: AsyncRead + AsyncWrite + Unpin>(mut connection: Connection<S>) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    );
    connection.stream.write_all(head.as_bytes()).await?;
    loop {
        let message = websocket::message(&mut connection).await?;
        connection.stream.write_all(&websocket::frame(&message, false)).await?;
        connection.stream.flush().await?;
    }
}
