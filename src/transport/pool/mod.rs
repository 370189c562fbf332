//! The pool: which connections there are, to where, and who gets the next one.
//!
//! [`checkout`] is the way of a request in and of a connection back, [`places`] what is kept for each destination. A connection's [`Home`]
//! counts it from the moment it may be dialled until it is gone. Only with a maximum of connections is there a queue
//! ([`waiting`]), which streams of shared connections go to, too ([`sharing`]).

mod checkout;
mod event;
mod home;
mod places;
mod reaper;
#[cfg(feature = "http2")]
mod sharing;
mod stats;
mod waiting;

pub use event::{CloseReason, PoolChange, PoolEvent};
pub use stats::PoolStats;

pub(crate) use checkout::{Pool, Taken};
pub(crate) use event::Listener;
pub(crate) use home::Home;
#[cfg(feature = "http2")]
pub(crate) use sharing::Queue;
pub(crate) use waiting::Waiting;
