/// Selects a set of forwarding headers, by which one hop reports to the next where a request came from.
///
/// A sender may write several sets
/// ([`ProxyAppBuilder::forwarded_headers`](crate::app::ProxyAppBuilder::forwarded_headers), by default `WsgiProxy` and
/// `XForwarded`). A receiver reads exactly one and removes the others: if two sets disagreed, one program could check
/// the first and another use the second. By default, the trust policy determines which one
/// ([`ProxyMiddlewareBuilder::read_headers`](crate::middleware::ProxyMiddlewareBuilder::read_headers)). The grammar is
/// in the [specification](crate::protocol).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[doc(alias = "x-forwarded-for")]
#[doc(alias = "x-forwarded-proto")]
#[doc(alias = "forwarded")]
pub enum ForwardedHeaders {
    /// The headers of WSGIProxy: `X-Forwarded-For`, `X-Forwarded-Server`, `X-Forwarded-Scheme`,
    /// `X-Forwarded-Script-Name`, `X-Traversal-Path` and `X-Traversal-Query-String`.
    ///
    /// The only set that reports which part of the target the sender has added.
    WsgiProxy,
    /// The de-facto headers of most reverse proxies: `X-Forwarded-For`, `X-Forwarded-Host`, `X-Forwarded-Proto`,
    /// `X-Forwarded-Port` and `X-Forwarded-Prefix`.
    XForwarded,
    /// The header `Forwarded` of RFC 7239, with the parameters `for`, `host` and `proto`.
    Rfc7239,
}

impl ForwardedHeaders {
    /// The sets that a sender writes by default.
    pub(crate) const SENT_BY_DEFAULT: [Self; 2] = [Self::WsgiProxy, Self::XForwarded];
}
