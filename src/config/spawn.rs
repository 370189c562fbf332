use std::{net::IpAddr, time::Duration};

use serde::Deserialize;

use super::{
    ConfigErrors,
    table::{Reading, Table},
};
#[cfg(unix)]
use crate::spawn::Resource;
use crate::{
    app::ProxyApp,
    error::ConfigError,
    spawn::{Backoff, Command, ListenMode, PortAnnouncement, Ready, SpawnApp, SpawnAppBuilder},
};

/// Configures a [`SpawnApp`] from a file. The [module](super) describes the types of values.
///
/// # Process
///
/// | key | type | meaning | default |
/// |---|---|---|---|
/// | `command` | list | the program and its arguments; an argument with white space requires an array | required |
/// | `name` | string | name of the app in the log | the program |
/// | `directory` | string | working directory | that of this process |
/// | `env` | list | environment variables to set, as `NAME=value` | none |
/// | `env_pass` | list | the only variables to pass on from this process's environment | all |
/// | `env_remove` | list | variables not to pass on | none |
/// | `uid`, `gid` | number | user and group of the child (unix) | those of this process |
/// | `limit_cpu_seconds`, `limit_address_space_kib` | number | [limits](crate::spawn::Resource) of the child (unix) | none |
/// | `limit_open_files`, `limit_processes` | number | [limits](crate::spawn::Resource) of the child (unix) | none |
/// | `runtime_dir` | string | parent of the private directory for sockets and secrets, created if missing | the system's temporary directory |
///
/// # Socket and readiness
/// A command that contains `__PORT__` or `__SOCKET__` needs neither `listen` nor `port_after`.
///
/// | key | type | meaning | default |
/// |---|---|---|---|
/// | `listen` | string | `inherited`, `inherited_unix` or `port_file`, see [`ListenMode`]; excludes `port_after` | none |
/// | `port_after` | string | text that precedes the port in the child's output, see [`PortAnnouncement::after_text`] | none |
/// | `listen_address` | string | IP address at which the child listens | `127.0.0.1` |
/// | `ready` | string | `listens` or `notify` (unix), see [`Ready`]; excludes the next two | `listens` |
/// | `ready_path` | string | path that the child answers with a status from 200 to 399 once it is ready | none |
/// | `ready_line` | string | text in a line of output that the child prints once it is ready | none |
/// | `base_path` | string | path that is prepended to the path of each request | none |
/// | `sign_requests` | boolean | [signs](SpawnAppBuilder::sign_requests) requests with a key for each child | `false` |
/// | `dangerous_accept_any_listener` | boolean | [skips][any] the check that the port belongs to the child | `false` |
///
/// # Timeouts and limits
///
/// | key | type | meaning | default |
/// |---|---|---|---|
/// | `start_timeout` | duration | from the start of a child until it is ready | `60s` |
/// | `wait_timeout` | duration | time that a request waits for a child | `60s` |
/// | `drain_timeout` | duration | waiting for requests in flight before a child is stopped | `30s` |
/// | `stop_timeout` | duration | from `SIGTERM` to `SIGKILL` | `10s` |
/// | `idle_timeout` | duration or `off` | time without requests after which the children are stopped | `off` |
/// | `max_age` | duration | age at which a child is replaced | no limit |
/// | `max_requests` | number | requests after which a child is replaced | no limit |
/// | `max_rss_bytes` | number | resident memory above which a child is replaced (Linux) | no limit |
/// | `replicas` | number | children that serve at the same time | 1 |
/// | `max_waiting` | number | requests that wait for a child | 1024 |
/// | `max_retries` | number | retries of a request whose child died, if a retry is safe | 3 |
/// | `placeholder_file` | string | path of an HTML page for browsers while no child is ready | requests wait |
///
/// # Restart delays
///
/// They are those of [`Backoff`].
///
/// | key | type | meaning | default |
/// |---|---|---|---|
/// | `backoff_initial` | duration | delay after the first failure; it doubles with each further failure | `100ms` |
/// | `backoff_max` | duration | longest delay | `30s` |
/// | `circuit_breaker_failures` | number or `off` | failures that open the circuit breaker | 5 |
/// | `circuit_breaker_within` | duration | period in which these failures occur | `60s` |
/// | `circuit_breaker_pause` | duration | time that requests are answered with 503 at once | `30s` |
/// | `healthy_after` | duration | time ready after which the end of a child is no failure | `10s` |
///
/// All keys of [`ProxyAppConfig`](super::ProxyAppConfig) except `href` and `address` apply to the requests. A child on a
/// unix socket gets the client's `Host`, unless `host` is set.
///
/// [any]: SpawnAppBuilder::dangerous_accept_any_listener
///
/// ```
/// use nexthop::config::SpawnAppConfig;
///
/// let config: SpawnAppConfig = serde_json::from_str(r#"{
///     "command": "gunicorn shop:app --bind 127.0.0.1:__PORT__",
///     "env": ["SHOP_CONFIG=/etc/shop.ini"],
///     "ready_path": "/health",
///     "idle_timeout": "5m"
/// }"#)?;
/// let app = config.build()?;
/// # Ok::<(), nexthop::BoxError>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct SpawnAppConfig(Table);

