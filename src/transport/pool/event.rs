//! [`PoolEvent`]: what happens to connections, told while it happens.

use std::sync::Arc;

use crate::transport::destination::Destination;

/// Who is told. Called without any lock of the pool.
pub(crate) type Listener = Arc<dyn Fn(&PoolEvent<'_>) + Send + Sync>;

/// Something that happened in the pool, for [`on_pool_event`](crate::exact::ExactProxyBuilder::on_pool_event).
///
/// Events of one connection come in their order: `Opened`, then `CheckedIn` and `CheckedOut` in turn, then `Closed`. A connection of HTTP/2,
/// which requests share, is `CheckedOut` by each that finds it open, never `CheckedIn`, and `Closed` once it takes no more requests and those
/// on it have ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PoolEvent<'a> {
    /// Where the connection goes.
    pub destination: &'a Destination,
    /// What happened.
    pub change: PoolChange,
}

/// What happened in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PoolChange {
    /// A connection was opened, its TLS handshake included.
    Opened,
    /// A request took a connection that had served before.
    CheckedOut,
    /// A response was read to its end and left a connection that another request may take.
    CheckedIn,
    /// A connection was closed. Not told of those that close together with the pool itself.
    Closed(CloseReason),
    /// All connections to the destination are in use: a request waits for one.
    Waiting,
    /// A request was answered with `Unavailable` (503): it waited too long, or too many waited already.
    Refused,
}

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// It failed, or its request or response was dropped before the end.
    Broken,
    /// Its last response was whole, but left it unfit for another: `Connection: close`, a body that ends with the connection, a request
    /// that was not sent to its end, bytes left over.
    Finished,
    /// The upstream closed it, or sent something unasked, while nobody used it.
    ClosedByPeer,
    /// Nobody used it for as long as it is kept, by our limit or by the upstream's `Keep-Alive: timeout=`.
    Idle,
    /// It was too old.
    Age,
    /// It had served as many requests as it may, by our limit or by the upstream's `Keep-Alive: max=`.
    MaxRequests,
    /// There were enough idle ones, or it had to make room for one that the next request can use.
    MaxIdle,
    /// Its runtime has ended, or its response was read on another one.
    Runtime,
    /// It had become a tunnel, which has ended.
    Upgraded,
}

impl CloseReason {
    /// How many there are.
    pub(super) const COUNT: usize = Self::Upgraded as usize + 1;
}
