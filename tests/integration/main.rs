//! One binary, so that helpers are shared and linked once.

mod middleware;
mod support;
mod support_itself;
mod trust;
