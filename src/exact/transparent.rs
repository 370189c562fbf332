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

/// Sends each request to where it was destined, or to one forced host, and leaves it as it is.
///
/// * Where to: the authority of an absolute-form target (RFC 9112 §3.2.2) or of an HTTP/2 request, else `Host`; by `http`, or by the
///   scheme of the target. With a [forced host](TransparentProxyBuilder::force_host), always there.
/// * Refused with 400: a missing, repeated or invalid `Host`, and targets that their method does not have (`GET *`, `GET host:80`).
/// * `Host`: intact, except that an absolute-form target replaces it, as RFC 9112 §3.2.2 demands of a proxy.
/// * `Via`: not touched, unless the proxy is given a [name](TransparentProxyBuilder::via).
/// * `OPTIONS` and `TRACE` with `Max-Forwards: 0` go no further: an empty 200, and 405 (RFC 9110 §7.6.2).
/// * A client of HTTP/1.0 gets `Connection: close`, since it cannot say that it means the proxy (RFC 9112 §9.3).
/// * All else as with [`ExactProxy`], which sends the request.
///
/// Errors are answers, so that it can be served as it is: the [status](Error::status) of the error, a short text, and the [`Error`] in
/// the response's extensions.
///
/// # Deployment
/// It connects to whatever a client names. Without a forced host, let in only clients that may reach everything this process can reach;
/// a [`Connect`](crate::net::Connect) of your own can look at the addresses behind the names.
///
/// That includes the proxy itself: a request whose `Host` is the proxy's own address would go round until no file descriptors are left.
/// A forward proxy should take [absolute-form](TransparentProxyBuilder::absolute_form_only) requests only, which ends the first round; one
/// that has a [name](TransparentProxyBuilder::via) knows what has been through it before (508).
///
/// ```
/// # use nexthop::{Body, TransparentProxy};
/// # use tower::ServiceExt;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let address = listener.local_addr()?;
/// # let seen = |headers: http::HeaderMap| async move { headers["host"].to_str().unwrap_or_default().to_owned() };
/// # let app = axum::Router::new().route("/", axum::routing::get(seen));
/// # tokio::spawn(async move { axum::serve(listener, app).await });
/// let proxy = TransparentProxy::builder().force_host(address.to_string()).build()?;
/// let request = http::Request::get("/").header("host", "www.example.test").body(Body::empty())?;
/// let response = proxy.oneshot(request).await?;
/// # use http_body_util::BodyExt;
/// assert_eq!(response.into_body().collect().await?.to_bytes(), "www.example.test");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TransparentProxy {
    client: ExactProxy,
    force_host: Option<Authority>,
    force_scheme: Option<Scheme>,
    absolute_form_only: bool,
    via: Option<Arc<Pseudonym>>,
}

/// Settings of a [`TransparentProxy`].
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
    /// Connects to this host (`host` or `host:port`) whatever the request says. `Host` stays intact.
    pub fn force_host(mut self, host: impl Into<String>) -> Self {
        self.force_host = Some(host.into());
        self
    }

    /// Connects by this scheme, `http` or `https`, whatever the request says.
    pub fn force_scheme(mut self, scheme: impl Into<String>) -> Self {
        self.force_scheme = Some(scheme.into());
        self
    }

    /// Refuses (400) requests that do not name their host in the target itself, as clients of a forward proxy do (RFC 9112 §3.2.2).
    /// Requests go out in origin-form, so one that this proxy sends to itself is refused, and goes round no longer. Default: `Host` will
    /// do.
    pub fn absolute_form_only(mut self) -> Self {
        self.absolute_form_only = true;
        self
    }

    /// Names the proxy in the `Via` of each request and each response, as RFC 9110 §7.6.3 demands of a proxy; a request that has been
    /// through it before is a loop (508). A token or `host:port`, which must differ from that of every other proxy on the way. Default: no
    /// field is added, and a loop is not seen.
    pub fn via(mut self, name: impl Into<String>) -> Self {
        self.via = Some(name.into());
        self
    }

    /// What sends the requests: its connections, timeouts, limits and TLS. Default: [`ExactProxy::new`].
    pub fn client(mut self, client: ExactProxy) -> Self {
        self.client = Some(client);
        self
    }

    /// Makes the service.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] if the forced host or scheme is none, or the name for `Via` cannot stand there.
    pub fn build(self) -> Result<TransparentProxy, ConfigError> {
        let force_host = match self.force_host {
            None => None,
            Some(text) => match text.parse::<Authority>() {
                Ok(authority) if crate::message::target::is_host(text.as_bytes()) => Some(authority),
                _ => return Err(ConfigError::invalid("force_host", text, "not a host with or without a port")),
            },
        };
        let force_scheme = match self.force_scheme.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None => None,
            Some("http") => Some(Scheme::HTTP),
            Some("https") => Some(Scheme::HTTPS),
            Some(text) => return Err(ConfigError::invalid("force_scheme", text, "neither http nor https")),
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
    /// Sends requests where they say.
    #[must_use]
    pub fn new() -> Self {
        Self { client: ExactProxy::new(), force_host: None, force_scheme: None, absolute_form_only: false, via: None }
    }

    /// Starts with the defaults of [`new`](Self::new).
    pub fn builder() -> TransparentProxyBuilder {
        TransparentProxyBuilder::default()
    }

    /// Makes a request ready to be sent; gives what `Connection` names.
    fn prepare(&self, parts: &mut Parts) -> Result<Nominated, Error> {
        let extended = extended::receive(parts);
        self.direct(parts)?;
        if self.via.as_ref().is_some_and(|us| via::has_been_here(&parts.headers, us)) {
            return Err(Error::new(ErrorKind::LoopDetected, "the request has been through this proxy before"));
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
            return Err(Error::new(ErrorKind::Unsupported, "CONNECT is not carried"));
        }
        let form = form(&parts.method, &parts.uri)?;
        if self.absolute_form_only && form != Form::Absolute {
            return Err(Error::new(ErrorKind::InvalidTarget, "this proxy takes whole URLs as targets only"));
        }
        let host = check_host(&parts.uri, parts.version, &parts.headers)?;
        let uri = std::mem::take(&mut parts.uri).into_parts();
        if let Some(authority) = &uri.authority {
            let host = HeaderValue::from_str(authority.as_str());
            parts
                .headers
                .insert(HOST, host.map_err(|_| Error::new(ErrorKind::InvalidTarget, "target names no valid host"))?);
        }
        let named = || uri.authority.or_else(|| Authority::try_from(host?.as_bytes()).ok());
        let authority = self.force_host.clone().or_else(named);
        let authority = authority.ok_or_else(|| Error::new(ErrorKind::InvalidTarget, "request names no host"))?;
        let mut target = http::uri::Parts::default();
        target.scheme = self.force_scheme.clone().or(uri.scheme).or(Some(Scheme::HTTP));
        target.authority = Some(authority);
        target.path_and_query = uri.path_and_query.or_else(|| Some(PathAndQuery::from_static("/")));
        parts.uri = Uri::from_parts(target)
            .map_err(|error| Error::new(ErrorKind::InvalidTarget, "target cannot be sent").with_source(error))?;
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

/// The answer of a [`TransparentProxy`].
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
            State::Answer(response) => response
                .take()
                .unwrap_or_else(|| answer(Error::new(ErrorKind::Internal, "polled after it was ready"), None, None)),
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
        return answer(Error::new(ErrorKind::MethodNotAllowed, "TRACE is not answered here"), None, None);
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
