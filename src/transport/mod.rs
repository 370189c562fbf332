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
//! | `101` unasked, to another protocol, or to websocket without the right `Sec-WebSocket-Accept` | 502 | no |
//! | `2xx` to `CONNECT` | the connection is a tunnel; fields that frame a body mean nothing | no |
//! | other `1xx` | told to [`OnInformational`](crate::ext::OnInformational), else dropped; `100` lets the body of an `Expect: 100-continue` request go | yes |
//! | more than 100 of these to one request | 502 | no |
//! | a final response while the request's body is still being sent | passed on at once; the body goes on being sent | if all of it was |
//! | nothing, on a connection that had served before | sent again once on a fresh one, if that is safe; else 502 | no |
//!
//! # What is sent again
//!
//! Once, on a fresh connection, and only what a connection from the pool has lost:
//!
//! | lost | idempotent (RFC 9110 §9.2.2) | others |
//! |---|---|---|
//! | before a byte of the request was written | sent again | sent again |
//! | after that, without a byte of a response | sent again, if what was taken of its body is in memory or kept, and the retry budget lasts | 502 |
//! | after a byte of a response, be it an interim one | 502 | 502 |
//!
//! A streamed body is kept while it passes, not before: 64 KiB of each request and 16 MiB of all, and none of it once the head of the
//! response has come ([`replay_max_bytes`](crate::exact::ExactProxyBuilder::replay_max_bytes)). Trailers that were signed with a head that
//! was lost are not sent behind another.

mod alarm;
mod connect;
mod destination;
pub(crate) mod http1;
mod io;
mod limits;
mod pool;
mod tunnel;

#[cfg(feature = "proxy-protocol")]
pub use connect::ProxyProtocolVersion;
pub use connect::{Connect, Connecting, Resolve, Resolving};
#[cfg(feature = "tls")]
pub use connect::{Tls, TlsBuilder, TlsVersion};
pub use destination::Destination;
pub use io::Stream;
pub use pool::{CloseReason, PoolChange, PoolEvent, PoolStats};
pub use tunnel::Upgraded;

pub(crate) use connect::{Connector, Offer};
pub(crate) use limits::Limits;
pub(crate) use pool::{Home, Listener, Pool, Taken, Waiting};
#[cfg(feature = "serve")]
pub(crate) use tunnel::{Client, Gauge};
