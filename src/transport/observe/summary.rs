//! [`ExchangeSummary`]: all that is told of an exchange once it is over.

use std::{fmt, time::Duration};

use http::{Method, StatusCode, Uri, Version};

use crate::{
    error::{Error, Phase},
    transport::destination::Destination,
};

/// One exchange, when it is over, for [`on_exchange`](crate::exact::ExactProxyBuilder::on_exchange). `Debug` leaves out the URI, which may
/// hold what is nobody else's business.
#[derive(Clone)]
#[non_exhaustive]
pub struct ExchangeSummary {
    /// The request's method.
    pub method: Method,
    /// The request's URI, as it was given.
    pub uri: Uri,
    /// Where it was sent to, if it came that far.
    pub destination: Option<Destination>,
    /// The status of the answer, if the upstream's head arrived.
    pub status: Option<StatusCode>,
    /// HTTP/1.1 or HTTP/2, if there was a connection.
    pub version: Option<Version>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed, if it did; with a status, it was the body that failed.
    pub error: Option<Error>,
    /// How far it had come when it ended.
    pub phase: Phase,
    /// How often it was sent, or would have been.
    pub attempts: u32,
    /// True if its connection, the last one, was not opened for it.
    pub reused: bool,
    /// True if it became a tunnel.
    pub tunnel: bool,
    /// Bytes of the request's body handed to the connection, in all attempts together. Of a tunnel, what it carried to the upstream.
    pub sent: u64,
    /// Bytes of the response's body that were read. Of a tunnel, what it carried from the upstream.
    pub received: u64,
    /// How long it took.
    pub timings: Timings,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The response was read to its end; the tunnel has ended.
    Complete,
    /// The caller got an error instead of a response, or of the rest of its body; the tunnel was cut by its upstream or its limit.
    Failed,
    /// The caller left: the future, or the body before its end, was dropped; the tunnel's client broke off.
    Cancelled,
}

/// Where the time of an exchange went. The first four are how long a step took, all attempts together, and none for a step that was not
/// needed; the others are moments, counted from the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// Waiting for a connection that others used, or opened.
    pub queue: Option<Duration>,
    /// Finding the addresses of the upstream.
    pub resolve: Option<Duration>,
    /// Connecting, and the PROXY header.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// The last byte of the request was sent; none if that was not before the head of the response.
    pub sent: Option<Duration>,
    /// The head of the response was there.
    pub head: Option<Duration>,
    /// All was over.
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
