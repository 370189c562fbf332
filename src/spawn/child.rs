//! [`Birth`]: the life of one child, from its start until it is reaped.

use std::{
    io,
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, Weak},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use zeroize::Zeroizing;

use super::{
    gate::{Backend, Gate},
    group,
    listen::{Address, Place, PortAnnouncement, SECRET_FILE, Said, Way},
    output::{Finder, Output, OutputStream},
    process::Process,
    ready::{self, Kind},
    shared::Front,
    spec::Spec,
    state::{Exit, ExitCause},
};
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

/// What its supervisor is told of a child.
#[derive(Debug)]
pub(super) enum News {
    Started { pid: u32 },
    Ready { backend: Arc<Backend> },
    Stopping,
    Exited { exit: Exit, ready_for: Option<Duration> },
}

/// What a child is made of.
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
    output: Output,
    readers: JoinSet<()>,
    signer: Option<Signer>,
    #[cfg(unix)]
    notify: Option<tokio::net::UnixDatagram>,
    /// Its files, removed with it.
    place: Place,
}

impl Birth {
    pub(super) async fn live(self) {
        let (exit, ready_for) = match self.start() {
            Ok(alive) => self.see_through(alive).await,
            Err(error) => {
                let cause = ExitCause::SpawnFailed(error.to_string());
                tracing::warn!(name = &*self.spec.name, %error, "a child cannot be started");
                (Exit { status: None, cause }, None)
            }
        };
        self.tell(News::Exited { exit, ready_for }).await;
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

    fn start(&self) -> Result<Alive, BoxError> {
        let spec = &*self.spec;
        let site = spec.sites.get()?;
        let mut place = Place::prepare(&spec.way, spec.ip, site.room(&spec.command)?)?;
        let signer = if spec.sign { Some(hand_over_secret(&mut place)?) } else { None };
        let filled: Vec<_> = place.filled.iter().map(|(placeholder, by)| (*placeholder, by.as_str())).collect();
        let mut command = spec.command.to_tokio(&filled, spec.way.is_inherited());
        if let Some((_, file)) = filled.iter().find(|(placeholder, _)| *placeholder == SECRET_FILE) {
            command.env("NEXTHOP_SECRET_FILE", file);
        }
        #[cfg(unix)]
        let notify = self.notify_socket(&mut command, &place)?;
        #[cfg(unix)]
        own(&spec.command, &place)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)]
        if let Some(listener) = place.inherited.take() {
            command.stdin(listener);
        }
        #[cfg(unix)]
        let mut process = Process::spawn(command, site.guardian.clone())?;
        #[cfg(not(unix))]
        let mut process = Process::spawn(command)?;
        let output = Output::new(spec.name.clone(), process.id(), spec.kept.clone(), self.finder());
        let mut readers = JoinSet::new();
        let (out, err) = process.pipes();
        // Each pipe by itself: a child that fills one of them must not wait for the other to be read.
        out.map(|pipe| readers.spawn(output.clone().read(OutputStream::Stdout, pipe)));
        err.map(|pipe| readers.spawn(output.clone().read(OutputStream::Stderr, pipe)));
        Ok(Alive {
            process,
            output,
            readers,
            signer,
            #[cfg(unix)]
            notify,
            place,
        })
    }

    #[cfg(unix)]
    fn notify_socket(
        &self,
        command: &mut tokio::process::Command,
        place: &Place,
    ) -> io::Result<Option<tokio::net::UnixDatagram>> {
        if !matches!(self.spec.ready.0, Kind::Notify) {
            return Ok(None);
        }
        let path = place.file("notify");
        let socket = tokio::net::UnixDatagram::bind(&path)?;
        command.env("NOTIFY_SOCKET", path);
        Ok(Some(socket))
    }

    /// What is looked for in the output.
    fn finder(&self) -> Option<Finder> {
        let port = match &self.spec.way {
            Way::Announced(PortAnnouncement(Said::Line(find))) => Some(find.clone()),
            _ => None,
        };
        port.or_else(|| self.spec.ready.finder())
    }

    /// From a running process to its end.
    async fn see_through(&self, mut alive: Alive) -> (Exit, Option<Duration>) {
        self.tell(News::Started { pid: alive.process.id() }).await;
        let gate = Arc::new(Gate::default());
        let becoming = self.becomes_ready(&alive.place, &alive.output, &alive.signer, &gate);
        #[cfg(unix)]
        let becoming = async {
            let backend = becoming.await?;
            if let Some(socket) = &alive.notify {
                notified(socket).await;
            }
            Ok(backend)
        };
        let ready = tokio::select! {
            ready = timeout(self.spec.start_timeout, becoming) => ready.unwrap_or(Err(ExitCause::StartTimeout)),
            () = alive.process.exited() => Err(ExitCause::ExitedWhileStarting),
            () = self.halted(Halt::Drain) => Err(ExitCause::Stopped),
        };
        let (cause, ready_for) = match ready {
            Ok(backend) => {
                let since = Instant::now();
                self.tell(News::Ready { backend }).await;
                let cause = self.serve(&mut alive.process, &gate).await;
                (cause, Some(since.elapsed()))
            }
            Err(cause) => {
                if cause != ExitCause::ExitedWhileStarting {
                    alive.process.stop(self.spec.grace, self.halted(Halt::Kill)).await;
                }
                (cause, None)
            }
        };
        gate.die();
        (self.bury(alive, cause).await, ready_for)
    }

    /// Until it ends, by itself or as it is asked to.
    async fn serve(&self, process: &mut Process, gate: &Gate) -> ExitCause {
        tokio::select! {
            () = process.exited() => return ExitCause::Exited,
            () = self.halted(Halt::Drain) => {}
        }
        tokio::select! {
            () = process.exited() => {}
            _ = timeout(self.spec.drain, gate.emptied()) => {}
            () = self.halted(Halt::Stop) => {}
        }
        self.tell(News::Stopping).await;
        process.stop(self.spec.grace, self.halted(Halt::Kill)).await;
        ExitCause::Stopped
    }

    async fn bury(&self, alive: Alive, cause: ExitCause) -> Exit {
        let Alive { process, output, mut readers, .. } = alive;
        let status = process.finish().await;
        // A process that has left the group may keep a pipe open; what the others wrote is there already.
        let reading = async { while readers.join_next().await.is_some() {} };
        let _ = timeout(Duration::from_millis(200), reading).await;
        let exit = Exit { status, cause };
        let (name, pid) = (&*output.name, output.pid);
        match exit.cause {
            ExitCause::Stopped => tracing::debug!(name, pid, "a child has ended: {exit}"),
            _ => tracing::warn!(name, pid, last_output = output.last_words(), "a child has failed: {exit}"),
        }
        exit
    }

    /// Waits until requests may be sent to it.
    async fn becomes_ready(
        &self,
        place: &Place,
        output: &Output,
        signer: &Option<Signer>,
        gate: &Arc<Gate>,
    ) -> Result<Arc<Backend>, ExitCause> {
        let spec = &*self.spec;
        let address = match (&place.address, &spec.way) {
            (Some(address), _) => address.clone(),
            (None, Way::Announced(PortAnnouncement(Said::File))) => self.at(port_in_file(place).await),
            (None, _) => self.at(output.found().await),
        };
        if spec.way.needs_proof()
            && let Address::Tcp(address) = &address
        {
            ready::connects(&Address::Tcp(*address)).await;
            if !spec.unproven && !is_proven(output.pid, *address).await {
                return Err(ExitCause::ForeignListener);
            }
        }
        let not_started = |error: crate::ConfigError| ExitCause::SpawnFailed(error.to_string());
        let href: UpstreamUrl = address.href(&spec.base_path).parse().map_err(not_started)?;
        let probe = spec.probe(href.clone(), signer.clone()).map_err(not_started)?;
        spec.ready.poll(&spec.way, &address, &probe).await;
        if matches!(spec.ready.0, Kind::Line(_)) {
            output.found().await;
        }
        let is_there = {
            let gate = gate.clone();
            move || !gate.is_dead()
        };
        let app = spec.app(href, signer.clone(), is_there).map_err(not_started)?;
        Ok(Arc::new(Backend { gate: gate.clone(), app, enough: spec.max_requests, front: self.front.clone() }))
    }

    fn at(&self, port: u16) -> Address {
        Address::Tcp(SocketAddr::new(self.spec.ip, port))
    }
}

