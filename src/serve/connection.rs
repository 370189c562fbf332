//! One connection from its acceptance to its end.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use hyper::server::conn::http1;
#[cfg(feature = "http2")]
use hyper::server::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::OwnedSemaphorePermit,
    time::{Instant, Timeout, timeout_at},
};

#[cfg(feature = "http2")]
use super::streams::Streams;
use super::{
    activity::Activity,
    dispatch::Dispatch,
    drain::{DrainGuard, DrainOf},
    drive::{Limits, drive},
    http_service::HttpService,
    listener::Accepted,
    proxy_protocol::{self, ProxyProtocol},
    stream::{Guarded, Stream},
    watch::{Phase, Watch},
};
#[cfg(feature = "tls")]
use crate::transport::secured::Session;
use crate::{
    error::BoxError,
    ext::{ConnectionId, PeerAddr},
    transport::Client,
};

/// How the connections of one server are treated.
pub(super) struct Connections {
    pub(super) limits: Limits,
    pub(super) handshake_timeout: Duration,
    pub(super) proxy_protocol: ProxyProtocol,
    pub(super) http1: http1::Builder,
    pub(super) max_target: usize,
    /// How long its heads may be; `None` where HTTP/2 is turned off.
    #[cfg(feature = "http2")]
    pub(super) http2: Option<u32>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<tokio_rustls::TlsAcceptor>,
}

/// Which protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    #[cfg(feature = "http2")]
    Http2,
}

impl Protocol {
    /// What a TLS handshake agreed on (RFC 7301).
    #[cfg(feature = "tls")]
    pub(crate) fn agreed(tls: &rustls::ServerConnection) -> Self {
        match tls.alpn_protocol() {
            #[cfg(feature = "http2")]
            Some(b"h2") => Self::Http2,
            _ => Self::Http1,
        }
    }
}

/// What a connection is once its handshakes are done.
struct Established<Io> {
    stream: Stream<Io>,
    peer: Option<PeerAddr>,
    tls: bool,
    protocol: Protocol,
}

impl Connections {
    /// Serves one connection until it is closed or becomes a tunnel. With `agreed`, all handshakes are done, and it is over TLS.
    pub(super) async fn run<Io, S>(
        self: Arc<Self>,
        Accepted { io, peer }: Accepted<Io>,
        agreed: Option<Protocol>,
        service: S,
        guard: DrainGuard,
        permit: Option<OwnedSemaphorePermit>,
    ) where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: HttpService,
    {
        let (watch, activity) = (guard.watch().clone(), Activity::new());
        let client = (Client::of::<Stream<Io>>(guard.gauge(), watch.clone()), guard.drain());
        let io = Guarded::new(io, self.limits.write, activity.clone(), guard, permit);
        let established = match agreed {
            Some(protocol) => Some(Ok(Established { stream: Stream::Plain(io), peer, tls: true, protocol })),
            None => until_draining(&watch, self.establish(io, peer, &activity)).await,
        };
        let ended = match established {
            Some(Ok(established)) => self.http(established, service, client, activity, &watch).await,
            Some(Err(error)) => Err(error.into()),
            None => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection failed");
        }
    }

    /// PROXY header, TLS, and which protocol it is to be.
    async fn establish<Io>(
        &self,
        mut io: Box<Guarded<Io>>,
        mut peer: Option<PeerAddr>,
        activity: &Activity,
    ) -> io::Result<Established<Io>>
    where
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        let deadline = Instant::now() + self.handshake_timeout;
        if self.proxy_protocol == ProxyProtocol::Required {
            peer = until(deadline, proxy_protocol::read_header(&mut io, peer)).await??;
        }
        #[cfg(feature = "tls")]
        if let Some(acceptor) = &self.tls {
            let tls = until(deadline, acceptor.accept(io)).await??;
            let protocol = Protocol::agreed(tls.get_ref().1);
            activity.touch();
            return Ok(Established { stream: Stream::Tls(Box::new(Session::new(tls))), peer, tls: true, protocol });
        }
        activity.touch();
        #[cfg(feature = "http2")]
        if self.http2.is_some() {
            let deadline = Instant::now() + self.limits.head;
            let protocol = until(deadline, by_preface(&mut io)).await??;
            return Ok(Established { stream: Stream::Plain(io), peer, tls: false, protocol });
        }
        Ok(Established { stream: Stream::Plain(io), peer, tls: false, protocol: Protocol::Http1 })
    }

    async fn http<Io, S>(
        &self,
        Established { stream, peer, tls, protocol }: Established<Io>,
        service: S,
        client: (Client, DrainOf),
        activity: Arc<Activity>,
        watch: &Watch,
    ) -> Result<(), BoxError>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: HttpService,
    {
        let io = TokioIo::new(stream);
        let service = Dispatch {
            service,
            id: ConnectionId::new(),
            peer,
            tls,
            client,
            multiplexed: protocol != Protocol::Http1,
            max_target: self.max_target,
            activity: activity.clone(),
        };
        match protocol {
            Protocol::Http1 => {
                let connection = pin!(self.http1.serve_connection(io, service).with_upgrades());
                drive(connection, self.limits, &activity, watch).await
            }
            #[cfg(feature = "http2")]
            Protocol::Http2 => {
                activity.sending.ignore();
                let max_head = self.http2.ok_or("the client selected HTTP/2, which is disabled")?;
                let mut http2 = http2::Builder::new(Streams(activity.clone()));
                http2.enable_connect_protocol().max_header_list_size(max_head);
                // In a box, as a connection of HTTP/1.1 is not to keep room for it.
                let mut connection = Box::pin(http2.serve_connection(io, service));
                drive(connection.as_mut(), self.limits, &activity, watch).await
            }
        }
    }
}

/// HTTP/2 by prior knowledge if the connection begins with its preface (RFC 9113 §3.4). The first byte that differs decides for HTTP/1.
#[cfg(feature = "http2")]
async fn by_preface<Io: AsyncRead + Unpin>(io: &mut Guarded<Io>) -> io::Result<Protocol> {
    loop {
        let read = io.buffered();
        let start = read.get(..PREFACE.len()).unwrap_or(read);
        if !PREFACE.starts_with(start) {
            return Ok(Protocol::Http1);
        }
        if start.len() == PREFACE.len() {
            return Ok(Protocol::Http2);
        }
        if io.fill().await? == 0 {
            return Ok(Protocol::Http1); // which knows a client that left from one that broke off
        }
    }
}

#[cfg(feature = "http2")]
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// `None` if the drain begins before the future is done.
async fn until_draining<F: Future>(watch: &Watch, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        watch.wake(cx.waker());
        match future.as_mut().poll(cx) {
            Poll::Pending if watch.phase() != Phase::Open => Poll::Ready(None),
            done => done.map(Some),
        }
    })
    .await
}

/// In a box that is given back: what a connection needs only at its beginning, it is not to keep room for.
fn until<F: Future>(deadline: Instant, future: F) -> Pin<Box<Timeout<F>>> {
    Box::pin(timeout_at(deadline, future))
}
