//! HTTP/2 towards upstreams: streams on shared connections, spoken by the `h2` crate.
//!
//! [`conn`] is one connection and the count of its streams, [`stream`] the place of one request on it, [`driver`] the one task behind it,
//! [`origins`] where connections are found and opened by one request for all. [`exchange`] sends a request and waits for the head of its
//! response, [`upload`] sends its body, [`body`] reads the response's, [`channel`] is a stream that became a tunnel.
//!
//! hyper's own client is not used: it runs one or two tasks per request, takes a stream that was reset with `NO_ERROR` for a body that ended,
//! and does not tell whether a stream was opened.

mod body;
mod channel;
mod conn;
mod driver;
mod exchange;
mod failure;
mod head;
mod origins;
mod stream;
mod two_way;
mod upload;

pub(crate) use body::Incoming;
pub(crate) use conn::Conn;
pub(crate) use exchange::Exchange;
pub(crate) use failure::Failure;
pub(crate) use origins::{Opened, Origins};
pub(crate) use stream::{Mark, Stream};

use std::time::Duration;

use crate::error::ConfigError;

/// What is told to each connection when it is opened.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Silence, while streams are open, after which the upstream is asked whether it is still there.
    pub(crate) ping_interval: Option<Duration>,
    /// How long it has to answer.
    pub(crate) ping_timeout: Duration,
    /// Bytes of one response on their way or not read yet.
    pub(crate) stream_window: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ping_interval: Some(Duration::from_secs(20)),
            ping_timeout: Duration::from_secs(10),
            stream_window: 512 * 1024,
        }
    }
}

impl Settings {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        for (name, limit) in
            [("http2_ping_interval", self.ping_interval), ("http2_ping_timeout", Some(self.ping_timeout))]
        {
            if limit == Some(Duration::ZERO) {
                return Err(ConfigError::invalid(name, "0s", "must be greater than zero"));
            }
        }
        if !(65_535..=MAX_WINDOW).contains(&self.stream_window) {
            let text = self.stream_window.to_string();
            return Err(ConfigError::invalid("http2_stream_window_bytes", text, "must be from 65535 bytes to 20 MiB"));
        }
        Ok(())
    }
}

/// Streams on one connection, at the most, whatever the upstream allows. The window of the connection is that of so many streams, so that
/// clients that do not read never hold up others.
pub(crate) const MAX_STREAMS: u32 = 100;
/// So that the connection's window is one (RFC 9113 §6.9.1).
const MAX_WINDOW: u32 = 20 * 1024 * 1024;
