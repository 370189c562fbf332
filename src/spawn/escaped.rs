//! Finds and ends processes that a child has started and that have left its process group (`setsid`). Linux only.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsRawFd,
    path::PathBuf,
    process,
    sync::Arc,
    time::Duration,
};

use rustix::process::{PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};
use tokio::time::{Instant, sleep, timeout};

use super::{
    guardian::Guardian,
    listen::Address,
    listeners::{self, Listeners},
    procfs::{self, OpenFiles, Stat},
};

/// Recognises the processes that a child has started by what they have from it. Not `Debug`: it contains the child's environment.
pub(super) struct Lineage {
    /// The child's process id, which is its process group's.
    pub(super) group: u32,
    started: u64,
    executable: Option<PathBuf>,
    /// The pipes that its output is read from.
    pipes: BTreeSet<u64>,
    /// The listening socket that it inherits.
    socket: Option<u64>,
    marks: Marks,
}

/// Parts of a command line and an environment that no process has but those of one child, because they contain its address. Empty where
/// they do not.
#[derive(Default)]
pub(super) struct Marks {
    /// The arguments after the program, each followed by a NUL byte.
    pub(super) arguments: Vec<u8>,
    /// False if the only argument is a port or a path.
    pub(super) are_distinctive: bool,
    /// The variables that the child does not inherit from this process, as `NAME=value`.
    pub(super) variables: Vec<Vec<u8>>,
}

impl Lineage {
    /// Describes a child that has just been started.
    pub(super) fn new(group: u32, pipes: BTreeSet<u64>, socket: Option<u64>, marks: Marks) -> Self {
        // A child that has exited is not reaped yet: it has a start time, but no executable.
        let started = Stat::of(group).map_or(u64::MAX, |stat| stat.started);
        Self { group, started, executable: procfs::executable(group), pipes, socket, marks }
    }

    /// True if the process is outside the group, but the child or a process that it has started has started it. `marks` tells whether the
    /// marks are proof enough: another process may mention the child's address, but does not listen there.
    pub(super) fn includes(&self, id: u32, files: &OpenFiles, marks: bool) -> bool {
        let Some(stat) = self.candidate(id) else { return false };
        !self.pipes.is_disjoint(&files.pipes)
            || self.socket.is_some_and(|socket| files.sockets.contains(&socket))
            || self.is_ancestor_of(stat)
            || marks && self.is_marked(id)
    }

    /// A process that could have been started by the child: a later one, outside its group.
    fn candidate(&self, id: u32) -> Option<Stat> {
        let stat = Stat::of(id).filter(|stat| id != process::id() && !stat.is_zombie())?;
        (stat.started >= self.started && stat.group != self.group).then_some(stat)
    }

    fn is_ancestor_of(&self, mut stat: Stat) -> bool {
        // More generations than anybody has; a chain that changes while it is read could have no end.
        for _ in 0..64 {
            match stat.parent {
                0 | 1 => return false,
                parent if parent == self.group => {
                    return Stat::of(parent).is_some_and(|stat| stat.started == self.started);
                }
                parent => match Stat::of(parent) {
                    Some(parent) => stat = parent,
                    None => return false,
                },
            }
        }
        false
    }

    fn is_marked(&self, id: u32) -> bool {
        let Marks { arguments, are_distinctive, variables } = &self.marks;
        let by_arguments = || {
            // A program that executes another one in its place, as wrappers do, is not that one.
            let is_same_program = || self.executable.is_some() && procfs::executable(id) == self.executable;
            procfs::arguments(id).ends_with(arguments) && (*are_distinctive || is_same_program())
        };
        let by_variables = || {
            let environment = procfs::environment(id);
            let found: BTreeSet<&[u8]> = environment.split(|byte| *byte == 0).collect();
            variables.iter().all(|variable| found.contains(variable.as_slice()))
        };
        (!arguments.is_empty() && by_arguments()) || (!variables.is_empty() && by_variables())
    }

