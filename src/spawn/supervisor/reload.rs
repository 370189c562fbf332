//! [`Reload`]: the next generation beside the one that serves.

use super::{
    Supervisor,
    member::{Member, Role},
    unavailable,
};
use crate::spawn::{
    child::Halt,
    shared::Reply,
    state::{Event, State},
};

/// A generation that is becoming ready.
pub(super) struct Reload {
    generation: u64,
    reply: Reply,
}

impl Supervisor {
    pub(super) fn begin_reload(&mut self, reply: Reply) {
        if self.reload.is_some() {
            return self.waiting_reloads.push_back(reply);
        }
        if self.public.fleet.load().is_empty() {
            // What starts is new in any case.
            return if self.is_on { self.to_start.push(reply) } else { _ = reply.send(Ok(())) };
        }
        self.last_generation += 1;
        let generation = self.last_generation;
        self.reload = Some(Reload { generation, reply });
        for _ in 0..self.public.spec.replicas {
            self.start(Role::Candidate, generation);
        }
    }

    /// The next generation serves, if all of it is ready.
    pub(super) fn finish_reload(&mut self) {
        let candidates = self.members.values().filter(|member| member.role == Role::Candidate);
        if !candidates.clone().all(|member| member.state == State::Ready) {
            return;
        }
        let Some(Reload { generation, reply }) = self.reload.take() else { return };
        let is_old = |member: &&mut Member| {
            matches!(member.role, Role::Serves | Role::Replaces(_)) && member.generation != generation
        };
        self.members.values_mut().filter(is_old).for_each(|member| member.role = Role::Leaves);
        let candidates = self.members.values_mut().filter(|member| member.role == Role::Candidate);
        candidates.for_each(|member| member.role = Role::Serves);
        self.generation = generation;
        self.not_before = None;
        // First the new ones are let in, so that there is always somebody who serves; then the old ones let nobody in.
        self.muster();
        let old = self.members.values_mut().filter(|member| member.role == Role::Leaves && !member.alone);
        old.for_each(|member| member.leave(Halt::Drain));
        self.tell(Event::Reloaded { generation });
        let _ = reply.send(Ok(()));
    }

    /// The generation that serves goes on.
    pub(super) fn give_up_reload(&mut self) {
        let Some(Reload { generation, reply }) = self.reload.take() else { return };
        let candidates = self.members.values_mut().filter(|member| member.role == Role::Candidate);
        candidates.for_each(|member| member.leave(Halt::Stop));
        self.tell(Event::ReloadFailed { generation });
        let _ = reply.send(Err(unavailable("the new generation did not become ready")));
    }
}
