//! Both ends of an HTTP hop, for tower, hyper and axum.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(
    missing_docs,
    missing_debug_implementations,
    unnameable_types,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::exhaustive_enums,
    clippy::exhaustive_structs
)]

mod error;
pub mod ext;

pub mod message;
pub mod protocol;

pub mod transport;

mod body;
pub mod secret;

pub mod exact;

pub mod app;
pub mod middleware;

#[cfg(feature = "serve")]
pub mod serve;

#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "config")]
pub mod config;

pub use body::Body;
pub use error::{BoxError, ConfigError, Error, ErrorKind, Phase};
pub use exact::{ExactProxy, TransparentProxy};
pub use middleware::ProxyMiddleware;
#[cfg(feature = "serve")]
pub use serve::serve;
