use std::{fmt, future::Future, sync::Arc};

use http::{HeaderName, HeaderValue, Method, Response, Uri, request, response, uri::Scheme};

#[cfg(feature = "classic-signature")]
use crate::protocol::signature::classic::ClassicSigner;
use crate::{
    app::{
        forwarded::Common,
        hooks::{Hooks, IntoHookResult, RequestHook, ResponseHook},
        seal::Seal,
        service::{ProxyApp, Settings},
        settings::{ForwardedFor, HostHeader, PathPrefix, Via},
        upstream::{IntoUpstream, Upstream},
    },
    body::Body,
    error::ConfigError,
    exact::ExactProxy,
    message::{
        target::{UpstreamUrl, is_host},
        via::Pseudonym,
    },
    protocol::{ForwardedHeaders, carry::CarriedKeys, signature::Signer},
    transport::Destination,
};

/// Builds a [`ProxyApp`].
#[derive(Clone)]
#[must_use]
pub struct ProxyAppBuilder {
    upstream: Result<Upstream, ConfigError>,
    client: ExactProxy,
    host: HostHeader,
    prefix: PathPrefix,
    scheme: Option<Scheme>,
    families: Vec<ForwardedHeaders>,
    forwarded_for: ForwardedFor,
    via: Via,
    methods: Option<Vec<Method>>,
    suppressed: Vec<Result<HeaderName, String>>,
    pass_identity: bool,
    max_body_bytes: u64,
    map_responses: bool,
    carried: CarriedKeys,
    signer: Option<Signer>,
    #[cfg(feature = "classic-signature")]
    classic_signer: Option<ClassicSigner>,
    hooks: Hooks,
}

impl ProxyApp {
    /// Returns a builder for a proxy to `upstream`: a URL (`&str`, `String` or [`UpstreamUrl`]), or an
    /// [`UpstreamSelector`](super::UpstreamSelector) that selects one for each request.
    ///
    /// A text that is no valid URL is reported by [`build`](ProxyAppBuilder::build).
    pub fn builder(upstream: impl IntoUpstream) -> ProxyAppBuilder {
        ProxyAppBuilder::new(upstream.into_upstream())
    }
}

impl ProxyAppBuilder {
    fn new(upstream: Result<Upstream, ConfigError>) -> Self {
        Self {
            upstream,
            client: ExactProxy::new(),
            host: HostHeader::default(),
            prefix: PathPrefix::default(),
            scheme: None,
            families: vec![ForwardedHeaders::default()],
            forwarded_for: ForwardedFor::default(),
            via: Via::default(),
            methods: None,
            suppressed: Vec::new(),
            pass_identity: false,
            max_body_bytes: u64::MAX,
            map_responses: true,
            carried: CarriedKeys::default(),
            signer: None,
            #[cfg(feature = "classic-signature")]
            classic_signer: None,
            hooks: Hooks::default(),
        }
    }

    /// The same for the upstream of another builder.
    #[cfg(all(feature = "config", feature = "spawn"))]
    pub(crate) fn towards(mut self, other: Self) -> Self {
        self.upstream = other.upstream;
        self
    }

    /// What sends the requests: its connections, timeouts, limits and TLS. Default: [`ExactProxy::new`].
    pub fn client(mut self, client: ExactProxy) -> Self {
        self.client = client;
        self
    }

    /// What stands in `Host`. Default: the upstream's own.
    pub fn host(mut self, host: HostHeader) -> Self {
        self.host = host;
        self
    }

