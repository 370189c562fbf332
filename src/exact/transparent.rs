//! [`TransparentProxy`]: the request as it is, to where it was destined.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, Uri, Version,
    header::{CONNECTION, HOST},
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use tower_service::Service;

use super::{answer::answer, exchange::Exchange, extended, nominated::without, service::ExactProxy};
use crate::{
    body::Body,
    error::{BoxError, ConfigError, Error, ErrorKind},
    message::{
        hop::{self, Found, Nominated},
        max_forwards::is_last_hop,
        target::{Form, check_host, form},
        via::{self, Pseudonym},
    },
};

/// Sends each request, unchanged, to the host it names, or to one forced host. A pass-through proxy; not Linux TPROXY.
///
/// * Destination: the authority of an absolute-form target (RFC 9112 §3.2.2) or of an HTTP/2 request, otherwise `Host`;
///   by the scheme of the target, otherwise `http`. [`force_host`](TransparentProxyBuilder::force_host) and
///   [`force_scheme`](TransparentProxyBuilder::force_scheme) override both.
/// * `Host`: kept as found, except that the authority of an absolute-form target replaces it, as RFC 9112 §3.2.2
///   requires of a proxy.
/// * `Via`: kept as found, unless the proxy has a [name](TransparentProxyBuilder::via).
/// * `OPTIONS` and `TRACE` with `Max-Forwards: 0` are answered here, with an empty 200 and with 405 (RFC 9110 §7.6.2).
/// * An HTTP/1.0 client gets `Connection: close`, because such a client may not know that it talks to a proxy (RFC 9112
///   §9.3).
/// * Everything else is as with [`ExactProxy`], which sends the request.
///
/// # Errors
/// The service is infallible, so it can be served as it is. An error becomes a response with the
/// [status](Error::status) of the error, a short text, and the [`Error`] in the response's extensions. In addition to
/// the errors of [`ExactProxy`]: `InvalidTarget` (400) for a missing, repeated or invalid `Host` and for a target form
/// that the method does not have (`GET *`, `GET host:80`), `Unsupported` (501) for `CONNECT`, `LoopDetected` (508).
///
/// # Deployment
/// The proxy connects to any host that a client names. Without a forced host, admit only clients that may reach
/// everything this process can reach, or restrict the addresses with
/// [`ExactProxyBuilder::dial_policy`](crate::exact::ExactProxyBuilder::dial_policy), which applies to the addresses
/// that names resolve to. A custom [`Connect`](crate::net::Connect) can inspect the destination as well.
///
/// The proxy itself is one of those hosts: a request whose `Host` is the proxy's own address loops until the process
/// has no file descriptors left. A forward proxy should accept
/// [absolute-form](TransparentProxyBuilder::absolute_form_only) requests only, which ends the loop after one round. A
/// proxy with a [name](TransparentProxyBuilder::via) detects the loop (508).
///
/// ```
/// # use nexthop::{Body, TransparentProxy};
/// # use tower::ServiceExt;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let address = listener.local_addr()?;
/// # let host = |headers: http::HeaderMap| async move {
/// #     headers["host"].to_str().unwrap_or_default().to_owned()
/// # };
/// # let app = axum::Router::new().route("/", axum::routing::get(host));
/// # tokio::spawn(async move { axum::serve(listener, app).await });
/// let proxy = TransparentProxy::builder().force_host(address.to_string()).build()?;
/// let request = http::Request::get("/").header("host", "www.example.test").body(Body::empty())?;
/// let response = proxy.oneshot(request).await?;
/// # use http_body_util::BodyExt;
/// assert_eq!(response.into_body().collect().await?.to_bytes(), "www.example.test");
/// # Ok(())
/// # }
/// ```
#[doc(alias = "pass-through proxy")]
#[doc(alias = "forward proxy")]
#[derive(Clone, Debug)]
pub struct TransparentProxy {
    client: ExactProxy,
    force_host: Option<Authority>,
    force_scheme: Option<Scheme>,
    absolute_form_only: bool,
    via: Option<Arc<Pseudonym>>,
}

/// Builds a [`TransparentProxy`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct TransparentProxyBuilder {
    client: Option<ExactProxy>,
    force_host: Option<String>,
    force_scheme: Option<String>,
    absolute_form_only: bool,
    via: Option<String>,
}

impl TransparentProxyBuilder {
    /// Sets the host (`host` or `host:port`) to connect to, for all requests. `Host` is unchanged. Default: the host
    /// that each request names.
    pub fn force_host(mut self, host: impl Into<String>) -> Self {
        self.force_host = Some(host.into());
        self
    }

