//! Reports exchanges with upstreams: through a [hook](crate::exact::ExactProxyBuilder::on_exchange), tracing spans and
//! metrics.
//!
//! An exchange is one request of an [`ExactProxy`](crate::ExactProxy), or of a service that uses one, from the call to
//! the end of the response's body or of the tunnel, including all attempts. Each exchange is reported exactly once,
//! however it ends: as an [`ExchangeSummary`] to the hook, as the fields of a span, and in metrics. If all three are
//! off, nothing is measured: no clock is read and nothing is allocated. Responses that a [`ProxyApp`](crate::ProxyApp)
//! generates itself are not exchanges.
//!
//! If a client disconnects early, the server drops the future or the body. The outcome is [`Outcome::Cancelled`], which
//! other proxies log as status 499.
//!
//! # Spans
//! If the subscriber enables `DEBUG` for the target `nexthop::exchange`, each exchange has a span `exchange`, a child
//! of the current span of the call. The span is entered while the head of the response is awaited, and closed at the
//! end of the exchange. A layer that prints spans when they close, such as that of `tracing_subscriber::fmt` with
//! `FmtSpan::CLOSE`, turns them into an access log. The fields contain no path, query or header. Fields use the names
//! of OpenTelemetry where it defines them, and are present where they apply:
//!
//! | field | value |
//! |---|---|
//! | `otel.kind` | `client` |
//! | `http.request.method` | the method; `_OTHER` if it is neither defined by RFC 9110 nor `PATCH` |
//! | `url.scheme`, `server.address`, `server.port` | of the connection; the path of a unix socket; absent if addresses were given |
//! | `http.response.status_code` | the status |
//! | `network.protocol.version` | `1.1` or `2` |
//! | `outcome` | `complete`, `failed`, `cancelled` |
//! | `error.type` | the [`ErrorKind`](crate::ErrorKind) in lower case: `timeout`, `connect` and so on |
//! | `phase` | the [`Phase`](crate::Phase) in which an incomplete exchange ended, in lower case: `tls`, `response_head` and so on |
//! | `http.request.resend_count` | retries |
//! | `http.request.body.size`, `http.response.body.size` | bytes; for a tunnel, bytes sent to and received from the upstream |
//! | `connection.reused`, `tunnel` | true or false |
//! | `queue_ms`, `resolve_ms`, `connect_ms`, `tls_ms` | durations of the steps that occurred |
//! | `sent_ms`, `head_ms`, `total_ms` | times since the call: last byte of the request sent, head of the response received, end of the exchange |
//!
//! # Metrics
//! With the feature `metrics`, [`ExactProxyBuilder::metrics`](crate::exact::ExactProxyBuilder::metrics) records metrics
//! through the facade of the `metrics` crate, for any exporter. Install the recorder before `build()`, which creates
//! the handles. Buckets of histograms are a setting of the exporter: without `PrometheusBuilder::set_buckets`, the
//! Prometheus exporter renders quantiles, which cannot be aggregated over processes. All metrics have the label
//! `proxy="name"`. No label contains data from a client or an upstream, except the class of the status.
//!
//! | name | type | labels | value |
//! |---|---|---|---|
//! | `nexthop_requests_total` | counter | `outcome`: `complete`, `failed`, `cancelled`, `upgraded`; `status`: `1xx` to `5xx`, `none` | exchanges ended; an exchange that becomes a tunnel counts at that moment, as `upgraded` |
//! | `nexthop_requests_in_flight` | gauge | | exchanges in flight, tunnels excluded |
//! | `nexthop_request_errors_total` | counter | `kind`, `phase`: as `error.type` and `phase` of spans, or `other` | errors, before the response head and in bodies |
//! | `nexthop_request_duration_seconds` | histogram | | time from the call to the end, tunnels excluded |
//! | `nexthop_response_head_seconds` | histogram | | time from the call to the head of the response |
//! | `nexthop_step_duration_seconds` | histogram | `step`: `queue`, `resolve`, `connect`, `tls` | duration of the steps that occurred |
//! | `nexthop_retries_total` | counter | | retries |
//! | `nexthop_request_body_bytes_total` | counter | | bytes of request bodies sent, tunnels excluded |
//! | `nexthop_response_body_bytes_total` | counter | | bytes of response bodies received, tunnels excluded |
//! | `nexthop_tunnels_open` | gauge | | open tunnels |
//! | `nexthop_tunnel_bytes_total` | counter | `direction`: `to_upstream`, `from_upstream` | bytes carried by tunnels, added when a tunnel ends |
//! | `nexthop_connections_open` | gauge | | connections of the pool, in use or idle |
//! | `nexthop_connections_opened_total` | counter | | connections opened |
//! | `nexthop_connections_closed_total` | counter | `reason`: the [`CloseReason`](crate::pool::CloseReason) in lower case, such as `closed_by_peer` | connections closed |
//! | `nexthop_connections_reused_total` | counter | | requests sent on a reused connection |
//! | `nexthop_queue_entered_total` | counter | | requests that waited for a connection |
//! | `nexthop_queue_refused_total` | counter | | requests that failed with 503 because no connection became free |
//!
//! Without the feature, [`ExactProxy::pool_stats`](crate::ExactProxy::pool_stats) and
//! [`on_pool_event`](crate::exact::ExactProxyBuilder::on_pool_event) report the same about the pool.

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