    /// Which part of the path the upstream does not get. Default: what the router took off.
    pub fn prefix(mut self, prefix: PathPrefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// The scheme by which clients reach this process. Default: what `ProxyMiddleware` restored, else `https` where the acceptor says so
    /// ([`ext::OverTls`](crate::ext::OverTls)), else `http`. A scheme restored from a trusted hop counts before this one.
    pub fn public_scheme(mut self, scheme: Scheme) -> Self {
        self.scheme = Some(scheme);
        self
    }

    /// The families of forwarding fields that are written; of none, no such field is. Default: [`ForwardedHeaders::WsgiProxy`], which is also what
    /// `ProxyMiddleware` reads by default, because no other can say which part of the target the upstream's URL put there.
    ///
    /// Fields of all families that came from outside are removed, whichever are written.
    pub fn forwarded_headers(mut self, families: impl IntoIterator<Item = ForwardedHeaders>) -> Self {
        self.families.clear();
        for family in families {
            // Each once: its fields must not come twice.
            if !self.families.contains(&family) {
                self.families.push(family);
            }
        }
        self
    }

    /// What the upstream is told of the client's address. Default: [`ForwardedFor::Append`].
    pub fn forwarded_for(mut self, rule: ForwardedFor) -> Self {
        self.forwarded_for = rule;
        self
    }

    /// The name in `Via`, by which a loop is seen (508). Requests only: a gateway need not name itself to clients (RFC 9110 §7.6.3).
    /// Default: random.
    pub fn via(mut self, via: Via) -> Self {
        self.via = via;
        self
    }

    /// The methods that are forwarded; others are answered with 405 and `Allow`. Default: all but
    /// `TRACE` (501), whose answer would show clients what this proxy tells the upstream.
    pub fn allowed_methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = Some(methods.into_iter().collect());
        self
    }

