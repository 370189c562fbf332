//! What travels between the two ends of a hop.

mod family;
pub mod names;

pub use family::Family;
