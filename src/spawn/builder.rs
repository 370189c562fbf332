//! [`SpawnAppBuilder`]: settings.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::{
    backoff::Backoff,
    command::Command,
    listen::{Address, ListenMode, SECRET_FILE, Way},
    ready::{Kind, Ready},
    service::SpawnApp,
    shared::Front,
    spec::{Configure, Sites, Spec, within_reach},
};
use crate::{app::ProxyAppBuilder, error::ConfigError, exact::ExactProxy};

/// Settings of a [`SpawnApp`].
#[derive(Clone)]
#[must_use]
pub struct SpawnAppBuilder {
    command: Command,
    name: Option<Arc<str>>,
    listen: Option<ListenMode>,
    ip: IpAddr,
    unproven: bool,
    ready: Ready,
    start_timeout: Duration,
    base_path: String,
    client: ExactProxy,
    proxy: Arc<Configure>,
    sign: bool,
    drain: Duration,
    grace: Duration,
    idle: Option<Duration>,
    replicas: usize,
    max_requests: Option<u32>,
    max_age: Option<Duration>,
    max_rss_bytes: Option<u64>,
    backoff: Backoff,
    queue: usize,
    queue_timeout: Duration,
    retries: u32,
    placeholder: Option<Bytes>,
    directory: Option<PathBuf>,
    /// Shared with other apps.
    sites: Option<Arc<Sites>>,
}

impl SpawnAppBuilder {
    pub(super) fn new(command: Command) -> Self {
        Self {
            command,
            name: None,
            listen: None,
            ip: Ipv4Addr::LOCALHOST.into(),
            unproven: false,
            ready: Ready::default(),
            start_timeout: Duration::from_secs(60),
            base_path: String::new(),
            client: ExactProxy::new(),
            proxy: Arc::new(|builder| builder),
            sign: false,
            drain: Duration::from_secs(30),
            grace: Duration::from_secs(10),
            idle: None,
            replicas: 1,
            max_requests: None,
            max_age: None,
            max_rss_bytes: None,
            backoff: Backoff::default(),
            queue: 1024,
            queue_timeout: Duration::from_secs(60),
            retries: 3,
            placeholder: None,
            directory: None,
            sites: None,
        }
    }

    /// What the app is called in the log. Default: the program.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How the child comes to its socket, where the command names neither `__PORT__` nor `__SOCKET__`.
    pub fn listen(mut self, listen: ListenMode) -> Self {
        self.listen = Some(listen);
        self
    }

    /// The address at which the child listens, by port. Default: 127.0.0.1. A program that listens on `localhost` may mean `::1`.
    pub fn address(mut self, ip: IpAddr) -> Self {
        self.ip = ip;
        self
    }

    /// Sends requests to whoever listens on the child's port. Default: only if the listening socket belongs to the child's process group,
    /// which is looked at once for each child (on Linux).
    ///
    /// Dangerous: any user of the machine can listen on a port, and would get the requests, with all that they say of clients. It is for
    /// programs whose server leaves the group (`setsid`), which will not be stopped with it either.
    pub fn dangerous_accept_any_listener(mut self) -> Self {
        self.unproven = true;
        self
    }

    /// When a child counts as ready. Default: when it listens.
    pub fn ready(mut self, ready: Ready) -> Self {
        self.ready = ready;
        self
    }

