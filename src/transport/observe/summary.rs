//! [`ExchangeSummary`]: all that is told of an exchange once it is over.

use std::{fmt, time::Duration};

use http::{Method, StatusCode, Uri, Version};

use crate::{
    error::{Error, Phase},
    transport::destination::Destination,
};

/// Describes a completed exchange to [`on_exchange`](crate::exact::ExactProxyBuilder::on_exchange): an access log
/// record.
///
/// `Debug` omits the URI, which may contain private data.
#[doc(alias = "access log")]
#[derive(Clone)]
#[non_exhaustive]
pub struct ExchangeSummary {
    /// Method of the request.
    pub method: Method,
    /// URI of the request, as the caller passed it.
    pub uri: Uri,
    /// Destination of the request, if it was determined.
    pub destination: Option<Destination>,
    /// Status of the response, if the upstream's response head arrived.
    pub status: Option<StatusCode>,
    /// HTTP/1.1 or HTTP/2, if there was a connection.
    pub version: Option<Version>,
    /// The outcome.
    pub outcome: Outcome,
    /// The error of a failed exchange. With a `status`, the body failed.
    pub error: Option<Error>,
    /// The phase in which the exchange ended.
    pub phase: Phase,
    /// Number of attempts to send the request; 1 without a retry, also if no attempt reached a connection.
    pub attempts: u32,
    /// True if the last attempt used a connection that was not opened for it.
    pub reused: bool,
    /// True if the exchange became a tunnel.
    pub tunnel: bool,
    /// Bytes of the request body handed to connections, over all attempts. For a tunnel, bytes sent to the upstream.
    pub sent: u64,
    /// Bytes of the response body read from the connection. For a tunnel, bytes received from the upstream.
    pub received: u64,
    /// Durations of the steps.
    pub timings: Timings,
}

/// Describes how an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The response was read to its end, or the tunnel ended.
    Complete,
    /// The response or its body ended in an error, or the tunnel ended by an error of the upstream or the idle timeout.
    Failed,
    /// The caller dropped the future, or the body before its end, or the client of the tunnel closed its connection
    /// early.
    Cancelled,
}

/// Breaks down the duration of an exchange.
///
/// `queue`, `resolve`, `connect` and `tls` are durations of steps, over all attempts; `None` for a step that did not
/// occur. `sent`, `head` and `total` are times since the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// Wait for a connection that other requests used or opened.
    pub queue: Option<Duration>,
    /// DNS lookup.
    pub resolve: Option<Duration>,
    /// Connecting, including the PROXY header.
    pub connect: Option<Duration>,
    /// TLS handshake.
    pub tls: Option<Duration>,
    /// Time until the last byte of the request was sent; `None` if the head of the response arrived first.
    pub sent: Option<Duration>,
    /// Time until the head of the response arrived (time to first byte).
    pub head: Option<Duration>,
    /// Time until the exchange ended.
    pub total: Duration,
}

impl fmt::Debug for ExchangeSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeSummary")
            .field("method", &self.method)
            .field("destination", &self.destination)
            .field("status", &self.status)
            .field("version", &self.version)
            .field("outcome", &self.outcome)
            .field("error", &self.error)
            .field("phase", &self.phase)
            .field("attempts", &self.attempts)
            .field("reused", &self.reused)
            .field("tunnel", &self.tunnel)
            .field("sent", &self.sent)
            .field("received", &self.received)
            .field("timings", &self.timings)
            .finish_non_exhaustive()
    }
}
