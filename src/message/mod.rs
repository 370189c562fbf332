//! Pure functions over the heads of HTTP messages: no IO, no clock, no runtime.

pub mod forwarded;
