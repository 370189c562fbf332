//! [`Figures`]: exchanges and connections in the `metrics` facade.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use http::StatusCode;
use metrics::{Counter, Gauge, Histogram, SharedString, counter, gauge, histogram};

use super::{ExchangeSummary, Outcome, words};
use crate::{
    error::{Error, ErrorKind, Phase},
    transport::{CloseReason, PoolChange},
};

/// The handles of one service, made once.
pub(crate) struct Figures {
    requests: [[Counter; CLASSES.len()]; OUTCOMES.len()],
    errors: Vec<(Option<(ErrorKind, Phase)>, Counter)>,
    in_flight: Gauge,
    duration: Histogram,
    head: Histogram,
    steps: [Histogram; STEPS.len()],
    retries: Counter,
    request_bytes: Counter,
    response_bytes: Counter,
    tunnels: Gauge,
    tunnel_bytes: [Counter; 2],
    connections: Connections,
}

/// Those of the pool.
struct Connections {
    open: Gauge,
    /// The same, to take it back when the pool is gone.
    now: AtomicI64,
    opened: Counter,
    closed: Vec<(CloseReason, Counter)>,
    reused: Counter,
    queued: Counter,
    refused: Counter,
}

impl Figures {
    /// With the recorder that is installed now.
    pub(crate) fn new(proxy: &SharedString) -> Self {
        describe();
        let label = || proxy.clone();
        let requests = OUTCOMES.map(|outcome| {
            CLASSES.map(|class| {
                if !can_be(outcome, class) {
                    return Counter::noop();
                }
                counter!("nexthop_requests_total", "proxy" => label(), "outcome" => outcome, "status" => class)
            })
        });
        let error = |kind: &'static str, phase: &'static str| counter!("nexthop_request_errors_total", "proxy" => label(), "kind" => kind, "phase" => phase);
        let known =
            ERRORS.iter().map(|(kind, phase)| (Some((*kind, *phase)), error(words::kind(*kind), words::phase(*phase))));
        let bytes = |direction: &'static str| counter!("nexthop_tunnel_bytes_total", "proxy" => label(), "direction" => direction);
        let closed = |(reason, word): &(CloseReason, &'static str)| {
            (*reason, counter!("nexthop_connections_closed_total", "proxy" => label(), "reason" => *word))
        };
        Self {
            requests,
            errors: known.chain([(None, error("other", "other"))]).collect(),
            in_flight: gauge!("nexthop_requests_in_flight", "proxy" => label()),
            duration: histogram!("nexthop_request_duration_seconds", "proxy" => label()),
            head: histogram!("nexthop_response_head_seconds", "proxy" => label()),
            steps: STEPS.map(|step| histogram!("nexthop_step_duration_seconds", "proxy" => label(), "step" => step)),
            retries: counter!("nexthop_retries_total", "proxy" => label()),
            request_bytes: counter!("nexthop_request_body_bytes_total", "proxy" => label()),
            response_bytes: counter!("nexthop_response_body_bytes_total", "proxy" => label()),
            tunnels: gauge!("nexthop_tunnels_open", "proxy" => label()),
            tunnel_bytes: ["to_upstream", "from_upstream"].map(bytes),
            connections: Connections {
                open: gauge!("nexthop_connections_open", "proxy" => label()),
                now: AtomicI64::new(0),
                opened: counter!("nexthop_connections_opened_total", "proxy" => label()),
                closed: REASONS.iter().map(closed).collect(),
                reused: counter!("nexthop_connections_reused_total", "proxy" => label()),
                queued: counter!("nexthop_queue_entered_total", "proxy" => label()),
                refused: counter!("nexthop_queue_refused_total", "proxy" => label()),
            },
        }
    }

    pub(super) fn began(&self) {
        self.in_flight.increment(1.0);
    }

    /// It is a tunnel from here on.
    pub(super) fn upgraded(&self, summary: &ExchangeSummary) {
        self.tunnels.increment(1.0);
        self.count(UPGRADED, summary);
    }

