use std::borrow::Cow;

use http::HeaderValue;

use crate::message::target::Prefix;

/// Selects the `Host` header of the upstream's request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias = "preserve host")]
pub enum HostHeader {
    /// The host and port of the upstream's URL; `localhost` for a unix socket. The default.
    #[default]
    Replace,
    /// The client's `Host`. If the client sent none (HTTP/1.0), the host and port of the upstream's URL.
    Keep,
    /// A fixed value: `host` or `host:port`.
    Fixed(HeaderValue),
}

/// Selects the client addresses in the forwarding headers that `ProxyApp` writes: `X-Forwarded-For`, and `for` in
/// `Forwarded`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias = "x-forwarded-for")]
#[doc(alias = "client ip")]
pub enum ForwardedFor {
    /// The hops that `ProxyMiddleware` trusted, followed by the socket's peer. Without a trusted hop, the peer alone.
    /// The default.
    #[default]
    Append,
    /// One address: the client's, as restored by `ProxyMiddleware`, otherwise the socket's peer. If the client is
    /// unknown, none.
    Replace,
    /// No address. `X-Forwarded-For` is not sent, and `Forwarded` contains `for=unknown`.
    Omit,
}

/// Selects the name of the proxy in `Via`, by which a `ProxyApp` detects that a request has passed through it before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias = "loop detection")]
pub enum Via {
    /// A random name, generated when the `ProxyApp` is built and shared by its clones. The default: with a fixed name,
    /// two proxies in a row would look like a loop.
    #[default]
    Random,
    /// A fixed name: a token or `host:port`. It must differ from the name of every other proxy on the path.
    Named(Cow<'static, str>),
    /// No `Via`. Loops are not detected.
    Off,
}

/// Selects which part of the client's path is the prefix of this proxy, and whether the upstream receives it.
///
/// The prefix is reported to the upstream in the forwarding headers (except `Forwarded`, which cannot contain it), and
/// put in front of the paths in `Location`, cookies and the other [mapped](super::ProxyAppBuilder::map_responses)
/// headers of the response.
///
/// The part that a router removed is known only with the feature `axum`, from axum's `OriginalUri`. Without the
/// feature, `FromRouter` and `Keep` both use the path as the router left it: below `nest_service`, no prefix is
/// reported to the upstream, and its `Location` and cookies lack the prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias = "strip_prefix")]
#[doc(alias = "StripPrefix")]
#[doc(alias = "base path")]
pub enum PathPrefix {
    /// The prefix is the part that the router removed. The upstream receives the path without it. The default.
    #[default]
    FromRouter,
    /// The upstream receives the path as the client sent it, including the part that the router removed. This proxy
    /// adds no prefix.
    Keep,
    /// This prefix is removed from the path, after the part that the router removed; together they are the prefix. A
    /// path that does not begin with it is answered with 400.
    Strip(Prefix),
}
