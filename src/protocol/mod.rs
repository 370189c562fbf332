//! What travels between the two ends of a hop.

pub mod carry;
pub mod names;
pub mod value;
