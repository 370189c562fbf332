//! Upstreams of every kind that do as they are told, and tell what they were asked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use nexthop::{
    ExactProxy, ProxyApp,
    transport::{HttpVersions, Tls},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::{Notify, mpsc},
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::wire::{Lines, chunk};
use crate::support::{RawConn, RawUpstream, tls::TestCa, within};

/// Where the upstream is and what it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Http1,
    H2c,
    HttpsHttp1,
    HttpsHttp2,
    Unix,
}

impl Kind {
    pub(super) fn is_http2(self) -> bool {
        matches!(self, Self::H2c | Self::HttpsHttp2)
    }

    fn is_https(self) -> bool {
        matches!(self, Self::HttpsHttp1 | Self::HttpsHttp2)
    }
}

/// What it does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// Reads each to its end and answers with [`BODY`] and all sorts of fields.
    Answer,
    /// Answers at once, says each part of the body again as it comes, and ends with a trailer.
    Echo,
    /// Becomes a websocket that says `hello`, four bytes again, and `bye` after its peer's end.
    Switch,
    /// Answers `hel` of nine bytes that it announced, and stops when it is told to.
    CutLength,
    /// The same of a body of unknown length.
    CutUnsized,
    /// Lets go of the first request, and answers the later ones.
    Reset,
    /// Answers the first request with what is no response, and the later ones with one.
    Garble,
    /// Reads requests and says nothing.
    Wait,
}

/// What an upstream that answers says.
pub(super) const BODY: &str = "hello";

/// A request as it came.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    /// `:authority`, or every `Host`.
    pub(super) hosts: Vec<String>,
    /// `:scheme`, over HTTP/2.
    pub(super) scheme: Option<String>,
    /// `:protocol`, over HTTP/2.
    pub(super) protocol: Option<String>,
    pub(super) fields: Lines,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Lines,
}

pub(super) struct Upstream {
    pub(super) kind: Kind,
    /// What stands in `Host` of a request to it.
    pub(super) host: String,
    href: String,
    tls: Option<Tls>,
    asked: mpsc::UnboundedReceiver<Asked>,
    script: Script,
    _raw: Option<RawUpstream>,
    _tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Script {
    does: Does,
    tell: mpsc::UnboundedSender<Asked>,
    /// How many requests came before.
    turn: Arc<AtomicUsize>,
    cut: Arc<Notify>,
    left: Arc<Notify>,
}

impl Upstream {
    pub(super) async fn new(kind: Kind, does: Does) -> Self {
        let (tell, asked) = mpsc::unbounded_channel();
        let script = Script { does, tell, turn: Arc::default(), cut: Arc::default(), left: Arc::default() };
        let ca = TestCa::new();
        let tls = kind.is_https().then(|| Tls::roots_pem(ca.root_pem().as_bytes()).unwrap());
        let http1 = {
            let script = script.clone();
            move |conn| script.clone().http1(conn)
        };
        let (mut tasks, mut raw) = (JoinSet::new(), None);
        let scheme = if kind.is_https() { "https" } else { "http" };
        let (host, href) = match kind {
            Kind::Unix => {
                let raw = raw.insert(RawUpstream::unix(http1));
                ("localhost".to_owned(), format!("unix:{}", raw.path().display()))
            }
            Kind::Http1 | Kind::HttpsHttp1 => {
                let raw = raw.insert(match kind {
                    Kind::Http1 => RawUpstream::tcp(http1),
                    _ => RawUpstream::tls(&ca, &["http/1.1"], http1),
                });
                (raw.addr().to_string(), format!("{scheme}://{}", raw.addr()))
            }
            Kind::H2c | Kind::HttpsHttp2 => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let host = listener.local_addr().unwrap().to_string();
                let config = ca.server_config(&["h2", "http/1.1"]);
                let acceptor = kind.is_https().then(|| tokio_rustls::TlsAcceptor::from(Arc::new(config)));
                let script = script.clone();
                tasks.spawn(async move {
                    let mut open = JoinSet::new();
                    while let Ok((io, _)) = listener.accept().await {
                        io.set_nodelay(true).unwrap();
                        let (script, acceptor) = (script.clone(), acceptor.clone());
                        open.spawn(async move {
                            match acceptor {
                                None => script.http2(io).await,
                                Some(acceptor) => script.http2(acceptor.accept(io).await.unwrap()).await,
                            }
                        });
                    }
                });
                let href = format!("{scheme}://{host}");
                (host, href)
            }
        };
        Self { kind, host, href, tls, asked, script, _raw: raw, _tasks: tasks }
    }

    /// A proxy to it, which waits for the heads of its responses for as long as `limit`.
    pub(super) fn proxy(&self, limit: Duration) -> ProxyApp {
        let mut exact = ExactProxy::builder().response_timeout(limit);
        if let Some(tls) = &self.tls {
            exact = exact.tls(tls.clone());
        }
        if self.kind == Kind::H2c {
            exact = exact.http_versions(HttpVersions::Http2Only);
        }
        ProxyApp::builder(self.href.parse().unwrap()).exact(exact.build().unwrap()).build().unwrap()
    }

