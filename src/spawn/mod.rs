//! [`SpawnApp`]: backends that start on demand and can be trusted to stop.
//!
//! A service that runs another program, in whatever language, and forwards to it: the first request starts it, and waits until it is ready.
//! A child that dies is started again, one that nobody uses is stopped ([`idle_timeout`](SpawnAppBuilder::idle_timeout)), and none outlives
//! this process, however that ends.
//!
//! ```
//! use nexthop::{Body, spawn::{Command, SpawnApp, State}};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), nexthop::BoxError> {
//! # if std::process::Command::new("python3").arg("--version").output().is_err() { return Ok(()) }
//! let app = SpawnApp::builder(Command::new("python3").args(["-m", "http.server", "--bind", "127.0.0.1", "__PORT__"])).build()?;
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
//! # Where the child listens
//! | the command names | or `listen` says | the child | who else could answer |
//! |---|---|---|---|
//! | `__PORT__` | | binds a port that was free a moment ago | a program that was quicker; on Linux it is found out before anything is sent to it |
//! | `__SOCKET__` | | binds a unix socket in a directory that nobody else can enter | nobody |
//! | | [`ListenMode::Inherited`] | takes over a listening TCP socket, descriptor 3 (`LISTEN_FDS=1`) | nobody |
//! | | [`ListenMode::InheritedUnix`] | takes over a listening unix socket | nobody |
//! | | [`ListenMode::Announced`] | binds any port, and says which, in a line or a file | as for `__PORT__` |
//!
//! With an inherited socket there is no race and no refused connection. On systems other than Linux, the proof for ports is that the child
//! is alive when somebody answers. A child that was beaten to its port has failed, and the next one gets another port.
//!
//! # What it does
//! | [`State`] | requests | goes on to |
//! |---|---|---|
//! | `Stopped` | wait, and start a child | `Starting` |
//! | `Starting` | wait, up to 1,024 of them, each for 60 s | `Ready` when [`Ready`] says so; `Backoff` if it fails |
//! | `Ready` | are forwarded | `Draining` when idle or told to stop; `Backoff` if it dies early, else `Starting` |
//! | `Draining` | new ones wait; those on their way are finished | `Stopping` |
//! | `Stopping` | wait for a fresh start | `Stopped`, once all of the group is gone and the child is reaped |
//! | `Backoff` | wait | `Starting` after a [delay](Backoff); `Failed` after too many |
//! | `Failed` | are answered with 503 and `Retry-After` | `Starting` with the first request after the pause |
//!
//! A request that has found no child has not been sent anywhere: it waits through failed starts. One that was on its way when its child
//! died is sent to the next child if that repeats nothing: if not a byte of it was sent, or, up to three times
//! ([`max_retries`](SpawnAppBuilder::max_retries)), if its method is idempotent (RFC 9110 §9.2.2), no byte of a response has come, and its
//! body is still there ([`replay_max_bytes`](crate::exact::ExactProxyBuilder::replay_max_bytes)). Others are 502. A child gets a pool of
//! connections of its own, so that none leads to a dead one.
//!
//! # Stopping
//! The child leads a process group. It is sent `TERM`, and `KILL` after the [grace](SpawnAppBuilder::stop_timeout), and so are its children.
//! When this process ends without having stopped them (it returns, panics, is killed), a shell that was started beside the first child does
//! the same. What leaves the group (`setsid`) is out of reach. Have a server that ends orderly await
//! [`Handle::shut_down`] last.
//!
//! # Replicas and generations
//! [`replicas`](SpawnAppBuilder::replicas) children serve together. [`Handle::reload`] and [`max_requests`](SpawnAppBuilder::max_requests),
//! [`max_age`](SpawnAppBuilder::max_age) and [`max_rss_bytes`](SpawnAppBuilder::max_rss_bytes) start the new children before the old ones
//! go; a new one that fails leaves the old one where it is.
//!
//! # Keyed children
//! [`KeyedSpawnApp`] has an app for each key, such as a host or a user: started when somebody asks for it, as many as there may be.
//!
//! # Output
//! Lines of both streams go to `tracing`, as `INFO` of the target `nexthop::spawn::output` with name, pid and stream; the last 200 are kept
//! ([`Handle::output`]). The last lines of a child that failed are in the warning about it. No client is told of them.

//!
//! # Windows
//! | | unix | Windows |
//! |---|---|---|
//! | listening | as above | by port: `__PORT__` or [`ListenMode::Announced`] |
//! | being ready | as [`Ready`] has it | all of it but `Ready::notify` |
//! | a stop | `TERM`, the grace, `KILL` | the end, at once, without the grace |
//! | who goes with a child | its process group | its job object: all that it has started |
//! | this process ends | children are stopped by a shell | children end with it |
//! | users, limits, scripts | `Command::uid`, `gid`, `limit`, `shell` | none |
//! | `max_rss_bytes`, proof of a port's owner | Linux | none |
//!
//! A console program would be asked to end by `CTRL_BREAK`. What sends it can only be called by `unsafe` code, which this crate has none of,
//! and reaches only those that share this process's console; no crate that is well kept has a safe function for it.

mod backoff;
mod builder;
mod child;
mod command;
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
mod output;
#[cfg_attr(windows, path = "process_windows.rs")]
mod process;
mod ready;
mod service;
mod shared;
mod spec;
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
