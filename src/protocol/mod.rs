//! What travels between the two ends of a hop.

pub mod carry;
mod family;
pub mod keyring;
pub mod names;
pub mod replay;
pub mod signature;
pub mod value;

pub use family::Family;
