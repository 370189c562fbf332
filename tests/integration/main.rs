//! One binary, so that helpers are shared and linked once.

mod examples;
mod middleware;
mod serve;
mod signed;
mod support;
mod support_itself;
mod trust;
