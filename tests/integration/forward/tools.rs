//! A forward proxy, and clients that use it in every way.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use axum::body::HttpBody;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use nexthop::{
    Body, BoxError, ForwardProxy,
    ca::CertificateAuthority,
    ext::{OverTls, PeerAddr, ProxyRequest},
    forward::{ForwardProxyBuilder, Resolver},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::ServerName},
};
use tower::{Layer, Service};

use crate::support::{Front, RawClient, RawResponse, tls::provider, wire::Wire, within};

pub(super) struct Proxy {
    pub(super) front: Front,
    pub(super) authority: CertificateAuthority,
}

/// Ways to request a URL through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The absolute URL as the target.
    Absolute,
    /// Plain HTTP in a `CONNECT` tunnel.
    Plain,
    /// TLS in a `CONNECT` tunnel.
    Tls,
}

pub(super) const WAYS: [Way; 3] = [Way::Absolute, Way::Plain, Way::Tls];

impl Way {
    pub(super) fn scheme(self) -> &'static str {
        if self == Self::Tls { "https" } else { "http" }
    }

    pub(super) fn port(self) -> u16 {
        if self == Self::Tls { 443 } else { 80 }
    }
}

impl Proxy {
    /// Starts a proxy for [`page`] with the prefix of wsgiprox's examples. It intercepts all tunnels and never connects
    /// to a host.
    pub(super) async fn page(settings: impl FnOnce(ForwardProxyBuilder) -> ForwardProxyBuilder) -> Self {
        let prefixed = |builder: ForwardProxyBuilder| settings(builder.resolver(Resolver::fixed("/prefix/")));
        Self::over(tower::service_fn(page), prefixed).await
    }

    /// Starts a proxy for any service.
    pub(super) async fn over<S, R>(
        service: S,
        settings: impl FnOnce(ForwardProxyBuilder) -> ForwardProxyBuilder,
    ) -> Self
    where
        S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        R: HttpBody<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let authority = CertificateAuthority::builder().build().unwrap();
        let builder =
            ForwardProxy::builder().certificate_authority(authority.clone()).proxy_host("wsgiprox").connect_ports(None);
        let layer = settings(builder).build().unwrap();
        Self { front: Front::serve(layer.layer(service)).await, authority }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.front.addr
    }

    /// Opens a connection for requests to `host`. The port is omitted from URLs if it is the default.
    pub(super) async fn open(&self, way: Way, host: &str, port: u16) -> Channel {
        self.open_with(way, host, port, "").await
    }

    /// As [`Proxy::open`], with headers for the proxy.
    pub(super) async fn open_with(&self, way: Way, host: &str, port: u16, fields: &str) -> Channel {
        let authority = if port == way.port() { host.to_owned() } else { format!("{host}:{port}") };
        let (raw, prefix, fields) = match way {
            Way::Absolute => (self.front.client().await, format!("http://{authority}"), fields.to_owned()),
            Way::Plain => (
                RawClient::over(self.tunnel_with(&format!("{host}:{port}"), fields).await),
                String::new(),
                String::new(),
            ),
            Way::Tls => {
                let io = self.tunnel_with(&format!("{host}:{port}"), fields).await;
                let name = host.trim_start_matches('[').trim_end_matches(']');
                (RawClient::over(self.tls(io, name).await), String::new(), String::new())
            }
        };
        Channel { raw, prefix, authority, fields }
    }

    /// Sends one request and returns the response.
    pub(super) async fn get(&self, way: Way, host: &str, port: u16, path: &str) -> RawResponse {
        self.open(way, host, port).await.get(path).await
    }

    /// Opens a tunnel, which the proxy must accept.
    pub(super) async fn tunnel(&self, to: &str) -> TcpStream {
        self.tunnel_with(to, "").await
    }

    pub(super) async fn tunnel_with(&self, to: &str, fields: &str) -> TcpStream {
        let (head, io) = connect(self.addr(), to, fields).await;
        assert!(head.starts_with("HTTP/1.1 200 Connection established\r\n"), "{head}");
        io
    }

    /// Performs a TLS handshake for `name` as a client that trusts the proxy's CA only.
    pub(super) async fn tls(&self, io: TcpStream, name: &str) -> TlsStream<TcpStream> {
        self.tls_offering(io, name, &["http/1.1"]).await
    }

    pub(super) async fn tls_offering(&self, io: TcpStream, name: &str, alpn: &[&str]) -> TlsStream<TcpStream> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::new(trusting(&self.authority, alpn)));
        within("a handshake", connector.connect(name, io)).await.unwrap()
    }
}

