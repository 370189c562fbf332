//! [`PoolEvent`]: what happens to connections, told while it happens.

use std::sync::Arc;

use crate::transport::destination::Destination;

/// Who is told. Called without any lock of the pool.
pub(crate) type Listener = Arc<dyn Fn(&PoolEvent<'_>) + Send + Sync>;

/// Reports one change in the connection pool to [`on_pool_event`](crate::exact::ExactProxyBuilder::on_pool_event).
///
/// The events of one connection are ordered: `Opened`, then `CheckedIn` and `CheckedOut` alternately, then `Closed`. An
/// HTTP/2 connection, which requests share, is `CheckedOut` by each request that finds it open, never `CheckedIn`, and
/// `Closed` once it accepts no more requests and the last one on it has ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PoolEvent<'a> {
    /// The destination of the connection.
    pub destination: &'a Destination,
    /// The change.
    pub change: PoolChange,
}

/// Describes a change in the connection pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PoolChange {
    /// A connection was opened, its TLS handshake included.
    Opened,
    /// A request took a connection that had served another request before.
    CheckedOut,
    /// A response was read to its end, and its connection can serve another request.
    CheckedIn,
    /// A connection was closed. Not reported for connections that are closed together with the pool.
    Closed(CloseReason),
    /// A request waits for a connection, because all connections to the destination are in use.
    Waiting,
    /// A request failed with `Unavailable` (503): the wait timeout was reached, or the queue was full.
    Refused,
}

/// Gives the reason why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The connection failed, or its request or response was dropped before the end.
    Broken,
    /// The last response was complete, but the connection cannot be reused: `Connection: close`, a body that ends with
    /// the connection, a request that was not sent completely, excess bytes, or NTLM or Negotiate authentication by a
    /// client connection that has ended or has no [`ext::ConnectionId`](crate::ext::ConnectionId).
    Finished,
    /// The upstream closed the idle connection, or sent bytes on it.
    ClosedByPeer,
    /// The idle timeout was reached: `pool_idle_timeout`, or `timeout` in the upstream's `Keep-Alive` header.
    Idle,
    /// The maximum age was reached: `pool_max_age`.
    Age,
    /// The maximum number of requests was reached: `pool_max_requests`, or `max` in the upstream's `Keep-Alive` header.
    MaxRequests,
    /// The maximum number of idle connections was reached, or the connection was closed to make room for one that a
    /// request can use.
    MaxIdle,
    /// The runtime of the connection ended, or its response was read on another runtime.
    Runtime,
    /// The connection became a tunnel, which has ended.
    Upgraded,
}

impl CloseReason {
    /// How many there are.
    pub(super) const COUNT: usize = Self::Upgraded as usize + 1;
}
