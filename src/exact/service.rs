//! [`ExactProxy`]: the service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Version, request::Parts};
use tower_service::Service;

use super::{
    builder::ExactProxyBuilder,
    exchange::{ExactProxyFuture, Exchange},
    extended,
    nominated::without,
    prepare::Prepare,
    replay::ReplayBudget,
    retries::Retries,
};
#[cfg(feature = "http2")]
use crate::transport::{HttpVersions, http2::Origins};
use crate::{
    body::Body,
    error::{BoxError, Error},
    message::hop::{self, Found},
    transport::{ByteStream, Connector, Limits, Pool, PoolStats, observe::Observers},
};

/// Sends the request it is given, unchanged, to the authority in its URI.
///
/// * URI: absolute, `http` or `https`, or any with an [`ext::ConnectTo`](crate::ext::ConnectTo) beside it, which then says where to connect
///   (a unix socket, too). The target goes out in origin form (RFC 9112 §3.2.1), byte for byte.
/// * `Host`: as found, even where it differs from the URI; written from the URI's authority where it is missing.
/// * Other fields: none added. Removed is only what RFC 9110 §7.6.1 forbids to pass on: `Connection` and the fields it names,
///   `Keep-Alive`, `Proxy-Connection`, `Proxy-Authorization`, `Proxy-Authenticate`, `TE` (except `trailers`), `Upgrade` (except in a
///   handshake); on responses, too, and in trailers. [`keep_hop_by_hop`](ExactProxyBuilder::keep_hop_by_hop) keeps even these.
///   `Expect: 100-continue` is removed where there is no body (§10.1.1). On the last request of a connection (by
///   [`pool_max_requests`](ExactProxyBuilder::pool_max_requests), or where none is kept), `Connection: close` says so.
/// * Body: streamed both ways, never buffered; trailers kept. Its length is the size hint's, else a valid `Content-Length`, which is then
///   enforced, else it is chunked.
/// * `101`: the upgraded connection is joined with the client's if the request came from a hyper server, else found in the response
///   ([`Upgraded::take`](crate::tunnel::Upgraded::take)).
/// * `CONNECT host:port` goes to the proxy that an [`ext::ConnectTo`](crate::ext::ConnectTo) names, in clear text. A `2xx` makes the
///   connection a tunnel, as a `101` does; any other answer is a response like others. `Proxy-Authorization` reaches that proxy only with
///   [`keep_hop_by_hop`](ExactProxyBuilder::keep_hop_by_hop).
/// * Extended `CONNECT` of an HTTP/2 client (RFC 8441, `hyper::ext::Protocol` among the extensions) goes out as the HTTP/1.1 handshake of
///   the same meaning, a `GET`; its `101` is answered with `200`, another `2xx` is an error, since it would look like agreement. An upstream
///   that speaks HTTP/2 and takes extended `CONNECT` gets one, whichever way the client asked.
///
/// Cheap to clone; clones share one pool of connections. Always ready.
///
/// # Errors
/// `InvalidTarget` (400: no authority, another scheme, `CONNECT` without a port, nothing sent), `RequestBody` (400: not the length it was said to
/// be, or that of a `TRACE`), `RequestTimeout` (408), `Connect` and `Upstream` (502), `Unavailable` (503: all
/// [connections that there may be](ExactProxyBuilder::pool_max_connections) are in use), `Timeout` (504), `Unsupported` (501: `CONNECT`
/// without a proxy to ask, extended `CONNECT` for HTTP or TLS), `LengthRequired` (411: only where upstreams take
/// [no chunks](ExactProxyBuilder::chunked_requests)). [`Error::is_retryable`] is true only if no byte of the request left this
/// process.
///
/// A request is sent again, once, on a fresh connection, if the pooled one turns out to be closed: always if nothing was sent, else if its
/// method is idempotent, no byte came back, and what was taken of its body is still there. That is a body in memory ([`Body::from`]), and
/// of a streamed one what passed so far, as long as that is no more than [`replay_max_bytes`](ExactProxyBuilder::replay_max_bytes): it is
/// kept while it streams, until the response's head arrives, and the rest streams on from the client. One without a body that HTTP/1.1 has
/// lost goes again over HTTP/1.1. `POST` is sent twice only where the upstream said over HTTP/2 that it has not processed it. What is
/// peculiar to HTTP/2 is in the [`transport`](crate::transport) module's table.
///
/// So that repeating does not make an outage worse, no more requests are repeated than one in five of those on pooled connections, and 10 a
/// second; up to 1,000 are saved up. Beyond that, the first failure is the answer.
///
/// # Cancel safety
/// Dropping the future or the response's body closes the upstream connection; over HTTP/2, it resets the stream.
///
/// # Example
/// As an HTTP client:
///
/// ```no_run
/// use std::{path::Path, time::Duration};
///
/// use nexthop::{Body, ErrorKind, ExactProxy, ext::ConnectTo};
///
/// # async fn run() -> Result<(), nexthop::BoxError> {
/// let client = ExactProxy::builder().connect_timeout(Duration::from_secs(2)).response_timeout(Duration::from_secs(5)).build()?;
///
/// let request = http::Request::get("http://127.0.0.1:8080/stock?item=1").body(Body::empty())?;
/// match client.request(request).await {
///     Ok(response) => println!("{} {:?}", response.status(), response.into_body().bytes(1 << 20).await?),
///     Err(error) if error.kind() == ErrorKind::Connect => println!("down: {:?}", std::error::Error::source(&error)),
///     Err(error) => return Err(error.into()),
/// }
///
/// // Over a unix socket; `Host` is what the URI says.
/// let mut request = http::Request::get("http://localhost/info").body(Body::empty())?;
/// request.extensions_mut().insert(ConnectTo::Unix(Path::new("/run/app.sock").into()));
/// let response = client.request(request).await?;
/// # let _ = response;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ExactProxy(pub(super) Arc<Inner>);

