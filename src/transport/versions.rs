//! [`HttpVersions`]: which HTTP is spoken with upstreams.

/// Which versions of HTTP are spoken with upstreams, for [`ExactProxyBuilder::http_versions`](crate::exact::ExactProxyBuilder::http_versions).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpVersions {
    /// `https`: HTTP/2 or HTTP/1.1, whichever the upstream chooses by ALPN. `http`: HTTP/1.1. A request for an upgrade to an upstream that
    /// chose HTTP/2 is made an extended `CONNECT` if it takes that, else it goes over a connection of HTTP/1.1 beside.
    #[default]
    Auto,
    /// HTTP/1.1 and no other.
    Http1Only,
    /// HTTP/2 and no other, by prior knowledge (RFC 9113 §3.3): `http`, too. `CONNECT`, too.
    /// A request for an upgrade is `Unsupported` (501) if the upstream takes no extended `CONNECT`, or it cannot be made one.
    Http2Only,
}
