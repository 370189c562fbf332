//! [`Spec`]: everything that `build()` found out. [`Sites`]: private directories.

use std::{
    fmt, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;

#[cfg(unix)]
use super::guardian::Guardian;
use super::{backoff::Backoff, command::Command, listen::Way, output::Kept, ready::Ready};
use crate::{
    app::{HostHeader, ProxyApp, ProxyAppBuilder},
    error::ConfigError,
    exact::ExactProxy,
    message::target::UpstreamUrl,
    protocol::signature::Signer,
};

pub(super) struct Spec {
    pub(super) name: Arc<str>,
    pub(super) command: Command,
    pub(super) way: Way,
    pub(super) ip: IpAddr,
    pub(super) unproven: bool,
    pub(super) ready: Ready,
    pub(super) start_timeout: Duration,
    pub(super) base_path: String,
    pub(super) client: ExactProxy,
    pub(super) proxy: Arc<Configure>,
    pub(super) sign: bool,
    pub(super) drain: Duration,
    pub(super) grace: Duration,
    pub(super) idle: Option<Duration>,
    pub(super) replicas: usize,
    pub(super) max_requests: Option<u32>,
    pub(super) max_age: Option<Duration>,
    pub(super) max_rss_bytes: Option<u64>,
    pub(super) backoff: Backoff,
    pub(super) queue: usize,
    pub(super) queue_timeout: Duration,
    pub(super) retries: u32,
    pub(super) placeholder: Option<Bytes>,
    pub(super) kept: Arc<Kept>,
    pub(super) sites: Arc<Sites>,
}

pub(super) type Configure = dyn Fn(ProxyAppBuilder) -> ProxyAppBuilder + Send + Sync;

impl Spec {
    /// True if a child needs files in a directory of its own.
    pub(super) fn needs_directory(&self) -> bool {
        #[cfg(unix)]
        let notifies = matches!(self.ready.0, super::ready::Kind::Notify);
        #[cfg(not(unix))]
        let notifies = false;
        self.sign || notifies || self.way.needs_directory()
    }

    /// A proxy to a child by which it is asked whether it is ready: without what [`proxy`](super::SpawnAppBuilder::proxy) says, so that
    /// nobody but the child answers.
    pub(super) fn probe(&self, href: UpstreamUrl, signer: Option<Signer>) -> Result<ProxyApp, ConfigError> {
        let builder = ProxyApp::builder(href).client(self.client.sibling().build()?);
        match signer {
            Some(signer) => builder.signer(signer).build(),
            None => builder.build(),
        }
    }

    /// The proxy to a child. `is_there` is asked before and after each connection is opened.
    pub(super) fn app(
        &self,
        href: UpstreamUrl,
        signer: Option<Signer>,
        is_there: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<ProxyApp, ConfigError> {
        let client = self.client.sibling().replaceable(is_there).build()?;
        // A unix socket has no host of its own: the child would build links to `localhost`.
        let host = if href.socket().is_some() { HostHeader::Keep } else { HostHeader::Replace };
        let builder = (self.proxy)(ProxyApp::builder(href).default_host(host)).client(client);
        match signer {
            Some(signer) => builder.signer(signer).build(),
            None => builder.build(),
        }
    }
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Spec");
        out.field("name", &self.name).field("command", &self.command).field("way", &self.way);
        out.field("ready", &self.ready).finish_non_exhaustive()
    }
}

/// The private directories and the guardian of one app, or of several together.
pub(super) struct Sites {
    parent: PathBuf,
    /// The number of the next child's directory.
    next: AtomicU64,
    /// Where children's directories are made, once one was needed.
    directory: Mutex<Option<PathBuf>>,
    #[cfg(unix)]
    pub(super) guardian: Arc<Guardian>,
}

impl Sites {
    pub(super) fn below(parent: PathBuf, grace: Duration) -> Self {
        #[cfg(not(unix))]
        let _ = grace;
        Self {
            // The child and the guardian may run in other directories than this process.
            parent: std::path::absolute(&parent).unwrap_or(parent),
            next: AtomicU64::new(0),
            directory: Mutex::default(),
            #[cfg(unix)]
            guardian: Arc::new(Guardian::new(grace)),
        }
    }

    /// Makes a directory for one child, which becomes that of its user. Its path is short, because a unix socket's path must be.
    pub(super) fn room(&self, command: &Command) -> io::Result<PathBuf> {
        let mut current = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        let room = |directory: &Path| -> io::Result<PathBuf> {
            let room = directory.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
            make(&room)?;
            #[cfg(unix)]
            if command.uid.is_some() || command.gid.is_some() {
                use std::{fs, os::unix::fs::PermissionsExt};
                // A process that knows the name may go through; the contents stay hidden.
                fs::set_permissions(directory, fs::Permissions::from_mode(0o711))?;
                std::os::unix::fs::chown(&room, command.uid, command.gid)?;
            }
            #[cfg(not(unix))]
            let _ = command;
            Ok(room)
        };
        // A cleaner of temporary files may have removed the directory, and another user may have taken its name.
        if let Some(directory) = current.as_deref().filter(|directory| is_private(directory)) {
            match room(directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                made => return made,
            }
        }
        let random = getrandom::u64().map_err(io::Error::other)?;
        let directory = self.parent.join(format!("nexthop-{random:016x}"));
        if !self.parent.exists() {
            std::fs::create_dir_all(&self.parent).map_err(|error| cannot_create(&self.parent, &error))?;
        }
        // If it is there already, it is another program's, and an error.
        make(&directory)?;
        #[cfg(unix)]
        self.guardian.keep(&directory)?;
        let room = room(&directory);
        *current = Some(directory);
        room
    }
}

fn make(directory: &Path) -> io::Result<()> {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only unix has modes"))]
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(|error| cannot_create(directory, &error))
}

fn cannot_create(directory: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot create the directory {}: {error}", directory.display()))
}

/// True if it is a directory of this user, in which no other user can create files.
fn is_private(directory: &Path) -> bool {
    let Ok(metadata) = directory.symlink_metadata() else { return false };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0
    }
    #[cfg(not(unix))]
    metadata.is_dir()
}

impl Drop for Sites {
    fn drop(&mut self) {
        let current = self.directory.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Not empty where a child goes on: then its guardian removes it.
        current.iter().for_each(|directory| _ = std::fs::remove_dir(directory));
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_private_directory_that_was_removed_is_made_again_and_one_that_is_not_private_is_not_used() {
        let parent = tempfile::tempdir().unwrap();
        let sites = Sites::below(parent.path().join("run"), Duration::ZERO);
        let command = Command::new("x");
        let site = |room: &Path| room.parent().unwrap().to_owned();
        let first = sites.room(&command).unwrap();
        let second = sites.room(&command).unwrap();
        assert_eq!(site(&first), site(&second));
        assert_eq!(site(&first).metadata().unwrap().permissions().mode() & 0o777, 0o700);

        // Also with its parent.
        std::fs::remove_dir_all(parent.path().join("run")).unwrap();
        let third = sites.room(&command).unwrap();
        assert!(third.is_dir());
        assert_ne!(site(&third), site(&first));

        // Another program has taken its place.
        std::fs::remove_dir_all(site(&third)).unwrap();
        std::os::unix::fs::symlink(parent.path(), site(&third)).unwrap();
        let fourth = sites.room(&command).unwrap();
        assert_ne!(site(&fourth), site(&third));
        std::fs::set_permissions(site(&fourth), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_ne!(site(&sites.room(&command).unwrap()), site(&fourth));
    }
}
