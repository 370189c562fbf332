//! What an error of `h2` means for the request it befell.

use super::conn::Http1Required;
use crate::error::{Error, ErrorKind, Phase};

/// How a stream failed, and what that says about its request.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// The upstream has not processed the request: it never got it, or says so (RFC 9113 §8.7).
    pub(crate) unprocessed: bool,
    /// The connection ended, and with it every stream on it.
    pub(crate) lost: bool,
    /// The upstream requires HTTP/1.1.
    pub(crate) http1_required: bool,
}

impl Failure {
    /// What happened on this side.
    pub(super) fn ours(error: Error) -> Self {
        Self { error, unprocessed: false, lost: false, http1_required: false }
    }

    /// The stream could not be opened at all.
    pub(super) fn not_opened(source: h2::Error) -> Self {
        let http1_required = Http1Required::is_meant(&source);
        let error = Error::new(ErrorKind::Upstream, "the upstream's HTTP/2 connection accepts no new streams");
        Self { error: error.with_source(source).in_phase(Phase::Send), unprocessed: true, lost: true, http1_required }
    }

    /// The stream was not opened, as the upstream takes none.
    pub(super) fn no_streams() -> Self {
        Self { error: no_streams(), unprocessed: true, lost: false, http1_required: false }
    }

    /// The stream ended before the head of a response. `left_for_http1`: a `GOAWAY` required HTTP/1.1.
    ///
    /// A stream that is reset for HTTP/1.1 counts as not processed, as it does for browsers and curl: the upstream asks for the same request
    /// again. A stream that a `GOAWAY` lets go on may have been processed.
    pub(super) fn of(source: h2::Error, phase: Phase, left_for_http1: bool) -> Self {
        let refused_for_http1 = Http1Required::is_meant(&source);
        // h2 gives a GOAWAY of the peer to those streams alone that are above the last one it names.
        let refused = source.is_reset() && source.reason() == Some(h2::Reason::REFUSED_STREAM);
        let unprocessed = refused_for_http1 || source.is_remote() && (refused || source.is_go_away());
        let lost = source.is_io() || source.is_go_away();
        let http1_required = refused_for_http1 || lost && left_for_http1;
        let reason = if http1_required {
            "the upstream requires HTTP/1.1 instead of HTTP/2"
        } else if unprocessed {
            "the upstream refused the stream before processing the request"
        } else if lost {
            "the upstream closed the connection before sending a response"
        } else {
            "the upstream reset the stream before sending a response"
        };
        let error = Error::new(ErrorKind::Upstream, reason).with_source(source).in_phase(phase);
        Self { error: if unprocessed { error } else { error.after_send() }, unprocessed, lost, http1_required }
    }
}

/// A response is malformed by a value that begins or ends with white space (RFC 9113 §8.2.1).
pub(super) fn padded() -> Error {
    Error::new(ErrorKind::Upstream, "a header or trailer value of the response begins or ends with whitespace")
}

/// The upstream has said that it takes no streams at all (RFC 9113 §6.5.2), which may not last.
pub(super) fn no_streams() -> Error {
    Error::new(ErrorKind::Upstream, "the upstream's HTTP/2 settings allow no streams").in_phase(Phase::Queue)
}
