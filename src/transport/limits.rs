//! [`Limits`]: how long each phase may last and how much is kept.

use std::time::Duration;

use crate::timeout;

/// How long each phase of an exchange may last, and how many connections are kept.
///
/// A limit of time is reset by progress, so that a long stream is never cut by it; `None` turns it off.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Resolving, connecting and the TLS handshake together.
    pub(crate) connect: Option<Duration>,
    /// From the last byte of the request sent to the head of the response.
    pub(crate) response_head: Option<Duration>,
    /// Between two frames of a body, each way.
    pub(crate) body_idle: Option<Duration>,
    /// Without a byte either way through a tunnel.
    pub(crate) tunnel_idle: Option<Duration>,
    /// How long the body of a request with `Expect: 100-continue` waits for the upstream's word.
    pub(crate) expect_continue: Duration,
    /// How long a connection stays in the pool unused.
    pub(crate) pool_idle: Option<Duration>,
    /// Age after which a connection is not used for another request.
    pub(crate) max_age: Option<Duration>,
    /// Idle connections kept to one destination, in each shard.
    pub(crate) max_idle: usize,
    /// The same to all destinations together.
    pub(crate) max_idle_total: usize,
    /// Requests that one connection serves.
    pub(crate) max_requests: Option<u64>,
    /// Connections to one destination, in use or not.
    pub(crate) max_connections: Option<usize>,
    /// Requests that wait for a connection to one destination.
    pub(crate) max_waiting: usize,
    /// How long each of them waits.
    pub(crate) pool_wait: Option<Duration>,

    /// Bytes in the head of a response, and in its trailers.
    pub(crate) max_head: usize,
    /// What is peculiar to HTTP/2.
    #[cfg(feature = "http2")]
    pub(crate) http2: super::http2::Settings,
}

impl Limits {
    /// The same, with none in place of those that no clock reaches: a time so far ahead cannot be told.
    pub(crate) fn within_reach(mut self) -> Self {
        for limit in [
            &mut self.connect,
            &mut self.response_head,
            &mut self.body_idle,
            &mut self.tunnel_idle,
            &mut self.pool_idle,
            &mut self.max_age,
            &mut self.pool_wait,
        ] {
            *limit = timeout::or_none(*limit);
        }
        self.expect_continue = timeout::clamp(self.expect_continue);
        #[cfg(feature = "http2")]
        {
            self.http2.ping_interval = timeout::or_none(self.http2.ping_interval);
            self.http2.ping_timeout = timeout::clamp(self.http2.ping_timeout);
        }
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Some(Duration::from_secs(10)),
            response_head: Some(Duration::from_secs(60)),
            body_idle: Some(Duration::from_secs(60)),
            tunnel_idle: Some(Duration::from_secs(3600)),
            expect_continue: Duration::from_secs(1),
            pool_idle: Some(Duration::from_secs(90)),
            max_age: None,
            max_idle: 128,
            max_idle_total: 1024,
            max_requests: None,
            max_connections: None,
            max_waiting: 1024,
            pool_wait: Some(Duration::from_secs(10)),

            max_head: 64 * 1024,
            #[cfg(feature = "http2")]
            http2: super::http2::Settings::default(),
        }
    }
}
