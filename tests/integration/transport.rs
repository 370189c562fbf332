//! The connections to upstreams: how responses are read, and what becomes of connections.

mod backpressure;
mod early;
mod interim;
mod oracle;
mod pool;
mod responses;
mod retry;
mod stress;
mod upgrade;
