//! Scripted upstreams of every kind, which report the requests they receive.

mod http1;
mod http2;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use nexthop::{ExactProxy, ProxyApp, exact::HttpVersions, net::Tls};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
    task::JoinSet,
};

use super::wire::Lines;
use crate::support::{RawUpstream, tls::TestCa, within};

/// Kind of an upstream: its transport and its protocol.
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

/// Behavior of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// Reads each request to its end and answers with [`BODY`] and various headers.
    Answer,
    /// Sends the response head at once, echoes each part of the body as it arrives, and ends with a trailer.
    Echo,
    /// Accepts a WebSocket, sends `hello`, echoes four bytes, and sends `bye` after the end of the client's direction.
    Switch,
    /// Announces nine bytes, sends `hel`, and breaks off on [`Upstream::cut`].
    CutLength,
    /// As `CutLength`, with a body of unknown length.
    CutUnsized,
    /// Drops the first request without a response, and answers later ones.
    Reset,
    /// Answers the first request with an invalid response, and later ones with a valid one.
    Garble,
    /// Reads requests and sends nothing.
    Wait,
}

/// Body of the responses of [`Does::Answer`].
pub(super) const BODY: &str = "hello";

/// A request as the upstream received it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    /// Value of `:authority`, or of every `Host`.
    pub(super) hosts: Vec<String>,
    /// Value of `:scheme`, over HTTP/2.
    pub(super) scheme: Option<String>,
    /// Value of `:protocol`, over HTTP/2.
    pub(super) protocol: Option<String>,
    pub(super) fields: Lines,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Lines,
}

pub(super) struct Upstream {
    pub(super) kind: Kind,
    /// `Host` header of a request to this upstream.
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
    /// Number of earlier requests.
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

    /// Builds a proxy to this upstream with `limit` as the response timeout.
    pub(super) fn proxy(&self, limit: Duration) -> ProxyApp {
        let mut exact = ExactProxy::builder().response_timeout(limit);
        if let Some(tls) = &self.tls {
            exact = exact.tls(tls.clone());
        }
        if self.kind == Kind::H2c {
            exact = exact.http_versions(HttpVersions::Http2Only);
        }
        ProxyApp::builder(&self.href).client(exact.build().unwrap()).build().unwrap()
    }

    /// Returns the next request that the upstream received.
    pub(super) async fn asked(&mut self) -> Asked {
        within("a request at the upstream", self.asked.recv()).await.unwrap()
    }

    /// Asserts that the upstream received no other request.
    #[track_caller]
    pub(super) fn not_asked_again(&mut self) {
        let more = self.asked.try_recv();
        assert!(more.is_err(), "an unexpected request: {more:?}");
    }

    /// Makes the upstream break off its response.
    pub(super) fn cut(&self) {
        self.script.cut.notify_one();
    }

    /// Waits until the proxy has abandoned the unanswered request.
    pub(super) async fn left(&self) {
        within("the proxy's leaving", self.script.left.notified()).await;
    }
}

impl Script {
    /// Returns the behavior for the next request.
    fn turn(&self) -> Does {
        match (self.does, self.turn.fetch_add(1, Ordering::SeqCst)) {
            (Does::Reset | Does::Garble, 1..) => Does::Answer,
            (does, _) => does,
        }
    }

    fn told(&self, asked: Asked) {
        let _ = self.tell.send(asked); // the test may have ended
    }
}
