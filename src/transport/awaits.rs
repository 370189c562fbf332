//! [`Awaits`]: what a request whose response has not begun waits for, and how long it may.

use std::time::Duration;

use super::limits::Limits;
use crate::error::{Error, ErrorKind, Phase};

/// What the next step hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// `100 Continue`, or that its time is over.
    Continue,
    /// The client's body.
    Client,
    /// Room at the upstream.
    Room,
    /// The head of the response.
    Head,
}

impl Awaits {
    pub(crate) fn limit(self, limits: &Limits) -> Option<Duration> {
        match self {
            Self::Continue => Some(limits.expect_continue),
            Self::Client | Self::Room => limits.body_idle,
            Self::Head => limits.response_head,
        }
    }

    /// That it was waited for in vain.
    pub(crate) fn too_late(self) -> Error {
        match self {
            Self::Client => {
                Error::new(ErrorKind::RequestTimeout, "timeout waiting for the request body").in_phase(Phase::Send)
            }
            Self::Room => {
                Error::new(ErrorKind::Timeout, "timeout sending the request to the upstream").in_phase(Phase::Send)
            }
            Self::Continue | Self::Head => {
                Error::new(ErrorKind::Timeout, "timeout waiting for the response head").in_phase(Phase::ResponseHead)
            }
        }
    }
}

/// Counts interim responses to one request. Each is progress, so their number must be limited, too.
#[derive(Debug, Default)]
pub(crate) struct Interim(u32);

impl Interim {
    /// # Errors
    /// `Upstream` (502) for one too many.
    pub(crate) fn count(&mut self) -> Result<(), Error> {
        self.0 += 1;
        if self.0 <= MAX_INTERIM {
            return Ok(());
        }
        let error = Error::new(ErrorKind::Upstream, "too many 1xx responses from the upstream");
        Err(error.in_phase(Phase::ResponseHead).after_send())
    }
}

const MAX_INTERIM: u32 = 100;
