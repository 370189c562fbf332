//! [`Guardian`]: ends the children when this process ends, however it ends.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::time::Instant;

use super::process::adopts_orphans;

/// A shell that knows the children's process groups and reads from a socket of this process. At the end of its input, which is at the latest
/// the end of this process, it sends the groups `TERM`, waits for the stop timeout, sends `KILL`, and removes the private directory.
///
/// It is in a group of its own and ignores signals, so that what ends this process does not end it; if it is killed, it is started again at
/// once. A descriptor that children inherit would not do instead: it works for those only that look at it. For the instant between a
/// child's start and [`add`](Self::add), and between the end of a shell and the start of the next, no shell watches over that child.
#[derive(Debug)]
pub(super) struct Guardian(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    grace: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeSet<u32>,
    /// The private directory, if there is one.
    directory: Option<PathBuf>,
    /// The running shell. Its thread reaps it under the lock, and removes it here then.
    shell: Option<Shell>,
    /// How often in a row a shell has ended soon.
    short_lives: u32,
}

#[derive(Debug)]
struct Shell {
    stream: UnixStream,
    pid: Pid,
}

impl Guardian {
    pub(super) fn new(grace: Duration) -> Self {
        Self(Arc::new(Shared { grace, state: Mutex::default() }))
    }

    /// Runs the shell, if it does not run, so that it is there before the first child.
    pub(super) fn start(&self) -> io::Result<()> {
        let mut state = self.0.state();
        if state.shell.is_some() { Ok(()) } else { self.0.run(&mut state) }
    }

    /// From now on it ends this group, too.
    pub(super) fn add(&self, group: u32) -> io::Result<()> {
        let mut state = self.0.state();
        state.groups.insert(group);
        // Without a shell that reads, the next one is sent everything.
        state.send('+', group.to_string().as_bytes()).or_else(|_| self.0.run(&mut state))
    }

    /// Its leader is about to be reaped: then the number may become another group's.
    pub(super) fn remove(&self, group: u32) {
        let mut state = self.0.state();
        state.groups.remove(&group);
        // A shell that is not there any more has no groups.
        let _ = state.send('-', group.to_string().as_bytes());
    }

    /// True if the group is that of a child that is watched over.
    #[cfg(target_os = "linux")]
    pub(super) fn watches(&self, group: u32) -> bool {
        self.0.state().groups.contains(&group)
    }

    /// Has it end the group now, because the task that was to do that is gone. False if the shell is gone, too.
    pub(super) fn end(&self, group: u32) -> bool {
        let mut state = self.0.state();
        state.groups.remove(&group);
        state.send('!', group.to_string().as_bytes()).is_ok()
    }

    /// Has it remove this directory in the end, instead of the one before.
    pub(super) fn keep(&self, directory: &Path) -> io::Result<()> {
        if directory.as_os_str().as_bytes().contains(&b'\n') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path of the private directory has several lines",
            ));
        }
        let mut state = self.0.state();
        state.directory = Some(directory.to_owned());
        // The next shell is sent everything.
        let _ = state.send('/', directory.as_os_str().as_bytes());
        Ok(())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        if let Some(Shell { pid, .. }) = state.shell.take() {
            // It does not read: later, it would end children that the next shell watches over. It is not reaped yet.
            let _ = kill_process(pid, Signal::KILL);
        }
        let (ours, theirs) = UnixStream::pair()?;
        // A guardian that does not read must not hold this process up.
        ours.set_nonblocking(true)?;
        // Before it runs: from its start on, it has everything that it needs if this process ends.
        let mut beginning = Vec::new();
        if let Some(directory) = &state.directory {
            beginning.extend(line('/', directory.as_os_str().as_bytes()));
        }
        state.groups.iter().for_each(|group| beginning.extend(line('+', group.to_string().as_bytes())));
        (&ours).write_all(&beginning)?;
        let (started, to_watch) = sync_channel(1);
        let shared = Arc::downgrade(self);
        thread::Builder::new().name("nexthop-guardian".to_owned()).spawn(move || watch(&to_watch, &shared))?;
        let tenths = self.grace.as_millis().div_ceil(100).to_string();
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT, "nexthop-guardian", &tenths]);
        shell
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0);
        let why = "which ends the children if this process ends";
        let cannot = |error: io::Error| io::Error::new(error.kind(), format!("cannot run /bin/sh, {why}: {error}"));
        let shell = shell.spawn().map_err(cannot)?;
        let pid = i32::try_from(shell.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        // The channel has room for one.
        let _ = started.send((shell, pid));
        state.shell = Some(Shell { stream: ours, pid });
        Ok(())
    }

    /// A shell has ended: it is reaped, and the next one started where there is something to watch over. False if that failed.
    fn replace(self: &Arc<Self>, ended: &mut Child, pid: Pid) -> bool {
        let mut state = self.state();
        let _ = ended.wait();
        match &state.shell {
            Some(shell) if shell.pid == pid => state.shell = None,
            // Another has been started in its place.
            Some(_) => return true,
            None => {}
        }
        if state.groups.is_empty() && state.directory.is_none() {
            return true;
        }
        match self.run(&mut state) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "cannot restart the guardian of child processes");
                false
            }
        }
    }
}

