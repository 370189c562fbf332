//! `ExactProxy` and `TransparentProxy`: what goes out, byte for byte, and where to.

mod client;
mod framing;
mod heads;
mod places;
mod transparent;
