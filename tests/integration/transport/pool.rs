//! The connection pool: reuse of connections, the queue, and the statistics.

mod counts;
mod queue;
mod reuse;
mod storm;
