//! What others see of an app: handles, requests that wait, events.

use tokio::time::Instant;

use super::Supervisor;
use crate::spawn::{
    shared::{Moment, Seen},
    state::{Event, State},
};

impl Supervisor {
    /// Shows what there is now, if it is not what was shown.
    pub(super) fn publish(&mut self) {
        let (state, until) = self.state();
        let children = self.members.iter().map(|(id, member)| Seen {
            id: *id,
            generation: member.generation,
            pid: member.pid,
            state: member.state,
            since: member.since,
            backend: member.backend.clone(),
        });
        let mut board = self.public.board();
        board.children = children.collect();
        board.generation = self.generation;
        drop(board);
        let before = *self.public.moment.borrow();
        let since = if before.state == state { before.since } else { Instant::now() };
        let now = Moment { state, since, until, closed: self.is_closed, fleet: self.fleet };
        if (before.state, before.until, before.closed, before.fleet) == (now.state, now.until, now.closed, now.fleet) {
            return;
        }
        self.public.moment.send_replace(now);
        if before.state != state {
            tracing::debug!(name = &*self.public.spec.name, ?state, "the state of a backend changed");
            self.tell(Event::State(state));
        }
    }

    pub(super) fn tell(&self, event: Event) {
        // Nobody need listen.
        let _ = self.public.events.send(event);
    }

    /// What the app does, and until when.
    fn state(&self) -> (State, Option<Instant>) {
        let any = |state| self.members.values().any(|member| member.state == state);
        let now = Instant::now();
        if !self.public.fleet.load().is_empty() {
            (State::Ready, None)
        } else if any(State::Draining) {
            (State::Draining, None)
        } else if any(State::Stopping) {
            (State::Stopping, None)
        } else if any(State::Starting) {
            (State::Starting, None)
        } else if let Some(until) = self.given_up {
            (State::Failed, Some(until))
        } else if let Some(at) = self.not_before.filter(|at| self.is_on && *at > now) {
            (State::Backoff, Some(at))
        } else {
            (State::Stopped, None)
        }
    }
}
