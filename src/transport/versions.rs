//! [`HttpVersions`]: which HTTP is spoken with upstreams.

/// Which versions of HTTP are spoken with upstreams, for [`ExactProxyBuilder::http_versions`](crate::exact::ExactProxyBuilder::http_versions).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpVersions {
    /// `https`: HTTP/2 or HTTP/1.1, whichever the upstream chooses by ALPN; a request for an upgrade goes over HTTP/1.1. `http`: HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1 and no other.
    Http1Only,
    /// HTTP/2 and no other, by prior knowledge (RFC 9113 §3.3): `http`, too. A request for an upgrade is `Unsupported` (501).
    Http2Only,
}
