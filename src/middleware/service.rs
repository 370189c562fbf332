//! [`ProxyMiddlewareService`]: decides on the head, then hands the request on or answers it.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::CONNECTION, request::Parts};
use tower_service::Service;

use super::{
    future::ProxyMiddlewareFuture,
    head::{Head, strip},
    layer::Config,
    restore::{View, Word},
};
use crate::{
    body::{Body, read_within},
    error::{BoxError, Error, ErrorKind},
    ext::{PeerAddr, TrustedBy},
    protocol::signature::{BodyVerification, Refusal, Verification, Verified, VerifyLater},
};

/// Wraps an application with [`ProxyMiddleware`](super::ProxyMiddleware), which documents the behaviour.
#[derive(Clone, Debug)]
pub struct ProxyMiddlewareService<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S> ProxyMiddlewareService<S> {
    pub(super) const fn new(inner: S, config: Arc<Config>) -> Self {
        Self { inner, config }
    }
}

impl<S, B, R> Service<Request<B>> for ProxyMiddlewareService<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ProxyMiddlewareFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        match self.config.decide(&mut parts, &body) {
            Ok(TrustDecision::Admit) => {
                ProxyMiddlewareFuture::forward(self.inner.call(Request::from_parts(parts, Body::new(body))))
            }
            Ok(TrustDecision::Verified(verified)) => match verified.open(body) {
                BodyVerification::Ready(body) => {
                    ProxyMiddlewareFuture::forward(self.inner.call(Request::from_parts(parts, Body::new(body))))
                }
                opening @ BodyVerification::Reading(_) => self.call_later(async move { Ok((parts, opening)) }),
            },
            Ok(TrustDecision::Waiting(head, word, later)) => {
                let config = Arc::clone(&self.config);
                self.call_later(async move {
                    let verified = remembered(later).await?;
                    config.admit_signed(&mut parts, head, word, &verified)?;
                    Ok((parts, verified.open(body)))
                })
            }
            Err(error) => ProxyMiddlewareFuture::refused(self.config.refuse(&error)),
        }
    }
}

impl<S> ProxyMiddlewareService<S> {
    /// The one boxed way: something has to be waited for before the application may run.
    fn call_later<B, R>(
        &mut self,
        opening: impl Future<Output = Result<(Parts, BodyVerification<B>), Error>> + Send + 'static,
    ) -> ProxyMiddlewareFuture<S::Future, R>
    where
        S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        R: Default,
    {
        let config = Arc::clone(&self.config);
        let limit = config.body_timeout;
        // The instance that was polled ready is the one to call; its clone takes its place.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        ProxyMiddlewareFuture::verify(async move {
            let request = async move {
                let (parts, opening) = opening.await?;
                let body = match opening {
                    BodyVerification::Ready(body) => body,
                    BodyVerification::Reading(reading) => read_within(limit, reading).await?,
                };
                Ok(Request::from_parts(parts, Body::new(body)))
            };
            match request.await {
                Ok(request) => Ok(inner.call(request)),
                Err(error) => Err(config.refuse(&error)),
            }
        })
    }
}

/// The word of a replay store that is elsewhere, within bounds.
async fn remembered(later: VerifyLater) -> Result<Verified, Error> {
    let late = |_| Error::new(ErrorKind::Unavailable, "the replay store timed out");
    tokio::time::timeout(STORE_TIME, later).await.map_err(late)?
}

/// What becomes of a request whose head was looked at.
#[derive(Debug)]
enum TrustDecision {
    /// The head is restored; nothing is known of the body.
    Admit,
    /// The head is restored; the body is still to be opened.
    Verified(Verified),
    /// Nothing is restored yet.
    Waiting(Head, Word, VerifyLater),
}

