//! Starts backend processes on demand, forwards requests to them, and stops them: [`SpawnApp`].
//!
//! The first request starts the program, in whatever language it is written, and waits until it is ready. A child that
//! dies is started again, a child that is idle is stopped ([`idle_timeout`](SpawnAppBuilder::idle_timeout)), and no
//! child outlives this process, however this process ends.
//!
//! ```
//! use nexthop::{Body, spawn::{Command, SpawnApp, State}};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), nexthop::BoxError> {
//! # let python = std::process::Command::new("python3").arg("--version").output();
//! # if python.is_err() { return Ok(()) }
//! let command = Command::new("python3").args(["-m", "http.server"]);
//! let app = SpawnApp::builder(command.args(["--bind", "127.0.0.1", "__PORT__"])).build()?;
//! let handle = app.handle();
//! assert_eq!(handle.status().state, State::Stopped);
//!
//! let request = http::Request::get("/").header("host", "www.example.com").body(Body::empty())?;
//! assert_eq!(app.oneshot(request).await?.status(), 200);
//! assert_eq!(handle.status().state, State::Ready);
//! handle.shut_down().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Listening socket
//! | in the command | [`listen`](SpawnAppBuilder::listen) | the child | other programs that could answer |
//! |---|---|---|---|
//! | `__PORT__` | | binds a port that was free a moment before | one that binds the port first; on Linux, this is detected before anything is sent |
//! | `__SOCKET__` | | binds a unix socket in a directory that other users cannot enter | none |
//! | | [`ListenMode::Inherited`] | inherits a listening TCP socket as descriptor 3 (`LISTEN_FDS=1`) | none |
//! | | [`ListenMode::InheritedUnix`] | inherits a listening unix socket as descriptor 3 | none |
//! | | [`ListenMode::Announced`] | binds any port, and announces it in a line of output or a file | as for `__PORT__` |
//!
//! With an inherited socket there is no race and no refused connection. On systems other than Linux, the ownership of a
//! port is not checked; the child only has to be alive when a program answers at the port. A child that lost the race
//! for its port has failed, and the next one gets another port.
//!
//! The check reads the open files of the child's process group. If the system does not permit that, because the child
//! runs as another user, has file capabilities or is not dumpable, and this process lacks `CAP_SYS_PTRACE` (as in a
//! container), the socket must have been created by a user that the child runs as or was started as. A program of
//! another user is still detected; one of the same user is detected only if its open files can be inspected. A socket
//! of a user without an id in this user namespace is refused ([`ExitCause::UnverifiedListener`]). Unix and inherited
//! sockets need no check.
//!
//! Sockets and other files of a child are in a private directory below [`runtime_dir`](SpawnAppBuilder::runtime_dir),
//! which is made when a child needs it, also again after a cleaner of temporary files has removed it. A child that
//! listens on a port or an inherited TCP socket needs none, unless it has a secret file or a notify socket. A child whose
//! unix socket was removed is replaced when a new connection to it is needed: requests in flight are completed, others
//! are sent to the next child.
//!
//! # States
//! | [`State`] | requests | next state |
//! |---|---|---|
//! | `Stopped` | wait, and start a child | `Starting` |
//! | `Starting` | wait, up to 1,024 requests, each for up to 60 s | `Ready` as [`Ready`] defines; `Backoff` if the child fails |
//! | `Ready` | are forwarded | `Draining` if idle or stopped; `Backoff` if the child dies early, otherwise `Starting` |
//! | `Draining` | new ones wait; those in flight are completed | `Stopping` |
//! | `Stopping` | wait for a new child | `Stopped`, once the process group is gone and the child is reaped |
//! | `Backoff` | wait | `Starting` after a [delay](Backoff); `Failed` after too many failures |
//! | `Failed` | are answered with 503 and `Retry-After` | `Starting` with the first request after the pause |
//!
//! # Retries
//! A request that waits for a child has not been sent anywhere, so that it waits through failed starts. A request that
//! is in flight when its child dies is retried on the next child if a retry is safe:
//!
//! * if no byte of the request was sent;
//! * up to three times ([`max_retries`](SpawnAppBuilder::max_retries)), if its method is idempotent (RFC 9110 §9.2.2),
//!   no byte of a response has arrived, and its body is still available
//!   ([`replay_max_bytes`](crate::exact::ExactProxyBuilder::replay_max_bytes)).
//!
//! Other requests are answered with 502. Each child has a connection pool of its own, so that no pooled connection
//! leads to a dead child.
//!
//! # Stopping
//! The child leads a process group, which includes the child's own children. The group is sent `SIGTERM`, and `SIGKILL`
//! after the [stop timeout](SpawnAppBuilder::stop_timeout). If this process ends without stopping its children (because
//! it returns, panics or is killed), a shell that was started beside the first child stops them in the same way. If the
//! shell is killed, it is restarted at once. A server that shuts down in an orderly way awaits [`Handle::shut_down`]
//! last.
//!
//! A program must run in the foreground. One that exits and leaves processes in the background, or whose server leaves
//! the process group (`setsid`), has failed ([`ExitCause::NotInForeground`]). On Linux, processes that have left the
//! group are stopped with the child if they are recognised: they write to the child's output, hold its inherited
//! socket, listen at its unix socket, or listen at its port with its arguments or variables. Others are not stopped.
//!
//! A process that adopts orphans (the first process of a container, or a subreaper) reaps those of its children's
//! process groups. It does not reap others: a container whose programs leave their process groups needs an init.
//!
//! # Replicas and generations
//! [`replicas`](SpawnAppBuilder::replicas) children serve at the same time. [`Handle::reload`],
//! [`max_requests`](SpawnAppBuilder::max_requests), [`max_age`](SpawnAppBuilder::max_age) and
//! [`max_rss_bytes`](SpawnAppBuilder::max_rss_bytes) start new children before the old ones are stopped. If a new child
//! fails, the old one keeps serving.
//!
//! # Keyed children
//! [`KeyedSpawnApp`] has an app for each key, such as a host or a user, up to a maximum number. Each is created on
//! demand.
//!
//! # Output
//! Each line of the child's standard output and standard error is logged through `tracing` at level `INFO`, target
//! `nexthop::spawn::output`, with the fields name, pid and stream. The last 200 lines are kept ([`Handle::output`]). If
//! a child fails, the warning contains its last 20 lines. No output is sent to clients.
//!
//! # Failures
//! The warning in the log, [`Exit`] and the source of the error of a [`Handle`] name what failed: the program, its
//! interpreter, its dynamic loader or the directory that is missing; the last result of the readiness check; the owner
//! of the port. A failure that would only happen again is not retried before the pause of the circuit breaker is over
//! ([`Backoff`]). Clients get no reason.
//!
//! # Descriptors
//! When the first child of this process is about to be started, all descriptors of this process but standard input,
//! output and error are marked close-on-exec, so that none that it has inherited, such as a socket of systemd, is
//! inherited by children. A program that passes descriptors to other processes that it starts must clear the mark of
//! these descriptors afterwards.
//!
//! # Windows
//! | | unix | Windows |
//! |---|---|---|
//! | listening | as above | by port: `__PORT__` or [`ListenMode::Announced`] |
//! | readiness | all of [`Ready`] | all but `Ready::notify` |
//! | stopping | `SIGTERM`, the stop timeout, `SIGKILL` | terminated at once, without the stop timeout |
//! | stopped with a child | its process group | its job object: all processes that it started |
//! | if this process ends | a shell stops the children | the children end with it |
//! | users, limits, scripts | `Command::uid`, `gid`, `limit`, `shell` | none |
//! | `max_rss_bytes`, check of a port's owner | Linux | none |
//!
//! A Windows console program could be asked to stop with `CTRL_BREAK`. The function that sends it requires `unsafe`
//! code, which this crate does not contain, and reaches only processes that share this process's console. No
//! well-maintained crate offers a safe wrapper.

mod backoff;
mod builder;
mod child;
mod command;
#[cfg(target_os = "linux")]
mod escaped;
mod future;
mod gate;
mod group;
#[cfg(unix)]
mod guardian;
mod handle;
mod keyed;
mod listen;
#[cfg(target_os = "linux")]
mod listeners;
#[cfg(unix)]
mod notify;
mod output;
#[cfg(target_os = "linux")]
mod owner;
#[cfg_attr(windows, path = "process_windows.rs")]
mod process;
#[cfg(target_os = "linux")]
mod procfs;
mod ready;
mod service;
mod shared;
mod spec;
mod start_error;
mod state;
mod supervisor;

pub use backoff::Backoff;
pub use builder::SpawnAppBuilder;
pub use command::Command;
#[cfg(unix)]
pub use command::Resource;
pub use future::SpawnAppFuture;
pub use handle::{Events, Handle};
pub use keyed::{KeyedSpawnApp, KeyedSpawnAppBuilder};
pub use listen::{Address, ListenMode, PortAnnouncement};
pub use output::{Line, OutputStream};
pub use ready::Ready;
pub use service::SpawnApp;
pub use state::{ChildStatus, Event, Exit, ExitCause, State, Status};
