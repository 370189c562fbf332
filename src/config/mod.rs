//! Builds services and layers from configuration files (feature `config`).
//!
//! [`ProxyAppConfig`], [`TransparentProxyConfig`], [`ProxyMiddlewareConfig`] and `SpawnAppConfig` (feature `spawn`)
//! deserialize from every serde format (TOML, YAML, JSON, …), on their own or as fields of an application's
//! configuration. `from_iter` collects them from pairs of strings, such as an INI section or environment variables.
//! `build()` then returns the service or layer. `ServeConfig` (feature `serve`) is applied to a server with
//! `apply(…)`. Each type documents its keys, which include those of the paste.deploy factories of WSGIProxy.
//!
//! | type | value |
//! |---|---|
//! | string | a string, a number or a boolean of the format; not empty |
//! | list | an array, or one string with white space between the elements |
//! | boolean | `true`, `yes`, `on`, `1`, or `false`, `no`, `off`, `0` |
//! | number | a whole number |
//! | duration | a whole number and its unit: `500ms`, `10s`, `5m`, `1h` |
//! | duration or `off` | a duration; `off` disables the limit |
//!
//! A key that is not set has the default of the builder. Keywords are case-insensitive.
//!
//! # Errors
//! `build()` and `apply(…)` report all [`ConfigErrors`] at once, each with its key and value. An unknown key and a
//! key that occurs twice are errors, too. Values of unknown keys are not printed, since a value may be a secret.
//!
//! # Other configuration types
//! [`UpstreamUrl`](crate::UpstreamUrl) deserializes from a string, for use in an application's own configuration types.
//!
//! ```
//! use nexthop::config::ProxyMiddlewareConfig;
//!
//! let config: ProxyMiddlewareConfig = serde_json::from_str(r#"{
//!     "trust_ips": "10.0.0.0/8 loopback",
//!     "restore": ["client", "scheme", "host"],
//!     "allowed_hosts": ["example.com", "*.example.com"]
//! }"#)?;
//! let layer = config.build()?;
//!
//! let pairs = [("trust_ips", "10.0.0.0/33"), ("schema", "https")];
//! let config = ProxyMiddlewareConfig::from_iter(pairs);
//! let errors: Vec<_> = config.build().unwrap_err().iter().map(ToString::to_string).collect();
//! assert_eq!(errors.len(), 2);
//! assert!(errors[0].starts_with(r#"trust_ips "10.0.0.0/33": "#));
//! assert_eq!(errors[1], r#"setting "schema": unknown key; did you mean scheme?"#);
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
