//! From an answered `CONNECT` to a tunnel.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use http::{Request, Response, uri::Scheme};
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, timeout_at},
};
use tower_service::Service;

use super::{
    hello::peek,
    layer::Config,
    policy::{Decision, Opening},
    route::{Connect, Tunnel},
    service::InTunnel,
};
use crate::{
    body::Body,
    error::{BoxError, Error},
    ext::Tunnelled,
    serve::Spoken,
    transport::tunnel,
};

/// Answers a `CONNECT`. A tunnel to somewhere else is connected before.
///
/// # Errors
/// `Denied` (403), `Connect` (502), `Timeout` (504).
pub(super) async fn open<S, R>(config: Arc<Config>, connect: Connect, inner: S) -> Result<Response<Body>, Error>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    if connect.decision == Decision::Tunnel {
        let upstream = config.exact.connect(&connect.dial).await?;
        let Connect { upgrade, server, place, .. } = connect;
        let carried = tunnel::carry(upgrade, server, upstream, config.exact.tunnel_timeout());
        tokio::spawn(async move {
            let _place = place;
            carried.await;
        });
    } else {
        let counted = connect.server.as_ref().map(crate::transport::Client::enter);
        tokio::spawn(async move {
            let _counted = counted;
            if let Err(error) = run(&config, connect, inner).await {
                tracing::debug!(%error, "a tunnel ended early");
            }
        });
    }
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(ReasonPhrase::from_static(b"Connection established"));
    Ok(response)
}

/// Serves what is inside a tunnel, or makes it one to somewhere else after all.
async fn run<S, R>(config: &Arc<Config>, mut connect: Connect, inner: S) -> Result<(), BoxError>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    let deadline = Instant::now() + config.handshake_timeout;
    // The server is to write the answer first, to a client that may take nothing.
    let mut io = TokioIo::new(timeout_at(deadline, &mut connect.upgrade).await??);
    let quiet = match connect.decision {
        Decision::Peek => Instant::now() + config.peek_timeout,
        _ => deadline,
    };
    let peeked = peek(&mut io, quiet, deadline).await?;
    let decision = match connect.decision {
        Decision::Peek => (config.policy.on_opening)(&connect.asked(), &peeked.opening),
        decision => decision,
    };
    match (decision, &peeked.opening) {
        (Decision::Tunnel, _) => {
            let upstream = config.exact.connect(&connect.dial).await?;
            tunnel::join(io, peeked.bytes.to_vec(), upstream, config.exact.tunnel_timeout()).await;
            Ok(())
        }
        (Decision::Intercept, Opening::Http) => {
            let io = Rewound { ahead: peeked.bytes, io };
            serve(config, connect, inner, io, Scheme::HTTP, None, Spoken::Either).await
        }
        #[cfg(feature = "intercept")]
        (Decision::Intercept, Opening::Tls(_)) => {
            super::intercept::run(config, connect, inner, io, peeked, deadline).await
        }
        (Decision::Intercept, opening) => Err(format!("{opening:?} cannot be served").into()),
        (Decision::Deny | Decision::Peek, _) => Err("denied after a look at its first bytes".into()),
    }
}

/// Serves HTTP on the inside of a tunnel.
pub(super) async fn serve<S, R, Io>(
    config: &Arc<Config>,
    connect: Connect,
    inner: S,
    io: Io,
    scheme: Scheme,
    sni: Option<Box<str>>,
    spoken: Spoken,
) -> Result<(), BoxError>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Connect { who, host, port, drain, place, .. } = connect;
    let _place = place;
    let peer = who.peer.clone();
    let tunnel = Arc::new(Tunnel { who, scheme, to: Arc::new(Tunnelled { host, port, sni }) });
    let service = InTunnel::new(inner, config.clone(), tunnel);
    config.inside.run(io, peer, spoken, &drain, service).await
}

/// A stream, and what was read of it already.
struct Rewound<Io> {
    ahead: BytesMut,
    io: Io,
}

impl<Io: AsyncRead + Unpin> AsyncRead for Rewound<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let count = self.ahead.len().min(buf.remaining());
        buf.put_slice(self.ahead.get(..count).unwrap_or_default());
        self.ahead.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Rewound<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
