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

/// A [`SpawnApp`], as a file describes it. See the [module](super) for how values are written.
///
/// What to run:
///
/// | key | |
/// |---|---|
/// | `command` | list: the program and its arguments. The one key that must be set. An argument with white space needs an array |
/// | `directory` | text: where it runs |
/// | `env` | list of `NAME=value` |
/// | `env_pass` | list: of this process's environment, these variables alone are passed on |
/// | `env_remove` | list: variables that are not |
/// | `uid`, `gid` | number: whom it runs as (unix) |
/// | `limit_cpu_seconds`, `limit_address_space_kib`, `limit_open_files`, `limit_processes` | number: what it may use (unix), see [`Resource`](crate::spawn::Resource) |
///
/// How it is reached, where the command names neither `__PORT__` nor `__SOCKET__`, and when it is ready:
///
/// | key | |
/// |---|---|
/// | `listen` or `port_after` | `inherited`, `inherited_unix` or `port_file`; text: the line of its output that says its port. See [`ListenMode`] |
/// | `listen_address` | text: the IP address that it listens at, by port |
/// | `ready`, `ready_path` or `ready_line` | `listens` (the default) or `notify`; text: a path that it answers, or what a line holds. See [`Ready`] |
/// | `base_path` | text |
/// | `sign_requests`, `dangerous_accept_any_listener` | flag |
///
/// How long, how many:
///
/// | key | |
/// |---|---|
/// | `start_timeout`, `wait_timeout`, `drain_timeout`, `stop_timeout`, `idle_timeout`, `max_age` | time; `idle_timeout` may be `off` |
/// | `replicas`, `max_requests`, `max_rss_bytes`, `max_waiting`, `max_retries` | number |
/// | `placeholder_file` | text: a file with the page that browsers see while no child is ready |
/// | `name`, `runtime_dir` | text |
///
/// How soon a child that failed is started again, as [`Backoff`] has it:
///
/// | key | |
/// |---|---|
/// | `backoff_initial`, `backoff_max` | time: the delay after the first failure, and the longest one |
/// | `circuit_breaker_failures` | number: how many failures are the end; or `off` |
/// | `circuit_breaker_within`, `circuit_breaker_pause` | time: within which they happen, and for which nobody waits then |
/// | `healthy_after` | time: how long a child must have been ready so that its end is no failure |
///
/// All keys of [`ProxyAppConfig`](super::ProxyAppConfig) but `href` and its like hold for the requests. The defaults are those of [`SpawnAppBuilder`].
///
/// ```
/// use nexthop::config::SpawnAppConfig;
///
/// let config: SpawnAppConfig = serde_json::from_str(r#"{
///     "command": "gunicorn shop:app --bind 127.0.0.1:__PORT__",
///     "env": ["SHOP_CONFIG=/etc/shop.ini"],
///     "ready_path": "/health",
///     "idle_timeout": "5m",
///     "forwarded_headers": "x-forwarded"
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
    /// Checks everything that can be known before a child runs, and makes the service. Nothing is started.
    ///
    /// # Errors
    /// All [`ConfigErrors`].
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
            self.fail(ConfigError::missing("command", "it says what to run"));
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
                None => self.fail(ConfigError::secret("env", "holds something else than NAME=value")),
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
                    "mean nothing where circuit_breaker_failures is off",
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
                self.fail(ConfigError::invalid(KEY, text, "is neither a number of failures nor off"));
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
            self.fail(ConfigError::conflict("ready, ready_path, ready_line", "exclude each other"));
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
