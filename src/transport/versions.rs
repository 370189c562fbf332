//! [`HttpVersions`]: the HTTP versions spoken with upstreams.

/// Selects the HTTP versions spoken with upstreams, for
/// [`ExactProxyBuilder::http_versions`](crate::exact::ExactProxyBuilder::http_versions).
///
/// gRPC and h2c upstreams (HTTP/2 without TLS) need [`Http2Only`](Self::Http2Only).
///
/// ```
/// use nexthop::{ExactProxy, exact::HttpVersions};
///
/// let h2c = ExactProxy::builder().http_versions(HttpVersions::Http2Only).build();
/// assert!(h2c.is_ok());
/// assert_eq!(HttpVersions::default(), HttpVersions::Auto);
/// ```
#[doc(alias = "h2c")]
#[doc(alias = "grpc")]
#[doc(alias = "ALPN")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpVersions {
    /// HTTP/2 or HTTP/1.1 for `https`, as the upstream selects by ALPN; HTTP/1.1 for `http`. An upgrade request to an
    /// upstream that selected HTTP/2 is sent as extended `CONNECT` if the upstream supports it, otherwise over an
    /// additional HTTP/1.1 connection. An
    /// upstream that sends `HTTP_1_1_REQUIRED` is not offered HTTP/2 again.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Http1Only,
    /// HTTP/2 only, with prior knowledge (RFC 9113 §3.3), for `https`, `http` (h2c) and `CONNECT`. An upgrade request
    /// fails with `Unsupported` (501) if the upstream does not support extended `CONNECT`, or if the request cannot be
    /// sent as one.
    Http2Only,
}
