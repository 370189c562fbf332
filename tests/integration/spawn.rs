//! Children as real processes: started on demand, supervised and stopped.

#![cfg(unix)]
#![allow(unreachable_pub)] // as in `support`

mod child;
mod configured;
mod directory;
mod failures;
mod generations;
mod handed_over;
mod inspection;
mod keyed;
mod notify;
mod orphans;
mod reports;
mod start;
mod stop;
mod strangers;
