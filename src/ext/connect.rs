//! How to connect, for one request: the name to prove and the addresses that may be dialled.

use std::{
    cmp::Ordering,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// How to connect, for this request only. What is not set is as the builder has it.
///
/// Put there by the caller of `ExactProxy` or by a rewrite hook of `ProxyApp`; read by the transport, which believes it. Requests share a
/// connection only if these are equal, so keep one [`DialPolicy`] and clone it: two made from equal closures are two.
///
/// ```
/// use nexthop::{Body, ext::ConnectWith};
///
/// let mut request = http::Request::get("https://10.0.0.7/").body(Body::empty())?;
/// request.extensions_mut().insert(ConnectWith::new().server_name("app.example.test"));
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[must_use]
pub struct ConnectWith {
    pub(crate) server_name: Option<Arc<str>>,
    pub(crate) dial_policy: Option<DialPolicy>,
}

impl ConnectWith {
    /// Nothing set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name that the upstream's certificate must hold, and that is sent as SNI, instead of the URI's host. Only for https.
    pub fn server_name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Asked beside the builder's own: both must allow an address.
    pub fn dial_policy(mut self, policy: DialPolicy) -> Self {
        self.dial_policy = Some(policy);
        self
    }
}

/// Which addresses may be connected to: asked for every address that a name resolves to, and for addresses that need no resolving.
///
/// What it refuses is not dialled; if it refuses every address of a name, the request is `Denied` (403). It looks at addresses, not at
/// names, so no name and no spelling of an address gets around it. Unix sockets are not asked for.
///
/// ```
/// use nexthop::{ErrorKind, ExactProxy, Body, ext::DialPolicy};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let not_myself = DialPolicy::new(|address| !address.ip().is_loopback());
/// let proxy = ExactProxy::builder().dial_policy(not_myself).build()?;
/// let request = http::Request::get("http://[::ffff:127.0.0.1]/").body(Body::empty())?;
/// assert_eq!(proxy.oneshot(request).await.unwrap_err().kind(), ErrorKind::Denied);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DialPolicy(Arc<dyn Fn(&SocketAddr) -> bool + Send + Sync>);

impl DialPolicy {
    /// Allows the addresses for which `allows` is true. It is given IPv4-mapped IPv6 addresses as IPv4.
    pub fn new(allows: impl Fn(&SocketAddr) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(allows))
    }

    /// True if `address` may be connected to.
    #[must_use]
    pub fn allows(&self, address: &SocketAddr) -> bool {
        match address.ip().to_canonical() {
            ip @ IpAddr::V4(_) => (self.0)(&SocketAddr::new(ip, address.port())),
            IpAddr::V6(_) => (self.0)(address),
        }
    }

    /// Closures cannot be compared, the places where they lie can.
    fn place(&self) -> usize {
        Arc::as_ptr(&self.0).cast::<()>() as usize
    }
}

impl Ord for DialPolicy {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for DialPolicy {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for DialPolicy {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for DialPolicy {}

impl fmt::Debug for DialPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DialPolicy").finish_non_exhaustive()
    }
}
