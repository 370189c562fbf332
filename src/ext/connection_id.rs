//! [`ConnectionId`]: the client connection that a request arrived on.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use http::Extensions;

/// Identifies the client connection on which a request arrived. Cheap to clone; clones are equal.
///
/// [`serve`](crate::serve()) inserts it into each request; another acceptor can do so, with one value per accepted
/// connection. Requests in an intercepted tunnel carry the identity of the tunnel. Two connections of a process never
/// have equal identities. It is trusted.
///
/// [`ExactProxy`](crate::ExactProxy#connection-authentication) reads it: an upstream connection that NTLM or Negotiate
/// has authenticated serves this client connection only, and is closed within a second after all clones of the identity
/// have been dropped.
///
/// ```
/// use nexthop::ext::ConnectionId;
///
/// let (one, other) = (ConnectionId::new(), ConnectionId::new());
/// assert_eq!(one, one.clone());
/// assert_ne!(one, other);
/// assert!(one.number() < other.number());
/// ```
#[derive(Clone)]
#[doc(alias = "NTLM")]
#[doc(alias = "Negotiate")]
pub struct ConnectionId(Arc<Inner>);

struct Inner {
    number: u64,
    /// True once an upstream connection was bound to this one.
    has_bound: AtomicBool,
}

impl ConnectionId {
    /// Creates the identity of one more connection.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(Arc::new(Inner { number: NEXT.fetch_add(1, Relaxed), has_bound: AtomicBool::new(false) }))
    }

    /// Returns the number of the connection in this process, from 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// The number of the client connection that these extensions name, if upstream connections are bound to it.
    pub(crate) fn with_bound(extensions: &Extensions) -> Option<u64> {
        let id = extensions.get::<Self>()?;
        id.0.has_bound.load(Relaxed).then_some(id.0.number)
    }

    /// Binds an upstream connection to this one.
    pub(crate) fn bind(&self) -> Binding {
        // The next request of a client is read after this one's response, which orders the two.
        self.0.has_bound.store(true, Relaxed);
        Binding { number: self.0.number, client: Arc::downgrade(&self.0) }
    }
}

impl Default for ConnectionId {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for ConnectionId {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ConnectionId {}

impl Hash for ConnectionId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.number.hash(state);
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConnectionId").field(&self.0.number).finish()
    }
}

/// Restricts an upstream connection to the requests of one client connection, which it does not keep alive.
pub(crate) struct Binding {
    number: u64,
    client: Weak<Inner>,
}

impl Binding {
    /// True if the upstream connection may serve a request of the client connection with this number.
    pub(crate) fn is_to(&self, client: Option<u64>) -> bool {
        client == Some(self.number)
    }

    /// True once the client connection has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.client.strong_count() == 0
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Binding").field(&self.number).finish()
    }
}
