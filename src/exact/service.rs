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

/// Sends the request it is given, unchanged, to the authority in its URI. An HTTP client without redirects, cookies or
/// decompression.
///
/// * URI: absolute, `http` or `https`. With an [`ext::ConnectTo`](crate::ext::ConnectTo) in the request's extensions,
///   any URI is accepted and `ConnectTo` sets the address or unix socket to connect to. The target is sent in origin
///   form (RFC 9112 §3.2.1), byte for byte.
/// * `Host`: sent as found, even if it differs from the URI. If it is missing, it is written from the URI's authority.
/// * Other headers: none is added, except `Connection: close` on the last request of a connection
///   ([`pool_max_requests`](ExactProxyBuilder::pool_max_requests) reached, or [no connections
///   kept](ExactProxyBuilder::pool_max_idle)). The hop-by-hop headers of RFC 9110 §7.6.1 are removed from requests,
///   responses and trailers: `Connection` and the headers it names, `Keep-Alive`, `Proxy-Connection`,
///   `Proxy-Authorization`, `Proxy-Authenticate`, `TE` (except `trailers`), `Upgrade` (except in a handshake).
///   [`keep_hop_by_hop`](ExactProxyBuilder::keep_hop_by_hop) keeps them. `Expect: 100-continue` is removed if there is
///   no body (RFC 9110 §10.1.1).
/// * Body: streamed in both directions, never buffered; trailers are kept. The length is that of the body's size hint,
///   otherwise that of a valid `Content-Length`, which is then enforced. A body of unknown length is sent chunked.
/// * `101`: if the request came from a hyper server, the upgraded connection is joined with the client's. Otherwise
///   [`Upgraded::take`](crate::tunnel::Upgraded::take) takes it out of the response.
/// * `CONNECT host:port` is sent to the proxy that an [`ext::ConnectTo`](crate::ext::ConnectTo) names, without TLS. A
///   `2xx` makes the connection a tunnel, as `101` does; any other response is returned as usual. `Proxy-Authorization`
///   reaches that proxy only with [`keep_hop_by_hop`](ExactProxyBuilder::keep_hop_by_hop).
/// * Extended `CONNECT` of an HTTP/2 client (RFC 8441; `hyper::ext::Protocol` in the extensions) is sent as the
///   equivalent HTTP/1.1 upgrade, a `GET`. The upstream's `101` is returned as `200`. Any other `2xx` is an error,
///   because the client would take it for an accepted tunnel. An HTTP/2 upstream that supports extended `CONNECT`
///   receives one, whichever version the client used.
///
/// Cheap to clone; clones share one connection pool. Always ready. A failed request is retried once where that is safe:
/// see [Retries](crate::exact#retries).
///
/// # Errors
/// | [`ErrorKind`](crate::ErrorKind) | status | cause |
/// |---|---|---|
/// | `InvalidTarget` | 400 | no authority, a scheme other than `http` and `https`, `CONNECT` without a port; nothing was sent |
/// | `RequestBody` | 400 | the body differs from its announced length, or belongs to a `TRACE` |
/// | `Denied` | 403 | the [dial policy](ExactProxyBuilder::dial_policy) denies every address |
/// | `RequestTimeout` | 408 | the client's body did not arrive in time |
/// | `LengthRequired` | 411 | a body of unknown length, with [`chunked_requests(false)`](ExactProxyBuilder::chunked_requests) |
/// | `Unsupported` | 501 | `CONNECT` without a proxy to send it to, extended `CONNECT` for HTTP or TLS |
/// | `Connect`, `Upstream` | 502 | no connection; a lost connection or an invalid response |
/// | `Unavailable` | 503 | [all connections](ExactProxyBuilder::pool_max_connections) in use, and the queue full or its timeout reached |
/// | `Timeout` | 504 | a timeout of the builder was reached |
///
/// [`Error::is_retryable`] is true only if no byte of the request left this process, or if the upstream reported over
/// HTTP/2 that it did not process the request.
///
/// # Connection authentication
/// NTLM and Negotiate (RFC 4559) authenticate a connection instead of a request. After credentials or a challenge of
/// these schemes, an upstream connection serves only the requests of the client connection that the request's
/// [`ext::ConnectionId`](crate::ext::ConnectionId) names. Without one, it is closed after the response. The credentials
/// are sent over HTTP/1.1 if the upstream supports it, otherwise on an HTTP/2 connection of their own, which is closed
/// after the response.
///
/// # Cancel safety
/// Dropping the future or the response's body closes the upstream connection; over HTTP/2, it resets the stream.
///
/// # Example
/// An HTTP client, over TCP and over a unix socket:
///
/// ```no_run
/// use std::{path::Path, time::Duration};
///
/// use nexthop::{Body, ErrorKind, ExactProxy, ext::ConnectTo};
///
/// # async fn run() -> Result<(), nexthop::BoxError> {
/// let client = ExactProxy::builder()
///     .connect_timeout(Duration::from_secs(2))
///     .response_timeout(Duration::from_secs(5))
///     .build()?;
///
/// let request = http::Request::get("http://127.0.0.1:8080/stock?item=1").body(Body::empty())?;
/// match client.request(request).await {
///     Ok(response) => {
///         println!("{} {:?}", response.status(), response.into_body().bytes(1 << 20).await?);
///     }
///     Err(error) if error.kind() == ErrorKind::Connect => {
///         println!("connecting failed: {:?}", std::error::Error::source(&error));
///     }
///     Err(error) => return Err(error.into()),
/// }
///
/// // Over a unix socket; `Host` is written from the URI.
/// let mut request = http::Request::get("http://localhost/info").body(Body::empty())?;
/// request.extensions_mut().insert(ConnectTo::Unix(Path::new("/run/app.sock").into()));
/// let response = client.request(request).await?;
/// # let _ = response;
/// # Ok(())
/// # }
/// ```
#[doc(alias = "HTTP client")]
#[doc(alias = "connection pool")]
#[doc(alias = "unix socket")]
#[doc(alias = "websocket")]
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

    /// Sends one request. The same as [`call`](Service::call), but through a shared reference, such as in a handler
    /// that holds a client.
    ///
    /// # Errors
    /// As listed [above](Self#errors).
    pub fn request<B>(&self, request: Request<B>) -> ExactProxyFuture
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut exchange = self.exchange(request);
        exchange.begin();
        ExactProxyFuture(exchange)
    }

    /// Sends one request on a stream of the caller, such as a tunnel through another proxy, and on no other connection.
    ///
    /// TLS is spoken over the stream if the URI's scheme is `https`. The stream never enters the pool: it is closed
    /// after the response, or becomes the upgraded connection. No name is resolved, no dial policy is applied and no
    /// PROXY header is sent: the caller is responsible for the peer of the stream. Limits and errors are those of
    /// [`call`](Service::call).
    ///
    /// ```
    /// # use nexthop::{Body, ExactProxy};
    /// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), nexthop::BoxError> {
    /// let (stream, mut upstream) = tokio::io::duplex(1024);
    /// let request = http::Request::get("http://example.test/").body(Body::empty())?;
    /// let respond = async {
    ///     upstream.read_exact(&mut [0; 14]).await?;
    ///     upstream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await
    /// };
    /// let (response, sent) = tokio::join!(ExactProxy::new().send_on(stream, request), respond);
    /// sent?;
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

    /// Returns a client with the defaults of the [builder](ExactProxyBuilder) and a connection pool of its own.
    #[must_use]
    pub fn new() -> Self {
        ExactProxyBuilder::default().assemble()
    }

    /// Returns a builder with the defaults.
    pub fn builder() -> ExactProxyBuilder {
        ExactProxyBuilder::default()
    }

    /// Returns the statistics of the connection pool, over all destinations. Visits the whole pool, so call it at the
    /// rate of a metrics scrape, not per request.
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
