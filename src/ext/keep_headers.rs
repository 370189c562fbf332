use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request};

/// Marks [identity headers](crate::protocol#identity-headers) of a request that this program has set itself, so that
/// `ProxyMiddleware` and `ProxyApp` keep them.
///
/// Both remove such headers, because any client can write them. A layer that authenticates users in front of `ProxyApp`
/// and writes `X-Forwarded-User` or `Remote-User` marks the header with this extension. A marked header is also kept if
/// the client names it in `Connection`. It is removed from trailers, and it does not override
/// [`suppress_headers`](crate::app::ProxyAppBuilder::suppress_headers). Forwarding headers such as `X-Forwarded-For`
/// cannot be marked.
///
/// # Deployment
/// A layer that marks a header must set it or remove it in *each* request: otherwise the client's own header is kept.
/// [`set`](Self::set) replaces the client's header and marks it in one step.
///
/// ```
/// use http::{HeaderName, HeaderValue, Request};
/// use nexthop::{
///     Body, ExactProxy, ProxyApp,
///     ext::KeepHeaders,
///     testkit::{InMemoryUpstream, scripts},
/// };
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), nexthop::BoxError> {
/// let answers = scripts::answers(["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]);
/// let upstream = InMemoryUpstream::new(answers);
/// let client = ExactProxy::builder().connector(upstream.clone()).build()?;
/// let app = ProxyApp::builder("http://wiki.internal").client(client).build()?;
///
/// const USER: HeaderName = HeaderName::from_static("x-forwarded-user");
/// let authenticate = |mut request: Request<Body>| {
///     KeepHeaders::set(&mut request, USER, HeaderValue::from_static("ann")); // after a real login
///     request
/// };
/// let site = ServiceBuilder::new().map_request(authenticate).service(app);
///
/// let request = Request::get("/").header("host", "www.example.com");
/// let request = request.header("x-forwarded-user", "root").header("x-real-ip", "6.6.6.6");
/// site.oneshot(request.body(Body::empty())?).await?;
/// let received = upstream.only_request();
/// assert_eq!(received.headers("x-forwarded-user"), ["ann"]);
/// assert!(received.headers("x-real-ip").is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[doc(alias = "x-forwarded-user")]
#[doc(alias = "remote-user")]
#[doc(alias = "oauth2-proxy")]
#[doc(alias = "auth_request")]
pub struct KeepHeaders(Arc<[HeaderName]>);

impl KeepHeaders {
    /// Creates a mark for these headers, to be used for many requests: [`mark`](Self::mark) allocates nothing then.
    ///
    /// ```
    /// use http::{HeaderName, Request};
    /// use nexthop::{Body, ext::KeepHeaders};
    ///
    /// const GROUPS: HeaderName = HeaderName::from_static("remote-groups");
    /// let keep = KeepHeaders::new([GROUPS]);
    /// let mut request = Request::get("/").body(Body::empty())?;
    /// request.headers_mut().remove(GROUPS); // set or removed in each request
    /// keep.mark(&mut request);
    /// assert_eq!(request.extensions().get(), Some(&keep));
    /// # Ok::<(), http::Error>(())
    /// ```
    pub fn new(names: impl IntoIterator<Item = HeaderName>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Marks the headers of a request, besides those that are already marked.
    pub fn mark<B>(&self, request: &mut Request<B>) {
        let both = match request.extensions().get::<Self>() {
            Some(before) if self.0.iter().all(|name| before.keeps(name)) => return,
            Some(before) => Self(before.0.iter().chain(&*self.0).cloned().collect()),
            None => self.clone(),
        };
        request.extensions_mut().insert(both);
    }

    /// Sets a header of a request, in place of all lines of this name, and marks it.
    pub fn set<B>(request: &mut Request<B>, name: HeaderName, value: HeaderValue) {
        request.headers_mut().insert(name.clone(), value);
        Self::new([name]).mark(request);
    }

    /// True if a header of this name, in this spelling, is marked.
    pub(crate) fn keeps(&self, name: &HeaderName) -> bool {
        self.0.contains(name)
    }

    /// The marked headers that are there, to be put back with [`restore`](Self::restore).
    pub(crate) fn save(&self, headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
        let lines =
            self.0.iter().flat_map(|name| headers.get_all(name).iter().map(|value| (name.clone(), value.clone())));
        lines.collect()
    }

    /// Puts lines back whose names are not there any more.
    pub(crate) fn restore(lines: Vec<(HeaderName, HeaderValue)>, headers: &mut HeaderMap) {
        let gone: Vec<_> = lines.into_iter().filter(|(name, _)| !headers.contains_key(name)).collect();
        for (name, value) in gone {
            headers.append(name, value);
        }
    }
}
