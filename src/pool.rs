//! Reports on the connection pool of an [`ExactProxy`](crate::ExactProxy): statistics and events.
//!
//! [`ExactProxy::pool_stats`](crate::ExactProxy::pool_stats) returns counters and gauges as [`PoolStats`].
//! [`on_pool_event`](crate::exact::ExactProxyBuilder::on_pool_event) calls a closure with a [`PoolEvent`] for each
//! change. The settings of the pool are the methods of [`ExactProxyBuilder`](crate::exact::ExactProxyBuilder) that
//! begin with `pool_`.

pub use crate::transport::{CloseReason, PoolChange, PoolEvent, PoolStats};
