//! One test binary, so that helpers are compiled and linked once.

mod app;
mod ca;
mod carry;
mod compile_fail;
mod config;
mod conformance;
mod exact;
mod examples;
mod extract;
mod forward;
mod grpc;
mod http2_upstream;
mod middleware;
mod observe;
mod pages;
mod serve;
mod signed;
mod spawn;
mod support;
mod support_itself;
mod testkit;
mod timeouts;
mod transport;
mod trust;
mod tunnel;
mod websocket;
