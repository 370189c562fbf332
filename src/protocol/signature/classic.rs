//! The classic signature.