    /// Sets the scheme to connect by, `http` or `https`, for all requests. Default: the scheme of the target, otherwise
    /// `http`.
    pub fn force_scheme(mut self, scheme: impl Into<String>) -> Self {
        self.force_scheme = Some(scheme.into());
        self
    }

    /// Refuses requests whose target is not in absolute form, with `InvalidTarget` (400). Default: off, `Host` is used.
    ///
    /// Clients of a forward proxy send absolute-form targets (RFC 9112 §3.2.2). The proxy itself sends origin-form
    /// targets, so a request that it sends to itself is refused instead of looping.
    pub fn absolute_form_only(mut self) -> Self {
        self.absolute_form_only = true;
        self
    }

    /// Sets the name of the proxy in `Via`, and answers requests that have passed through the proxy before with
    /// `LoopDetected` (508). Default: none; no header is added and loops are not detected.
    ///
    /// With a name, `Via` is added to each request and each response, as RFC 9110 §7.6.3 requires of a proxy. The name
    /// is a token or `host:port`, and must differ from the name of every other proxy on the path.
    pub fn via(mut self, name: impl Into<String>) -> Self {
        self.via = Some(name.into());
        self
    }

    /// Sets the client that sends the requests, with its connection pool, timeouts, limits and TLS. Default:
    /// [`ExactProxy::new`].
    pub fn client(mut self, client: ExactProxy) -> Self {
        self.client = Some(client);
        self
    }

    /// Checks the settings and returns the service.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] if the forced host is not `host` or `host:port`, the forced scheme is not `http` or
    /// `https`, or the name for `Via` is neither a token nor `host:port`.
    pub fn build(self) -> Result<TransparentProxy, ConfigError> {
        let force_host = match self.force_host {
            None => None,
            Some(text) => match text.parse::<Authority>() {
                Ok(authority) if crate::message::target::is_host(text.as_bytes()) => Some(authority),
                _ => return Err(ConfigError::invalid("force_host", text, "expected host or host:port")),
            },
        };
        let force_scheme = match self.force_scheme.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None => None,
            Some("http") => Some(Scheme::HTTP),
            Some("https") => Some(Scheme::HTTPS),
            Some(text) => return Err(ConfigError::invalid("force_scheme", text, "expected http or https")),
        };
        Ok(TransparentProxy {
            client: self.client.unwrap_or_default(),
            force_host,
            force_scheme,
            absolute_form_only: self.absolute_form_only,
            via: self.via.map(Pseudonym::named).transpose()?.map(Arc::new),
        })
    }
}

impl TransparentProxy {
    /// Returns a proxy that sends each request to the host it names, with a new [`ExactProxy`].
    #[must_use]
    pub fn new() -> Self {
        Self { client: ExactProxy::new(), force_host: None, force_scheme: None, absolute_form_only: false, via: None }
    }

    /// Returns a builder with the defaults of [`new`](Self::new).
    pub fn builder() -> TransparentProxyBuilder {
        TransparentProxyBuilder::default()
    }

    /// Makes a request ready to be sent; gives what `Connection` names.
    fn prepare(&self, parts: &mut Parts) -> Result<Nominated, Error> {
        let extended = extended::receive(parts);
        self.direct(parts)?;
        if self.via.as_ref().is_some_and(|us| via::has_been_here(&parts.headers, us)) {
            return Err(Error::new(ErrorKind::LoopDetected, "the request has passed through this proxy before"));
        }
        let found = Found::scan(&parts.headers);
        let (_, nominated) = hop::strip_found(&mut parts.headers, parts.version, found);
        if let Some(us) = &self.via {
            via::append(&mut parts.headers, parts.version, us);
        }
        if extended {
            extended::announce(parts)?;
        }
        Ok(nominated)
    }

