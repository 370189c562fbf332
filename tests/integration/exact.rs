//! `ExactProxy` and `TransparentProxy`: what goes out, byte for byte, and where to.

mod client;
mod connect;
mod framing;
mod heads;
mod one_stream;
mod places;
mod proxy_protocol;
mod tls;
mod transparent;
mod upstream_proxy;
