//! [`Process`]: a running child and its process group.

use std::{
    io,
    process::ExitStatus,
    sync::{Arc, Once},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process_group, waitid};
use tokio::{
    process::{Child, ChildStderr, ChildStdout, Command},
    signal::unix::{self, SignalKind},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{group, guardian::Guardian};

/// A child that leads a process group of its own.
///
/// It is signalled only while it was not reaped, so that its id, which is the group's, cannot have become somebody else's.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    group: Pid,
    changes: unix::Signal,
    guardian: Arc<Guardian>,
    /// The last time that orphans of the group were reaped, if this process adopts orphans.
    reaped: Option<Instant>,
    over: bool,
}

impl Process {
    /// Starts `command`, and has the guardian, which runs, watch over it.
    pub(super) fn spawn(mut command: Command, guardian: Arc<Guardian>) -> io::Result<Self> {
        // Listened to before the child can end.
        let changes = unix::signal(SignalKind::child())?;
        let child = command.process_group(0).spawn()?;
        let raw = child.id().and_then(|id| i32::try_from(id).ok());
        let group = raw.and_then(Pid::from_raw).filter(|group| group.as_raw_nonzero().get() > 1);
        let group = group.ok_or_else(|| io::Error::other("the child has no process id"))?;
        let reaped = adopts_orphans().then(Instant::now);
        let process = Self { child, group, changes, guardian, reaped, over: false };
        process.guardian.add(process.id())?;
        Ok(process)
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.group.as_raw_nonzero().get().unsigned_abs()
    }

    pub(super) fn pipes(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdout.take(), self.child.stderr.take())
    }

    /// True if it has exited. It is not reaped by that, and keeps its id.
    pub(super) fn has_exited(&mut self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error: another part of this process has reaped it.
        !matches!(waitid(WaitId::Pid(self.group), look), Ok(None) | Err(rustix::io::Errno::INTR))
    }

    /// Waits until it has exited. It is not reaped by that, and keeps its id.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub(super) async fn exited(&mut self) {
        while !self.has_exited() {
            // A signal that another handler swallowed must not keep it a zombie for ever.
            let _ = timeout(Duration::from_secs(5), self.changes.recv()).await;
            self.reap_orphans().await;
        }
    }

    /// Reaps processes of the group whose parents have ended, where nobody else does it: at most once a second.
    async fn reap_orphans(&mut self) {
        if let Some(reaped) = &mut self.reaped
            && reaped.elapsed() >= Duration::from_secs(1)
        {
            *reaped = Instant::now();
            group::reap_orphans(self.group).await;
        }
    }

    /// Asks the group to end, and makes it end after `stop_timeout`, or once `hurry` is done.
    pub(super) async fn stop(&mut self, grace: Duration, hurry: impl Future<Output = ()>) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + grace.min(Duration::from_secs(24 * 60 * 60));
        tokio::select! {
            _ = timeout_at(deadline, self.leave()) => {}
            () = hurry => {}
        }
    }

    /// Waits for the leader, then for the others.
    async fn leave(&mut self) {
        self.exited().await;
        let mut pause = Duration::from_millis(5);
        while group::has_living_members(self.id()).await {
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// Ends what is left of the group at once, and reaps the child: how it ended.
    pub(super) async fn finish(mut self) -> Option<ExitStatus> {
        self.signal(Signal::KILL);
        // Killed, it can only be held up by the kernel.
        let ended = timeout(Duration::from_secs(10), self.exited()).await;
        // While its id is still its own.
        self.over = true;
        self.guardian.remove(self.id());
        if ended.is_err() {
            tracing::warn!(pid = self.id(), "a child process does not exit after SIGKILL");
            return None;
        }
        let status = self.child.wait().await.ok();
        if self.reaped.is_some() {
            // Killed, too. None of them is a leader: each that is left keeps the group's number from becoming another group's.
            let deadline = Instant::now() + Duration::from_secs(10);
            loop {
                match waitid(WaitId::Pgid(Some(self.group)), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
                    Ok(Some(_)) => {}
                    Ok(None) if Instant::now() < deadline => sleep(Duration::from_millis(5)).await,
                    Ok(None) | Err(_) => break,
                }
            }
        }
        status
    }

    fn signal(&self, signal: Signal) {
        if self.child.id().is_some() {
            // An error says that nobody is left.
            let _ = kill_process_group(self.group, signal);
        }
    }
}

/// Keeps the descriptors that this process has inherited, such as sockets of systemd's, from being inherited by its children, too. Those that
/// Rust programs open themselves are not inherited in any case.
pub(super) fn set_close_on_exec() {
    static ONCE: Once = Once::new();
    // Other threads may open and close descriptors meanwhile.
    ONCE.call_once(|| close_fds::set_fds_cloexec_threadsafe(3, &[]));
}

/// True if processes whose parents have ended become children of this process: in a container, or as a subreaper.
pub(super) fn adopts_orphans() -> bool {
    #[cfg(target_os = "linux")]
    let is_subreaper = matches!(rustix::process::child_subreaper(), Ok(Some(_)));
    #[cfg(not(target_os = "linux"))]
    let is_subreaper = false;
    is_subreaper || getpid().is_init()
}

impl Drop for Process {
    /// Nothing is left to do at the usual end. When the runtime shuts down, nobody here can wait any more.
    fn drop(&mut self) {
        if !self.over && !self.guardian.end(self.id()) {
            self.signal(Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn nobody_is_signalled_by_a_number_that_was_reaped() {
        let directory = tempfile::tempdir().unwrap();
        let guardian = Arc::new(Guardian::new(Duration::ZERO));
        guardian.keep(directory.path()).unwrap();
        // The process that stays in the group represents one that gets its number later.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exec 3<&0; cat <&3 &"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        guardian.start().unwrap();
        let mut process = Process::spawn(command, guardian.clone()).unwrap();
        let (mut to, mut from) = (process.child.stdin.take().unwrap(), process.pipes().0.unwrap());
        process.child.wait().await.unwrap();

        process.signal(Signal::KILL);
        assert!(process.finish().await.unwrap().success());
        drop(guardian);
        let guardian_ends = async {
            while directory.path().exists() {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_secs(30), guardian_ends).await.unwrap();

        to.write_all(b"here").await.unwrap();
        drop(to);
        let mut answer = String::new();
        from.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "here", "it was killed");
    }
}
