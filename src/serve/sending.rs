//! [`Sending`]: whether a client may have something on its way that nobody is going to read.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Told what happens on a connection of HTTP/1, by the one task that it belongs to.
///
/// hyper reads the rest of a body that nobody wants as far as it is there, and closes if that is not all. From outside, the last of these
/// reads looks like one for the next request, but that closing then follows in the same turn of the task.
#[derive(Debug, Default)]
pub(super) struct Sending(AtomicU8);

impl Sending {
    /// Bytes have come.
    pub(super) fn heard(&self) {
        if matches!(self.0.load(Relaxed), SILENT | PAUSED) {
            self.0.store(SENDING, Relaxed);
        }
    }

    /// All of the last request is there.
    pub(super) fn heard_all(&self) {
        if matches!(self.0.load(Relaxed), SENDING | PAUSED) {
            self.0.store(SILENT, Relaxed);
        }
    }

    /// There is nothing to be read, and no request unanswered.
    pub(super) fn pauses(&self) {
        if self.0.load(Relaxed) == SENDING {
            self.0.store(PAUSED, Relaxed);
        }
    }

    /// Another turn begins. `idle`: nothing has been left to do since the last.
    pub(super) fn turn(&self, idle: impl FnOnce() -> bool) {
        if self.0.load(Relaxed) == PAUSED && idle() {
            self.0.store(SILENT, Relaxed);
        }
    }

    /// What comes from now on may be a tunnel's, or many requests': nothing is said of that.
    pub(super) fn ignore(&self) {
        self.0.store(IGNORED, Relaxed);
    }

    pub(super) fn maybe(&self) -> bool {
        matches!(self.0.load(Relaxed), SENDING | PAUSED)
    }
}

const SILENT: u8 = 0;
const SENDING: u8 = 1;
const PAUSED: u8 = 2;
const IGNORED: u8 = 3;