impl Config {
    /// Everything that the head decides.
    fn decide<B: http_body::Body>(&self, parts: &mut Parts, body: &B) -> Result<TrustDecision, Error> {
        self.freeze_peer(parts);
        let head = Head::check(parts)?;
        if let Some((signed, verdict)) = self.verifiers.verify(parts, body, SystemTime::now())? {
            let denied = || Error::new(ErrorKind::Denied, "the signature is valid, but the peer is not trusted");
            let max_hops = self.trust.signed_hops(parts.extensions.get(), signed).ok_or_else(denied)?;
            let word = Word::Signer { max_hops };
            return match verdict {
                Verification::Now(verified) => {
                    self.admit_signed(parts, head, word, &verified)?;
                    Ok(TrustDecision::Verified(verified))
                }
                Verification::Later(later) => Ok(TrustDecision::Waiting(head, word, later)),
            };
        }
        if let Some(standing) = self.trust.standing(parts.extensions.get::<PeerAddr>()) {
            self.admit(parts, head, Word::Peer(standing), TrustedBy::Peer, true)?;
        } else if !self.verifiers.is_empty() && !self.accept_unsigned {
            return Err(Refusal::Missing.into());
        } else {
            self.admit(parts, head, Word::Nobody, TrustedBy::None, false)?;
        }
        Ok(TrustDecision::Admit)
    }

    fn admit_signed(&self, parts: &mut Parts, head: Head, word: Word, verified: &Verified) -> Result<(), Error> {
        let key_id = Arc::clone(verified.key_id());
        let peer = parts.extensions.get::<PeerAddr>();
        let keep_identity = self.trust.standing(peer).is_some();
        let trusted_by = if self.trust.vouches(peer) {
            TrustedBy::PeerAndSignature { key_id }
        } else {
            TrustedBy::Signature { key_id }
        };
        verified.restore(&mut parts.headers);
        self.admit(parts, head, word, trusted_by, keep_identity)
    }

    fn admit(
        &self,
        parts: &mut Parts,
        head: Head,
        word: Word,
        trusted_by: TrustedBy,
        keep_identity: bool,
    ) -> Result<(), Error> {
        let peer = parts.extensions.get::<PeerAddr>().cloned();
        let view = View::read(self, parts, head, peer, word, trusted_by)?;
        if !self.carried.is_empty() && !matches!(word, Word::Nobody) {
            self.carried.decode(&mut parts.headers, &mut parts.extensions)?;
        }
        if let Some(field) = strip(&mut parts.headers, parts.extensions.get(), self, word, keep_identity)
            && let Some(suppressed) = self.ignored.pass()
        {
            let peer = &view.origin.peer;
            let hint = peer.is_none().then_some(NO_PEER);
            tracing::warn!(?peer, header = %field, suppressed, hint, "removed an untrusted header");
        }
        if view.unreadable
            && let Some(suppressed) = self.ignored.pass()
        {
            tracing::warn!(peer = ?view.origin.peer, suppressed, "the client is unknown: unknown or invalid hop in the forwarding headers");
        }
        view.apply(parts);
        Ok(())
    }

    /// Notes the socket's peer before anything is restored, so that a claimed address is never taken for it.
    #[cfg(feature = "axum")]
    fn freeze_peer(&self, parts: &mut Parts) {
        if parts.extensions.get::<PeerAddr>().is_some() {
            return;
        }
        let claimed = || if self.connect_info { super::view::peer(parts) } else { None };
        if let Some(peer) = PeerAddr::of(&parts.extensions).cloned().or_else(claimed) {
            parts.extensions.insert(peer);
        }
    }

    #[cfg(not(feature = "axum"))]
    fn freeze_peer(&self, _parts: &mut Parts) {}

    /// The answer to a refused request: a status and nothing else, since the body's type is the application's.
    fn refuse<R: Default>(&self, error: &Error) -> Response<R> {
        if let Some(suppressed) = self.refused.pass() {
            let reason = std::error::Error::source(error);
            tracing::warn!(status = error.status().as_u16(), %error, reason, suppressed, "refused a request");
        }
        let mut response = Response::new(R::default());
        *response.status_mut() = error.status();
        if error.kind() == ErrorKind::RequestBody {
            // RFC 9112 §6.1: whoever sends both framings may be smuggling; nothing more is read from that connection.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(error.clone());
        response
    }
}

/// What whoever trusts a peer in vain has most often forgotten.
const NO_PEER: &str =
    "the acceptor does not report the peer: use nexthop::serve or into_make_service_with_connect_info";

/// How long a replay store may take to answer.
const STORE_TIME: Duration = Duration::from_secs(10);
