//! Carries values of the application with a request, such as the name of the user who is logged in: [`CarriedKeys`].
//!
//! Both ends configure the names of the keys, and the type of each. Other keys are neither sent nor read: the configuration is the
//! allow-list. The sender takes each value from the request's extensions by its type, and the receiver inserts it into the request's
//! extensions. Give the keys to [`ProxyAppBuilder::carried`](crate::app::ProxyAppBuilder::carried) and
//! [`ProxyMiddlewareBuilder::carried`](crate::middleware::ProxyMiddlewareBuilder::carried).
//!
//! | header | type | configured by |
//! |---|---|---|
//! | `X-WSGIProxy-Str-N: name value` | text with `Display` and `FromStr`, or bytes | [`string`](CarriedKeysBuilder::string), [`bytes`](CarriedKeysBuilder::bytes) |
//! | `X-WSGIProxy-Unicode-N: name value` | text with `Display` and `FromStr` | [`unicode`](CarriedKeysBuilder::unicode) |
//! | `X-WSGIProxy-Json-N: name value` | any type that serde serialises | [`json`](CarriedKeysBuilder::json) |
//! | `X-WSGIProxy-Bin-N: name codec:base64` | any type that serde serialises | `binary` (features `postcard`, `bincode`) |
//!
//! # Deployment
//! Carried keys authenticate a user only as well as the sender is authenticated. `ProxyMiddleware` reads them only from a trusted sender;
//! if you call [`decode`](CarriedKeys::decode) yourself, call it only for such requests. The grammar is in the
//! [specification](crate::protocol#carried-keys).
//!
//! # Example
//! ```
//! use http::{Extensions, HeaderMap};
//! use nexthop::protocol::carry::CarriedKeys;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
//! struct User {
//!     id: u64,
//!     name: String,
//! }
//!
//! let keys = CarriedKeys::builder().json::<User>("user").build()?;
//!
//! let mut sent = Extensions::new();
//! sent.insert(User { id: 7, name: "alice".into() });
//! let mut headers = HeaderMap::new();
//! keys.encode(&sent, &mut headers)?;
//! assert_eq!(headers["x-wsgiproxy-json-1"], r#"user {"id":7,"name":"alice"}"#);
//!
//! let mut received = Extensions::new();
//! keys.decode(&mut headers, &mut received)?;
//! assert_eq!(received.get(), Some(&User { id: 7, name: "alice".into() }));
//! assert!(headers.is_empty());
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

/// The version of the wire format of carried keys, sent in `X-WSGIProxy-Version`.
///
/// A receiver accepts `0.N` for any N and a message without this header. It refuses other versions (400).
pub const VERSION: &str = "0.1";

/// The maximum length of a key's name, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// The maximum number of keys in one configuration and in one message.
pub const MAX_KEYS: usize = 64;
/// The maximum length of one value in bytes, before its encoding for the wire.
pub const MAX_VALUE_BYTES: usize = 4 * 1024;
/// The maximum length of all values of one message together, in bytes, before their encoding for the wire.
pub const MAX_TOTAL_BYTES: usize = 16 * 1024;
