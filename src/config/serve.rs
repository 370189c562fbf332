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

/// The settings of a [server](crate::serve()), as a file describes them. See the [module](super) for how values are written.
///
/// | key | |
/// |---|---|
/// | `header_timeout`, `write_timeout`, `handshake_timeout`, `tcp_keepalive`, `drain_timeout` | time, or `off` |
/// | `max_head_bytes`, `max_target_bytes`, `max_headers`, `max_connections` | number, at least 1 |
/// | `keep_alive` | flag |
/// | `proxy_protocol` | `forbidden` (the default) or `required` |
#[cfg_attr(feature = "http2", doc = "| `http2` | flag |")]
///
/// Where it listens, its TLS and what stops it are said in code. The defaults are those of [`Serve`].
///
/// ```
/// use axum::{Router, routing::get};
/// use nexthop::config::ServeConfig;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), nexthop::BoxError> {
/// let config: ServeConfig = serde_json::from_str(r#"{"header_timeout": "10s", "max_connections": 10000}"#)?;
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
    /// Checks everything, and puts it on a server that has not started.
    ///
    /// # Errors
    /// All [`ConfigErrors`].
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
                Some(0) => reading.fail(ConfigError::invalid(key, "0", "lets nothing through")),
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
