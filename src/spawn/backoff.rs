//! [`Backoff`]: how soon a child that fails is started again.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::timeout::clamp;

/// Sets the delay before a child that failed is started again, and the circuit breaker.
///
/// A child fails if it cannot be started or ends soon after. The default delay is 0.1 s after the first failure,
/// doubles with each further failure, and is at most 30 s. Five failures within 60 s open the circuit breaker: for 30
/// s, requests are answered at once with 503 and `Retry-After`. The first request after that is a probe, which starts
/// one child. A child that was ready for 10 s is healthy: its end is no failure, and a new one is started at once.
///
/// A failure that would only happen again opens the circuit breaker at once: the program, its interpreter or a
/// directory does not exist or may not be used, the program runs in the background, or the child's port cannot be
/// verified.
///
/// ```
/// use std::time::Duration;
/// use nexthop::spawn::Backoff;
///
/// // Short delays, for tests that kill children.
/// let quick = Backoff::default()
///     .delays(Duration::from_millis(1), Duration::from_millis(10))
///     .no_circuit_breaker();
/// # let _ = quick;
/// ```
#[doc(alias = "restart policy")]
#[doc(alias = "exponential backoff")]
#[doc(alias = "circuit breaker")]
#[doc(alias = "respawn")]
#[derive(Clone, Debug)]
#[must_use]
pub struct Backoff {
    first: Duration,
    most: Duration,
    circuit_breaker: Option<CircuitBreaker>,
    proven: Duration,
}

#[derive(Clone, Copy, Debug)]
struct CircuitBreaker {
    failures: usize,
    within: Duration,
    pause: Duration,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { failures: 5, within: Duration::from_secs(60), pause: Duration::from_secs(30) }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            most: Duration::from_secs(30),
            circuit_breaker: Some(CircuitBreaker::default()),
            proven: Duration::from_secs(10),
        }
    }
}

impl Backoff {
    /// Sets the delay after the first failure and the maximum delay. Default: 100 ms and 30 s.
    ///
    /// A `max` that is less than `initial` counts as `initial`.
    pub fn delays(mut self, initial: Duration, max: Duration) -> Self {
        self.first = clamp(initial);
        self.most = clamp(max.max(initial));
        self
    }

    /// Sets the circuit breaker: after `failures` (at least one) within the period `within`, requests are answered with
    /// 503 for `pause`. Default: 5 failures within 60 s, 30 s pause.
    pub fn circuit_breaker(mut self, failures: usize, within: Duration, pause: Duration) -> Self {
        self.circuit_breaker = Some(CircuitBreaker { failures: failures.max(1), within, pause: clamp(pause) });
        self
    }

    /// Disables the circuit breaker: children are started again without end, with the delays.
    pub fn no_circuit_breaker(mut self) -> Self {
        self.circuit_breaker = None;
        self
    }

    /// Sets how long a child must be ready to count as healthy, so that its end is no failure. Default: 10 s.
    pub fn healthy_after(mut self, time: Duration) -> Self {
        self.proven = time;
        self
    }
}

/// Settings that come one by one, each with its default.
#[cfg(feature = "config")]
impl Backoff {
    pub(crate) fn of(first: Option<Duration>, most: Option<Duration>) -> Self {
        let default = Self::default();
        let (first, most) = (first.unwrap_or(default.first), most.unwrap_or(default.most));
        default.delays(first, most)
    }

    pub(crate) fn circuit_breaker_of(
        self,
        failures: Option<usize>,
        within: Option<Duration>,
        pause: Option<Duration>,
    ) -> Self {
        let default = CircuitBreaker::default();
        self.circuit_breaker(
            failures.unwrap_or(default.failures),
            within.unwrap_or(default.within),
            pause.unwrap_or(default.pause),
        )
    }
}

/// The failures of one app.
#[derive(Debug)]
pub(super) struct Failures {
    backoff: Backoff,
    in_a_row: u32,
    recent: VecDeque<Instant>,
    /// True if the next one counts as the last of many.
    probing: bool,
}

/// What to do after a child has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BackoffDecision {
    /// Start it again, not before this time.
    Again(Instant),
    /// Start none before this time, and then only on demand.
    GiveUp(Instant),
}

