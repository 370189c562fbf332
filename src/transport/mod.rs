//! One byte stream and the connections on it: how requests reach upstreams.
//!
//! HTTP/1.1 is spoken by a codec of our own, HTTP/2 (feature `http2`) by the `h2` crate. Over HTTP/1.1, an exchange is driven by the task
//! that awaits its response: no task, no channel and no lock that other threads wait for stand between a request and the wire. Connections
//! are kept in a pool, by everything that makes two of them different ([`Destination`]).
//!
//! Settings are [`ExactProxyBuilder`](crate::exact::ExactProxyBuilder)'s; every other service takes the `ExactProxy` that it makes. What
//! is looked for most: `HttpVersions` for h2c and gRPC, `Tls` for roots and client certificates, `send_proxy_protocol`, [`UpstreamProxy`],
//! [`ext::ConnectTo`](crate::ext::ConnectTo) for unix sockets and given addresses, [`Upgraded`] for the stream behind a `101`.
//!
//! # What is made of a response
//!
//! | the upstream sends | answered | connection kept |
//! |---|---|---|
//! | a bad status line (also one of `HTTP/1.2`), a folded or malformed field, more than 128 fields or 64 KiB of them | 502 | no |
//! | a status from 600 on | passed on as it came; in figures, it is a `5xx` | yes |
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
//!
//! # Over HTTP/2
//!
//! `https` upstreams are offered `h2` and `http/1.1` by ALPN; `HttpVersions` says otherwise, and is the way to HTTP/2 without TLS (prior
//! knowledge). Requests share connections, up to 100 streams on each or as many as the upstream takes. While nothing is known of an origin,
//! one request connects and up to 99 others wait for what it finds; where it finds HTTP/1.1, they connect for themselves, as all do from then
//! on. Behind the first request on a connection, others wait for the upstream's SETTINGS, one second at the most. One task drives each
//! connection; exchanges are driven by whoever polls them, and only a request that is still being sent when its response begins gets a task.
//!
//! | | |
//! |---|---|
//! | `:authority` | what `Host` says, else the URI's authority; a `Host` that cannot be one, or a second one, is `InvalidTarget` (400) |
//! | fields of the connection (RFC 9113 §8.2.2) | never sent, also with `keep_hop_by_hop`; `TE: trailers` is |
//! | `Content-Length` | written anew from the body, which must keep to it |
//! | trailers | both ways, always |
//! | `Expect: 100-continue` | the body waits as over HTTP/1.1 |
//! | other interim responses | as over HTTP/1.1 |
//! | an upgrade: a `GET` for one protocol without a body | extended `CONNECT` (RFC 8441), if the upstream's SETTINGS allow it; else on a connection of HTTP/1.1 (ALPN `http/1.1` alone), and so from then on until a connection's SETTINGS say otherwise; with HTTP/2 alone, `Unsupported` (501) |
//! | any other upgrade | over HTTP/1.1; with HTTP/2 alone, `Unsupported` (501) |
//! | `2xx` to extended `CONNECT` | `101` with the accept that the client expects, or `200` to a client of HTTP/2; the stream is a tunnel: `END_STREAM` ends one direction, `RST_STREAM` is an error |
//! | `CONNECT` | over HTTP/1.1; with HTTP/2 alone, on a stream |
//! | the response's version | HTTP/2; over HTTP/1.1, it is HTTP/1.1 whatever the upstream wrote |
//! | a response head over the limit, fields of the connection in it, a value that begins or ends with white space, another length than announced | 502, or the body ends in an error |
//! | a stream that is reset, a connection that ends | 502, or the body ends in an error |
//! | `RST_STREAM(NO_ERROR)` before all of the request was sent | the response was complete (RFC 9113 §8.1), if its length does not deny it |
//! | `GOAWAY` | open streams go on, new ones go elsewhere |
//! | `REFUSED_STREAM`, or a stream above the last that a `GOAWAY` names | not processed (RFC 9113 §8.7): sent again once on another connection, whatever its method, if what was taken of its body is in memory or kept; else 502, retryable |
//! | nothing but the end of a connection that had answered before | sent again once, if idempotent and what was taken of its body is in memory or kept; else 502 |
//! | the future or the response's body dropped | `RST_STREAM(CANCEL)`; the connection goes on |
//! | SETTINGS that allow no streams (RFC 9113 §6.5.2) | 502, retryable, and no other connection, until they allow some; who waits in the queue waits on |
//! | silence while streams are open, or one after the other is given up | `PING` after 20 s; without an answer within 10 s, the connection is closed |
//! | a client that does not read | holds up no other: a connection's window is as wide as that of all its streams |
//!
//! A shared connection counts as one against the pool's maximum. A request that finds the maximum reached and all streams taken waits for
//! whichever is free first, a connection or a stream; both are given out in the order of asking, within the same limits of time and number.
//! A shared connection that nobody uses, or nobody any more, is closed for a request that waits and cannot use it: over HTTP/1.1, or on
//! another runtime. While others use it, such a request waits on.

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