    /// How long a child may take to become ready; then it is stopped, and has failed. Default: 60 s.
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.start_timeout = limit;
        self
    }

    /// The path of the child's below which requests go. Default: none.
    pub fn base_path(mut self, path: impl Into<String>) -> Self {
        self.base_path = path.into();
        self
    }

    /// Sets the client that sends the requests: its timeouts, limits and HTTP versions. Each child gets a connection pool of its own with
    /// these settings; the pool is closed with the child. Default: [`ExactProxy::new`].
    pub fn client(mut self, client: ExactProxy) -> Self {
        self.client = client;
        self
    }

    /// Configures the [`ProxyApp`](crate::ProxyApp) to each child: forwarding fields, hooks, carried keys. Called once for each child; what
    /// it says of `exact` is not used.
    ///
    /// ```
    /// use nexthop::{protocol::ForwardedHeaders, spawn::{Command, SpawnApp}};
    ///
    /// let app = SpawnApp::builder(Command::new("python3").args(["-m", "http.server", "__PORT__"]))
    ///     .proxy(|proxy| proxy.forwarded_headers([ForwardedHeaders::XForwarded]))
    ///     .build()?;
    /// # let _ = app;
    /// # Ok::<(), nexthop::ConfigError>(())
    /// ```
    pub fn proxy(mut self, configure: impl Fn(ProxyAppBuilder) -> ProxyAppBuilder + Send + Sync + 'static) -> Self {
        self.proxy = Arc::new(configure);
        self
    }

    /// Signs each request (RFC 9421) with a random key that only this child knows: it finds it under the id `child` in a file of lines,
    /// whose path stands in the variable `NEXTHOP_SECRET_FILE` and in place of `__SECRET_FILE__`
    /// ([`Secret::from_private_file`](crate::secret::Secret::from_private_file) reads it). Default: unsigned.
    ///
    /// So a child need not believe what others on this machine send to it. Bodies are covered, which costs.
    pub fn sign_requests(mut self) -> Self {
        self.sign = true;
        self
    }

    /// How long requests that are on their way are waited for before a child is asked to end. Default: 30 s.
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.drain = limit;
        self
    }

    /// How long a child and its process group may take to end after `TERM`; then it is `KILL`. Default: 10 s.
    pub fn stop_timeout(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Stops the children when there was no request, no open response body and no tunnel for this long, or up to an eighth longer.
    /// Default: never.
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.idle = limit.into();
        self
    }

    /// How many children serve at the same time; a request goes to the one with the fewest. Default: 1.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Replaces a child that has served this many requests, by one that is ready before. Default: never.
    pub fn max_requests(mut self, requests: u32) -> Self {
        self.max_requests = Some(requests);
        self
    }

    /// Replaces a child that is this old, or up to a second older, in the same way. Default: never.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Replaces a child whose process group has more resident memory than this, in the same way; looked at once a second. What processes
    /// share counts for each of them. Default: never. Linux only, elsewhere a mistake.
    pub fn max_rss_bytes(mut self, bytes: u64) -> Self {
        self.max_rss_bytes = Some(bytes);
        self
    }

    /// How soon a child that failed is started again. Default: [`Backoff::default`].
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How many requests may wait for a child; another one is answered with 503 at once. Default: 1,024.
    pub fn max_waiting(mut self, requests: usize) -> Self {
        self.queue = requests;
        self
    }

    /// How long a request waits for a child, through failed starts and their delays; then it is answered with 503. The same once more, in
    /// all, for one whose child has died. Default: 60 s.
    pub fn wait_timeout(mut self, limit: Duration) -> Self {
        self.queue_timeout = limit;
        self
    }

    /// How often a request is sent to another child that was on its way to one when that died, if it is safe to repeat
    /// ([module](crate::spawn)). 0: never. Default: 3, so that a request that kills whoever reads it costs four children, one less than
    /// the failures after which [`Backoff`] gives up.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// A page for browsers while no child is ready: the answer to a `GET` that accepts `text/html`, with 503, `Retry-After` and `Refresh`
    /// of a second. Default: they wait like others.
    pub fn placeholder(mut self, html: impl Into<Bytes>) -> Self {
        self.placeholder = Some(html.into());
        self
    }

    /// Where the private directory is made, for sockets and secrets. Its path must be short: that of a unix socket has 107 bytes at the
    /// most. Default: the system's directory for temporary files.
    pub fn runtime_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Has its files where other apps have theirs, unless it has a directory of its own, and the same guardian.
    pub(super) fn beside(mut self, sites: &Arc<Sites>) -> Self {
        self.sites = self.directory.is_none().then(|| sites.clone());
        self
    }

    /// Checks everything that can be known before a child runs. Nothing is started.
    ///
    /// # Errors
    /// [`ConfigError`]: no program; no way to listen, or two; a limit of no time or nothing; what [`exact`](Self::exact) and
    /// [`proxy`](Self::proxy) find wrong.
    pub fn build(self) -> Result<SpawnApp, ConfigError> {
        self.command.check()?;
        let way = Way::choose(&self.command, self.listen)?;
        self.ready.check_config()?;
        let by_line = matches!(way, Way::Announced(_)) && matches!(self.ready.0, Kind::Line(_));
        if by_line {
            return Err(ConfigError::conflict("listen, ready", "a line that names the port says that it is ready"));
        }
        let times = [
            ("start_timeout", Some(self.start_timeout)),
            ("wait_timeout", Some(self.queue_timeout)),
            ("idle_timeout", self.idle),
            ("max_age", self.max_age),
        ];
        for (name, limit) in times {
            if limit == Some(Duration::ZERO) {
                return Err(ConfigError::invalid(name, "0s", "no time at all"));
            }
        }
        let numbers = [
            ("replicas", Some(self.replicas as u64)),
            ("max_requests", self.max_requests.map(u64::from)),
            ("max_rss_bytes", self.max_rss_bytes),
        ];
        for (name, number) in numbers {
            if number == Some(0) {
                return Err(ConfigError::invalid(name, "0", "no child could ever serve"));
            }
        }
        if self.max_rss_bytes.is_some() && cfg!(not(target_os = "linux")) {
            return Err(ConfigError::invalid("max_rss_bytes", "", "only Linux tells"));
        }
        if self.command.mentions(SECRET_FILE) && !self.sign {
            return Err(ConfigError::conflict("__SECRET_FILE__", "goes together with sign_requests()"));
        }
        if !(self.base_path.is_empty() || self.base_path.starts_with('/')) {
            return Err(ConfigError::invalid("base_path", self.base_path, "does not begin with /"));
        }
        if !self.client.sibling().is_direct() {
            return Err(ConfigError::conflict(
                "client",
                "a child is reached at its own address: an upstream proxy or a connector cannot be used",
            ));
        }
        let directory = self.directory.unwrap_or_else(std::env::temp_dir);
        let program = self.command.argv.first().map(|program| program.to_string_lossy().into_owned());
        let spec = Spec {
            name: self.name.unwrap_or_else(|| program.unwrap_or_default().into()),
            command: self.command,
            way,
            ip: self.ip,
            unproven: self.unproven,
            ready: self.ready,
            start_timeout: self.start_timeout,
            base_path: self.base_path,
            client: self.client,
            proxy: self.proxy,
            sign: self.sign,
            drain: self.drain,
            grace: within_reach(self.grace),
            idle: self.idle.map(within_reach),
            replicas: self.replicas,
            max_requests: self.max_requests,
            max_age: self.max_age.map(within_reach),
            max_rss_bytes: self.max_rss_bytes,
            backoff: self.backoff,
            queue: self.queue,
            queue_timeout: within_reach(self.queue_timeout),
            retries: self.retries,
            placeholder: self.placeholder,
            kept: Arc::default(),
            sites: self.sites.unwrap_or_else(|| Arc::new(Sites::below(directory, within_reach(self.grace)))),
        };
        // What is wrong with it is found now, and not by the first request.
        let nowhere = Address::Tcp((spec.ip, 1).into()).href(&spec.base_path);
        spec.app(nowhere.parse()?, None, || false)?;
        Ok(SpawnApp(Arc::new(Front::new(spec))))
    }
}

impl fmt::Debug for SpawnAppBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpawnAppBuilder").field("command", &self.command).finish_non_exhaustive()
    }
}
