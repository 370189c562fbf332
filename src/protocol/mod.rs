//! What travels between the two ends of a hop.

mod family;
pub mod keyring;
pub mod names;
pub mod replay;
pub mod signature;

pub use family::Family;
