//! [`Birth`]: the life of one child, from its start until it is reaped.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, timeout},
};
use zeroize::Zeroizing;

#[cfg(target_os = "linux")]
use super::{
    escaped::{self, Lineage, Search},
    listeners,
    owner::{self, Owner},
};
use super::{
    gate::{Backend, Gate},
    listen::{Address, Place, PortAnnouncement, SECRET_FILE, Said, Way},
    output::{Finder, Output, OutputStream},
    process::Process,
    ready::{self, Kind, LastResult},
    shared::Front,
    spec::Spec,
    start_error::StartError,
    state::{Exit, ExitCause},
};
#[cfg(unix)]
use super::{group, notify::Notifications};
use crate::{
    error::BoxError,
    message::target::UpstreamUrl,
    protocol::{keyring::Keyring, signature::Signer},
    secret::Secret,
};

/// How far a child is asked to come to its end. Only ever moves on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Halt {
    #[default]
    No,
    /// After the requests that it has.
    Drain,
    /// Now, with grace.
    Stop,
    /// Now.
    Kill,
}

/// A report of a child to its supervisor.
#[derive(Debug)]
pub(super) enum News {
    Started {
        pid: u32,
    },
    Ready {
        backend: Arc<Backend>,
    },
    /// Its unix socket is gone: it completes the requests that it has.
    SocketRemoved {
        ready_for: Duration,
    },
    Stopping,
    Exited {
        end: End,
        ready_for: Option<Duration>,
    },
}

/// How a child ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) exit: Exit,
    /// True if the next child would end in the same way, until a person changes something.
    pub(super) is_permanent: bool,
}

impl End {
    fn new(cause: ExitCause) -> Self {
        Self { exit: Exit { status: None, cause, detail: None }, is_permanent: false }
    }

    fn because(cause: ExitCause, detail: impl Into<Option<String>>) -> Self {
        let is_permanent = matches!(cause, ExitCause::NotInForeground | ExitCause::UnverifiedListener);
        Self { exit: Exit { status: None, cause, detail: detail.into() }, is_permanent }
    }
}

impl From<StartError> for End {
    fn from(StartError { text, is_permanent }: StartError) -> Self {
        Self { is_permanent, ..Self::new(ExitCause::SpawnFailed(text)) }
    }
}

/// Everything that the life of a child needs.
pub(super) struct Birth {
    pub(super) id: u64,
    pub(super) spec: Arc<Spec>,
    pub(super) front: Weak<Front>,
    pub(super) halt: watch::Receiver<Halt>,
    pub(super) news: mpsc::Sender<(u64, News)>,
}

/// A child that runs.
struct Alive {
    process: Process,
    running: Running,
    readers: JoinSet<()>,
}

/// A child that runs, without its process.
struct Running {
    output: Output,
    signer: Option<Signer>,
    #[cfg(unix)]
    notifications: Option<Notifications>,
    #[cfg(target_os = "linux")]
    lineage: Arc<Lineage>,
    /// Where it listens, once that is known.
    address: OnceLock<Address>,
    /// Its files, removed with it.
    place: Place,
}

impl Birth {
    pub(super) async fn live(self) {
        let (end, ready_for) = match self.start() {
            Ok(alive) => self.see_through(alive).await,
            Err(error) => {
                tracing::warn!(name = &*self.spec.name, %error, "cannot start a child process");
                (error.into(), None)
            }
        };
        self.tell(News::Exited { end, ready_for }).await;
    }

    async fn tell(&self, news: News) {
        // Without a supervisor there is nobody to tell.
        let _ = self.news.send((self.id, news)).await;
    }

    /// Done when the child is to come to its end this far, or has no supervisor any more.
    fn halted(&self, level: Halt) -> impl Future<Output = ()> + use<> {
        let mut halt = self.halt.clone();
        async move {
            let _ = halt.wait_for(|halt| *halt >= level).await;
        }
    }