/// Starts the next shell when this one ends, at once, unless the last ones ended soon, too.
fn watch(started: &Receiver<(Child, Pid)>, shared: &Weak<Shared>) {
    let Ok((mut shell, pid)) = started.recv() else { return };
    let begun = Instant::now();
    // Not reaped by that, so that its number stays its own. An error: another part of this process has reaped it.
    let exited = || waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    while exited().is_err_and(|error| error == rustix::io::Errno::INTR) {}
    let lived = begun.elapsed();
    let pause = || {
        let shared = shared.upgrade()?;
        let mut state = shared.state();
        state.short_lives = if lived < HEALTHY { state.short_lives.saturating_add(1) } else { 0 };
        Some(pause(state.short_lives))
    };
    while let Some(pause) = pause() {
        thread::sleep(pause);
        if shared.upgrade().is_some_and(|shared| shared.replace(&mut shell, pid)) {
            // Some of its own processes may still be ending a group, and become children of this process.
            while adopts_orphans() && waitid(WaitId::Pgid(Some(pid)), WaitIdOptions::EXITED).is_ok() {}
            return;
        }
    }
    // Nothing is left to watch over.
    let _ = shell.wait();
}

/// How long to wait before a shell is started after this many that have ended soon: not at all after the first.
fn pause(short_lives: u32) -> Duration {
    match short_lives {
        0 | 1 => Duration::ZERO,
        many => Duration::from_millis(100 << (many - 2).min(6)),
    }
}

impl State {
    fn send(&mut self, what: char, rest: &[u8]) -> io::Result<()> {
        let Shell { stream, .. } = self.shell.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        stream.write_all(&line(what, rest))
    }
}

fn line(what: char, rest: &[u8]) -> Vec<u8> {
    [what.to_string().as_bytes(), b" ", rest, b"\n"].concat()
}

/// A shell that ran this long was not broken from the start.
const HEALTHY: Duration = Duration::from_secs(10);

/// `$1` is the stop timeout in tenths of a second. The shell stays in the private directory, so that it removes files there and nowhere else,
/// whatever becomes of the name. A group that has ended costs one look.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM USR1 USR2 PIPE
end() {
  kill -TERM "-$1" || return
  left=$2
  while [ "$left" -gt 0 ] && kill -0 "-$1"; do
    if sleep 0.1; then left=$((left - 1)); else sleep 1; left=$((left - 10)); fi
  done
  kill -KILL "-$1"
}
groups=' '
directory=
while IFS= read -r line; do
  what=${line%% *}
  group=${line#* }
  if [ "$what" = / ]; then
    directory=$group
    cd -P -- "$directory" || directory=
    continue
  fi
  rest=' '
  for known in $groups; do [ "$known" = "$group" ] || rest="$rest$known "; done
  groups=$rest
  case $what in
    +) groups="$rest$group " ;;
    !) end "$group" "$1" & ;;
  esac
done
for known in $groups; do end "$known" "$1" & done
wait
if [ -n "$directory" ]; then
  rm -f -- ./*/socket ./*/port ./*/secret ./*/notify
  rmdir -- ./*
  cd / && rmdir -- "$directory"
fi
"#;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// No process group has this id.
    const NONE: u32 = i32::MAX.unsigned_abs();

    fn shell(guardian: &Guardian) -> u32 {
        guardian.0.state().shell.as_ref().map_or(0, |shell| shell.pid.as_raw_nonzero().get().unsigned_abs())
    }

    fn until(what: impl Fn() -> bool) {
        let begun = Instant::now();
        while !what() {
            assert!(begun.elapsed() < Duration::from_secs(20));
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_shell_that_does_not_read_is_replaced_and_one_that_is_killed_is_too() {
        let directory = tempfile::tempdir().unwrap();
        let guardian = Guardian::new(Duration::ZERO);
        guardian.keep(directory.path()).unwrap();
        guardian.start().unwrap();
        let stopped = shell(&guardian);
        kill_process(crate::spawn::procfs::pid(stopped).unwrap(), Signal::STOP).unwrap();
        // Until its socket is full.
        until(|| {
            guardian.add(NONE).unwrap();
            guardian.remove(NONE);
            shell(&guardian) != stopped
        });
        until(|| crate::spawn::procfs::Stat::of(stopped).is_none());
        for _ in 0..2 {
            let killed = shell(&guardian);
            kill_process(crate::spawn::procfs::pid(killed).unwrap(), Signal::KILL).unwrap();
            until(|| ![0, killed].contains(&shell(&guardian)));
        }
        drop(guardian);
        until(|| !directory.path().exists());
    }
}
