//! [`Crossing`]: one request between its two sides.

use std::sync::Arc;

use http::{Extensions, HeaderValue, Response, header::HOST, request};

use crate::{
    app::{
        forwarded::{self, Way},
        front::Front,
        loss::{Loss, send},
        service::{Refusal, Settings},
    },
    body::Body,
    error::Error,
    exact::Prepare,
    message::{
        fields::Fields,
        location::{self, Mapping},
        target::UpstreamUrl,
        via,
    },
    transport::Destination,
};

/// What the client sees of a request and what the upstream sees: what is told to the one, and how its answer is brought back to the other.
#[derive(Debug)]
pub(crate) struct Crossing {
    pub(super) settings: Arc<Settings>,
    pub(super) front: Front,
    pub(super) href: UpstreamUrl,
    pub(super) told: Told,
}

/// What became of a request.
pub(crate) enum Crossed {
    Answer(Response<Body>),
    Lost(Crossing, Loss),
}

/// Where the fields are that this service adds.
#[derive(Debug)]
pub(super) enum Told {
    /// Nowhere yet: they are written with the head, which costs less.
    Later,
    /// Among the fields of the request, where hooks have had their say; `Host` is what they left of it.
    InTheMap { host: Option<HeaderValue> },
}

impl Crossing {
    pub(super) fn new(settings: &Arc<Settings>, front: Front, href: UpstreamUrl) -> Self {
        Self { settings: settings.clone(), front, href, told: Told::Later }
    }

    /// Makes a request ready to be sent that nothing must be awaited for.
    pub(super) fn prepare(&mut self, parts: &mut request::Parts) -> Result<(), Refusal> {
        let settings = &self.settings;
        let hooks = settings.hooks.any_for_requests();
        if hooks {
            self.set_host(parts);
            settings.hooks.rewrite_request_now(parts)?;
        }
        if !settings.carried.is_empty() {
            settings.carried.encode(&parts.extensions, &mut parts.headers)?;
        }
        if hooks {
            self.tell(parts);
        }
        Ok(())
    }

    /// The way of a request that something must be awaited for: hooks, or a body that is read to be signed.
    pub(super) async fn forward(mut self, mut parts: request::Parts, body: Body) -> Crossed {
        let settings = self.settings.clone();
        self.set_host(&mut parts);
        let mut parts = match settings.hooks.rewrite_request(parts).await {
            Ok(parts) => parts,
            Err(answer) => return Crossed::Answer(*answer),
        };
        if let Err(error) = settings.carried.encode(&parts.extensions, &mut parts.headers) {
            return Crossed::Answer(settings.answer(error, Some(&self.href)));
        }
        self.tell(&mut parts);
        self.send(parts, body).await
    }

    /// The rest of that way, behind the hooks.
    pub(super) async fn send(self, parts: request::Parts, body: Body) -> Crossed {
        let settings = self.settings.clone();
        let result = match &settings.seal {
            None => send(&settings.client, parts, body, ()).await,
            Some(seal) => seal.send(&settings.client, parts, body).await,
        };
        match result {
            Ok(mut response) => {
                self.map(&mut response);
                Crossed::Answer(settings.hooks.rewrite_response(response, self.front.is_head).await)
            }
            Err(loss) => Crossed::Lost(self, loss),
        }
    }

    /// The answer to the client, where nothing must be awaited for it.
    pub(super) fn answer(&self, result: Result<Response<Body>, Error>) -> Response<Body> {
        match result {
            Ok(mut response) => {
                self.map(&mut response);
                self.settings.hooks.rewrite_response_now(response, self.front.is_head)
            }
            Err(error) => self.settings.answer(error, Some(&self.href)),
        }
    }

    /// Brings the head to the client's view.
    fn map(&self, response: &mut Response<Body>) {
        if self.settings.map_responses && location::concerns(response.headers()) {
            self.mapping().apply(response.headers_mut());
        }
    }

    fn mapping(&self) -> Mapping {
        let host_sent = match &self.told {
            Told::Later => Some(self.host_sent().clone()),
            Told::InTheMap { host } => host.clone(),
        };
        let Front { scheme, host, prefix, .. } = &self.front;
        Mapping::of(self.href.clone(), host_sent, scheme.clone(), host.clone(), prefix.clone())
    }

    fn host_sent(&self) -> &HeaderValue {
        self.settings.host(&self.front, &self.href)
    }

    /// What hooks are to see of `Host`.
    fn set_host(&self, parts: &mut request::Parts) {
        parts.headers.insert(HOST, self.host_sent().clone());
    }

    /// Adds the fields to the request itself.
    fn tell(&mut self, parts: &mut request::Parts) {
        self.write(&parts.extensions, &mut parts.headers);
        self.told = Told::InTheMap { host: parts.headers.get(HOST).cloned() };
    }

    fn write(&self, extensions: &Extensions, out: &mut impl Fields) {
        let settings = &self.settings;
        let way = Way::of(extensions, settings.forwarded_for);
        forwarded::write(out, &settings.forwarded_headers, &way, &self.front);
        let common = settings.common.as_ref().and_then(|common| common.lines(&self.front));
        if let (Some(lines), Some(out)) = (common, out.lines()) {
            out.extend_from_slice(lines);
            return;
        }
        forwarded::write_common(out, &settings.forwarded_headers, &self.front.scheme, &self.href);
        if let Some(us) = &settings.via {
            via::write(out, self.front.version, us);
        }
    }
}

impl Prepare for Crossing {
    fn destination(&self) -> Option<&Destination> {
        match self.told {
            Told::Later => self.settings.destination.as_ref(),
            Told::InTheMap { .. } => None,
        }
    }

    fn host(&self) -> Option<&HeaderValue> {
        matches!(self.told, Told::Later).then(|| self.host_sent())
    }

    fn is_unframed(&self) -> bool {
        matches!(self.told, Told::Later) && self.front.unframed
    }

    fn add_fields(&self, extensions: &Extensions, out: &mut impl Fields) {
        if matches!(self.told, Told::Later) {
            self.write(extensions, out);
        }
    }
}