/// Sends a `CONNECT`. Returns the response head and the stream.
pub(super) async fn connect(addr: SocketAddr, to: &str, fields: &str) -> (String, TcpStream) {
    let mut io = TcpStream::connect(addr).await.unwrap();
    io.set_nodelay(true).unwrap();
    let head = connect_on(&mut io, to, fields).await;
    (head, io)
}

pub(super) async fn connect_on(io: &mut (impl Wire + Sized), to: &str, fields: &str) -> String {
    io.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{fields}\r\n").as_bytes()).await.unwrap();
    within("the answer to CONNECT", async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            // Reads byte by byte, so that no byte of the tunnel is consumed.
            head.push(io.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    })
    .await
}

pub(super) fn trusting(authority: &CertificateAuthority, alpn: &[&str]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate_der().to_vec().into()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

/// Returns the ClientHello of a client that trusts the proxy's CA.
pub(super) fn client_hello(authority: &CertificateAuthority, name: &str, alpn: &[&str]) -> Vec<u8> {
    let config = Arc::new(trusting(authority, alpn));
    let mut hello = Vec::new();
    ClientConnection::new(config, name.to_owned().try_into().unwrap()).unwrap().write_tls(&mut hello).unwrap();
    hello
}

pub(super) fn basic(credentials: &str) -> String {
    format!("Proxy-Authorization: Basic {}\r\n", BASE64_STANDARD.encode(credentials))
}

/// A connection for requests to one host.
pub(super) struct Channel {
    pub(super) raw: RawClient,
    prefix: String,
    authority: String,
    fields: String,
}

impl Channel {
    /// Returns the bytes of a request.
    pub(super) fn request(&self, method: &str, path: &str, fields: &str) -> String {
        let Self { prefix, authority, fields: own, .. } = self;
        format!("{method} {prefix}{path} HTTP/1.1\r\nHost: {authority}\r\n{own}{fields}\r\n")
    }

    pub(super) async fn get(&mut self, path: &str) -> RawResponse {
        self.exchange("GET", path, "", "").await
    }

    pub(super) async fn exchange(&mut self, method: &str, path: &str, fields: &str, body: &str) -> RawResponse {
        let request = self.request(method, path, fields) + body;
        self.raw.exchange(request).await
    }
}

/// Answers with the request as it was received, one property per line.
pub(super) async fn page(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let asked = parts.extensions.get::<ProxyRequest>();
    let text = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let mut lines = vec![
        format!("{} {}", parts.method, parts.uri),
        format!("host: {}", text(parts.headers.get("host").and_then(|host| host.to_str().ok()))),
        format!("url: {}", text(asked.map(|asked| asked.url().to_string()).as_deref())),
        format!("scheme: {}", text(asked.map(|asked| asked.scheme().as_str()))),
        format!(
            "proxy: {} {}",
            text(asked.map(ProxyRequest::proxy_host)),
            asked.is_some_and(ProxyRequest::is_for_proxy_host)
        ),
        format!(
            "connect: {} {:?}",
            text(asked.and_then(ProxyRequest::connect_host)),
            asked.and_then(ProxyRequest::connect_port)
        ),
        format!("sni: {}", text(asked.and_then(ProxyRequest::sni))),
        format!("user: {}", text(asked.and_then(ProxyRequest::user))),
        format!("tls: {}", parts.extensions.get::<OverTls>().is_some()),
        format!("peer: {}", parts.extensions.get::<PeerAddr>().is_some()),
        format!("version: {:?}", parts.version),
    ];
    lines.extend(
        parts.headers.keys().filter(|name| name.as_str().starts_with("proxy")).map(|name| format!("left: {name}")),
    );
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_else(|_| Bytes::from_static(b"<broken>"));
    lines.push(format!("body: {}", String::from_utf8_lossy(&body)));
    Ok(Response::new(Body::from(lines.join("\n"))))
}

/// Asserts that the response contains each of these lines.
#[track_caller]
pub(super) fn says(response: &RawResponse, lines: &[&str]) {
    assert_eq!(response.status(), 200, "{}{}", response.head, response.text());
    for line in lines {
        assert!(response.text().lines().any(|found| found == *line), "{line:?} is not in:\n{}", response.text());
    }
}
