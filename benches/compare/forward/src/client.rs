//! Clients of a forward proxy. An exchange is one request and its whole response, or one handshake.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    http1::{Connection, PATTERN, SMALL},
    load::Kind,
    proxies::{Running, World},
    tls::DOMAIN,
    transfer::{self, Mode, Source, Transfer},
};

pub enum Client {
    Plain { connection: Connection, transfer: Transfer, request: Bytes, expected: Bytes },
    Secure { connection: Box<Connection<TlsStream<TcpStream>>>, transfer: Transfer, request: Bytes },
    Handshake { proxy: SocketAddr, port: u16, tls: TlsConnector, new: bool },
}

impl Source for TlsStream<TcpStream> {}

impl Client {
    /// Opens a client, without a request. A relay is a tunnel from the beginning, without a `CONNECT`.
    pub async fn open(kind: Kind, mode: Mode, running: &Running, is_relay: bool, world: &World) -> io::Result<Self> {
        let (proxy, transfer) = (running.address, Transfer::new(mode));
        let (plain, port, tls) = (world.plain, world.secure.port(), world.authorities.client());
        let get = |target: String, host: String| {
            Bytes::from(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: compare\r\nAccept: */*\r\n\r\n"))
        };
        match kind {
            Kind::Absolute => {
                let connection = transfer::connect(mode, proxy).await?;
                let host = format!("{DOMAIN}:{}", plain.port());
                let target = if is_relay { "/small".to_owned() } else { format!("http://{host}/small") };
                let request = get(target, host);
                Ok(Self::Plain { connection, transfer, request, expected: Bytes::from_static(SMALL) })
            }
            Kind::Tunnel { bulk } => {
                let mut connection = transfer::connect(mode, proxy).await?;
                if !is_relay {
                    connect(&mut connection, &plain.to_string()).await?;
                }
                let (path, expected) =
                    if bulk { ("/bulk", PATTERN.clone()) } else { ("/small", Bytes::from_static(SMALL)) };
                Ok(Self::Plain { connection, transfer, request: get(path.to_owned(), plain.to_string()), expected })
            }
            Kind::Intercepted => {
                let host = format!("www.{DOMAIN}");
                let mut connection = transfer::connect(mode, proxy).await?;
                if !is_relay {
                    connect(&mut connection, &format!("{host}:{port}")).await?;
                }
                let stream = shake(connection, &host, &tls).await?;
                let connection = Box::new(Connection::over(stream));
                Ok(Self::Secure { connection, transfer, request: get("/small".to_owned(), format!("{host}:{port}")) })
            }
            Kind::Handshake { new } => Ok(Self::Handshake { proxy, port, tls, new }),
        }
    }

    pub async fn exchange(&mut self) -> io::Result<()> {
        match self {
            Self::Plain { connection, transfer, request, expected } => {
                exchange(connection, transfer, request, expected).await
            }
            Self::Secure { connection, transfer, request } => exchange(connection, transfer, request, SMALL).await,
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

async fn exchange<S: Source + AsyncWrite>(
    connection: &mut Connection<S>,
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

async fn shake(connection: Connection, host: &str, tls: &TlsConnector) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    tls.connect(name, connection.stream).await
}

/// Opens a tunnel.
async fn connect(connection: &mut Connection, to: &str) -> io::Result<()> {
    connection.stream.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).await?;
    match connection.tunnel().await? {
        200 if connection.buffer.is_empty() => Ok(()),
        status => Err(io::Error::other(format!("status {status} to CONNECT"))),
    }
}
