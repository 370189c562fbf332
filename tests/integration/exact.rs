//! `ExactProxy` and `TransparentProxy`: where requests go, and their exact bytes.

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
