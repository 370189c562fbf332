//! Extended `CONNECT` ([RFC 8441]) of HTTP/2 clients, which goes out as an HTTP/1.1 handshake.
//!
//! It is made a `GET` at once, so that everything that looks at a request sees what the upstream will see, and gets the fields of a
//! handshake once those that concern one connection were taken off.
//!
//! [RFC 8441]: https://www.rfc-editor.org/rfc/rfc8441

#[cfg(feature = "http2")]
use http::Method;
use http::request::Parts;

use crate::{
    error::{Error, ErrorKind},
    message::extended::{Extended, write_handshake},
};

/// Makes an extended `CONNECT` a `GET`; true if it was one. To be called before anything else looks at the request.
#[cfg(feature = "http2")]
pub(crate) fn receive(parts: &mut Parts) -> bool {
    if parts.method != Method::CONNECT {
        return false;
    }
    let Some(protocol) = parts.extensions.remove::<hyper::ext::Protocol>() else { return false };
    parts.method = Method::GET;
    parts.extensions.insert(Extended::new(protocol.as_str()));
    true
}

#[cfg(not(feature = "http2"))]
pub(crate) fn receive(_: &mut Parts) -> bool {
    false
}

/// Adds the fields of the handshake to a request that was [received](receive) so, after those that concern one connection were taken off.
///
/// # Errors
/// `Unsupported` (501) for a protocol that is none, or that is not carried.
pub(crate) fn announce(parts: &mut Parts) -> Result<(), Error> {
    let Some(extended) = parts.extensions.get::<Extended>() else { return Ok(()) };
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| {
        Error::new(ErrorKind::Internal, "the operating system's random number generator failed").with_source(error)
    })?;
    write_handshake(&mut parts.headers, extended.protocol(), nonce)
}