pub(super) struct Inner {
    /// The settings this client was built from.
    #[cfg(feature = "spawn")]
    pub(super) settings: ExactProxyBuilder,
    pub(super) limits: Arc<Limits>,
    pub(super) connector: Arc<Connector>,
    pub(super) pool: Arc<Pool>,
    pub(super) keep_hop_by_hop: bool,
    pub(super) replay: Arc<ReplayBudget>,
    pub(super) retries: Retries,
    pub(super) chunked_requests: bool,
    pub(super) observers: Option<Arc<Observers>>,
    /// Another upstream may take over what this one loses.
    pub(super) replaceable: bool,
    #[cfg(feature = "http2")]
    pub(super) versions: HttpVersions,
    #[cfg(feature = "http2")]
    pub(super) origins: Arc<Origins>,
}

impl ExactProxy {
    /// Returns a builder with the settings of this client; the client it builds has a connection pool of its own.
    #[cfg(feature = "spawn")]
    pub(crate) fn sibling(&self) -> ExactProxyBuilder {
        self.0.settings.clone()
    }

    /// Sends one request, as [`call`](Service::call) does, by a shared reference: for a client that is at hand in a handler.
    pub fn request<B>(&self, request: Request<B>) -> ExactProxyFuture
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut exchange = self.exchange(request);
        exchange.begin();
        ExactProxyFuture(exchange)
    }

    /// Sends one request on a stream of the caller's own, such as a tunnel through another proxy, and on no other. TLS is spoken over it if
    /// the URI's scheme is `https`. The stream never enters the pool: it is closed after the response, or becomes the upgraded connection.
    ///
    /// No address is resolved, no policy asked and no PROXY header sent: to whom the stream leads is the caller's business. All else,
    /// limits and errors, is as with [`call`](Service::call).
    ///
    /// ```
    /// # use nexthop::{Body, ExactProxy};
    /// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), nexthop::BoxError> {
    /// let (ours, mut theirs) = tokio::io::duplex(1024);
    /// let request = http::Request::get("http://example.test/").body(Body::empty())?;
    /// let answer = async {
    ///     theirs.read_exact(&mut [0; 14]).await?;
    ///     theirs.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await
    /// };
    /// let (response, answered) = tokio::join!(ExactProxy::new().send_on(ours, request), answer);
    /// answered?;
    /// assert_eq!(response?.status(), 204);
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_on<B>(&self, stream: impl ByteStream, request: Request<B>) -> ExactProxyFuture
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        ExactProxyFuture(self.exchange(request).on(Box::new(stream)))
    }

    /// Takes off a request what concerns the client's connection alone.
    fn exchange<B>(&self, request: Request<B>) -> Exchange<()>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = request.into_parts();
        let extended = extended::receive(&mut parts);
        let mut body = Body::new(body);
        if !self.0.keep_hop_by_hop {
            let found = Found::scan(&parts.headers);
            let (_, nominated) = hop::strip_found(&mut parts.headers, parts.version, found);
            body = without(body, nominated);
        } else if parts.version == Version::HTTP_10 {
            // RFC 9110 §7.8: no handshake in HTTP/1.0.
            parts.headers.remove(http::header::UPGRADE);
        }
        let announced = if extended { extended::announce(&mut parts) } else { Ok(()) };
        let mut exchange = self.send(parts, body, ());
        if let Err(error) = announced {
            exchange.refuse(error);
        }
        exchange
    }

    /// With the defaults of the [builder](ExactProxyBuilder), and a pool of its own.
    #[must_use]
    pub fn new() -> Self {
        ExactProxyBuilder::default().assemble()
    }

    /// Starts with the defaults.
    pub fn builder() -> ExactProxyBuilder {
        ExactProxyBuilder::default()
    }

    /// How many connections there are now, to all destinations together, and what became of the others. Looks through the whole pool.
    #[must_use]
    pub fn pool_stats(&self) -> PoolStats {
        #[cfg_attr(
            not(feature = "http2"),
            expect(unused_mut, reason = "only shared connections are counted elsewhere")
        )]
        let mut stats = self.0.pool.stats();
        #[cfg(feature = "http2")]
        {
            let idle = self.0.origins.idle().min(stats.in_use);
            stats.idle += idle;
            stats.in_use -= idle;
        }
        stats
    }

    /// The limit between two frames of a body.
    pub(crate) fn body_timeout(&self) -> Option<Duration> {
        self.0.limits.body_idle
    }

    /// Sends a request whose hop-by-hop fields are removed already. `prepare` has the last word on its head before each attempt.
    pub(crate) fn send<P: Prepare>(&self, parts: Parts, body: Body, prepare: P) -> Exchange<P> {
        Exchange::new(self.0.clone(), parts, body, prepare)
    }
}

impl Default for ExactProxy {
    fn default() -> Self {
        Self::new()
    }
}

impl<B> Service<Request<B>> for ExactProxy
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = ExactProxyFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ExactProxyFuture {
        self.request(request)
    }
}

impl fmt::Debug for ExactProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExactProxy").field("limits", &self.0.limits).finish_non_exhaustive()
    }
}
