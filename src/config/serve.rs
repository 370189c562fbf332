use std::time::Duration;

use serde::Deserialize;

use super::{
    ConfigErrors,
    table::{Reading, Table},
};
use crate::{
    error::ConfigError,
    serve::{ProxyProtocol, Serve},
};

/// Configures a [server](crate::serve()) from a file. The [module](super) describes the types of values.
///
/// | key | type | meaning | default |
/// |---|---|---|---|
/// | `header_timeout` | duration or `off` | reading the head of a request | `30s` |
/// | `write_timeout` | duration or `off` | time that a write to the client may stall | `60s` |
/// | `handshake_timeout` | duration or `off` | PROXY header and TLS handshake together | `10s` |
/// | `tcp_keepalive` | duration or `off` | idle time before TCP keep-alive probes; `off` keeps the listener's setting | `60s` |
/// | `drain_timeout` | duration or `off` | waiting for open connections at shutdown | `30s` |
/// | `max_head_bytes` | number | size of a request's head, at least 1 | 65536 |
/// | `max_target_bytes` | number | size of a request target, at least 1 | 16384 |
/// | `max_headers` | number | headers of an HTTP/1 request, at least 1 | 100 |
/// | `max_connections` | number | open connections, at least 1 | no limit |
/// | `keep_alive` | boolean | serves more than one request per HTTP/1 connection | `true` |
/// | `proxy_protocol` | string | `forbidden` or `required`, see [`ProxyProtocol`] | `forbidden` |
#[cfg_attr(feature = "http2", doc = "| `http2` | boolean | serves HTTP/2, also in clear text (h2c) | `true` |")]
///
/// The listener, TLS and the shutdown signal are set in code. The defaults are those of [`Serve`].
///
/// ```
/// use axum::{Router, routing::get};
/// use nexthop::config::ServeConfig;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), nexthop::BoxError> {
/// let text = r#"{"header_timeout": "10s", "max_connections": 10000}"#;
/// let config: ServeConfig = serde_json::from_str(text)?;
/// let app = Router::new().route("/", get(async || "hello"));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let stop = async { /* a signal */ };
/// config.apply(nexthop::serve(listener, app))?.with_graceful_shutdown(stop).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct ServeConfig(Table);

impl ServeConfig {
    /// Validates the configuration and applies it to a server that has not started.
    ///
    /// # Errors
    /// All [`ConfigErrors`] of the configuration.
    pub fn apply<L, S>(&self, mut serve: Serve<L, S>) -> Result<Serve<L, S>, ConfigErrors> {
        type Set<L, S, T> = fn(Serve<L, S>, T) -> Serve<L, S>;
        let times: [(_, Set<L, S, Option<Duration>>); 5] = [
            ("header_timeout", Serve::header_timeout),
            ("write_timeout", Serve::write_timeout),
            ("handshake_timeout", Serve::handshake_timeout),
            ("tcp_keepalive", Serve::tcp_keepalive),
            ("drain_timeout", Serve::drain_timeout),
        ];
        let numbers: [(_, Set<L, S, usize>); 4] = [
            ("max_head_bytes", Serve::max_head_bytes),
            ("max_target_bytes", Serve::max_target_bytes),
            ("max_headers", Serve::max_headers),
            ("max_connections", Serve::max_connections),
        ];
        let flags: &[(_, Set<L, S, bool>)] = &[
            ("keep_alive", Serve::keep_alive),
            #[cfg(feature = "http2")]
            ("http2", Serve::http2),
        ];
        let words = [("forbidden", ProxyProtocol::Forbidden), ("required", ProxyProtocol::Required)];

        let mut reading = Reading::new(self.0.clone());
        for (key, set) in times {
            if let Some(time) = reading.time(key) {
                serve = set(serve, time);
            }
        }
        for (key, set) in numbers {
            match reading.parsed(key, "a number") {
                Some(0) => reading.fail(ConfigError::invalid(key, "0", "must be at least 1")),
                Some(number) => serve = set(serve, number),
                None => {}
            }
        }
        for &(key, set) in flags {
            if let Some(flag) = reading.flag(key) {
                serve = set(serve, flag);
            }
        }
        if let Some(word) = reading.word("proxy_protocol", &words) {
            serve = serve.proxy_protocol(word);
        }
        reading.finish()?;
        Ok(serve)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for ServeConfig {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}
