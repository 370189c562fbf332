//! Sends requests to upstreams: dialling, TLS, the connection pool, HTTP/1.1 and HTTP/2, tunnels, and observation.
//! Private.
//!
//! HTTP/1.1 has a codec of its own, HTTP/2 uses the `h2` crate. Over HTTP/1.1, the task that awaits the response drives
//! the exchange: no extra task, no channel and no lock shared between threads lies between a request and its socket.
//! Connections are pooled by everything that distinguishes two of them ([`Destination`]).
//!
//! The public names of these types are in `net`, `pool`, `tunnel`, `observe` and `exact`. The behaviour users rely on
//! is described in `exact`: responses, retries, HTTP/2.

mod alarm;
mod awaits;
mod connect;
mod destination;
pub(crate) mod http1;
#[cfg(feature = "http2")]
pub(crate) mod http2;
mod io;
mod limits;
pub mod observe;
mod pool;
#[cfg(feature = "tls")]
pub(crate) mod secured;
pub(crate) mod tunnel;
#[cfg(feature = "http2")]
mod versions;

#[cfg(feature = "proxy-protocol")]
pub use connect::ProxyProtocolVersion;
pub use connect::{Connect, Connecting, DnsLookup, DnsResolver, UpstreamProxy};
#[cfg(feature = "tls")]
pub use connect::{Tls, TlsBuilder, TlsVersion};
pub use destination::Destination;
pub use io::ByteStream;
pub use pool::{CloseReason, PoolChange, PoolEvent, PoolStats};
pub use tunnel::Upgraded;
#[cfg(feature = "http2")]
pub use versions::HttpVersions;

#[cfg(feature = "http2")]
pub(crate) use connect::Alpn;
#[cfg(feature = "serve")]
pub(crate) use connect::keepalive;
pub(crate) use connect::{Connector, Offer};
#[cfg(feature = "serve")]
pub(crate) use io::{Carrier, write_by};
pub(crate) use limits::Limits;
pub(crate) use pool::{Home, Listener, Pool, Taken, Waiting};
#[cfg(feature = "spawn")]
pub(crate) use tunnel::Hold;
#[cfg(feature = "serve")]
pub(crate) use tunnel::{Client, Gauge, Shutdown};
