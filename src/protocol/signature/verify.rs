//! [`Verifier`]: the receiving end.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hmac::Mac;
use http::{HeaderMap, HeaderName, header, request::Parts, uri::Scheme};
use http_body::Body;

use super::{
    MAX_DIGEST_BYTES, UnsignedBodies, Verified,
    base::{self, Base, Component},
    field::{joined, parse_digest, parse_signature},
    input::{Input, Which, parse_input},
    refusal::Refusal,
    sign::has_no_body,
    trailers,
    verified::CoveredBody,
};
use crate::{
    error::{ConfigError, Error, ErrorKind},
    protocol::{
        keyring::{ALGORITHM, Keyring, Keys},
        names::{CONTENT_DIGEST, SIGNATURE, SIGNATURE_INPUT, is_owned},
        replay::{InMemoryReplayStore, Nonce, NonceCheck, NonceStatus, ReplayStore},
    },
};

/// Verifies requests that a [`Signer`](super::Signer) or another implementation of the [specification](super) has signed.
///
/// Give it to [`Trust::verifier`](crate::middleware::Trust::verifier). [`Trust::signature`](crate::middleware::Trust::signature) makes
/// one with the default settings. Cheap to clone; clones share one replay store.
///
/// The checks, in this order: syntax, algorithm of the key, required components, the MAC (in constant time), the time, the nonce. After
/// all checks have passed, the signature and every owned header that it does not cover are removed.
///
/// A body of up to 64 KiB with a digest in the head is read and checked before the application runs. A streamed body is checked at its
/// end: if the check fails, the body ends with an error, and the bytes before it may be forged.
///
/// # Errors
/// [`ProxyMiddleware`](crate::ProxyMiddleware) answers 403 ([`ErrorKind::Signature`]) if the signature is missing, malformed, wrong,
/// expired or replayed, or does not cover a required component. The reason is in the log, not in the response. It answers 503
/// ([`ErrorKind::Unavailable`]) if the replay store is full or unreachable.
///
/// # Deployment
/// The clocks of both ends must agree within the [clock skew](VerifierBuilder::skew). If several processes verify under one key, give
/// them one shared [`ReplayStore`]; otherwise a request can be replayed once to each process.
///
/// ```
/// use std::time::Duration;
///
/// use http::{Request, Response};
/// use nexthop::{
///     Body, ProxyMiddleware,
///     middleware::Trust,
///     protocol::{keyring::Keyring, signature::Verifier},
///     secret::Secret,
/// };
/// use tower::{Layer, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), nexthop::BoxError> {
/// let keys = Keyring::new("k1", Secret::from_bytes([7; 32])?)?;
/// let verifier = Verifier::builder(keys).max_age(Duration::from_secs(20)).build()?;
/// let layer = ProxyMiddleware::builder().trust(Trust::verifier(verifier)).build()?;
/// let app = layer.layer(tower::service_fn(|_request: Request<Body>| async {
///     Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
/// }));
///
/// let forged = Request::get("/")
///     .header("host", "app.example")
///     .header("signature-input", r#"nexthop=("@method");keyid="k1";tag="nexthop""#)
///     .header("signature", "nexthop=:AAAA:")
///     .body(Body::empty())?;
/// assert_eq!(app.oneshot(forged).await?.status(), 403);
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[doc(alias = "http message signatures")]
#[doc(alias = "rfc 9421")]
pub struct Verifier(Arc<Inner>);

struct Inner {
    keyring: Keyring,
    replay: Box<dyn ReplayStore>,
    max_age: u64,
    skew: u64,
    scheme: Scheme,
    uncovered: Option<UnsignedBodies>,
}

/// Builds a [`Verifier`]; see [`Verifier::builder`].
#[derive(Debug)]
#[must_use]
pub struct VerifierBuilder {
    keyring: Keyring,
    replay: Box<dyn ReplayStore>,
    max_age: Duration,
    skew: Duration,
    scheme: Scheme,
    uncovered: Option<UnsignedBodies>,
}

impl Verifier {
    /// Returns a builder for a verifier that accepts all keys of `keyring`.
    pub fn builder(keyring: Keyring) -> VerifierBuilder {
        VerifierBuilder {
            keyring,
            replay: Box::new(InMemoryReplayStore::new()),
            max_age: Duration::from_secs(60),
            skew: Duration::from_secs(30),
            scheme: Scheme::HTTP,
            uncovered: None,
        }
    }

    /// True if the request claims to bear a signature of somebody. One look-up; says nothing of its worth.
    #[doc(hidden)]
    #[must_use]
    pub fn is_signed(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(SIGNATURE_INPUT)
    }

