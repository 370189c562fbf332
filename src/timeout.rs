//! Timeouts as clocks can count them: every duration that a user sets passes through here before it is added to an instant.

use std::time::Duration;

/// The longest timeout, 30 years. Clocks of some platforms cannot express a time that is much later.
pub(crate) const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The same timeout, or [`LONGEST`] if it is longer.
pub(crate) fn clamp(timeout: Duration) -> Duration {
    timeout.min(LONGEST)
}

/// The same, and [`LONGEST`] for none.
#[cfg(feature = "serve")]
pub(crate) fn or_longest(timeout: impl Into<Option<Duration>>) -> Duration {
    timeout.into().map_or(LONGEST, clamp)
}

/// The same timeout, or none if it is [`LONGEST`] or longer.
pub(crate) fn or_none(timeout: Option<Duration>) -> Option<Duration> {
    timeout.filter(|timeout| *timeout < LONGEST)
}