    pub(super) fn ended(&self, summary: &ExchangeSummary) {
        if let Some(error) = &summary.error {
            self.count_error(error);
        }
        if summary.tunnel {
            self.tunnels.decrement(1.0);
            let [there, back] = &self.tunnel_bytes;
            there.increment(summary.sent);
            back.increment(summary.received);
            return;
        }
        self.count(summary.outcome as usize, summary);
        self.duration.record(summary.timings.total);
        self.request_bytes.increment(summary.sent);
        self.response_bytes.increment(summary.received);
    }

    /// What is known once there is a response, or none will come.
    fn count(&self, outcome: usize, summary: &ExchangeSummary) {
        self.in_flight.decrement(1.0);
        if let Some(count) = self.requests.get(outcome).and_then(|row| row.get(class(summary.status))) {
            count.increment(1);
        }
        let timings = &summary.timings;
        if let Some(head) = timings.head {
            self.head.record(head);
        }
        let steps = [timings.queue, timings.resolve, timings.connect, timings.tls];
        for (histogram, step) in self.steps.iter().zip(steps) {
            if let Some(step) = step {
                histogram.record(step);
            }
        }
        if summary.attempts > 1 {
            self.retries.increment(u64::from(summary.attempts - 1));
        }
    }

    fn count_error(&self, error: &Error) {
        let is = |known: &Option<(ErrorKind, Phase)>| known.is_none_or(|known| known == (error.kind(), error.phase()));
        if let Some((_, count)) = self.errors.iter().find(|(known, _)| is(known)) {
            count.increment(1);
        }
    }

    /// Something happened in the pool.
    pub(crate) fn pool(&self, change: PoolChange) {
        let connections = &self.connections;
        match change {
            PoolChange::Opened => {
                connections.now.fetch_add(1, Relaxed);
                connections.open.increment(1.0);
                connections.opened.increment(1);
            }
            PoolChange::Closed(reason) => {
                connections.now.fetch_sub(1, Relaxed);
                connections.open.decrement(1.0);
                if let Some((_, count)) = connections.closed.iter().find(|(known, _)| *known == reason) {
                    count.increment(1);
                }
            }
            PoolChange::CheckedOut => connections.reused.increment(1),
            PoolChange::Waiting => connections.queued.increment(1),
            PoolChange::Refused => connections.refused.increment(1),
            PoolChange::CheckedIn => {}
        }
    }
}

/// What is still open when the pool is gone is not told of any more.
impl Drop for Connections {
    fn drop(&mut self) {
        self.open.decrement(*self.now.get_mut() as f64);
    }
}

/// As [`Outcome`] counts them, and what became a tunnel.
const OUTCOMES: [&str; 4] = ["complete", "failed", "cancelled", "upgraded"];
const UPGRADED: usize = 3;
const _: () =
    assert!(Outcome::Complete as usize == 0 && Outcome::Failed as usize == 1 && Outcome::Cancelled as usize == 2);

const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
const STEPS: [&str; 4] = ["queue", "resolve", "connect", "tls"];

/// RFC 9110 §15: what is in no class is treated as of the last.
fn class(status: Option<StatusCode>) -> usize {
    status.map_or(0, |status| usize::from(status.as_u16() / 100).min(5))
}

fn can_be(outcome: &str, class: &str) -> bool {
    match outcome {
        "upgraded" => matches!(class, "1xx" | "2xx"),
        "complete" => !matches!(class, "none" | "1xx"),
        _ => class != "1xx",
    }
}