    fn start(&self) -> Result<Alive, StartError> {
        let spec = &*self.spec;
        let directory = if spec.needs_directory() { Some(spec.sites.room(&spec.command)?) } else { None };
        let mut place = Place::prepare(&spec.way, spec.ip, directory)?;
        let signer = if spec.sign { Some(hand_over_secret(&mut place)?) } else { None };
        let filled: Vec<_> = place.filled.iter().map(|(placeholder, by)| (*placeholder, by.as_str())).collect();
        let mut command = spec.command.to_tokio(&filled, spec.way.is_inherited());
        #[cfg(target_os = "linux")]
        let marks = spec.command.marks(&filled);
        if let Some((_, file)) = filled.iter().find(|(placeholder, _)| *placeholder == SECRET_FILE) {
            command.env("NEXTHOP_SECRET_FILE", file);
        }
        #[cfg(unix)]
        let notifications = self.notify_socket(&mut command, &place)?;
        #[cfg(unix)]
        own(&spec.command, &place)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(target_os = "linux")]
        let socket = place.inherited.as_ref().and_then(escaped::inode);
        #[cfg(unix)]
        if let Some(listener) = place.inherited.take() {
            command.stdin(listener);
        }
        #[cfg(unix)]
        spec.sites.guardian.start()?;
        #[cfg(unix)]
        let process = Process::spawn(command, spec.sites.guardian.clone());
        #[cfg(not(unix))]
        let process = Process::spawn(command);
        let not_executed = |error: io::Error| StartError::executing(&spec.command, spec.way.is_inherited(), &error);
        let mut process = process.map_err(not_executed)?;
        let output = Output::new(spec.name.clone(), process.id(), spec.kept.clone(), self.finder());
        let mut readers = JoinSet::new();
        let (out, err) = process.pipes();
        #[cfg(target_os = "linux")]
        let lineage = {
            let pipes = [out.as_ref().and_then(escaped::inode), err.as_ref().and_then(escaped::inode)];
            Arc::new(Lineage::new(process.id(), pipes.into_iter().flatten().collect(), socket, marks))
        };
        // Each pipe by itself: a child that fills one of them must not wait for the other to be read.
        out.map(|pipe| readers.spawn(output.clone().read(OutputStream::Stdout, pipe)));
        err.map(|pipe| readers.spawn(output.clone().read(OutputStream::Stderr, pipe)));
        let address = place.address.clone().map(OnceLock::from).unwrap_or_default();
        let running = Running {
            output,
            signer,
            #[cfg(unix)]
            notifications,
            #[cfg(target_os = "linux")]
            lineage,
            address,
            place,
        };
        Ok(Alive { process, running, readers })
    }

    #[cfg(unix)]
    fn notify_socket(&self, command: &mut tokio::process::Command, place: &Place) -> io::Result<Option<Notifications>> {
        if !matches!(self.spec.ready.0, Kind::Notify) {
            return Ok(None);
        }
        let path = place.file("notify")?;
        let notifications = Notifications::receive(&path)?;
        command.env("NOTIFY_SOCKET", path);
        Ok(Some(notifications))
    }

    /// Looks for a port or for readiness in the output.
    fn finder(&self) -> Option<Finder> {
        let port = match &self.spec.way {
            Way::Announced(PortAnnouncement(Said::Line(find))) => Some(find.clone()),
            _ => None,
        };
        port.or_else(|| self.spec.ready.finder())
    }

    /// From a running process to its end.
    async fn see_through(&self, alive: Alive) -> (End, Option<Duration>) {
        let Alive { mut process, running, readers } = alive;
        self.tell(News::Started { pid: process.id() }).await;
        let (gate, last) = (Arc::new(Gate::default()), LastResult::default());
        let ready = tokio::select! {
            ready = timeout(self.spec.start_timeout, self.becomes_ready(&running, &gate, &last)) => {
                ready.unwrap_or_else(|_| Err(End::because(ExitCause::StartTimeout, last.take())))
            }
            () = process.exited() => Err(End::new(ExitCause::ExitedWhileStarting)),
            () = self.halted(Halt::Drain) => Err(End::new(ExitCause::Stopped)),
        };
        // A program may answer at the address, but it is not the child.
        let ready = if process.has_exited() { ready.and(Err(End::new(ExitCause::ExitedWhileStarting))) } else { ready };
        let (end, ready_for) = match ready {
            Ok(backend) => {
                let since = Instant::now();
                self.tell(News::Ready { backend }).await;
                let cause = self.serve(&mut process, &gate, since).await;
                (End::new(cause), Some(since.elapsed()))
            }
            Err(end) => {
                if end.exit.cause != ExitCause::ExitedWhileStarting {
                    process.stop(self.spec.grace, self.halted(Halt::Kill)).await;
                }
                (end, None)
            }
        };
        gate.die();
        (self.bury(Alive { process, running, readers }, end).await, ready_for)
    }

    /// Until it ends, by itself or as it is asked to.
    async fn serve(&self, process: &mut Process, gate: &Gate, since: Instant) -> ExitCause {
        let cause = tokio::select! {
            () = process.exited() => return ExitCause::Exited,
            () = self.halted(Halt::Drain) => ExitCause::Stopped,
            // It runs, but no new connection to it can be opened.
            () = gate.died() => ExitCause::SocketRemoved,
        };
        if cause == ExitCause::SocketRemoved {
            self.tell(News::SocketRemoved { ready_for: since.elapsed() }).await;
        }
        tokio::select! {
            () = process.exited() => {}
            _ = timeout(self.spec.drain, gate.emptied()) => {}
            () = self.halted(Halt::Stop) => {}
        }
        self.tell(News::Stopping).await;
        process.stop(self.spec.grace, self.halted(Halt::Kill)).await;
        cause
    }

    async fn bury(&self, alive: Alive, mut end: End) -> End {
        let Alive { process, running, mut readers } = alive;
        #[cfg(unix)]
        let leaves_members =
            end.exit.cause == ExitCause::ExitedWhileStarting && group::has_living_members(process.id()).await;
        let status = process.finish().await;
        end.exit.status = status;
        // A process that has left the group may keep a pipe open; what the others wrote is there already.
        let reading = async { while readers.join_next().await.is_some() {} };
        let all_read = timeout(Duration::from_millis(200), reading).await.is_ok();
        #[cfg(unix)]
        if end.exit.cause == ExitCause::ExitedWhileStarting {
            let code = status.and_then(|status| status.code());
            if let Some(error) = StartError::exited(&self.spec.command, self.spec.way.is_inherited(), code) {
                (end.exit.detail, end.is_permanent) = (Some(error.text), error.is_permanent);
            }
        }
        #[cfg(unix)]
        if leaves_members && status.is_some_and(|status| status.success()) {
            end = End { exit: Exit { status, ..End::new(ExitCause::NotInForeground).exit }, is_permanent: true };
        }
        #[cfg(target_os = "linux")]
        self.end_escaped(&running, all_read, status, &mut end).await;
        #[cfg(not(target_os = "linux"))]
        let _ = all_read;
        let (exit, output) = (&end.exit, &running.output);
        let (name, pid) = (&*output.name, output.pid);
        match exit.cause {
            ExitCause::Stopped => tracing::debug!(name, pid, "child process stopped: {exit}"),
            _ => tracing::warn!(name, pid, last_output = output.last_words(), "child process failed: {exit}"),
        }
        end
    }

    /// Ends the processes that have left the group, if anything suggests that there are some.
    #[cfg(target_os = "linux")]
    async fn end_escaped(
        &self,
        running: &Running,
        all_read: bool,
        status: Option<std::process::ExitStatus>,
        end: &mut End,
    ) {
        let address = running.address.get();
        let was_starting = matches!(end.exit.cause, ExitCause::ExitedWhileStarting | ExitCause::NotInForeground);
        let went_to_background = was_starting && status.is_some_and(|status| status.success());
        let listens = match address {
            Some(Address::Tcp(address)) => listeners::asked(*address).is_ok_and(|found| !found.is_empty()),
            Some(Address::Unix(path)) => tokio::net::UnixStream::connect(path).await.is_ok(),
            None => false,
        };
        if all_read && !listens && !went_to_background {
            return;
        }
        let search = Search {
            lineage: running.lineage.clone(),
            address: address.cloned(),
            went_to_background,
            guardian: self.spec.sites.guardian.clone(),
        };
        let escaped = escaped::end(search, self.spec.grace, self.halted(Halt::Kill)).await;
        let Some(first) = escaped.first() else {
            // Another attempt could leave one more process that listens.
            end.is_permanent |= went_to_background && listens;
            return;
        };
        tracing::warn!(
            name = &*self.spec.name,
            pids = ?escaped,
            "processes left the process group of a child and were stopped; let the program run in the foreground"
        );
        if went_to_background {
            let detail = format!("it exited and left process {first} in the background");
            let exit = Exit { status, ..End::because(ExitCause::NotInForeground, detail).exit };
            *end = End { exit, is_permanent: true };
        }
    }

    /// Waits until requests may be sent to it.
    async fn becomes_ready(&self, running: &Running, gate: &Arc<Gate>, last: &LastResult) -> Result<Arc<Backend>, End> {
        let Running { output, signer, place, .. } = running;
        let spec = &*self.spec;
        let address = match (running.address.get(), &spec.way) {
            (Some(address), _) => address.clone(),
            (None, Way::Announced(PortAnnouncement(Said::File))) => self.at(port_in_file(place, last).await),
            (None, _) => self.at(found(output, "announced a port", last).await),
        };
        let address = running.address.get_or_init(|| address);
        if spec.way.needs_proof()
            && let Address::Tcp(tcp) = address
        {
            ready::connects(address, last).await;
            if !spec.unproven {
                self.verify(running, *tcp).await?;
            }
        }
        let not_started = |error: crate::ConfigError| End::new(ExitCause::SpawnFailed(error.to_string()));
        let href: UpstreamUrl = address.href(&spec.base_path).parse().map_err(not_started)?;
        let probe = spec.probe(href.clone(), signer.clone()).map_err(not_started)?;
        spec.ready.poll(&spec.way, address, &probe, last).await;
        if let Kind::Line(text) = &spec.ready.0 {
            found(output, &format!("contained {text:?}"), last).await;
        }
        #[cfg(unix)]
        if let Some(notifications) = &running.notifications {
            notifications.ready(last).await;
        }
        let is_there = {
            let gate = gate.clone();
            let socket = match address {
                Address::Unix(path) => Some(path.clone()),
                Address::Tcp(_) => None,
            };
            move || {
                if socket.as_deref().is_some_and(is_gone) {
                    gate.die();
                }
                !gate.is_dead()
            }
        };
        let app = spec.app(href, signer.clone(), is_there).map_err(not_started)?;
        Ok(Arc::new(Backend { gate: gate.clone(), app, enough: spec.max_requests, front: self.front.clone() }))
    }

    /// Verifies that the child listens on its port. Checked a few times, for a socket that changes hands within the group; nothing is sent
    /// meanwhile.
    #[cfg(target_os = "linux")]
    async fn verify(&self, running: &Running, address: SocketAddr) -> Result<(), End> {
        let user = self.spec.command.uid.unwrap_or_else(|| rustix::process::geteuid().as_raw());
        let mut owner = Owner::Nobody;
        for _ in 0..5 {
            owner = owner::owner(&running.lineage, address, user).await;
            if owner == Owner::Child {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(match owner {
            Owner::Child => return Ok(()),
            Owner::Nobody => End::because(ExitCause::ForeignListener, format!("no socket listens at {address} itself")),
            Owner::Foreign(who) => End::because(ExitCause::ForeignListener, who),
            Owner::Escaped(id) => {
                End::because(ExitCause::NotInForeground, format!("process {id} listens at {address}"))
            }
            Owner::Unknown(why) => End::because(ExitCause::UnverifiedListener, why),
        })
    }

    #[cfg(not(target_os = "linux"))]
    async fn verify(&self, _: &Running, _: SocketAddr) -> Result<(), End> {
        Ok(())
    }

    fn at(&self, port: u16) -> Address {
        Address::Tcp(SocketAddr::new(self.spec.ip, port))
    }
}

/// Waits for a line of output that the child's finder looks for.
async fn found(output: &Output, wanted: &str, last: &LastResult) -> u16 {
    let output = output.clone();
    let wanted = wanted.to_owned();
    last.describe({
        let output = output.clone();
        move || match output.last_line() {
            Some(line) => format!("no line of output {wanted}; the last one is {line:?}"),
            None => format!("no line of output {wanted}; there is none"),
        }
    });
    output.found().await
}

async fn port_in_file(place: &Place, last: &LastResult) -> u16 {
    let since = Instant::now();
    loop {
        let text = place.file("port").and_then(std::fs::read_to_string);
        // Without its end, a number may be half of it.
        let port = text.as_ref().ok().and_then(|text| text.split_once('\n')?.0.trim().parse().ok());
        if let Some(port) = port.filter(|port| *port != 0) {
            return port;
        }
        last.set(match text {
            Ok(text) => format!("no port and line end in the port file, which contains {:?}", ready::shortened(&text)),
            Err(error) => format!("reading the port file: {error}"),
        });
        ready::pause(since).await;
    }
}

/// True if a unix socket was removed from the file system.
fn is_gone(socket: &Path) -> bool {
    let is_absent = |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    socket.symlink_metadata().is_err_and(|error| is_absent(&error))
}

/// A random key for one child, in a file that only it can read: the environment is seen by others of the same user, a file in the private
/// directory by its user alone.
fn hand_over_secret(place: &mut Place) -> Result<Signer, BoxError> {
    let path = place.file("secret")?;
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)?;
    let line = Zeroizing::new(format!("child {}\n", STANDARD.encode(*bytes)));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    io::Write::write_all(&mut options.open(&path)?, line.as_bytes())?;
    let text = path.to_str().ok_or("the private directory's path is not valid UTF-8")?;
    place.filled.push((SECRET_FILE, text.to_owned()));
    Ok(Signer::builder(Keyring::new("child", Secret::from_bytes(*bytes)?)?).build()?)
}

/// Gives the files of a child to the user that it runs as.
#[cfg(unix)]
fn own(command: &super::Command, place: &Place) -> io::Result<()> {
    let Some(directory) = place.directory.as_ref().filter(|_| command.uid.is_some() || command.gid.is_some()) else {
        return Ok(());
    };
    for file in std::fs::read_dir(directory)? {
        std::os::unix::fs::chown(file?.path(), command.uid, command.gid)?;
    }
    Ok(())
}
