use std::borrow::Cow;

use http::HeaderValue;

use crate::message::target::Prefix;

/// What stands in `Host` on the way to the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostHeader {
    /// The host and port of the upstream's URL. The default.
    #[default]
    Replace,
    /// What the client asked.
    Keep,
    /// This, whatever the upstream and the client are called.
    Fixed(HeaderValue),
}

/// What the upstream is told of the client's address, in every family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedFor {
    /// The hops that `ProxyMiddleware` believed, and behind them the socket's peer; where nobody vouched for any hop, the peer alone.
    /// The default.
    #[default]
    Append,
    /// One address: the client, as far as it is known.
    Replace,
    /// Nothing.
    Omit,
}

/// How this proxy names itself in `Via`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Via {
    /// By a name drawn at random when the `ProxyApp` is built, the same for its clones. The default: a fixed one would make two proxies
    /// in a row look like a loop.
    #[default]
    Random,
    /// By this name, a token or `host:port`.
    Named(Cow<'static, str>),
    /// Not at all, and loops are not seen either.
    Off,
}

/// Which part of the path is where this proxy is mounted, and whether the upstream gets to see it.
///
/// What a router took off is known where the feature `axum` is on, from axum's `OriginalUri`. Without it, `FromRouter` and `Keep` both take
/// the path as they find it: below `nest_service` the upstream is then told no prefix, and its `Location` and cookies lack it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathPrefix {
    /// What the router took off is the prefix; the upstream gets the path without it. The default.
    #[default]
    FromRouter,
    /// The upstream gets the path as the client sent it, also what the router took off; there is no prefix of this proxy's own.
    Keep,
    /// This prefix is taken off, behind what the router took off. Paths outside of it are answered with 400.
    Strip(Prefix),
}
