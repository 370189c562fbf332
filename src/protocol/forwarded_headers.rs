/// Selects a set of forwarding headers, by which one hop reports to the next where a request came from.
///
/// A sender may write several sets
/// ([`ProxyAppBuilder::forwarded_headers`](crate::app::ProxyAppBuilder::forwarded_headers)). A receiver reads exactly one and removes
/// the others ([`ProxyMiddlewareBuilder::read_headers`](crate::middleware::ProxyMiddlewareBuilder::read_headers)): if two sets
/// disagreed, one program could check the first and another use the second. The grammar is in the [specification](crate::protocol).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[doc(alias = "x-forwarded-for")]
#[doc(alias = "x-forwarded-proto")]
#[doc(alias = "forwarded")]
pub enum ForwardedHeaders {
    /// The headers of WSGIProxy: `X-Forwarded-For`, `X-Forwarded-Server`, `X-Forwarded-Scheme`, `X-Forwarded-Script-Name`,
    /// `X-Traversal-Path` and `X-Traversal-Query-String`.
    ///
    /// The default of both ends: the only set that reports which part of the target the sender has added.
    #[default]
    WsgiProxy,
    /// The de-facto headers of most reverse proxies: `X-Forwarded-For`, `X-Forwarded-Host`, `X-Forwarded-Proto`, `X-Forwarded-Port` and
    /// `X-Forwarded-Prefix`.
    XForwarded,
    /// The header `Forwarded` of RFC 7239, with the parameters `for`, `host` and `proto`.
    Rfc7239,
}
