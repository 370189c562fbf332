//! The pool: which connections are used again, who waits for one, and what is counted.

mod counts;
mod queue;
mod reuse;
mod storm;
