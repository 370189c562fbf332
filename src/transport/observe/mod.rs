//! What is to be seen of exchanges: a [hook](crate::exact::ExactProxyBuilder::on_exchange), spans, figures.
//!
//! An exchange is one request of an [`ExactProxy`](crate::ExactProxy), or of what is built on it, from the call to the end of its response's
//! body or of its tunnel, all attempts included. However it ends, it is told of once: as an [`ExchangeSummary`] to the hook, as the fields
//! of a span, and in figures. Where none of the three is on, nothing is measured: no clock is read and nothing is allocated. What a
//! [`ProxyApp`](crate::ProxyApp) answers by itself is no exchange.
//!
//! A client that leaves early drops the future or the body: that is [`Outcome::Cancelled`], what other proxies log as 499.
//!
//! # Spans
//! With a subscriber that takes `DEBUG` of the target `nexthop::exchange`, each exchange is a span `exchange` below the one that was current
//! at the call. It is entered while the response's head is awaited, and closed at the end of the exchange. Its fields, where they apply, in
//! the names of OpenTelemetry where it has them:
//!
//! | field | |
//! |---|---|
//! | `otel.kind` | `client` |
//! | `http.request.method` | another than those of RFC 9110 and `PATCH` is `_OTHER` |
//! | `url.scheme`, `server.address`, `server.port` | of the connection; the path of a unix socket; none where addresses were given |
//! | `http.response.status_code` | |
//! | `network.protocol.version` | `1.1` or `2` |
//! | `outcome` | `complete`, `failed`, `cancelled` |
//! | `error.type` | the [`ErrorKind`](crate::ErrorKind) as a word: `timeout`, `connect` and so on |
//! | `phase` | [how far](crate::Phase) an exchange had come that did not complete: `tls`, `response_head` and so on |
//! | `http.request.resend_count` | attempts beyond the first |
//! | `http.request.body.size`, `http.response.body.size` | bytes; of a tunnel, what it carried to and from the upstream |
//! | `connection.reused`, `tunnel` | true or false |
//! | `queue_ms`, `resolve_ms`, `connect_ms`, `tls_ms` | how long these steps took, those that there were |
//! | `sent_ms`, `head_ms`, `total_ms` | when, since the call, the last byte of the request was sent, the head of the response was there, all was over |
//!
//! No path, query or field of a message is among them. A layer that prints spans as they close, such as that of `tracing_subscriber::fmt`
//! with `FmtSpan::CLOSE`, makes an access log of them.
//!
//! # Figures
//! With the feature `metrics`, `ExactProxyBuilder::metrics("name")` counts through the facade of that crate, for whatever exporter the
//! program installs. Install it first: the handles are made by `build()`, and kept. Whether a histogram has buckets is the exporter's setting
//! (`PrometheusBuilder::set_buckets`; without, that one renders quantiles, which cannot be added up over processes). All are labelled `proxy="name"`, and by nothing that
//! comes from a client or an upstream but the class of a status:
//!
//! | name | is a | labels | counts |
//! |---|---|---|---|
//! | `nexthop_requests_total` | counter | `outcome`: `complete`, `failed`, `cancelled`, `upgraded`; `status`: `1xx` to `5xx`, `none` | exchanges that ended; one that becomes a tunnel, then, as `upgraded` |
//! | `nexthop_requests_in_flight` | gauge | | exchanges that did not |
//! | `nexthop_request_errors_total` | counter | `kind`, `phase`: as in spans, `other` | errors, before a head and within a body |
//! | `nexthop_request_duration_seconds` | histogram | | the call to the end, tunnels left out |
//! | `nexthop_response_head_seconds` | histogram | | the call to the head |
//! | `nexthop_step_duration_seconds` | histogram | `step`: `queue`, `resolve`, `connect`, `tls` | the steps that there were |
//! | `nexthop_retries_total` | counter | | attempts beyond the first |
//! | `nexthop_request_body_bytes_total` | counter | | bytes of bodies handed to upstreams, those of tunnels left out |
//! | `nexthop_response_body_bytes_total` | counter | | bytes of bodies read from upstreams, those of tunnels left out |
//! | `nexthop_tunnels_open` | gauge | | tunnels |
//! | `nexthop_tunnel_bytes_total` | counter | `direction`: `to_upstream`, `from_upstream` | what tunnels carried, when they end |
//! | `nexthop_connections_open` | gauge | | connections of the pool, in use or not |
//! | `nexthop_connections_opened_total` | counter | | |
//! | `nexthop_connections_closed_total` | counter | `reason`: as [`CloseReason`](super::CloseReason) has them | |
//! | `nexthop_connections_reused_total` | counter | | requests that took an unused connection of the pool |
//! | `nexthop_queue_entered_total`, `nexthop_queue_refused_total` | counter | | requests that waited for a connection; that were answered with 503 instead |
//!
//! Without that crate, [`ExactProxy::pool_stats`](crate::ExactProxy::pool_stats) and
//! [`on_pool_event`](crate::exact::ExactProxyBuilder::on_pool_event) have the same of the pool.

#[cfg(feature = "metrics")]
mod figures;
mod progress;
mod recording;
mod span;
mod summary;
mod watch;
mod words;

pub use summary::{ExchangeSummary, Outcome, Timings};

#[cfg(feature = "metrics")]
pub(crate) use figures::Figures;
pub(crate) use progress::Progress;
pub(crate) use recording::{Hook, Observers};
pub(crate) use watch::Watch;
