//! Where a request goes: its target, byte for byte, and the host it names.
//!
//! Paths and queries are never decoded, normalised or encoded anew. [`join`] puts a path below another one, [`split`] takes one off, both
//! only at the border of a segment: `/api` is a prefix of `/api` and of `/api/x`, not of `/apiary` nor of `/api%2Fx`. [`set_path`] and
//! [`set_query`] change a URI, as hooks do.
//!
//! ```
//! use nexthop::internals::target::{join, split};
//!
//! let target = join("/app", "/a%2Fb//c", Some("x=1"), Some("key=2"))?;
//! assert_eq!(target.as_str(), "/app/a%2Fb//c?x=1&key=2");
//! assert_eq!(split(target.path(), "/app"), Some("/a%2Fb//c"));
//! assert_eq!(split("/apple", "/app"), None);
//! # Ok::<(), nexthop::Error>(())
//! ```

mod host;
mod path;
mod prefix;
mod set;
mod upstream_url;

pub(crate) use host::{Form, check_host, form};
pub use path::{join, split, split_query};
pub(crate) use prefix::ClientPrefix;
pub use prefix::Prefix;
pub use set::{set_path, set_query};
pub use upstream_url::UpstreamUrl;

#[cfg(feature = "forward")]
pub(crate) use host::host_field;
pub(crate) use host::{is_host, plain};
pub(crate) use path::split_bytes;
