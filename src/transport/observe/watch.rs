//! [`Watch`]: the record of an exchange, where there is one.

use std::sync::Arc;

use http::{Method, StatusCode, Uri, Version};
use tracing::Span;

use super::{
    progress::Progress,
    recording::{Observers, Recording, Waits},
    span,
    summary::Outcome,
};
use crate::{
    error::{Error, ErrorKind, Phase},
    transport::destination::Destination,
};

/// Notes what becomes of an exchange, if anybody observes it; else each of these is one look at a pointer. Dropped, it tells of it: as of
/// a caller that left, if nothing else was noted.
#[derive(Debug, Default)]
pub(crate) struct Watch(Option<Box<Recording>>);

impl Watch {
    #[inline]
    pub(crate) fn new(observers: Option<&Arc<Observers>>, method: &Method, uri: &Uri) -> Self {
        if observers.is_none() && !span::is_enabled() {
            return Self(None);
        }
        Self::observed(observers, method, uri)
    }

    #[cold]
    fn observed(observers: Option<&Arc<Observers>>, method: &Method, uri: &Uri) -> Self {
        Self(Some(Box::new(Recording::new(observers, method, uri))))
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// For where the steps to a connection are taken, and the bytes of the request's body counted.
    #[inline]
    pub(crate) fn progress(&self) -> Option<Arc<Progress>> {
        self.0.as_ref().map(|recording| recording.progress.clone())
    }

    #[inline]
    pub(crate) fn span(&self) -> Option<Span> {
        self.0.as_ref().map(|recording| recording.span.clone())
    }

    #[inline]
    pub(crate) fn bound_for(&mut self, to: &Destination) {
        self.note(|recording| recording.bound_for(to));
    }

    /// It waits for a connection in the queue.
    #[inline]
    pub(crate) fn waits(&mut self) {
        self.note(|recording| recording.waits(Waits::Yes));
    }

    /// It may wait for what another exchange opens.
    #[cfg(feature = "http2")]
    pub(crate) fn may_wait(&mut self) {
        self.note(|recording| recording.waits(Waits::Perhaps));
    }

    /// It is sent on a connection of HTTP/1.1.
    #[inline]
    pub(crate) fn on_connection(&mut self, reused: bool) {
        self.note(|recording| recording.acquired(Version::HTTP_11, Some(reused)));
    }

    /// It is sent on a stream of HTTP/2.
    #[cfg(feature = "http2")]
    pub(crate) fn on_stream(&mut self) {
        self.note(|recording| recording.acquired(Version::HTTP_2, None));
    }

    /// The last byte of the request was sent, if `is_sent` says so and it was not noted before.
    #[inline]
    pub(crate) fn sent_if(&mut self, is_sent: impl FnOnce() -> bool) {
        self.note(|recording| {
            if recording.summary.timings.sent.is_none() && is_sent() {
                recording.sent();
            }
        });
    }

    /// It is sent again.
    pub(crate) fn again(&mut self) {
        self.note(Recording::again);
    }

    /// The response's head is there.
    pub(crate) fn head(&mut self, status: StatusCode) {
        self.note(|recording| recording.head(status));
    }

    /// The response's head is there, and what follows is a tunnel.
    pub(crate) fn tunnel(&mut self, status: StatusCode) {
        self.note(|recording| recording.tunnel(status));
    }

    pub(crate) fn received(&mut self, bytes: usize) {
        self.note(|recording| recording.summary.received += bytes as u64);
    }

    /// What a tunnel carried to the upstream and back, besides what was counted before.
    pub(crate) fn carried(&mut self, there: u64, back: u64) {
        self.note(|recording| {
            recording.summary.sent += there;
            recording.summary.received += back;
        });
    }

    /// The caller has left a tunnel.
    pub(crate) fn cancelled(&mut self) {
        self.note(|recording| recording.summary.outcome = Outcome::Cancelled);
    }

    /// The upstream has broken off a tunnel.
    pub(crate) fn cut(&mut self) {
        let cut = || Error::new(ErrorKind::Upstream, "the upstream connection of the tunnel failed");
        self.note(|recording| recording.failed(cut().in_phase(Phase::ResponseBody).after_send()));
    }

    /// Nothing went through a tunnel for as long as that may be.
    pub(crate) fn timed_out(&mut self) {
        let late = || Error::new(ErrorKind::Timeout, "tunnel idle timeout");
        self.note(|recording| recording.failed(late().in_phase(Phase::ResponseBody).after_send()));
    }

    /// It has come to its end, and is told of.
    pub(crate) fn complete(&mut self) {
        if let Some(mut recording) = self.0.take() {
            recording.summary.outcome = Outcome::Complete;
        }
    }

    /// It has failed, and is told of.
    pub(crate) fn failed(&mut self, error: &Error) {
        if let Some(mut recording) = self.0.take() {
            recording.failed(error.clone());
        }
    }

    #[inline]
    fn note(&mut self, what: impl FnOnce(&mut Recording)) {
        if let Some(recording) = &mut self.0 {
            what(recording);
        }
    }
}