    /// Verifies a request's head, and remembers its nonce. The request must be as it came in, its URI and `Host` too. Touches nothing.
    ///
    /// # Errors
    /// `Signature` (403): missing, malformed, wrong, too old, seen before, or leaves out what must be covered; the reason is the error's
    /// source, for the log. `Unavailable` (503): the replay store is full or out of reach.
    #[doc(hidden)]
    pub fn verify<B: Body>(&self, parts: &Parts, body: &B, now: SystemTime) -> Result<Verification, Error> {
        let keyring = &self.0.keyring;
        let keys = keyring.keys();
        let mut checked = self.check(parts, body, now, &keys);
        // The secret may have been changed since the file was last looked at.
        if let Err(Refusal::UnknownKey | Refusal::Mismatch) = checked
            && let Some(keys) = keyring.newer(&keys, now)
        {
            checked = self.check(parts, body, now, &keys);
        }
        let (verified, answer) = checked?;
        keyring.look_soon(now);
        decide(verified, answer)
    }

    fn check<B: Body>(
        &self,
        parts: &Parts,
        body: &B,
        now: SystemTime,
        keys: &Keys,
    ) -> Result<(Verified, NonceCheck), Refusal> {
        let field = joined(&parts.headers, &SIGNATURE_INPUT).ok_or(Refusal::Missing)?;
        let input = parse_input(&field, Which::Head)?;
        let signature = joined(&parts.headers, &SIGNATURE).ok_or(Refusal::Missing)?;
        let signature = parse_signature(&signature, Which::Head)?;
        let created = input.created.ok_or(Refusal::Malformed("created"))?;
        let nonce = input.nonce.filter(|nonce| (1..=256).contains(&nonce.len())).ok_or(Refusal::Malformed("nonce"))?;

        let key = keys.get(input.key_id.ok_or(Refusal::Malformed("keyid"))?).ok_or(Refusal::UnknownKey)?;
        if input.algorithm.is_some_and(|algorithm| algorithm != ALGORITHM) {
            return Err(Refusal::Algorithm);
        }

        check_required(&input, parts)?;
        let covered_body = self.covered_body(&input, parts, body)?;

        let base = self.base(&input, parts)?;
        key.hmac_sha256().chain_update(base.as_bytes()).verify_slice(&signature).map_err(|_| Refusal::Mismatch)?;

        let now = now.duration_since(UNIX_EPOCH).map_err(|_| Refusal::Early)?.as_secs();
        let until = self.check_time(created, input.expires, now)?;
        let answer = self.0.replay.remember(Nonce { key_id: key.id(), text: nonce, until, now });

        let is_uncovered = |name: &&HeaderName| {
            is_owned(name) && !input.covers(&Component::Field { name: name.as_str(), wrapped: false })
        };
        let uncovered = parts.headers.keys().filter(is_uncovered).cloned().collect();
        let verified = Verified::new(key, uncovered, covered_body, &signature)?;
        Ok((verified, answer))
    }

    fn covered_body<B: Body>(&self, input: &Input<'_>, parts: &Parts, body: &B) -> Result<CoveredBody, Refusal> {
        let covers = |name: &HeaderName| input.covers(&Component::Field { name: name.as_str(), wrapped: false });
        if covers(&CONTENT_DIGEST) {
            let field =
                joined(&parts.headers, &CONTENT_DIGEST).ok_or(Refusal::Component("Content-Digest is missing"))?;
            return Ok(CoveredBody::Digest(parse_digest(&field)?));
        }
        if covers(&header::TRAILER) && trailers::are_announced(&parts.headers) {
            return Ok(CoveredBody::Trailers);
        }
        let is_large = || body.size_hint().exact().is_some_and(|length| length > MAX_DIGEST_BYTES);
        match self.0.uncovered {
            _ if has_no_body(body) => Ok(CoveredBody::Nothing),
            Some(UnsignedBodies::All) => Ok(CoveredBody::Nothing),
            Some(UnsignedBodies::Large) if is_large() => Ok(CoveredBody::Nothing),
            _ => Err(Refusal::Uncovered("body")),
        }
    }

    fn base(&self, input: &Input<'_>, parts: &Parts) -> Result<Base, Refusal> {
        let scheme = base::scheme_received(parts, &self.0.scheme);
        let mut base = Base::new();
        for component in &input.components {
            match *component {
                Component::Method => base.method(parts),
                Component::Authority => base.authority(base::authority_received(parts, scheme)?, scheme),
                Component::Path => base.path(parts),
                Component::Query => base.query(parts),
                Component::RequestTarget => base.request_target(parts),
                Component::Field { name, wrapped } => {
                    let values = parts.headers.get_all(name);
                    if values.iter().next().is_none() {
                        return Err(Refusal::Component("the header is missing"));
                    }
                    match (wrapped, base::is_plain(values.iter())) {
                        (true, _) => base.wrapped(name, values.iter()),
                        (false, true) => base.field(name, values.iter()),
                        (false, false) => return Err(Refusal::Component("the header is not ASCII")),
                    }
                }
                Component::Trailer { .. } | Component::HeadSignature => {
                    return Err(Refusal::Component("not allowed in a head"));
                }
            }
        }
        Ok(base.finish(input.params.as_bytes()))
    }

