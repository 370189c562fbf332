//! The connection pool of an [`ExactProxy`](crate::ExactProxy): its statistics and events.
//!
//! [`ExactProxy::pool_stats`](crate::ExactProxy::pool_stats) returns the counters,
//! [`on_pool_event`](crate::exact::ExactProxyBuilder::on_pool_event) reports each change. The settings begin with `pool_` in
//! [`ExactProxyBuilder`](crate::exact::ExactProxyBuilder).

pub use crate::transport::{CloseReason, PoolChange, PoolEvent, PoolStats};
