//! [`Supervisor`]: the one owner of an app's children. It decides which there are; each of them is a task that does what it is asked.

mod member;
mod reload;
mod show;
mod wear;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep_until},
};

use self::{
    member::{Member, Role},
    reload::Reload,
    wear::{Quiet, REPLACE_AGAIN, WEAR_INTERVAL, Wear},
};
use super::{
    backoff::{BackoffDecision, Failures},
    child::{Birth, End, Halt, News},
    shared::{Front, Order, Public, Reply, What},
    state::{Event, Exit, ExitCause, State},
};
use crate::error::{Error, ErrorKind};

pub(super) struct Supervisor {
    public: Arc<Public>,
    front: Weak<Front>,
    look: Arc<Notify>,
    orders: mpsc::Receiver<Order>,
    news: mpsc::Receiver<(u64, News)>,
    to_news: mpsc::Sender<(u64, News)>,
    members: BTreeMap<u64, Member>,
    last_id: u64,
    /// The generation that serves, or will.
    generation: u64,
    last_generation: u64,
    /// True if children are to run.
    is_on: bool,
    is_closed: bool,
    /// True once nobody is there who could ask for anything.
    is_deserted: bool,
    failures: Failures,
    /// Before this time, no child is started in place of one that failed.
    not_before: Option<Instant>,
    /// Before this time, no child is started at all.
    given_up: Option<Instant>,
    reload: Option<Reload>,
    waiting_reloads: VecDeque<Reply>,
    to_start: Vec<Reply>,
    to_stop: Vec<Reply>,
    to_restart: Vec<Reply>,
    quiet: Quiet,
    wear: Wear,
    /// Changes with the fleet.
    fleet: u64,
}

