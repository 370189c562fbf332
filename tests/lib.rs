//! Names the crates that programs in `integration/compile_fail.rs` use.
//!
//! The test passes the file of this library to the compiler. Which builds of its dependencies belong to it is recorded
//! in that file, so a program may name them even if the target directory holds several builds of one crate.

pub use {axum, http, hyper, nexthop, tokio, tower};