/// The errors that exchanges have. Any other is counted as such.
const ERRORS: [(ErrorKind, Phase); 22] = [
    (ErrorKind::Connect, Phase::Resolve),
    (ErrorKind::Connect, Phase::Connect),
    (ErrorKind::Connect, Phase::Tls),
    (ErrorKind::Denied, Phase::Resolve),
    (ErrorKind::Denied, Phase::Connect),
    (ErrorKind::Internal, Phase::Validate),
    (ErrorKind::RequestBody, Phase::Validate),
    (ErrorKind::RequestBody, Phase::Send),
    (ErrorKind::RequestTimeout, Phase::Send),
    (ErrorKind::InvalidTarget, Phase::Validate),
    (ErrorKind::Timeout, Phase::Resolve),
    (ErrorKind::Timeout, Phase::Connect),
    (ErrorKind::Timeout, Phase::Tls),
    (ErrorKind::Timeout, Phase::Send),
    (ErrorKind::Timeout, Phase::ResponseHead),
    (ErrorKind::Timeout, Phase::ResponseBody),
    (ErrorKind::TooLarge, Phase::Send),
    (ErrorKind::Unavailable, Phase::Queue),
    (ErrorKind::Unsupported, Phase::Validate),
    (ErrorKind::Upstream, Phase::Send),
    (ErrorKind::Upstream, Phase::ResponseHead),
    (ErrorKind::Upstream, Phase::ResponseBody),
];

const REASONS: [(CloseReason, &str); 9] = [
    (CloseReason::Broken, "broken"),
    (CloseReason::Finished, "finished"),
    (CloseReason::ClosedByPeer, "closed_by_peer"),
    (CloseReason::Idle, "idle"),
    (CloseReason::Age, "age"),
    (CloseReason::MaxRequests, "max_requests"),
    (CloseReason::MaxIdle, "max_idle"),
    (CloseReason::Runtime, "runtime"),
    (CloseReason::Upgraded, "upgraded"),
];

fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

    describe_counter!("nexthop_requests_total", "Exchanges with upstreams that ended or became tunnels");
    describe_gauge!("nexthop_requests_in_flight", "Exchanges with upstreams in flight");
    describe_counter!("nexthop_request_errors_total", "Errors of exchanges with upstreams, by kind and phase");
    describe_histogram!(
        "nexthop_request_duration_seconds",
        Unit::Seconds,
        "Time from the call to the end of the response"
    );
    describe_histogram!(
        "nexthop_response_head_seconds",
        Unit::Seconds,
        "Time from the call to the head of the response"
    );
    describe_histogram!(
        "nexthop_step_duration_seconds",
        Unit::Seconds,
        "Time spent in each step of opening a connection"
    );
    describe_counter!("nexthop_retries_total", "Retries: attempts after the first");
    describe_counter!("nexthop_request_body_bytes_total", Unit::Bytes, "Bytes of request bodies sent to upstreams");
    describe_counter!(
        "nexthop_response_body_bytes_total",
        Unit::Bytes,
        "Bytes of response bodies received from upstreams"
    );
    describe_gauge!("nexthop_tunnels_open", "Open tunnels to upstreams");
    describe_counter!("nexthop_tunnel_bytes_total", Unit::Bytes, "Bytes carried by tunnels that ended");
    describe_gauge!("nexthop_connections_open", "Open connections to upstreams, in use or idle");
    describe_counter!("nexthop_connections_opened_total", "Connections to upstreams opened");
    describe_counter!("nexthop_connections_closed_total", "Connections to upstreams closed, by reason");
    describe_counter!("nexthop_connections_reused_total", "Requests sent on a reused connection");
    describe_counter!("nexthop_queue_entered_total", "Requests that waited in the queue for a connection");
    describe_counter!("nexthop_queue_refused_total", "Requests refused because no connection became free");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9110 §15.
    #[test]
    fn a_status_beyond_599_counts_as_a_server_error() {
        for (status, index) in [(100, 1), (299, 2), (404, 4), (500, 5), (599, 5), (600, 5), (799, 5), (999, 5)] {
            assert_eq!(class(StatusCode::from_u16(status).ok()), index, "{status}");
        }
        assert_eq!(class(None), 0);
    }
}
