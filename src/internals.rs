//! Parsers and encoders for the fuzz targets, benchmarks and tests of this repository. Not public API: anything here may change in any
//! release.

pub mod forwarded {
    pub use crate::message::forwarded::{
        Element, MAX_BYTES, MAX_ELEMENTS, elements, for_hops, from_right, parse_node, walk, write_elements, write_for,
    };
}
pub mod hop {
    pub use crate::message::hop::{Stripped, strip_request, strip_response};
}
pub mod location {
    pub use crate::message::location::Mapping;
}
pub mod target {
    pub use crate::message::target::{join, split, split_query};
}
pub mod value {
    pub use crate::protocol::value::{DecodeError, decode, encode};
}
pub mod signature {
    pub use crate::protocol::signature::{
        AttemptSigner, BodySigning, BodyVerification, ReadSigned, ReadVerified, SignedBody, Verification, Verified,
        VerifiedBody, VerifyLater,
    };
}
pub mod handshake {
    pub use crate::message::{
        extended::{accept, extended_connect, switch, write_handshake},
        upgrade::{Handshake, check_switch, handshake},
    };
}