impl Supervisor {
    pub(super) fn new(front: &Arc<Front>, orders: mpsc::Receiver<Order>) -> Self {
        let public = front.public.clone();
        let (to_news, news) = mpsc::channel(64);
        let now = Instant::now();
        let (generation, last_id) = {
            let board = public.board();
            (board.generation, board.started)
        };
        let is_closed = public.moment.borrow().closed;
        #[cfg(unix)]
        super::process::set_close_on_exec();
        Self {
            front: Arc::downgrade(front),
            look: front.look.clone(),
            orders,
            news,
            to_news,
            members: BTreeMap::new(),
            last_id,
            generation,
            last_generation: generation,
            is_on: false,
            is_closed,
            is_deserted: false,
            failures: Failures::new(public.spec.backoff.clone()),
            not_before: None,
            given_up: None,
            reload: None,
            waiting_reloads: VecDeque::new(),
            to_start: Vec::new(),
            to_stop: Vec::new(),
            to_restart: Vec::new(),
            quiet: Quiet { since: now, entered: 0 },
            wear: Wear { next: now + WEAR_INTERVAL, not_before: now },
            fleet: 0,
            public,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            self.balance();
            self.publish();
            if self.is_deserted && self.members.is_empty() {
                return;
            }
            let wake = self.next_look();
            let alarm = async {
                match wake {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let look = self.look.clone();
            tokio::select! {
                order = self.orders.recv(), if !self.is_deserted => match order {
                    Some(order) => self.obey(order),
                    None => self.desert(),
                },
                Some((id, news)) = self.news.recv() => self.hear(id, news),
                () = look.notified() => {
                    self.answer_demand();
                    self.wear.next = Instant::now();
                    self.look_at_wear().await;
                }
                () = alarm => {
                    self.stop_if_idle();
                    self.look_at_wear().await;
                }
            }
        }
    }

    /// A request has found no child.
    fn answer_demand(&mut self) {
        if !self.public.demand.swap(false, Ordering::AcqRel) || self.is_closed {
            return;
        }
        if self.given_up.is_some_and(|until| until > Instant::now()) {
            return;
        }
        self.given_up = None;
        self.is_on = true;
    }

    fn obey(&mut self, Order { what, reply }: Order) {
        match what {
            _ if self.is_closed && !matches!(what, What::ShutDown | What::Kill | What::Stop) => {
                let _ = reply.send(Err(unavailable("the backend was shut down")));
            }
            What::Start => {
                self.turn_on();
                self.to_start.push(reply);
            }
            What::Stop => {
                self.stop_all(Halt::Drain);
                self.to_stop.push(reply);
            }
            What::Kill => {
                self.stop_all(Halt::Kill);
                self.to_stop.push(reply);
            }
            What::Restart => {
                self.stop_all(Halt::Drain);
                self.to_restart.push(reply);
            }
            What::Reload => self.begin_reload(reply),
            What::ShutDown => {
                self.is_closed = true;
                self.stop_all(Halt::Drain);
                self.to_stop.push(reply);
            }
        }
    }

    /// Nobody is left who could ask for anything.
    fn desert(&mut self) {
        self.is_deserted = true;
        self.is_closed = true;
        self.stop_all(Halt::Drain);
    }

    /// Somebody wants it to run, whatever happened before.
    fn turn_on(&mut self) {
        self.is_on = true;
        self.failures.forget();
        (self.given_up, self.not_before) = (None, None);
    }

    /// Starts what is missing, and answers those whose wish is fulfilled.
    fn balance(&mut self) {
        if self.members.is_empty() {
            self.to_stop.drain(..).for_each(|reply| _ = reply.send(Ok(())));
            if !self.to_restart.is_empty() && !self.is_closed {
                self.turn_on();
                self.to_start.append(&mut self.to_restart);
            }
        }
        if !self.public.fleet.load().is_empty() {
            self.to_start.drain(..).for_each(|reply| _ = reply.send(Ok(())));
        }
        if self.reload.is_none()
            && let Some(reply) = self.waiting_reloads.pop_front()
        {
            self.begin_reload(reply);
        }
        let held = self.members.values().any(|member| member.alone);
        if !self.is_on || held || self.not_before.is_some_and(|at| at > Instant::now()) {
            return;
        }
        // A probe is made with one.
        let wanted = if self.failures.is_probing() { 1 } else { self.public.spec.replicas };
        let there = self.members.values().filter(|member| member.role == Role::Serves).count();
        for _ in there..wanted {
            self.start(Role::Serves, self.generation);
        }
    }

    fn start(&mut self, role: Role, generation: u64) {
        self.last_id += 1;
        let (id, halt) = (self.last_id, watch::Sender::new(Halt::No));
        let birth = Birth {
            id,
            spec: self.public.spec.clone(),
            front: self.front.clone(),
            halt: halt.subscribe(),
            news: self.to_news.clone(),
        };
        tokio::spawn(birth.live());
        self.public.board().started += 1;
        let since = Instant::now();
        let state = State::Starting;
        let member = Member { role, state, generation, pid: None, since, halt, backend: None, alone: false };
        self.members.insert(id, member);
    }

    fn hear(&mut self, id: u64, news: News) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let generation = member.generation;
        match news {
            News::Started { pid } => {
                member.pid = Some(pid);
                self.tell(Event::Started { child: id, generation, pid });
            }
            News::Ready { backend } => {
                if member.role == Role::Leaves {
                    return;
                }
                (member.backend, member.state) = (Some(backend), State::Ready);
                let role = member.role;
                self.failures.note_ready();
                self.tell(Event::Ready { child: id, generation });
                match role {
                    Role::Serves | Role::Leaves => self.muster(),
                    Role::Candidate => self.finish_reload(),
                    Role::Replaces(worn) => self.replace(worn, id),
                }
            }
            News::SocketRemoved { ready_for } => {
                let role = member.role;
                member.leave(Halt::Drain);
                self.muster();
                let exit = Exit { status: None, cause: ExitCause::SocketRemoved, detail: None };
                self.mourn(role, &End { exit, is_permanent: false }, Some(ready_for));
            }
            News::Stopping => member.state = State::Stopping,
            News::Exited { end, ready_for } => {
                let role = member.role;
                self.members.remove(&id);
                self.muster();
                self.tell(Event::Exited { child: id, generation, exit: end.exit.clone() });
                self.public.board().last_exit = Some(end.exit.clone());
                self.mourn(role, &end, ready_for);
            }
        }
    }

    /// Decides what follows from the end of a child.
    fn mourn(&mut self, role: Role, end: &End, ready_for: Option<Duration>) {
        let now = Instant::now();
        match role {
            Role::Leaves => {}
            Role::Candidate => self.give_up_reload(),
            Role::Replaces(_) => self.wear.not_before = now + REPLACE_AGAIN,
            Role::Serves => {
                let verdict = match end.is_permanent {
                    true => self.failures.note_permanent(now),
                    false => self.failures.note(now, ready_for),
                };
                let is_alone = self.public.fleet.load().is_empty();
                if is_alone {
                    let error = || unavailable("the backend has failed").with_source(end.exit.to_string());
                    self.to_start.drain(..).for_each(|reply| _ = reply.send(Err(error())));
                }
                match verdict {
                    BackoffDecision::Again(at) => self.not_before = Some(at),
                    // As long as others serve, nobody need know.
                    BackoffDecision::GiveUp(until) if !is_alone => self.not_before = Some(until),
                    BackoffDecision::GiveUp(until) => {
                        let name = &*self.public.spec.name;
                        tracing::warn!(name, pause = ?(until - now), "a backend has failed, pausing restarts: {}", end.exit);
                        self.stop_all(Halt::Stop);
                        self.given_up = Some(until);
                    }
                }
                if self.is_on {
                    self.public.board().restarts += 1;
                }
            }
        }
    }

    /// Lets those serve that are ready to.
    fn muster(&mut self) {
        let serving = self.members.values().filter(|member| member.role == Role::Serves);
        let fleet: Vec<_> = serving.filter_map(|member| member.backend.clone()).collect();
        let before = self.public.fleet.load();
        if fleet.len() == before.len() && fleet.iter().zip(before.iter()).all(|(one, other)| Arc::ptr_eq(one, other)) {
            return;
        }
        if before.is_empty() {
            self.quiet.since = Instant::now();
        }
        self.fleet += 1;
        self.public.fleet.store(Arc::new(fleet));
    }

    /// Ends all children; none is started before they are gone.
    fn stop_all(&mut self, halt: Halt) {
        self.is_on = false;
        for member in self.members.values_mut() {
            member.leave(halt);
            member.alone = true;
        }
        self.give_up_reload();
        let undone = self.to_start.drain(..).chain(self.to_restart.drain(..));
        undone.for_each(|reply| _ = reply.send(Err(unavailable("the backend was stopped"))));
        // What was asked for before is over; who still waits for a child sees the change, and asks again.
        self.public.demand.store(false, Ordering::Release);
        self.fleet += 1;
        self.muster();
    }

    /// When there is something to look at next, if nothing happens.
    fn next_look(&self) -> Option<Instant> {
        let now = Instant::now();
        let serves = !self.public.fleet.load().is_empty();
        let retry = self.not_before.filter(|at| self.is_on && *at > now);
        let spec = &self.public.spec;
        let idle = spec.idle.filter(|_| serves).map(|limit| {
            let step = (limit / 8).clamp(Duration::from_millis(5), Duration::from_secs(1));
            (self.quiet.since + limit).max(now).min(now + step)
        });
        let wear = if serves && self.watches_wear() { Some(self.wear.next.max(self.wear.not_before)) } else { None };
        [retry, idle, wear].into_iter().flatten().min()
    }
}

impl Drop for Supervisor {
    /// Nothing is left at the usual end. When the runtime shuts down, the children are lost with their tasks.
    fn drop(&mut self) {
        self.public.fleet.store(Arc::default());
        self.public.board().children.clear();
        self.public.moment.send_modify(|moment| {
            (moment.state, moment.until) = (State::Stopped, None);
            moment.fleet = moment.fleet.wrapping_add(1);
        });
    }
}

fn unavailable(reason: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, reason)
}
