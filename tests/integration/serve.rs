//! The accept side: what clients get on raw sockets, what services are told, how it ends.

mod closing;
mod http;
mod lengths;
mod limits;
mod peers;
mod shutdown;
#[cfg(unix)]
mod signal;
mod stalls;
