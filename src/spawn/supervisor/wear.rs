//! [`Quiet`] and [`Wear`]: children that nobody uses, and such as have been used enough.

use std::time::Duration;

use tokio::time::Instant;

use super::{Supervisor, member::Role};
use crate::spawn::{child::Halt, group, state::State};

/// Since when nobody has come.
pub(super) struct Quiet {
    pub(super) since: Instant,
    pub(super) entered: u64,
}

/// When children are looked at for what makes them too old.
pub(super) struct Wear {
    pub(super) next: Instant,
    /// After a replacement that failed, none is tried before this time.
    pub(super) not_before: Instant,
}

impl Supervisor {
    /// Stops the children if nobody has come for long enough.
    pub(super) fn stop_if_idle(&mut self) {
        let Some(limit) = self.public.spec.idle else { return };
        let fleet = self.public.fleet.load_full();
        let now = Instant::now();
        let traffic = fleet.iter().map(|backend| backend.gate.traffic());
        let (inside, entered) = traffic
            .fold((0, 0), |(inside, entered), traffic| (inside + traffic.inside, entered + u64::from(traffic.entered)));
        let is_settled =
            self.members.values().all(|member| member.state == State::Ready && member.role == Role::Serves);
        if inside > 0 || entered != self.quiet.entered || !is_settled {
            self.quiet = Quiet { since: now, entered };
            return;
        }
        if fleet.is_empty() || now < self.quiet.since + limit {
            return;
        }
        // Whoever comes now waits for a fresh start, or is in before the door closes, and then nothing is stopped.
        if fleet.iter().all(|backend| backend.gate.close_if_empty()) {
            self.stop_all(Halt::Drain);
        } else {
            fleet.iter().for_each(|backend| backend.gate.open());
            self.fleet += 1; // who found it closed looks again
        }
    }

    /// Replaces a child that has served enough, is too old or too big; one at a time.
    pub(super) async fn look_at_wear(&mut self) {
        let now = Instant::now();
        let spec = self.public.spec.clone();
        if !self.watches_wear() || now < self.wear.next {
            return;
        }
        self.wear.next = now + WEAR_INTERVAL;
        let is_busy = self.members.values().any(|member| matches!(member.role, Role::Replaces(_) | Role::Candidate));
        if is_busy || now < self.wear.not_before || !self.is_on {
            return;
        }
        let mut worn = None;
        for (id, member) in &self.members {
            let Some(backend) = member.backend.as_ref().filter(|_| member.role == Role::Serves) else { continue };
            let served = spec.max_requests.is_some_and(|max| backend.gate.traffic().entered >= max);
            let old = spec.max_age.is_some_and(|age| now >= member.since + age);
            let big = match (spec.max_rss_bytes, member.pid) {
                (Some(max), Some(pid)) => group::resident_bytes(pid).await.is_some_and(|bytes| bytes > max),
                _ => false,
            };
            if served || old || big {
                worn = Some((*id, member.generation));
                break;
            }
        }
        if let Some((id, generation)) = worn {
            self.start(Role::Replaces(id), generation);
        }
    }

    pub(super) fn watches_wear(&self) -> bool {
        let spec = &self.public.spec;
        spec.max_requests.is_some() || spec.max_age.is_some() || spec.max_rss_bytes.is_some()
    }

    /// Gives a worn child's place to another, and has it end after the requests it has.
    pub(super) fn replace(&mut self, worn: u64, by: u64) {
        for (id, role) in [(by, Role::Serves), (worn, Role::Leaves)] {
            if let Some(member) = self.members.get_mut(&id) {
                member.role = role;
            }
        }
        self.muster();
        if let Some(member) = self.members.get_mut(&worn) {
            member.leave(Halt::Drain);
        }
    }
}

/// Between two looks at how worn the children are.
pub(super) const WEAR_INTERVAL: Duration = Duration::from_secs(1);
/// How long a worn child goes on after its replacement failed.
pub(super) const REPLACE_AGAIN: Duration = Duration::from_secs(30);
