//! [`Guardian`]: sees to it that no child outlives this process, however it ends.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// A shell that knows the children's process groups and reads from a socket of ours. At its end, which is at the latest ours, it sends the
/// groups `TERM`, gives them the time of grace, sends `KILL`, and removes the private directory.
///
/// It is in a group of its own and ignores signals, so that what ends this process does not end it. A descriptor that children inherit
/// would not do instead: it works for those only that look at it. For the instant between a child's start and [`add`](Self::add), nobody
/// watches over that child.
#[derive(Debug)]
pub(super) struct Guardian {
    grace: Duration,
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeSet<u32>,
    shell: Option<(UnixStream, tokio::process::Child)>,
}

impl Guardian {
    pub(super) fn new(grace: Duration, directory: &Path) -> Self {
        Self { grace, directory: directory.to_owned(), state: Mutex::default() }
    }

    /// Runs the shell, if it does not run, so that it is there before the first child.
    pub(super) fn start(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = match &mut state.shell {
            Some((_, shell)) => shell.try_wait()?.is_none(),
            None => false,
        };
        if runs { Ok(()) } else { self.run(&mut state) }
    }

    /// From now on it ends this group, too.
    pub(super) fn add(&self, group: u32) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.groups.insert(group);
        match tell(&mut state, '+', group) {
            Ok(()) => Ok(()),
            // Somebody has killed it: the next one is told of all.
            Err(_) => self.run(&mut state),
        }
    }

    /// The group has ended.
    pub(super) fn remove(&self, group: u32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.groups.remove(&group);
        // One that is not there any more knows of no groups either.
        let _ = tell(&mut state, '-', group);
    }

    /// It is to end the group now: whoever was to do that is gone. False if it is gone, too.
    pub(super) fn end(&self, group: u32) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.groups.remove(&group);
        tell(&mut state, '!', group).is_ok()
    }

    fn run(&self, state: &mut State) -> io::Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        // A guardian that does not read must not hold this process up.
        ours.set_nonblocking(true)?;
        let tenths = self.grace.as_millis().div_ceil(100).to_string();
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", SCRIPT, "nexthop-guardian", &tenths]).arg(&self.directory);
        shell
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0);
        let shell = tokio::process::Command::from(shell).spawn()?;
        state.shell = Some((ours, shell));
        for group in state.groups.clone() {
            tell(state, '+', group)?;
        }
        Ok(())
    }
}

fn tell(state: &mut State, what: char, group: u32) -> io::Result<()> {
    let (stream, _) = state.shell.as_mut().ok_or(io::ErrorKind::NotConnected)?;
    stream.write_all(format!("{what} {group}\n").as_bytes())
}

/// `$1` is the grace in tenths of a second, `$2` the directory, of which it removes what was put there. A group that has ended costs one look.
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
while read -r what group; do
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
rm -f -- "$2"/*/socket "$2"/*/port "$2"/*/secret "$2"/*/notify
rmdir -- "$2"/* "$2"
"#;
