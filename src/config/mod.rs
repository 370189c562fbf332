//! Services and layers from configuration files (feature `config`).
//!
//! [`ProxyAppConfig`], [`TransparentProxyConfig`] and [`ProxyMiddlewareConfig`], with the feature `spawn` also `SpawnAppConfig`, are read
//! by any serde format (TOML, YAML, JSON, …), on their own or as fields of an application's own configuration, or collected from pairs of
//! texts, as INI files and environments give them. Then `build()` makes the service or layer; `ServeConfig` (feature `serve`) is put on a
//! server by `apply(…)`. The keys are those of the paste.deploy factories this crate descends from, and more; each
//! type lists its own.
//!
//! * A *text* may also be a number or a boolean of the format.
//! * A *list* is an array, or one text with white space between the elements.
//! * A *flag* is `true`, `yes`, `on`, `1` or `false`, `no`, `off`, `0`.
//! * A *time* is a whole number with its unit: `500ms`, `10s`, `5m`, `1h`; `off` turns the limit off.
//!
//! A key that is not set has the default of the builder's setting. `build()` reports all [`ConfigErrors`] at once, each with its key and text;
//! a key that is not known, or occurs twice, is a mistake too.
//!
//! For configurations of one's own, an [`UpstreamUrl`](crate::UpstreamUrl) is read from a text by itself.
//!
//! ```
//! use nexthop::config::ProxyMiddlewareConfig;
//!
//! let config: ProxyMiddlewareConfig = serde_json::from_str(r#"{
//!     "trust_ips": "10.0.0.0/8 loopback",
//!     "forwarded_headers": "x-forwarded",
//!     "restore": ["client", "scheme", "host"],
//!     "allowed_hosts": ["example.com", "*.example.com"]
//! }"#)?;
//! let layer = config.build()?;
//!
//! let config = ProxyMiddlewareConfig::from_iter([("trust_ips", "10.0.0.0/33"), ("schema", "https")]);
//! let mistakes: Vec<_> = config.build().unwrap_err().iter().map(ToString::to_string).collect();
//! assert_eq!(mistakes.len(), 2);
//! assert!(mistakes[0].starts_with(r#"trust_ips "10.0.0.0/33": "#));
//! assert!(mistakes[1].starts_with(r#"setting "schema": unknown key"#));
//! # Ok::<(), nexthop::BoxError>(())
//! ```

mod errors;
mod exact;
mod middleware;
mod nearest;
mod proxy_app;
#[cfg(feature = "serve")]
mod serve;
mod shared;
#[cfg(feature = "spawn")]
mod spawn;
mod table;
mod transparent;

pub use errors::ConfigErrors;
pub use middleware::ProxyMiddlewareConfig;
pub use proxy_app::ProxyAppConfig;
#[cfg(feature = "serve")]
pub use serve::ServeConfig;
#[cfg(feature = "spawn")]
pub use spawn::SpawnAppConfig;
pub use transparent::TransparentProxyConfig;