    /// Gives the second after which the message is too old.
    fn check_time(&self, created: u64, expires: Option<u64>, now: u64) -> Result<u64, Refusal> {
        if created > now.saturating_add(self.0.skew) {
            return Err(Refusal::Early);
        }
        let until = created.saturating_add(self.0.max_age).saturating_add(self.0.skew);
        let until = until.min(expires.unwrap_or(u64::MAX));
        if now > until { Err(Refusal::Stale) } else { Ok(until) }
    }
}

impl VerifierBuilder {
    /// Sets the store of seen nonces. Default: a new [`InMemoryReplayStore`].
    pub fn replay(mut self, store: impl ReplayStore) -> Self {
        self.replay = Box::new(store);
        self
    }

    /// Sets the maximum age of a signature, rounded down to seconds. Default: 60 s. At most one day.
    ///
    /// The [clock skew](Self::skew) is added to it.
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// Sets the permitted clock skew between signer and verifier, in both directions, rounded down to seconds. Default: 30 s. At most one
    /// day.
    #[doc(alias = "clock skew")]
    pub fn skew(mut self, skew: Duration) -> Self {
        self.skew = skew;
        self
    }

    /// Sets the scheme of this hop, `http` or `https`. Default: `http`.
    ///
    /// It determines the default port that is omitted from `"@authority"`. The scheme of the request's URI and
    /// [`ext::OverTls`](crate::ext::OverTls) take precedence.
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        self.scheme = scheme;
        self
    }

    /// Accepts requests whose selected bodies are unsigned. Default: such requests are refused (403).
    ///
    /// Dangerous: an intermediary can change these bodies. The signer needs the same setting:
    /// [`SignerBuilder::dangerous_unsigned_bodies`](super::SignerBuilder::dangerous_unsigned_bodies).
    pub fn dangerous_accept_unsigned_bodies(mut self, bodies: UnsignedBodies) -> Self {
        self.uncovered = Some(bodies);
        self
    }

    /// Returns the verifier.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] if the maximum age or the clock skew is longer than one day, or the scheme is neither `http` nor `https`.
    pub fn build(self) -> Result<Verifier, ConfigError> {
        let Self { keyring, replay, max_age, skew, scheme, uncovered } = self;
        for (what, time) in [("max_age", max_age), ("skew", skew)] {
            if time > Duration::from_secs(86_400) {
                return Err(ConfigError::invalid(what, format!("{time:?}"), "must be at most one day"));
            }
        }
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(ConfigError::invalid("scheme", scheme.as_str(), "must be http or https"));
        }
        let (max_age, skew) = (max_age.as_secs(), skew.as_secs());
        Ok(Verifier(Arc::new(Inner { keyring, replay, max_age, skew, scheme, uncovered })))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { keyring, replay, .. } = &*self.0;
        f.debug_struct("Verifier").field("keyring", keyring).field("replay", replay).finish_non_exhaustive()
    }
}

fn check_required(input: &Input<'_>, parts: &Parts) -> Result<(), Refusal> {
    let required = [
        (Component::Method, "@method"),
        (Component::Authority, "@authority"),
        (Component::Path, "@path"),
        (Component::Query, "@query"),
    ];
    for (component, name) in required {
        if !input.covers(&component) {
            return Err(Refusal::Uncovered(name));
        }
    }
    if base::has_empty_query(parts) && !input.covers(&Component::RequestTarget) {
        return Err(Refusal::Uncovered("@request-target for an empty query"));
    }
    Ok(())
}

pub(super) fn decide(verified: Verified, answer: NonceCheck) -> Result<Verification, Error> {
    match answer {
        NonceCheck::Now(seen) => admit(seen).map(|()| Verification::Now(verified)),
        NonceCheck::Later(store) => Ok(Verification::Later(VerifyLater { store, verified: Some(verified) })),
    }
}

fn admit(seen: NonceStatus) -> Result<(), Error> {
    match seen {
        NonceStatus::Fresh => Ok(()),
        NonceStatus::Replayed => Err(Refusal::Replayed.into()),
        NonceStatus::Unavailable => Err(Error::new(ErrorKind::Unavailable, "replay store is full or unreachable")),
    }
}

/// The outcome of [`Verifier::verify`], now or later.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verification {
    /// The signature holds.
    Now(Verified),
    /// The signature holds if the replay store says so.
    Later(VerifyLater),
}

/// Waits for a replay store that is elsewhere.
///
/// # Cancel safety
/// The store may have remembered the nonce when this is dropped, so that the request, sent again as it is, would be refused.
///
/// # Errors
/// `Signature` if the nonce was seen before, `Unavailable` if the store cannot say.
#[must_use = "futures do nothing unless polled"]
pub struct VerifyLater {
    store: Pin<Box<dyn Future<Output = NonceStatus> + Send>>,
    verified: Option<Verified>,
}

impl Future for VerifyLater {
    type Output = Result<Verified, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let seen = ready!(self.store.as_mut().poll(cx));
        let polled_again = || Error::new(ErrorKind::Internal, "polled after completion");
        Poll::Ready(admit(seen).and_then(|()| self.verified.take().ok_or_else(polled_again)))
    }
}

impl fmt::Debug for VerifyLater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyLater").finish_non_exhaustive()
    }
}
