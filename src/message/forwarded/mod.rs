//! The two lists that say which way a request came: `X-Forwarded-For` and `Forwarded` ([RFC 7239]).
//!
//! Both are written by every proxy on the way, each to the right of what it found, so that only the right end can be believed: a client
//! writes what it likes to the left. [`for_hops`] and [`elements`] therefore read all lines of a field as one list, as bytes, and keep
//! the right end of it where it is longer than [`MAX_ELEMENTS`] or [`MAX_BYTES`]; what was cut off or cannot be read stands there as
//! [`Hop::Unknown`], because leaving it out would let its left neighbour take its place. [`walk`] finds the client from the right.
//!
//! ```
//! use http::{HeaderMap, HeaderValue};
//! use nexthop::{ext::Hop, internals::forwarded};
//!
//! let mut headers = HeaderMap::new();
//! headers.append("x-forwarded-for", HeaderValue::from_static("6.6.6.6")); // what the client made up
//! headers.append("x-forwarded-for", HeaderValue::from_static("192.0.2.9, 10.0.0.7")); // what the edge and a balancer saw
//!
//! let hops = forwarded::for_hops(&headers, &"x-forwarded-for".parse()?);
//! let client = forwarded::walk(&hops, usize::MAX, |ip| ip.to_string().starts_with("10."));
//! assert_eq!(client.and_then(|at| hops[at].ip()), Some("192.0.2.9".parse()?));
//!
//! let line = forwarded::write_for(hops.iter().chain([&Hop::Addr("10.0.0.8".parse()?, None)]));
//! assert_eq!(line, "6.6.6.6, 192.0.2.9, 10.0.0.7, 10.0.0.8");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [RFC 7239]: https://www.rfc-editor.org/rfc/rfc7239
//! [`Hop::Unknown`]: crate::ext::Hop::Unknown

mod element;
mod list;
mod node;
#[cfg(test)]
mod tests;

pub use element::{Element, elements, write_elements};
pub use list::{MAX_BYTES, MAX_ELEMENTS, for_hops, from_right, walk, write_for};
pub(crate) use list::{into_value, write_list};
pub use node::parse_node;
