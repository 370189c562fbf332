//! [`Spec`]: everything that `build()` found out, and the private directory.

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

/// Where the files of children are, made when the first child is started.
pub(super) struct Sites {
    parent: PathBuf,
    grace: Duration,
    site: Mutex<Option<Arc<Site>>>,
}

impl Sites {
    pub(super) fn below(parent: PathBuf, grace: Duration) -> Self {
        Self { parent, grace, site: Mutex::default() }
    }

    pub(super) fn get(&self) -> io::Result<Arc<Site>> {
        let mut site = self.site.lock().unwrap_or_else(PoisonError::into_inner);
        match &*site {
            Some(site) => Ok(site.clone()),
            None => Ok(site.insert(Arc::new(Site::make(&self.parent, self.grace)?)).clone()),
        }
    }
}

/// A directory that nobody else can look into, and who watches over the processes.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) directory: PathBuf,
    next: AtomicU64,
    #[cfg(unix)]
    pub(super) guardian: Arc<Guardian>,
}

impl Site {
    fn make(parent: &Path, grace: Duration) -> io::Result<Self> {
        let random = getrandom::u64().map_err(io::Error::other)?;
        let directory = parent.join(format!("nexthop-{random:016x}"));
        // One that is there already is somebody else's, and an error.
        private().create(&directory)?;
        #[cfg(not(unix))]
        let _ = grace;
        Ok(Self {
            next: AtomicU64::new(0),
            #[cfg(unix)]
            guardian: Arc::new(Guardian::new(grace, &directory)),
            directory,
        })
    }

    /// A directory for one child, which becomes that of its user. Short, because a unix socket's path must be.
    pub(super) fn room(&self, command: &Command) -> io::Result<PathBuf> {
        let room = self.directory.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        private().create(&room)?;
        #[cfg(unix)]
        if command.uid.is_some() || command.gid.is_some() {
            use std::{fs, os::unix::fs::PermissionsExt};
            // Who knows the name may go through; what is in there stays hidden.
            fs::set_permissions(&self.directory, fs::Permissions::from_mode(0o711))?;
            std::os::unix::fs::chown(&room, command.uid, command.gid)?;
        }
        #[cfg(not(unix))]
        let _ = command;
        Ok(room)
    }
}

fn private() -> std::fs::DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only unix has modes"))]
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

impl Drop for Site {
    fn drop(&mut self) {
        // Not empty where a child goes on: then its guardian does it.
        let _ = std::fs::remove_dir(&self.directory);
    }
}
