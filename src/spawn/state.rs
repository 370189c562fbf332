//! What can be seen of an app and its children: [`Status`], [`Event`].

use std::{fmt, process::ExitStatus, time::Duration};

/// What an app does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// No child runs. A request starts one.
    #[default]
    Stopped,
    /// A child was started and is not ready; requests wait.
    Starting,
    /// Requests are forwarded.
    Ready,
    /// No new requests are given to the child; those that it has are waited for.
    Draining,
    /// The child was asked to end.
    Stopping,
    /// The last child failed; the next is started after a delay. Requests wait.
    Backoff,
    /// Too many have failed. Requests are answered with 503 for a while; the first one after that starts a child.
    Failed,
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// Its exit status; none if it was never there, or the system did not tell.
    pub status: Option<ExitStatus>,
    /// What it ended of.
    pub cause: ExitCause,
}

/// Why a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitCause {
    /// It was told to: it was idle, too old, replaced, or somebody asked for it.
    Stopped,
    /// It ended by itself while it served.
    Exited,
    /// It ended before it was ready.
    ExitedWhileStarting,
    /// It could not be started at all; the system's reason.
    SpawnFailed(String),
    /// It was not ready in time.
    StartTimeout,
    /// Somebody else answers at its port.
    ForeignListener,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.cause {
            ExitCause::Stopped => "stopped",
            ExitCause::Exited => "it ended by itself",
            ExitCause::ExitedWhileStarting => "it ended before it was ready",
            ExitCause::SpawnFailed(why) => return write!(f, "it could not be started: {why}"),
            ExitCause::StartTimeout => "it was not ready in time",
            ExitCause::ForeignListener => "another program answers at its port",
        })?;
        match &self.status {
            Some(status) => write!(f, " ({status})"),
            None => Ok(()),
        }
    }
}

/// An app at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// What it does.
    pub state: State,
    /// How long it has done so.
    pub since: Duration,
    /// In [`State::Backoff`] and [`State::Failed`]: when a child may be started.
    pub retry_in: Option<Duration>,
    /// The number of the generation that serves, or is to serve: 1, and one more with each reload.
    pub generation: u64,
    /// Children that were started so far.
    pub started: u64,
    /// Those of them that were started in place of one that failed.
    pub restarts: u64,
    /// Requests, bodies and tunnels on their way.
    pub in_flight: usize,
    /// Requests that wait for a child.
    pub waiting: usize,
    /// Those that there are, the ones that are going among them.
    pub children: Vec<ChildStatus>,
    /// How the last one that ended did so.
    pub last_exit: Option<Exit>,
}

/// A child at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChildStatus {
    /// Its number: each child of an app has another.
    pub id: u64,
    /// Its generation.
    pub generation: u64,
    /// Its process id, which is also that of its process group; none before it runs.
    pub pid: Option<u32>,
    /// [`State::Starting`], [`State::Ready`], [`State::Draining`] or [`State::Stopping`].
    pub state: State,
    /// How long it has been there.
    pub age: Duration,
    /// Requests, bodies and tunnels on their way to and from it.
    pub in_flight: usize,
}

/// Something that happened to an app.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The app does something else now.
    State(State),
    /// A child runs, and is not ready yet.
    #[non_exhaustive]
    Started {
        /// Its number.
        child: u64,
        /// Its generation.
        generation: u64,
        /// Its process id.
        pid: u32,
    },
    /// A child is ready.
    #[non_exhaustive]
    Ready {
        /// Its number.
        child: u64,
        /// Its generation.
        generation: u64,
    },
    /// A child has ended and was reaped.
    #[non_exhaustive]
    Exited {
        /// Its number.
        child: u64,
        /// Its generation.
        generation: u64,
        /// How.
        exit: Exit,
    },
    /// A new generation serves.
    #[non_exhaustive]
    Reloaded {
        /// Its number.
        generation: u64,
    },
    /// A new generation could not be made ready; the old one goes on.
    #[non_exhaustive]
    ReloadFailed {
        /// The number that it would have had.
        generation: u64,
    },
}
