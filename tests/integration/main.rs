//! One binary, so that helpers are shared and linked once.

mod serve;
mod support;
mod support_itself;
