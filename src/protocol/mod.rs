//! What travels between the two ends of a hop.

pub mod names;
