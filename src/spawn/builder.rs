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
    spec::{Configure, Sites, Spec},
};
use crate::{app::ProxyAppBuilder, error::ConfigError, exact::ExactProxy, timeout::clamp};

/// Configures a [`SpawnApp`]. Made by [`SpawnApp::builder`].
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

    /// Sets the name of the app in the log. Default: the program.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets how the child gets its listening socket. Required if the command contains neither `__PORT__` nor
    /// `__SOCKET__`, an error otherwise.
    #[doc(alias = "socket activation")]
    #[doc(alias = "LISTEN_FDS")]
    pub fn listen(mut self, listen: ListenMode) -> Self {
        self.listen = Some(listen);
        self
    }

    /// Sets the IP address at which the child listens, for children that listen by port. Default: 127.0.0.1.
    ///
    /// A program that listens on `localhost` may use `::1`.
    pub fn address(mut self, ip: IpAddr) -> Self {
        self.ip = ip;
        self
    }

    /// Skips the check that the socket that listens on the child's port belongs to the child's process group. Default:
    /// checked, once for each child, on Linux.
    ///
    /// Dangerous: any user of the machine can listen on a port, and would receive the requests with all their data
    /// about clients. The setting is for programs whose server leaves the process group (`setsid`). Such a server is
    /// stopped only if it is [recognised](crate::spawn#stopping).
    pub fn dangerous_accept_any_listener(mut self) -> Self {
        self.unproven = true;
        self
    }

    /// Sets the readiness check. Default: [`Ready::listens`].
    #[doc(alias = "health check")]
    #[doc(alias = "readiness probe")]
    pub fn ready(mut self, ready: Ready) -> Self {
        self.ready = ready;
        self
    }

    /// Sets the timeout for a child to become ready; after it, the child is stopped and has failed. Default: 60 s.
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.start_timeout = limit;
        self
    }

    /// Sets a path that is prepended to the path of each request. Default: none. The path begins with `/`.
    pub fn base_path(mut self, path: impl Into<String>) -> Self {
        self.base_path = path.into();
        self
    }

    /// Sets the client that sends the requests: its timeouts, limits and HTTP versions. Default: [`ExactProxy::new`].
    ///
    /// Each child gets a connection pool of its own with these settings; the pool is closed with the child. A client
    /// with an upstream proxy or a connector of its own is an error.
    pub fn client(mut self, client: ExactProxy) -> Self {
        self.client = client;
        self
    }

    /// Configures the [`ProxyApp`](crate::ProxyApp) for each child: forwarding headers, hooks, carried keys. Default:
    /// unchanged.
    ///
    /// The function is called once for each child. A [`client`](ProxyAppBuilder::client) that it sets is replaced by
    /// that of this builder.
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

    /// Signs each request (RFC 9421) with a random key that only this process and the child have. Default: unsigned.
    ///
    /// The key is in a file, with the id `child`. The child finds the path of the file in the environment variable
    /// `NEXTHOP_SECRET_FILE` and in place of `__SECRET_FILE__`, and reads it with
    /// [`Secret::from_private_file`](crate::secret::Secret::from_private_file). A child that verifies the signature
    /// trusts no request of other programs on this machine. The signature covers bodies, which costs time.
    #[doc(alias = "hmac")]
    pub fn sign_requests(mut self) -> Self {
        self.sign = true;
        self
    }

    /// Sets how long to wait for requests in flight before a child is asked to end. Default: 30 s.
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.drain = limit;
        self
    }

    /// Sets the time from `SIGTERM` to `SIGKILL` for a child and its process group. Default: 10 s.
    #[doc(alias = "grace period")]
    #[doc(alias = "SIGTERM")]
    pub fn stop_timeout(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Stops the children after this time without a request, an open response body or a tunnel. Default: never. `None`
    /// disables it.
    ///
    /// The children may run up to an eighth of the time longer, at most 1 s.
    #[doc(alias = "scale to zero")]
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.idle = limit.into();
        self
    }

    /// Sets how many children serve at the same time. Default: 1. Each request goes to the child with the fewest
    /// requests in flight.
    #[doc(alias = "workers")]
    #[doc(alias = "load balancing")]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Replaces a child that has served this many requests; its successor is ready before the child stops. Default:
    /// never.
    pub fn max_requests(mut self, requests: u32) -> Self {
        self.max_requests = Some(requests);
        self
    }

    /// Replaces a child of this age, or up to 1 s more, in the same way as [`max_requests`](Self::max_requests).
    /// Default: never.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Replaces a child whose process group has more resident memory than this, in the same way as
    /// [`max_requests`](Self::max_requests). Default: never.
    ///
    /// The memory is checked once a second; memory that processes share counts for each of them. Linux only: elsewhere,
    /// `build()` returns an error.
    #[doc(alias = "memory limit")]
    pub fn max_rss_bytes(mut self, bytes: u64) -> Self {
        self.max_rss_bytes = Some(bytes);
        self
    }

    /// Sets the delays before a child that failed is started again, and the circuit breaker. Default:
    /// [`Backoff::default`].
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets how many requests may wait for a child; further ones are answered with 503 at once. Default: 1,024.
    #[doc(alias = "queue")]
    pub fn max_waiting(mut self, requests: usize) -> Self {
        self.queue = requests;
        self
    }

    /// Sets how long a request waits for a child, through failed starts and their delays; then it is answered with 503.
    /// Default: 60 s.
    ///
    /// A request whose child has died waits for up to the same time again, for all its retries together.
    #[doc(alias = "queue timeout")]
    pub fn wait_timeout(mut self, limit: Duration) -> Self {
        self.queue_timeout = limit;
        self
    }

    /// Sets how often a request that was sent to a child that died is retried on another child, if a retry is
    /// [safe](crate::spawn#retries). Default: 3. 0 disables retries.
    ///
    /// With the default, a request that crashes each child costs four children, one less than the failures that open
    /// the circuit breaker of [`Backoff`].
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Sets an HTML page for browsers while no child is ready. Default: none; requests of browsers wait like others.
    ///
    /// It is the response to a `GET` that accepts `text/html`, with 503 and with `Retry-After` and `Refresh` of 1 s.
    #[doc(alias = "loading page")]
    pub fn placeholder(mut self, html: impl Into<Bytes>) -> Self {
        self.placeholder = Some(html.into());
        self
    }

    /// Sets the parent of the private directory for sockets and secrets. Default: the system's directory for temporary
    /// files. It is created if it does not exist. A relative path is resolved when the app is built.
    ///
    /// Its path must be short: the path of a unix socket has at most 107 bytes.
    pub fn runtime_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Has its files where other apps have theirs, unless it has a directory of its own, and the same guardian.
    pub(super) fn beside(mut self, sites: &Arc<Sites>) -> Self {
        self.sites = self.directory.is_none().then(|| sites.clone());
        self
    }

    /// Builds the service, after checking all that can be checked before a child runs. Starts no child.
    ///
    /// # Errors
    /// [`ConfigError`] if there is no program, if the child has no or two ways to listen, if a timeout or number is
    /// zero that must not be zero, if `base_path` does not begin with `/`, if [`client`](Self::client) has an upstream
    /// proxy or a connector, or if [`proxy`](Self::proxy) configures something invalid.
    pub fn build(self) -> Result<SpawnApp, ConfigError> {
        self.command.check()?;
        let way = Way::choose(&self.command, self.listen)?;
        self.ready.check_config()?;
        let by_line = matches!(way, Way::Announced(_)) && matches!(self.ready.0, Kind::Line(_));
        if by_line {
            return Err(ConfigError::conflict(
                "listen, ready",
                "a line that announces the port cannot be combined with Ready::line",
            ));
        }
        let times = [
            ("start_timeout", Some(self.start_timeout)),
            ("wait_timeout", Some(self.queue_timeout)),
            ("idle_timeout", self.idle),
            ("max_age", self.max_age),
        ];
        for (name, limit) in times {
            if limit == Some(Duration::ZERO) {
                return Err(ConfigError::invalid(name, "0s", "must be greater than zero"));
            }
        }
        let numbers = [
            ("replicas", Some(self.replicas as u64)),
            ("max_requests", self.max_requests.map(u64::from)),
            ("max_rss_bytes", self.max_rss_bytes),
        ];
        for (name, number) in numbers {
            if number == Some(0) {
                return Err(ConfigError::invalid(name, "0", "must be at least 1"));
            }
        }
        if let Some(bytes) = self.max_rss_bytes
            && cfg!(not(target_os = "linux"))
        {
            return Err(ConfigError::invalid("max_rss_bytes", bytes.to_string(), "supported on Linux only"));
        }
        if self.command.mentions(SECRET_FILE) && !self.sign {
            return Err(ConfigError::conflict("__SECRET_FILE__", "requires sign_requests()"));
        }
        if !(self.base_path.is_empty() || self.base_path.starts_with('/')) {
            return Err(ConfigError::invalid("base_path", self.base_path, "must begin with /"));
        }
        if !self.client.sibling().is_direct() {
            return Err(ConfigError::conflict(
                "client",
                "must connect directly: an upstream proxy or a connector cannot be used",
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
            start_timeout: clamp(self.start_timeout),
            base_path: self.base_path,
            client: self.client,
            proxy: self.proxy,
            sign: self.sign,
            drain: clamp(self.drain),
            grace: clamp(self.grace),
            idle: self.idle.map(clamp),
            replicas: self.replicas,
            max_requests: self.max_requests,
            max_age: self.max_age.map(clamp),
            max_rss_bytes: self.max_rss_bytes,
            backoff: self.backoff,
            queue: self.queue,
            queue_timeout: clamp(self.queue_timeout),
            retries: self.retries,
            placeholder: self.placeholder,
            kept: Arc::default(),
            sites: self.sites.unwrap_or_else(|| Arc::new(Sites::below(directory, clamp(self.grace)))),
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