    /// The next request that it was asked.
    pub(super) async fn asked(&mut self) -> Asked {
        within("a request at the upstream", self.asked.recv()).await.unwrap()
    }

    /// Fails if it was asked anything else.
    #[track_caller]
    pub(super) fn not_asked_again(&mut self) {
        let more = self.asked.try_recv();
        assert!(more.is_err(), "asked again: {more:?}");
    }

    /// Cuts the response that it is in the middle of.
    pub(super) fn cut(&self) {
        self.script.cut.notify_one();
    }

    /// Waits until the proxy gave up a request that is not answered.
    pub(super) async fn left(&self) {
        within("the proxy's leaving", self.script.left.notified()).await;
    }
}

impl Script {
    /// What is done with the next request.
    fn turn(&self) -> Does {
        match (self.does, self.turn.fetch_add(1, Ordering::SeqCst)) {
            (Does::Reset | Does::Garble, 1..) => Does::Answer,
            (does, _) => does,
        }
    }

    fn told(&self, asked: Asked) {
        let _ = self.tell.send(asked); // the test may be over
    }
}

// === HTTP/1.1 ===

impl Asked {
    fn http1(head: &str, body: Vec<u8>, trailers: Lines) -> Self {
        let mut words = head.lines().next().unwrap().split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        assert_eq!(words.next().as_deref(), Some("HTTP/1.1"));
        let fields = Lines::of_text(head);
        let hosts = fields.all("host").into_iter().map(str::to_owned).collect();
        Self { method, target, hosts, scheme: None, protocol: None, fields, body, trailers }
    }
}

impl Script {
    async fn http1(self, mut conn: RawConn) {
        loop {
            let seen = if self.does == Does::Echo { conn.head().await } else { conn.request().await };
            let mut asked = Asked::http1(&seen.head, seen.body, Lines::default());
            match self.turn() {
                Does::Answer => {
                    let body = if asked.method == "HEAD" { "" } else { BODY };
                    conn.write(format!(
                        "HTTP/1.1 200 OK\r\nConnection: keep-alive, x-gone\r\nx-gone: 1\r\nKeep-Alive: timeout=60\r\n\
                         Proxy-Connection: keep-alive\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-end: 1\r\n\
                         content-length: 5\r\n\r\n{body}"
                    ))
                    .await;
                    self.told(asked);
                }
                Does::Echo => {
                    conn.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n").await;
                    asked.trailers = loop {
                        match chunk(&mut conn).await {
                            Ok(part) => {
                                asked.body.extend_from_slice(&part);
                                conn.write([format!("{:x}\r\n", part.len()).as_bytes(), &part, b"\r\n"].concat()).await;
                            }
                            Err(trailers) => break trailers,
                        }
                    };
                    conn.write("0\r\nx-sum: 3\r\n\r\n").await;
                    self.told(asked);
                }
                Does::Switch => {
                    let accept =
                        derive_accept_key(asked.fields.one("sec-websocket-key").unwrap_or_default().as_bytes());
                    self.told(asked);
                    conn.write(format!(
                        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Accept: {accept}\r\n\r\nhello"
                    ))
                    .await;
                    let said = conn.read(4).await;
                    conn.write(said).await;
                    conn.read_to_end().await;
                    conn.write("bye").await;
                    return conn.finish_writing().await;
                }
                cut @ (Does::CutLength | Does::CutUnsized) => {
                    conn.write(if cut == Does::CutLength {
                        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel"
                    } else {
                        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n"
                    })
                    .await;
                    return self.cut.notified().await;
                }
                Does::Reset => {
                    self.told(asked);
                    return conn.reset();
                }
                Does::Garble => {
                    self.told(asked);
                    return conn.write("what?\r\n\r\n").await;
                }
                Does::Wait => {
                    self.told(asked);
                    conn.read_to_end().await;
                    return self.left.notify_one();
                }
            }
        }
    }
}

// === HTTP/2 ===

impl Asked {
    fn http2(request: &Request<RecvStream>) -> Self {
        let uri = request.uri();
        let authority = uri.authority().map(|authority| authority.as_str());
        let host = request.headers().get_all("host").iter().map(|host| host.to_str().unwrap());
        Self {
            method: request.method().to_string(),
            target: uri.path_and_query().unwrap().to_string(),
            hosts: authority.into_iter().chain(host).map(str::to_owned).collect(),
            scheme: uri.scheme_str().map(str::to_owned),
            protocol: request.extensions().get::<h2::ext::Protocol>().map(|protocol| protocol.as_str().to_owned()),
            fields: Lines::of_map(request.headers()),
            body: Vec::new(),
            trailers: Lines::default(),
        }
    }
}

