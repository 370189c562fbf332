//! Clients of a forward proxy. An exchange is one request and its whole answer, every byte of it compared; or one handshake.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    http1::{Connection, PATTERN, SMALL},
    load::Kind,
    proxies::World,
    tls::DOMAIN,
};

pub enum Client {
    Plain { connection: Connection, request: Bytes, expected: Bytes },
    Secure { connection: Box<Connection<TlsStream<TcpStream>>>, request: Bytes },
    Handshake { proxy: SocketAddr, port: u16, tls: TlsConnector, new: bool },
}

impl Client {
    /// Opens a client that has not asked for anything yet. Through a relay, which knows no CONNECT, it is in the tunnel at once.
    pub async fn open(kind: Kind, proxy: SocketAddr, is_relay: bool, world: &World) -> io::Result<Self> {
        let (plain, port, tls) = (world.plain, world.secure.port(), world.authorities.client());
        let ask = |target: String, host: String| {
            Bytes::from(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: compare\r\nAccept: */*\r\n\r\n"))
        };
        match kind {
            Kind::Absolute => {
                let connection = Connection::new(TcpStream::connect(proxy).await?)?;
                let host = format!("{DOMAIN}:{}", plain.port());
                let target = if is_relay { "/small".to_owned() } else { format!("http://{host}/small") };
                let request = ask(target, host);
                Ok(Self::Plain { connection, request, expected: Bytes::from_static(SMALL) })
            }
            Kind::Tunnel { bulk } => {
                let mut connection = Connection::new(TcpStream::connect(proxy).await?)?;
                if !is_relay {
                    connect(&mut connection, &plain.to_string()).await?;
                }
                let (path, expected) =
                    if bulk { ("/bulk", PATTERN.clone()) } else { ("/small", Bytes::from_static(SMALL)) };
                Ok(Self::Plain { connection, request: ask(path.to_owned(), plain.to_string()), expected })
            }
            Kind::Intercepted => {
                let host = format!("www.{DOMAIN}");
                let mut connection = Connection::new(TcpStream::connect(proxy).await?)?;
                if !is_relay {
                    connect(&mut connection, &format!("{host}:{port}")).await?;
                }
                let stream = shake(connection, &host, &tls).await?;
                let connection = Box::new(Connection::over(stream));
                Ok(Self::Secure { connection, request: ask("/small".to_owned(), format!("{host}:{port}")) })
            }
            Kind::Handshake { new } => Ok(Self::Handshake { proxy, port, tls, new }),
        }
    }

    pub async fn exchange(&mut self) -> io::Result<()> {
        match self {
            Self::Plain { connection, request, expected } => exchange(connection, request, expected).await,
            Self::Secure { connection, request } => exchange(connection, request, SMALL).await,
            Self::Handshake { proxy, port, tls, new } => {
                static HOSTS: AtomicU64 = AtomicU64::new(0);
                let host = match new {
                    true => format!("h{}.{DOMAIN}", HOSTS.fetch_add(1, Ordering::Relaxed)),
                    false => format!("www.{DOMAIN}"),
                };
                let mut connection = Connection::new(TcpStream::connect(*proxy).await?)?;
                connect(&mut connection, &format!("{host}:{port}")).await?;
                shake(connection, &host, tls).await?.shutdown().await
            }
        }
    }
}

async fn exchange<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    request: &[u8],
    expected: &[u8],
) -> io::Result<()> {
    connection.stream.write_all(request).await?;
    connection.stream.flush().await?;
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

async fn shake(connection: Connection, host: &str, tls: &TlsConnector) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    tls.connect(name, connection.stream).await
}

/// Makes a tunnel.
async fn connect(connection: &mut Connection, to: &str) -> io::Result<()> {
    connection.stream.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).await?;
    match connection.tunnel().await? {
        200 if connection.buffer.is_empty() => Ok(()),
        status => Err(io::Error::other(format!("CONNECT was answered with {status}"))),
    }
}