    /// Request fields that are not forwarded, in any case and any spelling of `-`.
    pub fn suppress_headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.suppressed.extend(names.into_iter().map(|name| {
            let name = name.as_ref();
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| name.to_owned())
        }));
        self
    }

    /// Lets the fields by which front servers name a user ([`is_identity`](crate::protocol::names::is_identity)) pass as clients wrote
    /// them. Default: they are removed, unless `ProxyMiddleware` has decided before whether they are vouched for.
    ///
    /// Dangerous: an upstream that trusts this proxy believes them. A user that the application in front has found out belongs into a
    /// [carried key](Self::carried), or into a field that a [hook](Self::rewrite_request) writes.
    pub fn dangerous_keep_identity_headers(mut self) -> Self {
        self.pass_identity = true;
        self
    }

    /// The longest body a request may have, in bytes. Default: no limit.
    ///
    /// A longer one is answered with 413: at once if its length is declared, else when the limit is passed, if no response has begun. What
    /// was sent by then does not look complete to the upstream.
    pub fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Whether `Location`, `Content-Location`, `Refresh`, `Link`, and `Path` and `Domain` of `Set-Cookie` are mapped to the client's view.
    /// Default: yes.
    pub fn map_responses(mut self, map: bool) -> Self {
        self.map_responses = map;
        self
    }

    /// Values of the request's extensions that travel to the upstream. Default: none.
    pub fn carried(mut self, keys: CarriedKeys) -> Self {
        self.carried = keys;
        self
    }

    /// Signs each request, last of all, and covers its body. Default: unsigned.
    pub fn signer(mut self, signer: Signer) -> Self {
        self.signer = Some(signer);
        self
    }

    /// Signs each request the [classic](crate::protocol::signature::classic) way, for an upstream that knows no other. Default: unsigned.
    #[cfg(feature = "classic-signature")]
    pub fn classic_signer(mut self, signer: ClassicSigner) -> Self {
        self.classic_signer = Some(signer);
        self
    }

    /// Changes the head of each request, after it was stripped and aimed at the upstream (the URI is absolute, `Host` is set, and an
    /// [`ext::ConnectTo`](crate::ext::ConnectTo) leads elsewhere), before our forwarding fields are added. What the closure puts in place
    /// of one of those stays.
    ///
    /// Its extensions are the client's request's: [`PeerAddr`](crate::ext::PeerAddr), [`OriginalRequest`](crate::ext::OriginalRequest) behind
    /// `ProxyMiddleware`, and whatever a layer in front put there. `Host` and URI are the upstream's by now; what the client wrote there
    /// is to be had from `OriginalRequest`, or in an [`UpstreamSelector`](super::UpstreamSelector).
    ///
    /// It may answer itself, with a `Response<Body>` or a box of one (axum's are made so by `.map(Body::new)`), and fail with an
    /// [`Error`](crate::Error), such as that of [`set_path`](crate::message::set_path):
    ///
    /// ```
    /// use http::{Response, StatusCode};
    /// use nexthop::{Body, ProxyApp, message::set_path};
    ///
    /// let app = ProxyApp::builder("http://127.0.0.1:8080")
    ///     .rewrite_request(|request| {
    ///         request.headers.remove("cookie"); // nothing to return
    ///     })
    ///     .rewrite_request(|request| match request.uri.path() {
    ///         "/old" => set_path(&mut request.uri, "/new"),
    ///         _ => Ok(()),
    ///     })
    ///     .rewrite_request(|request| match request.uri.path() {
    ///         "/private" => {
    ///             let mut answer = Response::new(Body::from("not here\n"));
    ///             *answer.status_mut() = StatusCode::NOT_FOUND;
    ///             Err(Box::new(answer))
    ///         }
    ///         _ => Ok(()),
    ///     })
    ///     .build()?;
    /// # Ok::<(), nexthop::ConfigError>(())
    /// ```
    pub fn rewrite_request<F, R>(mut self, rewrite: F) -> Self
    where
        F: Fn(&mut request::Parts) -> R + Send + Sync + 'static,
        R: IntoHookResult,
    {
        self.hooks.request.push(RequestHook::Now(Arc::new(move |parts| rewrite(parts).into_result())));
        self
    }

    /// The same for what must wait. It takes the head and gives it back, or an answer; with such a hook each request costs an allocation
    /// more.
    ///
    /// ```
    /// # use http::HeaderValue;
    /// # use nexthop::ProxyApp;
    /// # async fn look_up(_: &str) -> HeaderValue { HeaderValue::from_static("7") }
    /// let app = ProxyApp::builder("http://127.0.0.1:8080")
    ///     .rewrite_request_async(|mut request| async move {
    ///         let tenant = look_up(request.uri.path()).await;
    ///         request.headers.insert("x-tenant", tenant);
    ///         Ok(request)
    ///     })
    ///     .build()?;
    /// # Ok::<(), nexthop::ConfigError>(())
    /// ```
    pub fn rewrite_request_async<F, Fut>(mut self, rewrite: F) -> Self
    where
        F: Fn(request::Parts) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<request::Parts, Response<Body>>> + Send + 'static,
    {
        self.hooks.request.push(RequestHook::Later(Arc::new(move |parts| Box::pin(rewrite(parts)))));
        self
    }

    /// Changes the head of each response of the upstream, after it was mapped to the client's view; may put another response in its
    /// place, as in [`rewrite_request`](Self::rewrite_request). Answers of this service itself do not come here: wrap the service for
    /// those.
    pub fn rewrite_response<F, R>(mut self, rewrite: F) -> Self
    where
        F: Fn(&mut response::Parts) -> R + Send + Sync + 'static,
        R: IntoHookResult,
    {
        self.hooks.response.push(ResponseHook::Now(Arc::new(move |parts| rewrite(parts).into_result())));
        self
    }

    /// The same for what must wait, or must see the body. With such a hook each request costs an allocation more.
    pub fn rewrite_response_async<F, Fut>(mut self, rewrite: F) -> Self
    where
        F: Fn(Response<Body>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response<Body>> + Send + 'static,
    {
        self.hooks.response.push(ResponseHook::Later(Arc::new(move |response| Box::pin(rewrite(response)))));
        self
    }

    /// Checks everything once.
    ///
    /// # Errors
    /// [`ConfigError`], naming the text: a suppressed name that is no field name or one a request cannot do without, a name for `Via`
    /// that is no
    /// token, a fixed `Host` that is not valid, two ways to sign; an https upstream without the feature `tls`; no randomness to be had.
    pub fn build(self) -> Result<ProxyApp, ConfigError> {
        let upstream = self.upstream?;
        if let Some(href) = upstream.fixed()
            && *href.scheme() == Scheme::HTTPS
            && !cfg!(feature = "tls")
        {
            return Err(ConfigError::invalid("href", href.to_string(), "https needs the feature tls"));
        }
        if let HostHeader::Fixed(host) = &self.host
            && !is_host(host.as_bytes())
        {
            return Err(ConfigError::invalid("host", String::from_utf8_lossy(host.as_bytes()), "not a host and port"));
        }
        if let Some(scheme) =
            self.scheme.as_ref().filter(|scheme| **scheme != Scheme::HTTP && **scheme != Scheme::HTTPS)
        {
            return Err(ConfigError::invalid("public_scheme", scheme.as_str(), "not http or https"));
        }
        let suppressed = self.suppressed.into_iter().map(|name| match name {
            Ok(name) if name == http::header::HOST => {
                Err(ConfigError::invalid("suppress_headers", "host", "a request is not valid without it"))
            }
            Ok(name) => Ok(name),
            Err(text) => Err(ConfigError::invalid("suppress_headers", text, "not a field name")),
        });
        #[cfg(not(feature = "classic-signature"))]
        let seal = self.signer.map(Seal::Signer);
        #[cfg(feature = "classic-signature")]
        let seal = match (self.signer, self.classic_signer) {
            (Some(_), Some(_)) => {
                return Err(ConfigError::conflict("signer and classic_signer", "a request is signed one way"));
            }
            (signer, classic) => signer.map(Seal::Signer).or(classic.map(Seal::Classic)),
        };
        let allow = self.methods.as_deref().map(allow).transpose()?;
        let decided = seal.is_none() && !self.hooks.any_for_requests() && !self.hooks.any_later();
        let destination = upstream.fixed().filter(|_| decided).map(destination).transpose()?;
        let via = pseudonym(self.via)?;
        let common = upstream.fixed().map(|href| Common::of(&self.families, href, via.as_ref()));
        Ok(ProxyApp::new(Settings {
            upstream,
            destination,
            common,
            client: self.client,
            host: self.host,
            prefix: self.prefix,
            scheme: self.scheme,
            families: self.families,
            forwarded_for: self.forwarded_for,
            via,
            methods: self.methods,
            allow,
            suppressed: suppressed.collect::<Result<_, _>>()?,
            pass_identity: self.pass_identity,
            max_body_bytes: self.max_body_bytes,
            map_responses: self.map_responses,
            carried: self.carried,
            seal,
            hooks: self.hooks,
        }))
    }
}

