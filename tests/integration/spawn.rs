//! Children that are real processes: started on demand, watched, stopped.

#![cfg(unix)]
#![allow(unreachable_pub)] // as in `support`

mod child;
mod failures;
mod start;
mod stop;
