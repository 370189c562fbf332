//! The upstream of a [`ProxyApp`](super::ProxyApp): one URL, or a selection per request.

use std::{fmt, sync::Arc};

use http::request;

use crate::{
    app::hooks::Answer,
    error::{ConfigError, Error, ErrorKind},
    message::target::UpstreamUrl,
};

/// A value that names the upstream of a [`ProxyApp`](super::ProxyApp).
///
/// Implemented for `&str`, `String`, `&String`, [`UpstreamUrl`] and [`UpstreamSelector`]. Sealed: other types cannot implement this trait. A text
/// that is no valid URL is reported by [`ProxyAppBuilder::build`](super::ProxyAppBuilder::build).
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name an upstream",
    label = "expected a URL or an `UpstreamSelector`",
    note = "pass a URL as text (`\"http://127.0.0.1:8080\"`) or as `UpstreamUrl`, or select the upstream for each request with `UpstreamSelector::new(|request| …)`"
)]
pub trait IntoUpstream: into_upstream::Sealed {
    #[doc(hidden)]
    #[expect(private_interfaces, reason = "sealed: users only call the builder")]
    fn into_upstream(self) -> Result<Upstream, ConfigError>;
}

mod into_upstream {
    #[expect(unnameable_types, reason = "sealed: users only pass what implements it")]
    pub trait Sealed {}
    impl Sealed for &str {}
    impl Sealed for &String {}
    impl Sealed for String {}
    impl Sealed for crate::message::target::UpstreamUrl {}
    impl<F> Sealed for super::UpstreamSelector<F> {}
}

#[expect(private_interfaces, reason = "sealed: users only call the builder")]
impl IntoUpstream for &str {
    fn into_upstream(self) -> Result<Upstream, ConfigError> {
        self.parse().map(Upstream::Fixed)
    }
}

#[expect(private_interfaces, reason = "sealed: users only call the builder")]
impl IntoUpstream for &String {
    fn into_upstream(self) -> Result<Upstream, ConfigError> {
        self.as_str().into_upstream()
    }
}

#[expect(private_interfaces, reason = "sealed: users only call the builder")]
impl IntoUpstream for String {
    fn into_upstream(self) -> Result<Upstream, ConfigError> {
        self.as_str().into_upstream()
    }
}

#[expect(private_interfaces, reason = "sealed: users only call the builder")]
impl IntoUpstream for UpstreamUrl {
    fn into_upstream(self) -> Result<Upstream, ConfigError> {
        Ok(Upstream::Fixed(self))
    }
}

#[expect(private_interfaces, reason = "sealed: users only call the builder")]
impl<F, S> IntoUpstream for UpstreamSelector<F>
where
    F: Fn(&request::Parts) -> S + Send + Sync + 'static,
    S: IntoSelection,
{
    fn into_upstream(self) -> Result<Upstream, ConfigError> {
        let select = self.0;
        Ok(Upstream::Selected(Arc::new(move |parts| select(parts).into_selection())))
    }
}

/// Selects the upstream of each request with a function.
///
/// The function gets the request head as the client sent it, without the headers that are not trusted: path and `Host` are the client's.
/// It returns an [`UpstreamUrl`], an `Option` (`None` is answered with 503) or a `Result` whose error is the response. Parse the URLs once
/// and clone them for each request; a clone costs one atomic increment. If the selection has to be awaited, do so in a layer in front, put
/// the result into the request's extensions, and select by that.
///
/// ```
/// use http::{Request, Response};
/// use nexthop::{Body, ProxyApp, UpstreamUrl, app::UpstreamSelector};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), nexthop::BoxError> {
/// let old: UpstreamUrl = "http://127.0.0.1:8080".parse()?;
/// let new: UpstreamUrl = "http://127.0.0.1:8081/v2".parse()?;
/// let app = ProxyApp::builder(UpstreamSelector::new(move |request| match request.headers.get("host") {
///     Some(host) if host == "old.example" => Ok(old.clone()),
///     Some(host) if host == "new.example" => Ok(new.clone()),
///     _ => Err(Response::builder().status(404).body(Body::from("no such site\n")).unwrap()),
/// }))
/// .build()?;
///
/// let request = Request::get("/").header("host", "other.example").body(Body::empty())?;
/// assert_eq!(app.oneshot(request).await?.status(), 404);
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[doc(alias = "router")]
#[doc(alias = "load balancer")]
pub struct UpstreamSelector<F>(F);

impl<F, S> UpstreamSelector<F>
where
    F: Fn(&request::Parts) -> S + Send + Sync + 'static,
    S: IntoSelection,
{
    /// Wraps the function that selects an upstream.
    pub const fn new(select: F) -> Self {
        Self(select)
    }
}

impl<F> fmt::Debug for UpstreamSelector<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamSelector").finish_non_exhaustive()
    }
}

/// A value that the function of an [`UpstreamSelector`] may return: an upstream, or the response that takes its place.
///
/// Implemented for [`UpstreamUrl`], for `Option<UpstreamUrl>` (`None` is answered with 503), and for `Result<UpstreamUrl, E>` where `E` is
/// `Response<Body>`, `Box<Response<Body>>` or [`Error`]. Sealed: other types cannot implement this trait.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not select an upstream",
    label = "this function returns no upstream",
    note = "return an `UpstreamUrl` (parsed once, outside of the function), an `Option<UpstreamUrl>`, or a `Result<UpstreamUrl, E>` where `E` is a `Response<Body>` or an `Error`"
)]
pub trait IntoSelection: into_selection::Sealed {
    #[doc(hidden)]
    fn into_selection(self) -> Result<UpstreamUrl, Answer>;
}

mod into_selection {
    use crate::message::target::UpstreamUrl;

    #[expect(unnameable_types, reason = "sealed: users only return what implements it")]
    pub trait Sealed {}
    impl Sealed for UpstreamUrl {}
    impl Sealed for Option<UpstreamUrl> {}
    impl<E> Sealed for Result<UpstreamUrl, E> {}
}

impl IntoSelection for UpstreamUrl {
    fn into_selection(self) -> Result<UpstreamUrl, Answer> {
        Ok(self)
    }
}

impl IntoSelection for Option<UpstreamUrl> {
    fn into_selection(self) -> Result<UpstreamUrl, Answer> {
        self.ok_or_else(|| Error::new(ErrorKind::Unavailable, "no upstream was selected for the request").into())
    }
}

impl<E: Into<Answer>> IntoSelection for Result<UpstreamUrl, E> {
    fn into_selection(self) -> Result<UpstreamUrl, Answer> {
        self.map_err(Into::into)
    }
}

/// A fixed upstream, or a function that selects one per request.
#[derive(Clone)]
pub(super) enum Upstream {
    Fixed(UpstreamUrl),
    Selected(Arc<Select>),
}

type Select = dyn Fn(&request::Parts) -> Result<UpstreamUrl, Answer> + Send + Sync;

impl Upstream {
    /// Returns the upstream if it is the same for every request.
    pub(super) fn fixed(&self) -> Option<&UpstreamUrl> {
        match self {
            Self::Fixed(url) => Some(url),
            Self::Selected(_) => None,
        }
    }

    pub(super) fn select(&self, parts: &request::Parts) -> Result<UpstreamUrl, Answer> {
        match self {
            Self::Fixed(url) => Ok(url.clone()),
            Self::Selected(select) => select(parts),
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(url) => url.fmt(f),
            Self::Selected(_) => f.write_str("selected per request"),
        }
    }
}