impl Script {
    async fn http2(self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        if self.does == Does::Garble {
            return self.garble(io).await;
        }
        let mut server = h2::server::Builder::new();
        let mut connection = server.enable_connect_protocol().handshake::<_, Bytes>(io).await.unwrap();
        let mut streams = JoinSet::new();
        while let Some(Ok((request, respond))) = connection.accept().await {
            let script = self.clone();
            streams.spawn(async move {
                // The proxy may leave at any time; what must have come is asserted where it is read.
                let _: Result<(), h2::Error> = script.stream(request, respond).await;
            });
        }
    }

    async fn stream(self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
        let mut asked = Asked::http2(&request);
        let does = self.turn();
        let mut recv = request.into_body();
        if !matches!(does, Does::Echo | Does::Switch) {
            asked.body = rest(&mut recv).await?;
        }
        let head = |name: &'static str, value: &'static str| Response::builder().header(name, value).body(()).unwrap();
        match does {
            Does::Answer => {
                let mut response = head("content-length", "5");
                for (name, value) in [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x-end", "1")] {
                    response.headers_mut().append(name, HeaderValue::from_static(value));
                }
                let bodiless = asked.method == "HEAD";
                let mut send = respond.send_response(response, bodiless)?;
                if !bodiless {
                    send.send_data(Bytes::from_static(BODY.as_bytes()), true)?;
                }
                self.told(asked);
            }
            Does::Echo => {
                let mut send = respond.send_response(head("trailer", "x-sum"), false)?;
                while let Some(part) = recv.data().await {
                    let part = part?;
                    recv.flow_control().release_capacity(part.len())?;
                    asked.body.extend_from_slice(&part);
                    send.send_data(part, false)?;
                }
                asked.trailers = Lines::of_map(&recv.trailers().await?.unwrap_or_default());
                send.send_trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("3"))]))?;
                self.told(asked);
            }
            Does::Switch => {
                if asked.method != Method::CONNECT.as_str() {
                    self.told(asked);
                    let refusal = Response::builder().status(StatusCode::BAD_REQUEST).body(()).unwrap();
                    return respond.send_response(refusal, true).map(drop);
                }
                self.told(asked);
                let mut send = respond.send_response(Response::new(()), false)?;
                send.send_data(Bytes::from_static(b"hello"), false)?;
                let mut said = Vec::new();
                while said.len() < 4 {
                    said.extend_from_slice(&recv.data().await.expect("four bytes")?);
                }
                send.send_data(said.into(), false)?;
                rest(&mut recv).await?;
                send.send_data(Bytes::from_static(b"bye"), true)?;
            }
            cut @ (Does::CutLength | Does::CutUnsized) => {
                let response = if cut == Does::CutLength { head("content-length", "9") } else { head("x-end", "1") };
                let mut send = respond.send_response(response, false)?;
                send.send_data(Bytes::from_static(b"hel"), false)?;
                self.cut.notified().await;
                send.send_reset(Reason::INTERNAL_ERROR);
            }
            Does::Reset => {
                self.told(asked);
                respond.send_reset(Reason::INTERNAL_ERROR);
            }
            Does::Wait => {
                self.told(asked);
                std::future::poll_fn(|cx| respond.poll_reset(cx)).await?;
                self.left.notify_one();
            }
            Does::Garble => unreachable!("no server of h2's would say it"),
        }
        Ok(())
    }

    /// Answers the first request without `:status`, which h2 would not, and the next with 200.
    async fn garble(self, mut io: impl AsyncRead + AsyncWrite + Unpin) {
        const HEADERS: u8 = 1;
        const SETTINGS: u8 = 4;
        /// END_STREAM and END_HEADERS.
        const END: u8 = 5;
        let preface = io.read_exact(&mut [0; 24]).await;
        let settings = io.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await;
        preface.and(settings.map(|()| 0)).unwrap();
        let mut head = [0; 9];
        while io.read_exact(&mut head).await.is_ok() {
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            io.read_exact(&mut payload).await.unwrap();
            let answer = match kind {
                SETTINGS if flags == 0 => [&[0, 0, 0, SETTINGS, 1], &[0; 4][..]].concat(),
                HEADERS => {
                    // A literal field `x: y`, or `:status: 200` by the static table's index.
                    let block: &[u8] = if self.turn() == Does::Garble { b"\0\x01x\x01y" } else { &[0x88] };
                    [&[0, 0, block.len() as u8, HEADERS, END], &stream[..], block].concat()
                }
                _ => continue,
            };
            io.write_all(&answer).await.unwrap();
        }
    }
}

async fn rest(recv: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut rest = Vec::new();
    while let Some(data) = recv.data().await {
        let data = data?;
        recv.flow_control().release_capacity(data.len())?;
        rest.extend_from_slice(&data);
    }
    Ok(rest)
}