impl Failures {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { backoff, in_a_row: 0, recent: VecDeque::new(), probing: false }
    }

    /// A child has ended unasked, after having been ready for this time, if at all.
    pub(super) fn note(&mut self, now: Instant, ready_for: Option<Duration>) -> BackoffDecision {
        if ready_for.is_some_and(|time| time >= self.backoff.proven) {
            self.forget();
            return BackoffDecision::Again(now);
        }
        let delay = self.backoff.first.saturating_mul(1 << self.in_a_row.min(20)).min(self.backoff.most);
        self.in_a_row = self.in_a_row.saturating_add(1);
        if let Some(CircuitBreaker { failures, within, pause }) = self.backoff.circuit_breaker {
            self.recent.push_back(now);
            while self.recent.len() > failures {
                self.recent.pop_front();
            }
            let all_within = self.recent.front().is_some_and(|first| now.duration_since(*first) <= within);
            if self.probing || (self.recent.len() == failures && all_within) {
                self.probing = true;
                return BackoffDecision::GiveUp(now + pause);
            }
        }
        BackoffDecision::Again(now + delay)
    }

    /// A child could not be started, and the next one could not be either: no further attempt is made before the pause of the circuit breaker
    /// is over, or the maximum delay where there is no circuit breaker.
    pub(super) fn note_permanent(&mut self, now: Instant) -> BackoffDecision {
        match self.backoff.circuit_breaker {
            Some(CircuitBreaker { pause, .. }) => {
                self.probing = true;
                BackoffDecision::GiveUp(now + pause)
            }
            None => BackoffDecision::Again(now + self.backoff.most),
        }
    }

    /// A child is ready after we had given up.
    pub(super) fn note_ready(&mut self) {
        if self.probing {
            self.forget();
        }
    }

    pub(super) fn is_probing(&self) -> bool {
        self.probing
    }

    /// What went wrong is not held against those who come.
    pub(super) fn forget(&mut self) {
        self.in_a_row = 0;
        self.recent.clear();
        self.probing = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(verdict: BackoffDecision, now: Instant) -> Duration {
        match verdict {
            BackoffDecision::Again(at) => at - now,
            BackoffDecision::GiveUp(_) => panic!("gave up"),
        }
    }

    #[test]
    fn delays_double_and_are_limited() {
        let (mut failures, now) = (Failures::new(Backoff::default().no_circuit_breaker()), Instant::now());
        let delays: Vec<_> = (0..12).map(|_| again(failures.note(now, None), now).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn one_that_proved_itself_is_started_at_once() {
        let (mut failures, now) = (Failures::new(Backoff::default()), Instant::now());
        failures.note(now, None);
        assert_eq!(again(failures.note(now, Some(Duration::from_secs(10))), now), Duration::ZERO);
        assert_eq!(again(failures.note(now, Some(Duration::from_secs(9))), now), Duration::from_millis(100));
    }

    #[test]
    fn five_failures_within_a_minute_are_the_end_until_a_probe_succeeds() {
        let (mut failures, now) = (Failures::new(Backoff::default()), Instant::now());
        for _ in 0..4 {
            again(failures.note(now, None), now);
        }
        let pause = Duration::from_secs(30);
        assert_eq!(failures.note(now, None), BackoffDecision::GiveUp(now + pause));
        let later = now + Duration::from_secs(3_600);
        assert_eq!(failures.note(later, None), BackoffDecision::GiveUp(later + pause), "a probe is one attempt");
        failures.note_ready();
        again(failures.note(later, None), later);
    }

    #[test]
    fn a_permanent_failure_is_the_end_at_once_until_a_probe_succeeds() {
        let (mut failures, now) = (Failures::new(Backoff::default()), Instant::now());
        assert_eq!(failures.note_permanent(now), BackoffDecision::GiveUp(now + Duration::from_secs(30)));
        assert!(failures.is_probing());
        failures.note_ready();
        assert_eq!(again(failures.note(now, None), now), Duration::from_millis(100));
        let mut endless = Failures::new(Backoff::default().no_circuit_breaker());
        assert_eq!(again(endless.note_permanent(now), now), Duration::from_secs(30));
    }

    #[test]
    fn failures_far_apart_are_no_end() {
        let (mut failures, mut now) = (Failures::new(Backoff::default()), Instant::now());
        for _ in 0..20 {
            again(failures.note(now, None), now);
            now += Duration::from_secs(16);
        }
    }
}
