//! Upstreams of every kind that do as they are told, and tell what they were asked.

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
        ProxyApp::builder(&self.href).client(exact.build().unwrap()).build().unwrap()
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
