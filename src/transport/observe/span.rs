//! The span of an exchange.

use std::time::Duration;

use http::Method;
use tracing::{Level, Span, field::Empty};

use super::{ExchangeSummary, Outcome, words};
use crate::transport::destination::Destination;

const TARGET: &str = "nexthop::exchange";

/// True if anybody wants spans. One look at an atomic, as a rule.
#[inline]
pub(super) fn is_enabled() -> bool {
    tracing::span_enabled!(target: TARGET, Level::DEBUG)
}

pub(super) fn begin(method: &Method) -> Span {
    tracing::debug_span!(
        target: TARGET,
        "exchange",
        otel.kind = "client",
        http.request.method = known(method),
        url.scheme = Empty,
        server.address = Empty,
        server.port = Empty,
        http.response.status_code = Empty,
        network.protocol.version = Empty,
        outcome = Empty,
        error.r#type = Empty,
        phase = Empty,
        http.request.resend_count = Empty,
        http.request.body.size = Empty,
        http.response.body.size = Empty,
        connection.reused = Empty,
        tunnel = Empty,
        queue_ms = Empty,
        resolve_ms = Empty,
        connect_ms = Empty,
        tls_ms = Empty,
        sent_ms = Empty,
        head_ms = Empty,
        total_ms = Empty,
    )
}

pub(super) fn bound_for(span: &Span, to: &Destination) {
    span.record("url.scheme", if to.is_tls() { "https" } else { "http" });
    match (to.host(), to.unix_path().and_then(std::path::Path::to_str)) {
        (Some(address), _) | (None, Some(address)) => span.record("server.address", address),
        (None, None) => span,
    };
    if let Some(port) = to.port() {
        span.record("server.port", port);
    }
}

pub(super) fn end(span: &Span, summary: &ExchangeSummary) {
    if let Some(status) = summary.status {
        span.record("http.response.status_code", status.as_u16());
    }
    if let Some(version) = summary.version {
        span.record("network.protocol.version", if version == http::Version::HTTP_2 { "2" } else { "1.1" });
        span.record("connection.reused", summary.reused);
    }
    span.record("outcome", words::outcome(summary.outcome));
    if let Some(error) = &summary.error {
        span.record("error.type", words::kind(error.kind()));
    }
    if summary.outcome != Outcome::Complete {
        span.record("phase", words::phase(summary.phase));
    }
    if summary.attempts > 1 {
        span.record("http.request.resend_count", summary.attempts - 1);
    }
    span.record("http.request.body.size", summary.sent);
    span.record("http.response.body.size", summary.received);
    span.record("tunnel", summary.tunnel);
    let timings = &summary.timings;
    let times = [
        ("queue_ms", timings.queue),
        ("resolve_ms", timings.resolve),
        ("connect_ms", timings.connect),
        ("tls_ms", timings.tls),
        ("sent_ms", timings.sent),
        ("head_ms", timings.head),
        ("total_ms", Some(timings.total)),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            span.record(name, milliseconds(time));
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A client may send any method: a few are told, the others are one.
fn known(method: &Method) -> &str {
    const KNOWN: [Method; 9] = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
        Method::CONNECT,
        Method::PATCH,
        Method::TRACE,
    ];
    if KNOWN.contains(method) { method.as_str() } else { "_OTHER" }
}
