use std::{
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, header::ALLOW, request, uri::Scheme};
use http_body::Body as HttpBody;
use tower_service::Service;

use crate::{
    app::{
        crossing::Crossing,
        forwarded::Common,
        front::Front,
        future::{Escort, Passage, ProxyAppFuture, State},
        hooks::{Answer, Hooks},
        outgoing::outgoing,
        removed::Removed,
        rewrite,
        seal::Seal,
        settings::{ForwardedFor, HostHeader, PathPrefix},
        upstream::Upstream,
    },
    body::Body,
    error::{BoxError, Error},
    exact::{ExactProxy, answer, extended, nominated::without},
    message::{hop::Nominated, max_forwards::is_last_hop, target::UpstreamUrl, via::Pseudonym},
    protocol::{ForwardedHeaders, carry::CarriedKeys},
    transport::Destination,
};

/// Forwards every request to an upstream, and maps the response to the client's view: a reverse proxy.
///
/// The [module](crate::app) documents what happens to requests and responses. Timeouts, TLS and the connection pool are
/// settings of the [client](super::ProxyAppBuilder::client).
///
/// * Request: in origin form or absolute form, HTTP/1.0 to HTTP/2, with any body, which is streamed.
/// * Response: always `Ok`. An error becomes a response with the [status](Error::status) of the error, a short text,
///   and the [`Error`] in its extensions; see [Errors](crate::app#errors).
///
/// Cheap to clone; clones share the connections and the name in `Via`. Always ready.
///
/// # Cancel safety
/// Dropping the future or the body of the response cancels the exchange with the upstream.
#[doc(alias = "reverse proxy")]
#[doc(alias = "gateway")]
#[doc(alias = "websocket")]
#[doc(alias = "grpc")]
#[derive(Clone)]
pub struct ProxyApp(Arc<Settings>);

/// Everything `build()` found out.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) upstream: Upstream,
    /// Where that is, where it is always the same and nothing but this service has a say in it.
    pub(super) destination: Option<Destination>,
    /// What is said of all requests alike, where they all go there.
    pub(super) common: Option<Common>,
    pub(super) client: ExactProxy,
    pub(super) host: HostHeader,
    pub(super) prefix: PathPrefix,
    pub(super) scheme: Option<Scheme>,
    pub(super) forwarded_headers: Vec<ForwardedHeaders>,
    pub(super) forwarded_for: ForwardedFor,
    pub(super) via: Option<Pseudonym>,
    pub(super) methods: Option<Vec<Method>>,
    pub(super) allow: Option<HeaderValue>,
    pub(super) suppressed: Vec<HeaderName>,
    pub(super) pass_identity: bool,
    pub(super) removed: Removed,
    pub(super) max_body_bytes: u64,
    pub(super) map_responses: bool,
    pub(super) carried: CarriedKeys,
    pub(super) seal: Option<Seal>,
    pub(super) hooks: Hooks,
}

impl ProxyApp {
    pub(super) fn new(settings: Settings) -> Self {
        Self(Arc::new(settings))
    }

    #[cfg(test)]
    pub(super) fn settings(&self) -> &Settings {
        &self.0
    }

    #[cfg(feature = "spawn")]
    pub(super) fn inner(&self) -> &Arc<Settings> {
        &self.0
    }

    /// What [`call`](Service::call) does, with something that goes with the request.
    pub(crate) fn send<B, P: Passage>(&self, request: Request<B>, escort: P::Escort) -> P
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let settings = &self.0;
        let (mut parts, body) = request.into_parts();
        let (front, href, nominated) = match settings.aim(&mut parts, body.size_hint().lower(), &escort) {
            Ok(aimed) => aimed,
            Err(refusal) => return P::new(refusal.into_state(settings), escort),
        };
        let body = without(outgoing(body, front.version, settings.max_body_bytes), nominated);
        let mut crossing = Crossing::new(settings, front, href);
        if settings.seal.is_some() || settings.hooks.any_later() {
            return P::new(State::boxed(crossing.forward(parts, body)), escort);
        }
        match crossing.prepare(&mut parts) {
            Ok(()) => {
                let mut exchange = settings.client.send(parts, body, crossing);
                exchange.begin();
                P::new(State::Exchange(exchange), escort)
            }
            Err(refusal) => P::new(refusal.into_state(settings), escort),
        }
    }
}

impl<B> Service<Request<B>> for ProxyApp
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ProxyAppFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ProxyAppFuture {
        self.send(request, ())
    }
}

impl Settings {
    /// Looks at a request, strips it and aims it at its upstream.
    fn aim(
        &self,
        parts: &mut request::Parts,
        declared: u64,
        escort: &impl Escort,
    ) -> Result<(Front, UpstreamUrl, Nominated), Refusal> {
        let extended = extended::receive(parts);
        let found = rewrite::scan(&parts.headers);
        let host = rewrite::check(parts, found, declared, self)?;
        if is_last_hop(&parts.method, &mut parts.headers) {
            return Err(Refusal::Answer(self.last_hop()));
        }
        let nominated = rewrite::strip(parts, found, self);
        if extended || found.has_upgrade() {
            escort.may_tunnel(&mut parts.extensions);
        }
        if extended {
            extended::announce(parts)?;
        }
        let href = self.upstream.select(parts).map_err(Refusal::Answer)?;
        let front = rewrite::aim(parts, found, host, &href, self)?;
        Ok((front, href, nominated))
    }

    /// The `Host` the upstream is sent.
    pub(super) fn host<'a>(&'a self, front: &'a Front, href: &'a UpstreamUrl) -> &'a HeaderValue {
        match &self.host {
            HostHeader::Fixed(host) => host,
            HostHeader::Keep => front.host.as_ref().unwrap_or_else(|| href.host()),
            HostHeader::Replace => href.host(),
        }
    }

    /// The answer to a request that asks this hop itself.
    fn last_hop(&self) -> Answer {
        let mut response = Response::new(Body::empty());
        if let Some(allow) = &self.allow {
            response.headers_mut().insert(ALLOW, allow.clone());
        }
        Box::new(response)
    }

    /// `upstream` is the one that was chosen, if it came to that.
    pub(super) fn answer(&self, error: Error, upstream: Option<&UpstreamUrl>) -> Response<Body> {
        answer(error, self.allow.as_ref(), upstream.or_else(|| self.upstream.fixed()))
    }
}

/// Why a request is not forwarded.
pub(super) enum Refusal {
    Error(Error),
    /// The user's answer.
    Answer(Answer),
}

impl Refusal {
    fn into_state(self, settings: &Settings) -> State {
        State::Answer(Some(match self {
            Self::Error(error) => settings.answer(error, None),
            Self::Answer(answer) => *answer,
        }))
    }
}

impl From<Answer> for Refusal {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl fmt::Debug for ProxyApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyApp").field("upstream", &self.0.upstream).finish_non_exhaustive()
    }
}
