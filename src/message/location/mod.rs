//! Mapping of URLs in responses from the upstream's view to the client's.
//!
//! An upstream that does not know where it is mounted names itself in `Location`, `Content-Location`, `Refresh`, `Link` and in the `Path`
//! and `Domain` of `Set-Cookie`. [`Mapping::apply`] puts the client's names in their place:
//!
//! * an absolute URL (or `//host/…`) whose scheme and host are the upstream's own, by its URL or by the scheme and `Host` that it was
//!   sent, and whose path is below the upstream's path: scheme, host and path are replaced; foreign ones stay byte for byte, and so do
//!   those with the client's own scheme and host;
//! * a path beginning with `/`: the upstream's path is taken off and the client's prefix put on;
//! * relative references (`x`, `../x`, `?q`, `#f`): untouched, since they are right as they are.
//!
//! A path that is already below the client's prefix stays, unless the upstream's own path says more: so an upstream that does know where
//! it is mounted (behind `ProxyMiddleware`) is not mapped twice. Everything behind the path stays as it is.
//!
//! ```
//! use http::{HeaderMap, HeaderValue, uri::Scheme};
//! use nexthop::{internals::location::Mapping, message::Prefix};
//!
//! let upstream = "http://backend:8080/app".parse()?;
//! let prefix = "/shop".parse::<Prefix>()?;
//! let mapping = Mapping::new(upstream, Scheme::HTTPS, "www.example.com", prefix);
//! let mut headers = HeaderMap::new();
//! headers.insert("location", HeaderValue::from_static("http://backend:8080/app/cart?id=1"));
//! headers.insert("set-cookie", HeaderValue::from_static("id=1; Path=/app; HttpOnly"));
//! mapping.apply(&mut headers);
//! assert_eq!(headers["location"], "https://www.example.com/shop/cart?id=1");
//! assert_eq!(headers["set-cookie"], "id=1; Path=/shop; HttpOnly");
//! # Ok::<(), nexthop::ConfigError>(())
//! ```

mod cookie;
mod fields;
mod mapping;
#[cfg(test)]
mod tests;

pub(crate) use fields::concerns;
pub use mapping::Mapping;
