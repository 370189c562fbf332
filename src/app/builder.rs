use std::{fmt, future::Future, sync::Arc};

use http::{HeaderName, HeaderValue, Method, Response, Uri, request, response, uri::Scheme};

#[cfg(feature = "classic-signature")]
use crate::protocol::signature::classic::ClassicSigner;
use crate::{
    app::{
        forwarded::Common,
        hooks::{Hooks, IntoHookResponse, IntoHookResult, RequestHook, ResponseHook},
        removed::Removed,
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

/// Builds a [`ProxyApp`], a reverse proxy.
///
/// All settings have defaults.
///
/// * Routing: [`client`](Self::client), [`prefix`](Self::prefix), [`host`](Self::host),
///   [`public_scheme`](Self::public_scheme).
/// * Headers: [`forwarded_headers`](Self::forwarded_headers), [`forwarded_for`](Self::forwarded_for),
///   [`via`](Self::via), [`suppress_headers`](Self::suppress_headers),
///   [`dangerous_keep_identity_headers`](Self::dangerous_keep_identity_headers).
/// * Signature and carried keys: [`signer`](Self::signer), `classic_signer` (feature `classic-signature`),
///   [`carried`](Self::carried).
/// * Limits: [`allowed_methods`](Self::allowed_methods), [`max_body_bytes`](Self::max_body_bytes).
/// * Responses and hooks: [`map_responses`](Self::map_responses), [`rewrite_request`](Self::rewrite_request),
///   [`rewrite_request_async`](Self::rewrite_request_async), [`rewrite_response`](Self::rewrite_response),
///   [`rewrite_response_async`](Self::rewrite_response_async).
#[derive(Clone)]
#[must_use]
pub struct ProxyAppBuilder {
    upstream: Result<Upstream, ConfigError>,
    client: ExactProxy,
    prefix: PathPrefix,
    host: Option<HostHeader>,
    /// The `Host` header if none is set.
    default_host: HostHeader,
    scheme: Option<Scheme>,
    forwarded_headers: Vec<ForwardedHeaders>,
    forwarded_for: ForwardedFor,
    via: Via,
    suppressed: Vec<Result<HeaderName, String>>,
    pass_identity: bool,
    signer: Option<Signer>,
    #[cfg(feature = "classic-signature")]
    classic_signer: Option<ClassicSigner>,
    carried: CarriedKeys,
    methods: Option<Vec<Method>>,
    max_body_bytes: u64,
    map_responses: bool,
    hooks: Hooks,
}

impl ProxyApp {
    /// Returns a builder for a reverse proxy to `upstream`: a URL (`&str`, `String` or [`UpstreamUrl`]), or an
    /// [`UpstreamSelector`](super::UpstreamSelector) that selects a URL for each request.
    ///
    /// An invalid URL is reported by [`build`](ProxyAppBuilder::build).
    pub fn builder(upstream: impl IntoUpstream) -> ProxyAppBuilder {
        ProxyAppBuilder::new(upstream.into_upstream())
    }
}

impl ProxyAppBuilder {
    fn new(upstream: Result<Upstream, ConfigError>) -> Self {
        Self {
            upstream,
            client: ExactProxy::new(),
            prefix: PathPrefix::default(),
            host: None,
            default_host: HostHeader::default(),
            scheme: None,
            forwarded_headers: ForwardedHeaders::SENT_BY_DEFAULT.to_vec(),
            forwarded_for: ForwardedFor::default(),
            via: Via::default(),
            suppressed: Vec::new(),
            pass_identity: false,
            signer: None,
            #[cfg(feature = "classic-signature")]
            classic_signer: None,
            carried: CarriedKeys::default(),
            methods: None,
            max_body_bytes: u64::MAX,
            map_responses: true,
            hooks: Hooks::default(),
        }
    }

    /// The same for the upstream of another builder.
    #[cfg(all(feature = "config", feature = "spawn"))]
    pub(crate) fn towards(mut self, other: Self) -> Self {
        self.upstream = other.upstream;
        self.default_host = other.default_host;
        self
    }

    /// Sets the `Host` header that is sent if [`host`](Self::host) is not called.
    #[cfg(feature = "spawn")]
    pub(crate) fn default_host(mut self, host: HostHeader) -> Self {
        self.default_host = host;
        self
    }

    /// Sets the client that sends the requests, with its connection pool, timeouts, limits and TLS. Default:
    /// [`ExactProxy::new`].
    ///
    /// Several proxies may share one client and its connections.
    pub fn client(mut self, client: ExactProxy) -> Self {
        self.client = client;
        self
    }

    /// Sets which part of the path the upstream does not receive. Default: [`PathPrefix::FromRouter`], the part that
    /// the router removed.
    #[doc(alias = "strip_prefix")]
    #[doc(alias = "nest")]
    pub fn prefix(mut self, prefix: PathPrefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Sets the `Host` header of the upstream's request. Default: [`HostHeader::Replace`], the host and port of the
    /// upstream's URL. For a child of `SpawnApp` on a unix socket, which has no host of its own: [`HostHeader::Keep`].
    #[doc(alias = "preserve host")]
    #[doc(alias = "authority")]
    pub fn host(mut self, host: HostHeader) -> Self {
        self.host = Some(host);
        self
    }

    /// Sets the scheme of the clients' URLs, `http` or `https`, for a front end that terminates TLS. Default: the
    /// scheme that `ProxyMiddleware` restored, otherwise `https` if the acceptor terminated TLS
    /// ([`ext::OverTls`](crate::ext::OverTls)), otherwise `http`.
    ///
    /// A scheme that `ProxyMiddleware` restored from a trusted peer takes precedence over this setting.
    #[doc(alias = "x-forwarded-proto")]
    pub fn public_scheme(mut self, scheme: Scheme) -> Self {
        self.scheme = Some(scheme);
        self
    }

    /// Sets which forwarding headers are written, as a list of sets. Default: [`ForwardedHeaders::WsgiProxy`], which
    /// reports which part of the target comes from the upstream's URL, and [`ForwardedHeaders::XForwarded`], which most
    /// other programs read. An empty list writes none.
    ///
    /// A header that is in several sets, such as `X-Forwarded-For`, is written once. The forwarding headers of *all*
    /// sets are removed from the client's request, whichever are written.
    ///
    /// ```
    /// use nexthop::{
    ///     Body, ExactProxy, ProxyApp,
    ///     ext::PeerAddr,
    ///     testkit::{InMemoryUpstream, scripts},
    /// };
    /// use tower::ServiceExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), nexthop::BoxError> {
    /// let answers = scripts::answers(["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]);
    /// let upstream = InMemoryUpstream::new(answers);
    /// let client = ExactProxy::builder().connector(upstream.clone()).build()?;
    /// let app = ProxyApp::builder("http://app.internal").client(client).build()?;
    ///
    /// let request = http::Request::get("/").header("host", "www.example.com");
    /// let request = request.extension(PeerAddr::Tcp("192.0.2.7:4711".parse()?)); // `serve` inserts it
    /// app.oneshot(request.body(Body::empty())?).await?;
    /// let received = upstream.only_request();
    /// assert_eq!(received.headers("x-forwarded-for"), ["192.0.2.7"]);
    /// assert_eq!(received.headers("x-forwarded-host"), ["www.example.com"]);
    /// assert_eq!(received.headers("x-forwarded-server"), ["www.example.com"]);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "x-forwarded-for")]
    #[doc(alias = "x-forwarded-proto")]
    #[doc(alias = "forwarded")]
    pub fn forwarded_headers(mut self, forwarded_headers: impl IntoIterator<Item = ForwardedHeaders>) -> Self {
        self.forwarded_headers.clear();
        for set in forwarded_headers {
            // Each once: its fields must not come twice.
            if !self.forwarded_headers.contains(&set) {
                self.forwarded_headers.push(set);
            }
        }
        self
    }

    /// Sets which client addresses the forwarding headers contain. Default: [`ForwardedFor::Append`].
    #[doc(alias = "client ip")]
    #[doc(alias = "x-forwarded-for")]
    pub fn forwarded_for(mut self, rule: ForwardedFor) -> Self {
        self.forwarded_for = rule;
        self
    }

    /// Sets the name of this proxy in `Via`, by which loops are detected (508). Default: [`Via::Random`]. [`Via::Off`]
    /// disables both.
    ///
    /// `Via` is added to requests only: a gateway need not name itself to clients (RFC 9110 §7.6.3).
    #[doc(alias = "loop detection")]
    pub fn via(mut self, via: Via) -> Self {
        self.via = via;
        self
    }

    /// Removes these headers from requests, in any case and any spelling of `-`. Default: none. Repeated calls add
    /// names.
    ///
    /// `Host` cannot be removed.
    #[doc(alias = "remove header")]
    pub fn suppress_headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.suppressed.extend(names.into_iter().map(|name| {
            let name = name.as_ref();
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| name.to_owned())
        }));
        self
    }

    /// Forwards [identity headers](crate::protocol#identity-headers) as clients wrote them. Default: identity headers
    /// are removed, except those that a `ProxyMiddleware` in front of this service accepted from a trusted peer, and
    /// those that a layer marked with [`ext::KeepHeaders`](crate::ext::KeepHeaders).
    ///
    /// Dangerous: any client can write these headers, and an upstream that trusts this proxy trusts them. To send a
    /// user that the application authenticated, use a [carried key](Self::carried), a
    /// [marked header](crate::ext::KeepHeaders), or write the header in a [hook](Self::rewrite_request).
    #[doc(alias = "remote-user")]
    #[doc(alias = "x-forwarded-user")]
    #[doc(alias = "x-real-ip")]
    pub fn dangerous_keep_identity_headers(mut self) -> Self {
        self.pass_identity = true;
        self
    }

    /// Sets the signer that signs each request, as the last step, including its body. Default: none, requests are
    /// unsigned.
    #[doc(alias = "hmac")]
    #[doc(alias = "http message signatures")]
    pub fn signer(mut self, signer: Signer) -> Self {
        self.signer = Some(signer);
        self
    }

    /// Sets the signer that signs each request with the [classic](crate::protocol::signature::classic) signature, for
    /// an upstream that supports no other. Default: none, requests are unsigned.
    ///
    /// It excludes [`signer`](Self::signer).
    #[cfg(feature = "classic-signature")]
    #[doc(alias = "X-WSGIProxy-Signature")]
    pub fn classic_signer(mut self, signer: ClassicSigner) -> Self {
        self.classic_signer = Some(signer);
        self
    }

    /// Sets the carried keys: values from the request's extensions that are sent to the upstream. Default: none.
    pub fn carried(mut self, keys: CarriedKeys) -> Self {
        self.carried = keys;
        self
    }

    /// Sets the methods that are forwarded. Other methods are answered with 405 and `Allow`. Default: all except
    /// `TRACE`.
    ///
    /// By default `TRACE` is answered with 501, because its response would show clients the headers that this proxy
    /// adds for the upstream.
    #[doc(alias = "405")]
    pub fn allowed_methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = Some(methods.into_iter().collect());
        self
    }

    /// Sets the maximum size of a request body, in bytes. Default: no limit.
    ///
    /// A larger body is answered with 413: before the upstream is contacted if its length is declared, otherwise as
    /// soon as the limit is exceeded, unless the response has begun. The upstream sees the part that was sent as
    /// incomplete.
    #[doc(alias = "client_max_body_size")]
    #[doc(alias = "body limit")]
    #[doc(alias = "413")]
    pub fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Sets whether the upstream's URLs in responses are mapped to the client's view: `Location`, `Content-Location`,
    /// `Refresh`, `Link`, and `Path` and `Domain` of `Set-Cookie`. Default: true.
    #[doc(alias = "proxy_redirect")]
    #[doc(alias = "proxy_cookie_path")]
    #[doc(alias = "set-cookie")]
    pub fn map_responses(mut self, map: bool) -> Self {
        self.map_responses = map;
        self
    }

    /// Adds a hook that changes the head of each request. Default: none. Hooks run in the order in which they were
    /// added.
    ///
    /// * When: after hop-by-hop and untrusted headers were removed and the upstream was set, before the forwarding
    ///   headers are added. A forwarding header that a hook writes is kept.
    /// * URI and `Host`: the upstream's; the URI is absolute. To send the request elsewhere, a hook changes the URI or
    ///   inserts an [`ext::ConnectTo`](crate::ext::ConnectTo), which takes precedence. The client's host and prefix are
    ///   in [`OriginalRequest`](crate::ext::OriginalRequest), if a `ProxyMiddleware` is in front; the client's own URI
    ///   and `Host` are in the head that an [`UpstreamSelector`](super::UpstreamSelector) receives.
    /// * Extensions: the client's request's. They contain [`PeerAddr`](crate::ext::PeerAddr), `OriginalRequest`, and
    ///   everything that a layer in front inserted.
    ///
    /// The closure returns `()`, or a `Result` whose error replaces the upstream's response: a `Response<Body>`, a box
    /// of one (convert axum's responses with `.map(Body::new)`), or an [`Error`](crate::Error), such as that of
    /// [`set_path`](crate::message::set_path):
    ///
    /// ```
    /// use http::{Request, Response};
    /// use nexthop::{Body, ProxyApp, message::set_path};
    /// use tower::ServiceExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), nexthop::BoxError> {
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
    ///             let response = Response::builder().status(404).body(Body::from("not here\n"));
    ///             Err(Box::new(response.unwrap()))
    ///         }
    ///         _ => Ok(()),
    ///     })
    ///     .build()?;
    ///
    /// let request = Request::get("/private").header("host", "www.example.com").body(Body::empty())?;
    /// assert_eq!(app.oneshot(request).await?.status(), 404);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "hook")]
    #[doc(alias = "add header")]
    #[doc(alias = "rewrite path")]
    pub fn rewrite_request<F, R>(mut self, rewrite: F) -> Self
    where
        F: Fn(&mut request::Parts) -> R + Send + Sync + 'static,
        R: IntoHookResult,
    {
        self.hooks.request.push(RequestHook::Now(Arc::new(move |parts| rewrite(parts).into_result())));
        self
    }

    /// Adds an asynchronous hook that changes the head of each request, as [`rewrite_request`](Self::rewrite_request)
    /// does.
    ///
    /// The closure takes the head and returns it, or returns the response that replaces the upstream's. With an
    /// asynchronous hook, each request costs one more allocation.
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
    #[doc(alias = "auth_request")]
    pub fn rewrite_request_async<F, Fut>(mut self, rewrite: F) -> Self
    where
        F: Fn(request::Parts) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<request::Parts, Response<Body>>> + Send + 'static,
    {
        self.hooks.request.push(RequestHook::Later(Arc::new(move |parts| Box::pin(rewrite(parts)))));
        self
    }

    /// Adds a hook that changes the head of each response of the upstream. Default: none. Hooks run in the order in
    /// which they were added.
    ///
    /// A hook sees the response after it was mapped to the client's view, and may replace it, as in
    /// [`rewrite_request`](Self::rewrite_request). After the hooks, `Content-Length` is made to agree with the body.
    /// Responses that this service generates, such as those for errors, do
    /// not pass the hooks: wrap the service in a layer to change those.
    #[doc(alias = "hook")]
    #[doc(alias = "map_response")]
    pub fn rewrite_response<F, R>(mut self, rewrite: F) -> Self
    where
        F: Fn(&mut response::Parts) -> R + Send + Sync + 'static,
        R: IntoHookResult,
    {
        self.hooks.response.push(ResponseHook::Now(Arc::new(move |parts| rewrite(parts).into_result())));
        self
    }

    /// Adds an asynchronous hook that changes the head or the body of each response of the upstream.
    ///
    /// The closure returns the response, or a `Result` whose error replaces it. Otherwise it is as
    /// [`rewrite_response`](Self::rewrite_response). With an asynchronous hook, each request costs one more allocation.
    ///
    /// To edit pages, see [`ResponseExt::with_text`](crate::ResponseExt::with_text), which decodes compressed bodies and
    /// removes the headers that no longer apply. A hook that replaces the body itself removes them itself, except for
    /// `Content-Length`.
    #[doc(alias = "rewrite body")]
    pub fn rewrite_response_async<F, Fut>(mut self, rewrite: F) -> Self
    where
        F: Fn(Response<Body>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoHookResponse> + Send + 'static,
    {
        self.hooks.response.push(ResponseHook::Later(Arc::new(move |response| {
            let rewritten = rewrite(response);
            Box::pin(async { rewritten.await.into_response() })
        })));
        self
    }

    /// Checks the settings and returns the service.
    ///
    /// # Errors
    /// * [`ConfigError::Invalid`] if the upstream's URL is invalid, or its scheme is `https` and the feature `tls` is
    ///   off; if a suppressed name is not a header name or is `Host`; if the name for `Via` is neither a token nor
    ///   `host:port`; if a fixed `Host` is not `host` or `host:port`; or if the public scheme is not `http` or `https`.
    /// * [`ConfigError::Conflict`] if there are two signers.
    /// * [`ConfigError::Missing`] if the operating system's random number generator failed.
    pub fn build(self) -> Result<ProxyApp, ConfigError> {
        let upstream = self.upstream?;
        if let Some(href) = upstream.fixed()
            && *href.scheme() == Scheme::HTTPS
            && !cfg!(feature = "tls")
        {
            return Err(ConfigError::invalid("href", href.to_string(), "https requires the feature tls"));
        }
        let host = self.host.unwrap_or(self.default_host);
        if let HostHeader::Fixed(host) = &host
            && !is_host(host.as_bytes())
        {
            return Err(ConfigError::invalid(
                "host",
                String::from_utf8_lossy(host.as_bytes()),
                "expected host or host:port",
            ));
        }
        if let Some(scheme) =
            self.scheme.as_ref().filter(|scheme| **scheme != Scheme::HTTP && **scheme != Scheme::HTTPS)
        {
            return Err(ConfigError::invalid("public_scheme", scheme.as_str(), "expected http or https"));
        }
        let suppressed = self.suppressed.into_iter().map(|name| match name {
            Ok(name) if name == http::header::HOST => {
                Err(ConfigError::invalid("suppress_headers", "host", "a request without Host is invalid"))
            }
            Ok(name) => Ok(name),
            Err(text) => Err(ConfigError::invalid("suppress_headers", text, "not a header name")),
        });
        #[cfg(not(feature = "classic-signature"))]
        let seal = self.signer.map(Seal::Signer);
        #[cfg(feature = "classic-signature")]
        let seal = match (self.signer, self.classic_signer) {
            (Some(_), Some(_)) => {
                return Err(ConfigError::conflict("signer and classic_signer", "set only one of them"));
            }
            (signer, classic) => signer.map(Seal::Signer).or(classic.map(Seal::Classic)),
        };
        let allow = self.methods.as_deref().map(allow).transpose()?;
        let decided = seal.is_none() && !self.hooks.any_for_requests() && !self.hooks.any_later();
        let destination = upstream.fixed().filter(|_| decided).map(destination).transpose()?;
        let via = pseudonym(self.via)?;
        let common = upstream.fixed().map(|href| Common::of(&self.forwarded_headers, href, via.as_ref()));
        Ok(ProxyApp::new(Settings {
            upstream,
            destination,
            common,
            client: self.client,
            host,
            prefix: self.prefix,
            scheme: self.scheme,
            forwarded_headers: self.forwarded_headers,
            forwarded_for: self.forwarded_for,
            via,
            methods: self.methods,
            allow,
            suppressed: suppressed.collect::<Result<_, _>>()?,
            pass_identity: self.pass_identity,
            removed: Removed::default(),
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
            let random = getrandom::u64().map_err(|error| {
                ConfigError::missing("randomness", format!("the random name for Via requires it: {error}"))
            })?;
            Ok(Some(Pseudonym::random(random)))
        }
    }
}

impl fmt::Debug for ProxyAppBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyAppBuilder").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}
