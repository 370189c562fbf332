//! Connections to upstreams: parsing responses, and reusing or closing connections.

mod backpressure;
mod bound;
#[cfg(target_os = "linux")]
mod descriptors;
mod early;
mod every_turn;
mod interim;
mod leaving;
mod matrix;
mod oracle;
mod pool;
mod replay;
#[cfg(target_os = "linux")]
mod resident;
mod responses;
mod retry;
#[cfg(target_os = "linux")]
mod soak;
mod stress;
mod trickles;
mod truncated;
mod upgrade;
