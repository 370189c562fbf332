//! From an answered `CONNECT` to a tunnel.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, uri::Scheme};
use hyper::{ext::ReasonPhrase, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

use super::{
    hello::peek,
    layer::Config,
    policy::{Decision, Opening},
    route::{Connect, Tunnel},
    service::InTunnel,
    stream::Stream,
};
use crate::{
    body::Body,
    error::{BoxError, Error},
    ext::Tunnelled,
    serve::Spoken,
    transport::{self, Client, tunnel},
};

/// A client's stream, of whatever server.
pub(super) type Io = TokioIo<Upgraded>;

/// Answers a `CONNECT`. A tunnel to somewhere else is connected before.
///
/// # Errors
/// `Denied` (403), `Connect` (502), `Timeout` (504).
pub(super) async fn open<S, R>(config: Arc<Config>, connect: Box<Connect>, inner: S) -> Result<Response<Body>, Error>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    if connect.decision == Decision::Tunnel {
        let upstream = Box::pin(config.exact.connect(&connect.dial)).await?;
        let Connect { upgrade, server, place, .. } = *connect;
        let carried = tunnel::carry(upgrade, server, upstream, config.exact.tunnel_timeout());
        tokio::spawn(async move {
            let _place = place;
            carried.await;
        });
    } else {
        let counted = connect.server.as_ref().map(Client::enter);
        tokio::spawn(async move {
            let _counted = counted;
            if let Err(error) = run(config, connect, inner).await {
                tracing::debug!(%error, "a tunnel ended early");
            }
        });
    }
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(ReasonPhrase::from_static(b"Connection established"));
    Ok(response)
}

/// What is inside a tunnel.
enum Inside {
    /// HTTP, to be served: the stream, the name that TLS asked for, and what was agreed on.
    Http(Stream<Io>, Option<Box<str>>, Spoken),
    /// Something for somebody else, and what the client has said of it so far.
    Elsewhere(Io, BytesMut, Box<transport::Upgraded>),
}

/// Serves what is inside a tunnel, or makes it one to somewhere else after all.
async fn run<S, R>(config: Arc<Config>, mut connect: Box<Connect>, inner: S) -> Result<(), BoxError>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    // In a box, since what comes then, for as long as the tunnel is there, needs none of the memory of a handshake.
    let inside = Box::pin(look(&config, &mut connect)).await?;
    let Connect { who, host, port, drain, place, server, .. } = *connect;
    let _place = place;
    match inside {
        Inside::Elsewhere(io, said, upstream) => {
            let shutdown = server.and_then(Client::into_shutdown);
            tunnel::join(io, said.to_vec(), *upstream, config.exact.tunnel_timeout(), shutdown).await;
            Ok(())
        }
        Inside::Http(io, sni, spoken) => {
            let scheme = if io.is_tls() { Scheme::HTTPS } else { Scheme::HTTP };
            let peer = who.peer.clone();
            let tunnel = Arc::new(Tunnel { who, scheme, to: Arc::new(Tunnelled { host, port, sni }) });
            let service = InTunnel::new(inner, config.clone(), tunnel);
            config.inside.run(io, peer, spoken, &drain, service).await
        }
    }
}

/// Finds out what is inside a tunnel, and what becomes of it.
async fn look(config: &Config, connect: &mut Connect) -> Result<Inside, BoxError> {
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
            Ok(Inside::Elsewhere(io, peeked.bytes, Box::new(upstream)))
        }
        (Decision::Intercept, Opening::Http) => {
            Ok(Inside::Http(Stream::Plain { ahead: peeked.bytes, io }, None, Spoken::Either))
        }
        #[cfg(feature = "intercept")]
        (Decision::Intercept, Opening::Tls(hello)) => {
            let sni = hello.sni.clone();
            let (tls, spoken) = super::intercept::accept(config, connect, sni.as_deref(), io, peeked, deadline).await?;
            Ok(Inside::Http(Stream::Tls(tls), sni, spoken))
        }
        (Decision::Intercept, opening) => Err(format!("{opening:?} cannot be served").into()),
        (Decision::Deny | Decision::Peek, _) => Err("denied after a look at its first bytes".into()),
    }
}