/// The value of `Allow`; empty where nothing is allowed (RFC 9110 §10.2.1).
fn allow(methods: &[Method]) -> Result<HeaderValue, ConfigError> {
    let list = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    HeaderValue::from_str(&list).map_err(|_| ConfigError::invalid("allowed_methods", list, "not a list of methods"))
}

fn destination(href: &UpstreamUrl) -> Result<Destination, ConfigError> {
    let uri =
        Uri::builder().scheme(href.scheme().clone()).authority(href.authority().clone()).path_and_query("/").build();
    let refuse = |why: &dyn fmt::Display| ConfigError::invalid("href", href.to_string(), why.to_string());
    let uri = uri.map_err(|error| refuse(&error))?;
    // Compared by its place in memory, for each request that goes there.
    Destination::of(&uri, href.connect_to().as_ref()).map(|to| to.to_keep()).map_err(|error| refuse(&error))
}

pub(crate) fn pseudonym(via: Via) -> Result<Option<Pseudonym>, ConfigError> {
    match via {
        Via::Off => Ok(None),
        Via::Named(name) => Pseudonym::named(name).map(Some),
        Via::Random => {
            let random = getrandom::u64()
                .map_err(|error| ConfigError::missing("randomness", format!("Via needs a name of its own: {error}")))?;
            Ok(Some(Pseudonym::random(random)))
        }
    }
}

impl fmt::Debug for ProxyAppBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyAppBuilder").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}
