//! [`Status`], [`Exit`] and [`Event`]: reports of an app and its children.

use std::{fmt, process::ExitStatus, time::Duration};

/// Names the state of an app or a child. The [module](crate::spawn#states) lists the transitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// No child runs. A request starts one.
    #[default]
    Stopped,
    /// A child was started and is not ready yet. Requests wait.
    Starting,
    /// A child is ready. Requests are forwarded.
    Ready,
    /// The child gets no new requests; those in flight are completed.
    Draining,
    /// The child was asked to end. Requests wait.
    Stopping,
    /// The last child failed; the next one is started after a delay. Requests wait.
    Backoff,
    /// Too many children failed: the circuit breaker is open. Requests are answered with 503; the first one after the
    /// pause starts a child.
    Failed,
}

/// Reports how a child ended. `Display` prints the cause, the detail and the status.
///
/// ```
/// use nexthop::spawn::{Command, ExitCause, Ready, SpawnApp};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), nexthop::BoxError> {
/// let missing = SpawnApp::builder(Command::new("/srv/no-such-program").arg("__PORT__")).build()?;
/// assert!(missing.handle().start().await.is_err());
/// let exit = missing.handle().status().last_exit.ok_or("no child was started")?;
/// assert!(matches!(exit.cause, ExitCause::SpawnFailed(_)));
/// # #[cfg(unix)]
/// assert!(exit.to_string().contains("the program /srv/no-such-program does not exist"));
///
/// # #[cfg(unix)] {
/// let silent = SpawnApp::builder(Command::shell("exec sleep 60").env("PORT", "__PORT__"))
///     .start_timeout(Duration::from_millis(50))
///     .build()?;
/// assert!(silent.handle().start().await.is_err());
/// let exit = silent.handle().status().last_exit.ok_or("no child was started")?;
/// assert_eq!(exit.cause, ExitCause::StartTimeout);
/// assert!(exit.detail.ok_or("no detail")?.starts_with("connecting to 127.0.0.1:"));
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// The exit status. `None` if the child was never started, or if the system did not report the status.
    pub status: Option<ExitStatus>,
    /// The cause of the end.
    pub cause: ExitCause,
    /// More about the cause, for people: the last result of the readiness check, the owner of the child's port, a process that has left the
    /// process group. `None` if there is no more.
    pub detail: Option<String>,
}

/// Names the cause of a child's end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitCause {
    /// The child was stopped: it was idle, too old or replaced, or the app or its [`Handle`](super::Handle) stopped it.
    Stopped,
    /// The child exited by itself while it was ready.
    Exited,
    /// The child exited before it was ready.
    ExitedWhileStarting,
    /// The child could not be started. Contains the reason.
    SpawnFailed(String),
    /// The child was not ready within the start timeout. [`Exit::detail`] contains the last result of the readiness check.
    StartTimeout,
    /// Another program listens on the child's port.
    ForeignListener,
    /// It could not be verified that the child listens on its port. [`Exit::detail`] contains the reason. The
    /// [module](crate::spawn#listening-socket) lists ways to listen that need no verification.
    UnverifiedListener,
    /// The program does not run in the foreground: it exited and left processes in the background, or the process that
    /// listens has left the child's process group.
    NotInForeground,
    /// The child's unix socket was removed from the file system while it was ready.
    SocketRemoved,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.cause {
            ExitCause::Stopped => "stopped",
            ExitCause::Exited => "the child exited by itself",
            ExitCause::ExitedWhileStarting => "the child exited before it was ready",
            ExitCause::SpawnFailed(why) => return write!(f, "the child could not be started: {why}"),
            ExitCause::StartTimeout => "the child was not ready within the start timeout",
            ExitCause::ForeignListener => "another program listens on the child's port",
            ExitCause::UnverifiedListener => {
                "cannot verify that the child listens on its port; let it listen on __SOCKET__ or inherit its socket \
                 (ListenMode::Inherited), run it as the user of this process, or grant this process CAP_SYS_PTRACE"
            }
            ExitCause::NotInForeground => {
                "the program went to the background or left its process group; let it run in the foreground (no daemon \
                 option, no setsid, no &)"
            }
            ExitCause::SocketRemoved => "the unix socket of the child was removed",
        })?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        match &self.status {
            Some(status) => write!(f, " ({status})"),
            None => Ok(()),
        }
    }
}

/// Reports the state of an app at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// The state of the app.
    pub state: State,
    /// The time in this state.
    pub since: Duration,
    /// The time until a child may be started, in [`State::Backoff`] and [`State::Failed`].
    pub retry_in: Option<Duration>,
    /// The number of the generation that serves or will serve: 1, incremented by each reload.
    pub generation: u64,
    /// The number of children started so far.
    pub started: u64,
    /// The number of restarts after a child ended unexpectedly.
    pub restarts: u64,
    /// The number of requests, response bodies and tunnels in flight.
    pub in_flight: usize,
    /// The number of requests that wait for a child.
    pub waiting: usize,
    /// The children, including those that are being stopped.
    pub children: Vec<ChildStatus>,
    /// The end of the child that ended last.
    pub last_exit: Option<Exit>,
}

/// Reports the state of a child at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChildStatus {
    /// The child's number, unique within its app.
    pub id: u64,
    /// The child's generation.
    pub generation: u64,
    /// The child's process id, which on unix is also its process group id. `None` before it runs.
    pub pid: Option<u32>,
    /// [`State::Starting`], [`State::Ready`], [`State::Draining`] or [`State::Stopping`].
    pub state: State,
    /// The time since the child was started.
    pub age: Duration,
    /// The number of requests, response bodies and tunnels in flight with this child.
    pub in_flight: usize,
}

/// Reports a change of an app or one of its children.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The state of the app changed to this one.
    State(State),
    /// A child was started and is not ready yet.
    #[non_exhaustive]
    Started {
        /// The child's number.
        child: u64,
        /// The child's generation.
        generation: u64,
        /// The child's process id.
        pid: u32,
    },
    /// A child became ready.
    #[non_exhaustive]
    Ready {
        /// The child's number.
        child: u64,
        /// The child's generation.
        generation: u64,
    },
    /// A child ended and was reaped.
    #[non_exhaustive]
    Exited {
        /// The child's number.
        child: u64,
        /// The child's generation.
        generation: u64,
        /// How the child ended.
        exit: Exit,
    },
    /// A new generation took over.
    #[non_exhaustive]
    Reloaded {
        /// The number of the new generation.
        generation: u64,
    },
    /// A new generation did not become ready; the old one keeps serving.
    #[non_exhaustive]
    ReloadFailed {
        /// The number that the new generation would have had.
        generation: u64,
    },
}
