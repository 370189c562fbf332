//! [`Prepare`]: what whoever sends a request has to say of it.

use http::{Extensions, HeaderValue, request::Parts};

use crate::{error::Error, message::fields::Fields, transport::Destination};

/// Has the last word on a request's head before each attempt is written, such as signing it with a new nonce.
pub(crate) trait Prepare: Unpin {
    /// `attempt` counts from 0.
    fn prepare(&mut self, _attempt: u32, _parts: &mut Parts) -> Result<(), Error> {
        Ok(())
    }

    /// Where the request goes, if that is known already and not to be read from its URI.
    fn destination(&self) -> Option<&Destination> {
        None
    }

    /// True if neither `Content-Length` nor `Transfer-Encoding` is among the fields, as somebody knows who looked.
    fn is_unframed(&self) -> bool {
        false
    }

    /// What `Host` says instead of what it says in the head.
    fn host(&self) -> Option<&HeaderValue> {
        None
    }

    /// Adds fields to those of the head, none of which has the same name.
    fn add_fields(&self, _extensions: &Extensions, _out: &mut impl Fields) {}

    /// True if [`prepare`](Self::prepare) changes the head from one attempt to the next.
    fn is_anew(&self) -> bool {
        false
    }

    /// True if the body's trailers belong to the head they were made for, and to no other attempt's.
    fn binds_trailers(&self) -> bool {
        false
    }
}

impl Prepare for () {}
