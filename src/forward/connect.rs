//! From an answered `CONNECT` to a tunnel.

use std::{convert::Infallible, sync::Arc};

use bytes::BytesMut;
use http::{Request, Response, uri::Scheme};
use hyper::{body::Incoming, ext::ReasonPhrase};
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

use super::{
    hello::peek,
    layer::Config,
    policy::{ConnectAction, DetectedProtocol},
    route::{Connect, Tunnel},
    service::ForwardProxyService,
    stream::{Kind, Stream},
};
use crate::{
    body::Body,
    error::{BoxError, Error},
    ext::Tunnelled,
    serve::Protocol,
    transport::{self, Carrier, Client, tunnel},
};

/// A client's stream, of whatever server.
pub(super) type Io = Box<dyn Carrier>;

/// Answers a `CONNECT`. A tunnel to somewhere else is connected before.
///
/// # Errors
/// `Denied` (403), `Connect` (502), `Timeout` (504).
pub(super) async fn open<S>(service: ForwardProxyService<S>, connect: Box<Connect>) -> Result<Response<Body>, Error>
where
    ForwardProxyService<S>: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>,
    S: Clone + Send + 'static,
{
    if connect.decision == ConnectAction::Tunnel {
        let exact = &service.config.client;
        let upstream = Box::pin(exact.connect(&connect.dial)).await?;
        let Connect { upgrade, server, place, .. } = *connect;
        let carried = tunnel::carry(upgrade, server, upstream, exact.tunnel_timeout());
        tokio::spawn(async move {
            let _place = place;
            carried.await;
        });
    } else {
        let counted = connect.server.as_ref().map(Client::enter);
        tokio::spawn(async move {
            let _counted = counted;
            if let Err(error) = run(service, connect).await {
                tracing::debug!(%error, "tunnel closed during setup");
            }
        });
    }
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(ReasonPhrase::from_static(b"Connection established"));
    Ok(response)
}

/// What is inside a tunnel.
enum Inside {
    /// HTTP, to be served: the stream, the name that TLS asked for, and what was agreed on in TLS.
    Http(Kind, Option<Box<str>>, Option<Protocol>),
    /// Something for somebody else, and what the client has said of it so far.
    Elsewhere(Io, BytesMut, Box<transport::Upgraded>),
}

/// Serves what is inside a tunnel, or makes it one to somewhere else after all.
async fn run<S>(mut service: ForwardProxyService<S>, mut connect: Box<Connect>) -> Result<(), BoxError>
where
    ForwardProxyService<S>: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>,
    S: Clone + Send + 'static,
{
    // In a box, since what comes then, for as long as the tunnel is there, needs none of the memory of a handshake.
    let inside = Box::pin(look(&service.config, &mut connect)).await?;
    let Connect { who, host, port, drain, place, server, dial, .. } = *connect;
    // It is a part of the buffer that the head was read into, which is not to be kept for as long as the tunnel is there.
    drop(dial);
    match inside {
        Inside::Elsewhere(io, said, upstream) => {
            let _place = place;
            let shutdown = server.map(Client::into_shutdown);
            tunnel::join(io, said, *upstream, service.config.client.tunnel_timeout(), shutdown).await;
        }
        Inside::Http(io, sni, agreed) => {
            let scheme = if io.is_tls() { Scheme::HTTPS } else { Scheme::HTTP };
            let peer = who.peer.clone();
            service.tunnel = Some(Arc::new(Tunnel::new(who, scheme, Tunnelled { host, port, sni })));
            let inside = service.config.inside.clone();
            inside.run(Stream::new(io, place), peer, agreed, &drain, service).await;
        }
    }
    Ok(())
}

/// Finds out what is inside a tunnel, and what becomes of it.
async fn look(config: &Config, connect: &mut Connect) -> Result<Inside, BoxError> {
    let deadline = Instant::now() + config.handshake_timeout;
    // The server is to write the answer first, to a client that may take nothing.
    let upgraded = timeout_at(deadline, &mut connect.upgrade).await??;
    let (mut io, ahead) = Client::stream(connect.server.as_ref(), upgraded);
    let quiet = match connect.decision {
        ConnectAction::Peek => deadline.min(Instant::now() + config.peek_timeout),
        _ => deadline,
    };
    // Browsers open tunnels ahead and say nothing in them: a shutdown is not to wait for a word.
    let quiet = timeout_at(quiet, connect.drain.draining());
    let peeked = peek(&mut io, &ahead, quiet, deadline).await?;
    let decision = match connect.decision {
        ConnectAction::Peek => (config.policy.on_detected)(&connect.asked(), &peeked.opening),
        decision => decision,
    };
    match (decision, &peeked.opening) {
        (ConnectAction::Tunnel, _) => {
            let upstream = config.client.connect(&connect.dial).await?;
            Ok(Inside::Elsewhere(io, peeked.bytes, Box::new(upstream)))
        }
        (ConnectAction::Intercept, DetectedProtocol::Http) => {
            Ok(Inside::Http(Kind::Plain { ahead: peeked.bytes, io }, None, None))
        }
        #[cfg(feature = "intercept")]
        (ConnectAction::Intercept, DetectedProtocol::Tls(hello)) => {
            let sni = hello.sni.clone();
            let tls = super::intercept::accept(config, connect, sni.as_deref(), io, peeked, deadline).await?;
            let agreed = Protocol::agreed(tls.stream().get_ref().1);
            Ok(Inside::Http(Kind::Tls(tls), sni, Some(agreed)))
        }
        (ConnectAction::Intercept, opening) => {
            Err(format!("cannot intercept {opening:?}: expected HTTP or TLS").into())
        }
        (ConnectAction::Deny | ConnectAction::Peek, _) => Err("tunnel denied after protocol detection".into()),
    }
}
