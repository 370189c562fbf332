//! One byte stream and the connections on it: how requests reach upstreams.
//!
//! HTTP/1.1 is spoken by a codec of our own. An exchange is driven by the task that awaits its response: no task, no channel and no lock
//! that other threads wait for stand between a request and the wire. Connections are kept in a pool, by everything that makes two of them
//! different ([`Destination`]).
//!
//! # What is made of a response
//!
//! | the upstream sends | answered | connection kept |
//! |---|---|---|
//! | a bad status line, a folded or malformed field, more than 128 fields or 64 KiB of them | 502 | no |
//! | `Content-Length` that is not a number, or two that differ | 502 | no |
//! | the same `Content-Length` twice | passed on once | yes |
//! | `Transfer-Encoding: chunked` and `Content-Length` | body by its chunks, length dropped | no |
//! | any other `Transfer-Encoding`, or one in HTTP/1.0 | 502 | no |
//! | neither | body until the upstream closes | no |
//! | fewer bytes than announced | the body ends in an error and the client's connection is cut | no |
//! | more bytes than announced | the announced ones | no |
//! | a body on `204`, `304` or an answer to `HEAD` | no body | no |
//! | `101` unasked, or to another protocol | 502 | no |
//! | other `1xx` | dropped, except that `100` lets the body of an `Expect: 100-continue` request go | yes |
//! | more than 100 of these to one request | 502 | no |
//! | a final response while the request's body is still being sent | passed on at once; the body goes on being sent | if all of it was |
//! | nothing, on a connection that had served before | sent again once on a fresh one, if that is safe; else 502 | no |

mod alarm;
mod connect;
mod destination;
pub(crate) mod http1;
#[cfg(feature = "http2")]
pub(crate) mod http2;
mod io;
mod limits;
mod pool;
mod tunnel;
#[cfg(feature = "http2")]
mod versions;

#[cfg(feature = "tls")]
pub use connect::Tls;
pub use connect::{Connect, Connecting};
pub use destination::Destination;
pub use io::Stream;
pub use pool::{CloseReason, PoolChange, PoolEvent, PoolStats};
pub use tunnel::Upgraded;
#[cfg(feature = "http2")]
pub use versions::HttpVersions;

#[cfg(feature = "http2")]
pub(crate) use connect::Alpn;
pub(crate) use connect::{Connector, Offer};
pub(crate) use limits::Limits;
pub(crate) use pool::{Home, Listener, Pool, Taken, Waiting};
