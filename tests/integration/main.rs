//! One binary, so that helpers are shared and linked once.

mod app;
mod carry;
mod config;
mod examples;
mod extract;
mod middleware;
mod serve;
mod signed;
mod support;
mod support_itself;
mod trust;
