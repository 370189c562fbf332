//! [`Recording`]: an exchange that somebody observes.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use http::{Method, StatusCode, Uri, Version};
use tokio::time::Instant;
use tracing::Span;

#[cfg(feature = "metrics")]
use super::figures::Figures;
use super::{
    progress::{Progress, Steps},
    span,
    summary::{ExchangeSummary, Outcome, Timings},
};
use crate::{
    error::{Error, Phase},
    transport::destination::Destination,
};

pub(crate) type Hook = Arc<dyn Fn(&ExchangeSummary) + Send + Sync>;

/// Who is told of the exchanges of a service, besides its spans.
#[derive(Default)]
pub(crate) struct Observers {
    pub(crate) hook: Option<Hook>,
    #[cfg(feature = "metrics")]
    pub(crate) figures: Option<Arc<Figures>>,
}

/// What is known of an exchange so far. Dropped, it tells of it: that is the one place that does, so that whatever ends an exchange ends
/// its record.
pub(super) struct Recording {
    pub(super) summary: ExchangeSummary,
    pub(super) progress: Arc<Progress>,
    pub(super) span: Span,
    observers: Option<Arc<Observers>>,
    started: Instant,
    /// When the search for a connection began.
    since: Instant,
    /// What the steps had taken then.
    before: Steps,
    /// Whether it waits for others' connections.
    waits: Waits,
}

#[derive(PartialEq, Eq)]
pub(super) enum Waits {
    No,
    /// Unless it connects itself.
    #[cfg_attr(not(feature = "http2"), allow(dead_code, reason = "only connections of HTTP/2 are opened for others"))]
    Perhaps,
    Yes,
}

impl Recording {
    pub(super) fn new(observers: Option<&Arc<Observers>>, method: &Method, uri: &Uri) -> Self {
        let now = Instant::now();
        #[cfg(feature = "metrics")]
        if let Some(figures) = observers.and_then(|observers| observers.figures.as_ref()) {
            figures.began();
        }
        let summary = ExchangeSummary {
            method: method.clone(),
            uri: uri.clone(),
            destination: None,
            status: None,
            version: None,
            outcome: Outcome::Cancelled,
            error: None,
            phase: Phase::Validate,
            attempts: 1,
            reused: false,
            tunnel: false,
            sent: 0,
            received: 0,
            timings: Timings::default(),
        };
        Self {
            summary,
            progress: Arc::default(),
            span: span::begin(method),
            observers: observers.cloned(),
            started: now,
            since: now,
            before: Steps::default(),
            waits: Waits::No,
        }
    }

    pub(super) fn bound_for(&mut self, to: &Destination) {
        span::bound_for(&self.span, to);
        self.summary.destination = Some(to.clone());
        self.summary.phase = Phase::Queue;
    }

    pub(super) fn waits(&mut self, waits: Waits) {
        if self.waits != Waits::Yes {
            self.waits = waits;
        }
    }

    /// There is a connection. `reused` is none where it depends on whether it was opened for this exchange.
    pub(super) fn acquired(&mut self, version: Version, reused: Option<bool>) {
        self.searched();
        self.summary.version = Some(version);
        self.summary.reused = reused.unwrap_or(self.progress.steps() == self.before);
        self.summary.phase = Phase::Send;
    }

    /// Notes how long it waited for others.
    fn searched(&mut self) {
        let steps = self.progress.steps();
        if self.waits == Waits::Yes || (self.waits == Waits::Perhaps && steps == self.before) {
            let rest = self.since.elapsed().saturating_sub(steps.sum().saturating_sub(self.before.sum()));
            let queue = &mut self.summary.timings.queue;
            *queue = Some(queue.unwrap_or_default() + rest);
        }
        self.waits = Waits::No;
    }

    pub(super) fn sent(&mut self) {
        self.summary.timings.sent = Some(self.started.elapsed());
        self.summary.phase = Phase::ResponseHead;
    }

    pub(super) fn again(&mut self) {
        self.summary.attempts += 1;
        self.summary.timings.sent = None;
        self.summary.phase = Phase::Queue;
        self.since = Instant::now();
        self.progress.begin_again();
        self.before = self.progress.steps();
    }

    pub(super) fn head(&mut self, status: StatusCode) {
        self.summary.status = Some(status);
        self.summary.timings.head = Some(self.started.elapsed());
        self.summary.phase = Phase::ResponseBody;
    }

    /// It is a tunnel from here on, and complete whenever that ends, if nobody says otherwise.
    pub(super) fn tunnel(&mut self, status: StatusCode) {
        self.head(status);
        self.summary.tunnel = true;
        self.summary.outcome = Outcome::Complete;
        self.note_steps();
        #[cfg(feature = "metrics")]
        if let Some(figures) = self.figures() {
            figures.upgraded(&self.summary);
        }
    }

    pub(super) fn failed(&mut self, error: Error) {
        self.summary.outcome = Outcome::Failed;
        self.summary.phase = error.phase();
        self.summary.error = Some(error);
    }

    fn note_steps(&mut self) {
        let (steps, timings) = (self.progress.steps(), &mut self.summary.timings);
        (timings.resolve, timings.connect, timings.tls) = (steps.resolve, steps.connect, steps.tls);
    }

    #[cfg(feature = "metrics")]
    fn figures(&self) -> Option<&Figures> {
        self.observers.as_ref()?.figures.as_deref()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.summary.timings.total = self.started.elapsed();
        if self.summary.phase == Phase::Queue && self.summary.error.is_none() {
            // Whoever leaves meanwhile leaves at the step that is being taken.
            self.summary.phase = self.progress.steps().at.unwrap_or(Phase::Queue);
        }
        if self.waits != Waits::No {
            self.searched();
        }
        self.note_steps();
        if !self.summary.tunnel {
            self.summary.sent = self.progress.sent();
        }
        span::end(&self.span, &self.summary);
        let Some(observers) = self.observers.take() else { return };
        #[cfg(feature = "metrics")]
        if let Some(figures) = &observers.figures {
            figures.ended(&self.summary);
        }
        // This may run while a panic unwinds, where another would be the end of the process.
        if let Some(hook) = &observers.hook
            && catch_unwind(AssertUnwindSafe(|| hook(&self.summary))).is_err()
        {
            tracing::error!("the on_exchange hook panicked");
        }
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("summary", &self.summary).finish_non_exhaustive()
    }
}