/// Asked a few times, for a socket that changes hands within the group; nothing is sent meanwhile.
async fn is_proven(group: u32, address: SocketAddr) -> bool {
    for _ in 0..5 {
        if group::owns(group, address).await {
            return true;
        }
        sleep(Duration::from_millis(50)).await;
    }
    false
}

async fn port_in_file(place: &Place) -> u16 {
    let since = Instant::now();
    loop {
        let text = std::fs::read_to_string(place.file("port")).unwrap_or_default();
        // Without its end, a number may be half of it.
        if let Some(port) = text.split_once('\n').and_then(|(port, _)| port.trim().parse().ok()) {
            return port;
        }
        ready::pause(since).await;
    }
}

#[cfg(unix)]
async fn notified(socket: &tokio::net::UnixDatagram) {
    let mut bytes = [0; 4096];
    loop {
        match socket.recv(&mut bytes).await {
            Ok(length) => {
                let said = bytes.get(..length).unwrap_or_default();
                if said.split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a notification cannot be read");
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// A random key for one child, in a file that only it can read: the environment is seen by others of the same user, a file in the private
/// directory by its user alone.
fn hand_over_secret(place: &mut Place) -> Result<Signer, BoxError> {
    let path = place.file("secret");
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
    if command.uid.is_none() && command.gid.is_none() {
        return Ok(());
    }
    for file in std::fs::read_dir(&place.directory)? {
        std::os::unix::fs::chown(file?.path(), command.uid, command.gid)?;
    }
    Ok(())
}
