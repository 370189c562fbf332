//! Connections that have become something else: the two ends of an upgraded one, joined.
//!
//! One task for each tunnel. Bytes are read into a buffer that belongs to the thread and written from there, so a tunnel that nothing
//! moves through holds none, and one that moves little copies nothing; what the other side does not take at once, at most 128 KiB each
//! way, waits in the tunnel's own hands. The end of each direction is carried across by itself. Where one side takes no
//! more, what has arrived from it still goes to the other, which has a minute for it. There is one timer, looked at when it fires.

mod client;
mod copy;
mod join;
mod scratch;
mod upgraded;

#[cfg(feature = "serve")]
pub(crate) use client::{Client, Gauge, Shutdown};
pub(crate) use join::open;
#[cfg(feature = "forward")]
pub(crate) use join::{carry, join};
#[cfg(feature = "spawn")]
pub(crate) use upgraded::Hold;
pub use upgraded::Upgraded;
