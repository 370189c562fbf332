//! One binary, so that helpers are shared and linked once.

mod support;
mod support_itself;
