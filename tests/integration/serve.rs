//! The server side: responses on raw sockets, the extensions that services receive, and shutdown.

mod closing;
mod http;
mod lengths;
mod limits;
mod peers;
mod shutdown;
#[cfg(unix)]
mod signal;
mod stalls;
