//! [`Member`]: a child, as far as its supervisor knows it.

use std::sync::Arc;

use tokio::{sync::watch, time::Instant};

use crate::spawn::{child::Halt, gate::Backend, state::State};

/// A child, as far as its supervisor knows it.
pub(super) struct Member {
    pub(super) role: Role,
    pub(super) state: State,
    pub(super) generation: u64,
    pub(super) pid: Option<u32>,
    pub(super) since: Instant,
    pub(super) halt: watch::Sender<Halt>,
    pub(super) backend: Option<Arc<Backend>>,
    /// No other may be started before it has ended.
    pub(super) alone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// One of those that requests go to, as soon as it is ready.
    Serves,
    /// Of the next generation, which begins to serve together.
    Candidate,
    /// Takes the place of a worn one, as soon as it is ready.
    Replaces(u64),
    /// On its way out.
    Leaves,
}

impl Member {
    /// Lets nobody in any more, and has it come to its end.
    pub(super) fn leave(&mut self, halt: Halt) {
        self.role = Role::Leaves;
        if let Some(backend) = &self.backend {
            backend.gate.close();
        }
        if matches!(self.state, State::Starting | State::Ready) {
            self.state = if self.backend.is_some() && halt == Halt::Drain { State::Draining } else { State::Stopping };
        }
        self.halt.send_if_modified(|now| {
            let further = halt > *now;
            *now = halt.max(*now);
            further
        });
    }
}
