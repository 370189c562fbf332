//! Kinds and phases as the words of labels and fields.

use crate::{
    error::{ErrorKind, Phase},
    transport::observe::Outcome,
};

pub(super) const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete => "complete",
        Outcome::Failed => "failed",
        Outcome::Cancelled => "cancelled",
    }
}

pub(super) const fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Connect => "connect",
        ErrorKind::Denied => "denied",
        ErrorKind::HeadTooLarge => "head_too_large",
        ErrorKind::Internal => "internal",
        ErrorKind::LoopDetected => "loop_detected",
        ErrorKind::MethodNotAllowed => "method_not_allowed",
        ErrorKind::LengthRequired => "length_required",
        ErrorKind::Misdirected => "misdirected",
        ErrorKind::ProxyAuthentication => "proxy_authentication",
        ErrorKind::RequestBody => "request_body",
        ErrorKind::RequestTimeout => "request_timeout",
        ErrorKind::Signature => "signature",
        ErrorKind::InvalidTarget => "invalid_target",
        ErrorKind::Timeout => "timeout",
        ErrorKind::TooLarge => "too_large",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Upstream => "upstream",
    }
}

pub(super) const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Validate => "validate",
        Phase::Queue => "queue",
        Phase::Resolve => "resolve",
        Phase::Connect => "connect",
        Phase::Tls => "tls",
        Phase::Send => "send",
        Phase::ResponseHead => "response_head",
        Phase::ResponseBody => "response_body",
    }
}