type SetTime = fn(SpawnAppBuilder, Duration) -> SpawnAppBuilder;
type SetNumber = fn(SpawnAppBuilder, u32) -> SpawnAppBuilder;

const TIMES: &[(&str, SetTime)] = &[
    ("start_timeout", SpawnAppBuilder::start_timeout),
    ("wait_timeout", SpawnAppBuilder::wait_timeout),
    ("drain_timeout", SpawnAppBuilder::drain_timeout),
    ("stop_timeout", SpawnAppBuilder::stop_timeout),
    ("max_age", SpawnAppBuilder::max_age),
];

const NUMBERS: &[(&str, SetNumber)] = &[
    ("replicas", |builder, number| builder.replicas(number as usize)),
    ("max_requests", SpawnAppBuilder::max_requests),
    ("max_waiting", |builder, number| builder.max_waiting(number as usize)),
    ("max_retries", SpawnAppBuilder::max_retries),
];

#[cfg(unix)]
const LIMITS: [(&str, Resource); 4] = [
    ("limit_cpu_seconds", Resource::CpuSeconds),
    ("limit_address_space_kib", Resource::AddressSpaceKib),
    ("limit_open_files", Resource::OpenFiles),
    ("limit_processes", Resource::Processes),
];

impl SpawnAppConfig {
    /// Validates the configuration and creates the service. No child is started.
    ///
    /// # Errors
    /// All [`ConfigErrors`] that can be found before a child runs.
    pub fn build(&self) -> Result<SpawnApp, ConfigErrors> {
        let mut reading = Reading::new(self.0.clone());
        let mut builder = SpawnApp::builder(reading.command());
        for &(key, set) in TIMES {
            if let Some(time) = reading.fixed_time(key) {
                builder = set(builder, time);
            }
        }
        if let Some(limit) = reading.time("idle_timeout") {
            builder = builder.idle_timeout(limit);
        }
        for &(key, set) in NUMBERS {
            if let Some(number) = reading.parsed(key, "a number") {
                builder = set(builder, number);
            }
        }
        if let Some(bytes) = reading.parsed("max_rss_bytes", "a number of bytes") {
            builder = builder.max_rss_bytes(bytes);
        }
        if let Some(page) = reading.file("placeholder_file") {
            builder = builder.placeholder(page.to_vec());
        }
        builder = builder.backoff(reading.backoff());
        builder = reading.place(builder);
        // It stands for each child until there is one.
        let template = reading.proxy_app(ProxyApp::builder("http://localhost"));
        if let Some(client) = reading.exact() {
            builder = builder.client(client);
        }
        builder = builder.proxy(move |child| template.clone().towards(child));
        reading.finish()?;
        Ok(builder.build()?)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for SpawnAppConfig {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl Reading {
    fn command(&mut self) -> Command {
        let argv = self.list("command").unwrap_or_default();
        if argv.is_empty() {
            self.fail(ConfigError::missing("command", "the program to run is required"));
        }
        let mut command = Command::from_argv(argv);
        if let Some(directory) = self.text("directory") {
            command = command.current_dir(directory);
        }
        if let Some(names) = self.list("env_pass") {
            command = command.env_clear().env_pass(names);
        }
        for name in self.list("env_remove").unwrap_or_default() {
            command = command.env_remove(name);
        }
        for variable in self.list("env").unwrap_or_default() {
            match variable.split_once('=') {
                Some((name, value)) => command = command.env(name, value),
                // It may be a secret's value.
                None => self.fail(ConfigError::secret("env", "must contain only NAME=value")),
            }
        }
        #[cfg(unix)]
        {
            if let Some(uid) = self.parsed("uid", "a number") {
                command = command.uid(uid);
            }
            if let Some(gid) = self.parsed("gid", "a number") {
                command = command.gid(gid);
            }
            for (key, resource) in LIMITS {
                if let Some(amount) = self.parsed(key, "a number") {
                    command = command.limit(resource, amount);
                }
            }
        }
        command
    }

    fn backoff(&mut self) -> Backoff {
        let (first, most) = (self.fixed_time("backoff_initial"), self.fixed_time("backoff_max"));
        let failures = self.circuit_breaker_failures();
        let (within, pause) = (self.fixed_time("circuit_breaker_within"), self.fixed_time("circuit_breaker_pause"));
        let mut backoff = Backoff::of(first, most);
        match failures {
            Some(None) if within.is_some() || pause.is_some() => {
                self.fail(ConfigError::conflict(
                    "circuit_breaker_within, circuit_breaker_pause",
                    "have no effect while circuit_breaker_failures is off",
                ));
            }
            Some(None) => backoff = backoff.no_circuit_breaker(),
            _ => backoff = backoff.circuit_breaker_of(failures.flatten(), within, pause),
        }
        match self.fixed_time("healthy_after") {
            Some(time) => backoff.healthy_after(time),
            None => backoff,
        }
    }

    /// Outer `None` where it is not set, inner where it is `off`.
    fn circuit_breaker_failures(&mut self) -> Option<Option<usize>> {
        const KEY: &str = "circuit_breaker_failures";

        let text = self.text(KEY)?;
        match text.parse() {
            _ if text == "off" => Some(None),
            Ok(failures @ 1..) => Some(Some(failures)),
            _ => {
                self.fail(ConfigError::invalid(KEY, text, "must be a number of at least 1, or off"));
                None
            }
        }
    }

    /// Where a child is, who may be there, and when it is ready.
    fn place(&mut self, mut builder: SpawnAppBuilder) -> SpawnAppBuilder {
        let ways = [
            ("inherited", ListenMode::Inherited),
            ("inherited_unix", ListenMode::InheritedUnix),
            ("port_file", ListenMode::Announced(PortAnnouncement::from_file())),
        ];
        match (self.word("listen", &ways), self.text("port_after")) {
            (Some(_), Some(_)) => self.exclude("listen", "port_after"),
            (Some(way), None) => builder = builder.listen(way),
            (None, Some(text)) => builder = builder.listen(ListenMode::Announced(PortAnnouncement::after_text(text))),
            (None, None) => {}
        }
        if let Some(ip) = self.parsed::<IpAddr>("listen_address", "an IP address") {
            builder = builder.address(ip);
        }
        let words = [
            ("listens", Ready::listens()),
            #[cfg(unix)]
            ("notify", Ready::notify()),
        ];
        let signs = [
            self.word("ready", &words),
            self.text("ready_path").map(Ready::http),
            self.text("ready_line").map(Ready::line),
        ];
        let mut signs = signs.into_iter().flatten();
        if let Some(ready) = signs.next() {
            builder = builder.ready(ready);
        }
        if signs.next().is_some() {
            self.fail(ConfigError::conflict("ready, ready_path, ready_line", "cannot be used together"));
        }
        if let Some(path) = self.text("base_path") {
            builder = builder.base_path(path);
        }
        if let Some(name) = self.text("name") {
            builder = builder.name(name);
        }
        if let Some(directory) = self.text("runtime_dir") {
            builder = builder.runtime_dir(directory);
        }
        if self.flag("sign_requests") == Some(true) {
            builder = builder.sign_requests();
        }
        if self.flag("dangerous_accept_any_listener") == Some(true) {
            builder = builder.dangerous_accept_any_listener();
        }
        builder
    }
}