    /// Makes the target absolute and sets what of `Host` must be set.
    fn direct(&self, parts: &mut Parts) -> Result<(), Error> {
        if parts.method == Method::CONNECT {
            return Err(Error::new(ErrorKind::Unsupported, "CONNECT is not supported"));
        }
        let form = form(&parts.method, &parts.uri)?;
        if self.absolute_form_only && form != Form::Absolute {
            return Err(Error::new(ErrorKind::InvalidTarget, "this proxy requires an absolute-form request target"));
        }
        let host = check_host(&parts.uri, parts.version, &parts.headers)?;
        let uri = std::mem::take(&mut parts.uri).into_parts();
        if let Some(authority) = &uri.authority {
            let host = HeaderValue::from_str(authority.as_str());
            parts.headers.insert(
                HOST,
                host.map_err(|_| Error::new(ErrorKind::InvalidTarget, "the request target has no valid host"))?,
            );
        }
        let named = || uri.authority.or_else(|| Authority::try_from(host?.as_bytes()).ok());
        let authority = self.force_host.clone().or_else(named);
        let authority = authority.ok_or_else(|| Error::new(ErrorKind::InvalidTarget, "the request has no host"))?;
        let mut target = http::uri::Parts::default();
        target.scheme = self.force_scheme.clone().or(uri.scheme).or(Some(Scheme::HTTP));
        target.authority = Some(authority);
        target.path_and_query = uri.path_and_query.or_else(|| Some(PathAndQuery::from_static("/")));
        parts.uri = Uri::from_parts(target)
            .map_err(|error| Error::new(ErrorKind::InvalidTarget, "invalid request target").with_source(error))?;
        Ok(())
    }
}

impl Default for TransparentProxy {
    fn default() -> Self {
        Self::new()
    }
}

impl<B> Service<Request<B>> for TransparentProxy
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = TransparentProxyFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> TransparentProxyFuture {
        let (mut parts, body) = request.into_parts();
        // RFC 9112 §9.3: a proxy keeps no connection with such a client, which does not know that it is one.
        let closes = parts.version == Version::HTTP_10;
        let state = match self.prepare(&mut parts) {
            Ok(_) if is_last_hop(&parts.method, &mut parts.headers) => State::Answer(Some(last_hop(&parts.method))),
            Ok(nominated) => State::Exchange(self.client.send(parts, without(Body::new(body), nominated), ())),
            Err(error) => State::Answer(Some(answer(error, None, None))),
        };
        TransparentProxyFuture { state, via: self.via.clone(), closes }
    }
}

/// Resolves to the response of a [`TransparentProxy`], once its head has arrived.
#[must_use = "futures do nothing unless polled"]
pub struct TransparentProxyFuture {
    state: State,
    via: Option<Arc<Pseudonym>>,
    /// The response is the last on its connection.
    closes: bool,
}

#[expect(clippy::large_enum_variant, reason = "the large one is the common one")]
enum State {
    Exchange(Exchange<()>),
    Answer(Option<Response<Body>>),
}

impl Future for TransparentProxyFuture {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut response = match &mut this.state {
            State::Exchange(exchange) => match ready!(Pin::new(exchange).poll(cx)) {
                Ok(mut response) => {
                    if let Some(us) = &this.via {
                        via::append_to_response(&mut response, us);
                    }
                    response
                }
                Err(error) => answer(error, None, None),
            },
            State::Answer(response) => response.take().unwrap_or_else(|| {
                answer(Error::new(ErrorKind::Internal, "future polled after completion"), None, None)
            }),
        };
        if this.closes {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response))
    }
}

/// The answer to a request that goes no further (RFC 9110 §7.6.2).
fn last_hop(method: &Method) -> Response<Body> {
    if *method == Method::TRACE {
        return answer(Error::new(ErrorKind::MethodNotAllowed, "TRACE is not supported"), None, None);
    }
    Response::new(Body::empty())
}

impl fmt::Debug for TransparentProxyFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransparentProxyFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct(method: Method, target: &str) -> Result<Parts, Error> {
        let request = Request::builder().method(method).uri(target).header(HOST, "h.example");
        let mut parts = request.body(()).unwrap().into_parts().0;
        TransparentProxy::new().direct(&mut parts).map(|()| parts)
    }

    #[test]
    fn a_target_in_absolute_form_takes_the_place_of_host() {
        let parts = direct(Method::GET, "http://g.example:81/x").unwrap();
        assert_eq!(
            (parts.uri.to_string().as_str(), parts.headers[HOST].to_str().unwrap()),
            ("http://g.example:81/x", "g.example:81")
        );
        assert_eq!(direct(Method::GET, "/x").unwrap().uri, "http://h.example/x");
    }

    /// An authority would else be dialled as if it were a URL.
    #[test]
    fn a_target_in_a_form_that_its_method_does_not_have_is_refused() {
        for (method, target) in [(Method::GET, "internal:22"), (Method::GET, "*"), (Method::GET, "ftp://h.example/")] {
            assert_eq!(direct(method, target).unwrap_err().kind(), ErrorKind::InvalidTarget, "{target}");
        }
    }
}
