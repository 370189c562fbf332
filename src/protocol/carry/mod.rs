//! [`CarriedKeys`]: values of the application that travel with a request, such as who is logged in.
//!
//! Both ends name the keys they carry, and the type each is: what is not named is neither sent nor read, so the configuration is the
//! allow-list. The sender takes each value from the request's extensions by its type, the receiver puts it back there. All of this
//! needs trust: a receiver calls [`decode`](CarriedKeys::decode) only for requests that somebody vouched for.
//!
//! | on the wire | in Rust | set by |
//! |---|---|---|
//! | `X-WSGIProxy-Str-N: name value` | text by `Display` and `FromStr`, or bytes | [`string`](CarriedKeysBuilder::string), [`bytes`](CarriedKeysBuilder::bytes) |
//! | `X-WSGIProxy-Unicode-N: name value` | text by `Display` and `FromStr` | [`unicode`](CarriedKeysBuilder::unicode) |
//! | `X-WSGIProxy-Json-N: name value` | anything serde knows | [`json`](CarriedKeysBuilder::json) |
//! | `X-WSGIProxy-Bin-N: name codec:base64` | anything serde knows | `binary` (features `postcard`, `bincode`) |
//!
//! ```
//! use http::{Extensions, HeaderMap};
//! use nexthop::protocol::carry::CarriedKeys;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
//! struct User { id: u64, name: String }
//!
//! let keys = CarriedKeys::builder().json::<User>("user").build()?;
//!
//! let mut sent = Extensions::new();
//! sent.insert(User { id: 7, name: "alice".into() });
//! let mut fields = HeaderMap::new();
//! keys.encode(&sent, &mut fields)?;
//! assert_eq!(fields["x-wsgiproxy-json-1"], r#"user {"id":7,"name":"alice"}"#);
//!
//! let mut received = Extensions::new();
//! keys.decode(&mut fields, &mut received)?;
//! assert_eq!(received.get(), Some(&User { id: 7, name: "alice".into() }));
//! assert!(fields.is_empty());
//! # Ok::<(), nexthop::BoxError>(())
//! ```

mod builder;
#[cfg(any(feature = "bincode", feature = "postcard"))]
mod codec;
mod key;
mod keys;
#[cfg(test)]
mod tests;

pub use builder::CarriedKeysBuilder;
#[cfg(any(feature = "bincode", feature = "postcard"))]
pub use codec::Codec;
pub use keys::CarriedKeys;

/// The version of the carried keys' wire format that is sent in `X-WSGIProxy-Version`.
///
/// A receiver takes `0.N` for any N, as well as a message without the field, and refuses others.
pub const VERSION: &str = "0.1";

/// The longest name of a key.
pub const MAX_NAME_BYTES: usize = 128;
/// The most keys one configuration or one message can have.
pub const MAX_KEYS: usize = 64;
/// The longest value of one key, before it is coded for the wire.
pub const MAX_VALUE_BYTES: usize = 4 * 1024;
/// The most bytes all values of one message can have together, before they are coded for the wire.
pub const MAX_TOTAL_BYTES: usize = 16 * 1024;
