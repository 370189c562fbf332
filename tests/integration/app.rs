//! `ProxyApp` between raw sockets: the exact bytes that the upstream and the client receive.

mod bodies;
mod fields;
mod hooks;
mod mounts;
mod over_http2;
mod pair;
mod responses;
mod streams;
mod targets;

use nexthop::app::{ProxyApp, ProxyAppBuilder};

use crate::support::RawUpstream;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Builds a `ProxyApp` to a path of an upstream.
#[track_caller]
fn app(upstream: &RawUpstream, path: &str) -> ProxyAppBuilder {
    ProxyApp::builder(upstream.url(path))
}
