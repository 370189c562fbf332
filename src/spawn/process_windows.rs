//! [`Process`] on Windows: a child in a job object, which ends with the job, as does whatever it starts.

use std::{io, process::ExitStatus, time::Duration};

use process_wrap::tokio::{ChildWrapper, CommandWrap, JobObject, KillOnDrop};
use tokio::{
    process::{ChildStderr, ChildStdout, Command},
    time::timeout,
};

/// The job is closed by the system when this process ends, and kills its processes then.
#[derive(Debug)]
pub(super) struct Process {
    child: Box<dyn ChildWrapper>,
    id: u32,
}

impl Process {
    pub(super) fn spawn(command: Command) -> io::Result<Self> {
        let mut command = CommandWrap::from(command);
        let child = command.wrap(KillOnDrop).wrap(JobObject).spawn()?;
        let id = child.id().ok_or_else(|| io::Error::other("the child has no process id"))?;
        Ok(Self { child, id })
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn pipes(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdout().take(), self.child.stderr().take())
    }

    /// True if it has exited; others of its job may go on.
    pub(super) fn has_exited(&mut self) -> bool {
        !matches!(self.child.inner_mut().try_wait(), Ok(None))
    }

    /// Waits until it has exited; others of its job may go on.
    pub(super) async fn exited(&mut self) {
        // An error says that there is nothing to wait for.
        let _ = self.child.inner_mut().wait().await;
    }

    /// There is no way to ask it: `GenerateConsoleCtrlEvent` can only be called by `unsafe` code.
    pub(super) async fn stop(&mut self, _grace: Duration, _hurry: impl Future<Output = ()>) {}

    /// Ends the job.
    pub(super) async fn finish(mut self) -> Option<ExitStatus> {
        if let Err(error) = self.child.start_kill() {
            tracing::debug!(%error, "cannot terminate the job object of a child");
        }
        timeout(Duration::from_secs(10), self.child.wait()).await.ok()?.ok()
    }
}