    /// Returns the processes that have left the group, with their start times.
    fn escaped(&self, search: &Search, listener: Option<u32>) -> BTreeMap<u32, u64> {
        let listening = match &search.address {
            Some(Address::Tcp(address)) => listeners::listeners(*address).unwrap_or_default(),
            Some(Address::Unix(_)) | None => Listeners::new(),
        };
        let candidates = || {
            let all = procfs::processes().filter_map(|id| Some((id, self.candidate(id)?)));
            all.filter(|(_, stat)| !search.guardian.watches(stat.group))
        };
        let mut found = BTreeMap::new();
        let mut groups = BTreeSet::new();
        let this_group = Stat::of(process::id()).map(|stat| stat.group);
        for (id, stat) in candidates() {
            let files = OpenFiles::of(id).unwrap_or_default();
            let marks = search.went_to_background || files.sockets.iter().any(|inode| listening.contains_key(inode));
            if listener == Some(id) || self.includes(id, &files, marks) {
                found.insert(id, stat.started);
                groups.extend(Some(stat.group).filter(|group| Some(*group) != this_group));
            }
        }
        // Its workers may have closed everything by which one of them is recognised.
        if !groups.is_empty() {
            let of_groups = candidates().filter(|(_, stat)| groups.contains(&stat.group));
            found.extend(of_groups.map(|(id, stat)| (id, stat.started)));
        }
        found
    }
}

/// Where processes that have left the group of a child are searched for.
pub(super) struct Search {
    pub(super) lineage: Arc<Lineage>,
    /// Where the child was to listen.
    pub(super) address: Option<Address>,
    /// True if the child exited as a program does that goes to the background.
    pub(super) went_to_background: bool,
    /// Watches over other children, which are not searched for.
    pub(super) guardian: Arc<Guardian>,
}

/// Ends the processes that have left the group of a child, which has been reaped: `SIGTERM`, and `SIGKILL` after `grace` or once `hurry` is
/// done. Returns the ids of all processes that were found.
pub(super) async fn end(search: Search, grace: Duration, hurry: impl Future<Output = ()>) -> BTreeSet<u32> {
    let search = Arc::new(search);
    let mut hurry = std::pin::pin!(timeout(grace, hurry));
    let (mut is_late, mut all, mut empty, mut pause) = (None, BTreeMap::new(), 0, Duration::from_millis(5));
    loop {
        let listener = match &search.address {
            Some(Address::Unix(path)) => listener(path).await,
            _ => None,
        };
        let (search, told, kill) = (search.clone(), all.clone(), is_late.is_some());
        let round = move || {
            let found = search.lineage.escaped(&search, listener);
            for (id, started) in &found {
                match (kill, told.contains_key(id)) {
                    (true, _) => signal(*id, *started, Signal::KILL),
                    (false, false) => signal(*id, *started, Signal::TERM),
                    (false, true) => {}
                }
            }
            told.into_iter().for_each(|(id, started)| reap(id, started));
            found
        };
        let found = tokio::task::spawn_blocking(round).await.unwrap_or_default();
        all.extend(&found);
        // Killed, they can only be held up by the kernel.
        let is_over = is_late.is_some_and(|since: Instant| since.elapsed() >= Duration::from_secs(10));
        // One that forks and exits may hide its child from one look, but not from several.
        empty = if found.is_empty() { empty + 1 } else { 0 };
        if empty == EMPTY_LOOKS || is_over {
            return all.into_keys().collect();
        }
        tokio::select! {
            _ = &mut hurry, if is_late.is_none() => is_late = Some(Instant::now()),
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

const EMPTY_LOOKS: u32 = 4;

/// Returns the inode number of a socket or a pipe.
pub(super) fn inode(file: &impl AsRawFd) -> Option<u64> {
    let target = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    procfs::inode(&target).map(|(_, inode)| inode)
}

/// Returns the process that listens at a unix socket.
async fn listener(path: &std::path::Path) -> Option<u32> {
    tokio::net::UnixStream::connect(path).await.ok()?.peer_cred().ok()?.pid()?.try_into().ok()
}

/// Signals the process that has this id and started at this time; no other that gets its id.
fn signal(id: u32, started: u64, signal: Signal) {
    let Some(pid) = procfs::pid(id) else { return };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if Stat::of(id).is_some_and(|stat| stat.started == started)
        && let Err(error) = pidfd_send_signal(process, signal)
    {
        tracing::debug!(pid = id, %error, "cannot signal a process that has left the process group of a child");
    }
}

/// Reaps a process that this process has adopted.
fn reap(id: u32, started: u64) {
    let is_adopted = |stat: Stat| stat.is_zombie() && stat.started == started && stat.parent == process::id();
    if let Some(pid) = procfs::pid(id)
        && Stat::of(id).is_some_and(is_adopted)
    {
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}
