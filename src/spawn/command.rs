//! [`Command`]: what to run.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    path::PathBuf,
};

use crate::error::ConfigError;

/// Describes the program to run: its arguments, environment, working directory, user and limits.
///
/// Arguments are passed to the program as they are; no shell interprets them. In each argument and in each value of
/// [`env`](Self::env) that is valid UTF-8, placeholders are replaced:
///
/// | placeholder | replacement |
/// |---|---|
/// | `__PORT__` | the port that the program must listen on, at [`address`](super::SpawnAppBuilder::address) |
/// | `__SOCKET__` | the path of the unix socket that the program must listen on, in a private directory |
/// | `__PORT_FILE__` | the file that the program writes its port to ([`PortAnnouncement::from_file`](super::PortAnnouncement::from_file)) |
/// | `__SECRET_FILE__` | the file with the key that requests are signed with ([`sign_requests`](super::SpawnAppBuilder::sign_requests)) |
///
/// The program inherits this process's environment except `LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES`,
/// `NOTIFY_SOCKET`, `WATCHDOG_PID` and `WATCHDOG_USEC`, which are about this process. Standard input is `/dev/null`,
/// output is logged, and no other descriptor is inherited.
///
/// ```
/// use nexthop::spawn::Command;
///
/// let command = Command::new("gunicorn")
///     .args(["shop:app", "--bind", "127.0.0.1:__PORT__"])
///     .env("SHOP_CONFIG", "/etc/shop.ini");
/// # #[cfg(unix)]
/// let script = Command::shell("exec uvicorn shop:app --port \"$PORT\"").env("PORT", "__PORT__");
/// # let _ = command;
/// ```
#[doc(alias = "process")]
#[doc(alias = "child process")]
#[derive(Clone)]
#[must_use]
pub struct Command {
    pub(super) argv: Vec<OsString>,
    /// How many arguments are taken as they are, beginning with the program.
    verbatim: usize,
    pub(super) directory: Option<PathBuf>,
    clear: bool,
    /// None: not even where this process has it.
    env: BTreeMap<OsString, Option<OsString>>,
    passed: Vec<OsString>,
    #[cfg(unix)]
    pub(super) uid: Option<u32>,
    #[cfg(unix)]
    pub(super) gid: Option<u32>,
    #[cfg(unix)]
    limits: Vec<(Resource, u64)>,
}

/// Names a resource that [`Command::limit`] limits. A limit applies to the program's children, too, and cannot be
/// raised again.
#[doc(alias = "ulimit")]
#[doc(alias = "setrlimit")]
#[cfg(unix)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resource {
    /// CPU time in seconds, for each process.
    CpuSeconds,
    /// Address space in KiB, for each process.
    AddressSpaceKib,
    /// Number of open descriptors, for each process.
    OpenFiles,
    /// Number of processes and threads of the program's user.
    Processes,
}

impl Command {
    /// Runs `program`: a path, or a name that is looked up in `PATH`.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            argv: vec![program.into()],
            verbatim: 0,
            directory: None,
            clear: false,
            env: BTreeMap::new(),
            passed: Vec::new(),
            #[cfg(unix)]
            uid: None,
            #[cfg(unix)]
            gid: None,
            #[cfg(unix)]
            limits: Vec::new(),
        }
    }

    /// Runs the first element of `argv` with the others as its arguments. An empty list makes `build()` fail.
    pub fn from_argv<A: Into<OsString>>(argv: impl IntoIterator<Item = A>) -> Self {
        Self { argv: argv.into_iter().map(Into::into).collect(), ..Self::new("") }
    }

    /// Runs a script with `/bin/sh -c`.
    ///
    /// Placeholders in the script are not replaced: put them into an environment variable, and quote the variable in
    /// the script. Begin the last command with `exec`, so that signals reach the program and not the shell.
    #[cfg(unix)]
    pub fn shell(script: impl Into<OsString>) -> Self {
        Self { argv: vec!["/bin/sh".into(), "-c".into(), script.into()], verbatim: 3, ..Self::new("") }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.argv.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.argv.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets the working directory. Default: that of this process.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Sets an environment variable. Placeholders in the value are replaced.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), Some(value.into()));
        self
    }

    /// Removes an environment variable that the program would inherit from this process.
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), None);
        self
    }

    /// Clears the inherited environment, except the variables that [`env_pass`](Self::env_pass) names. Default:
    /// inherited.
    pub fn env_clear(mut self) -> Self {
        self.clear = true;
        self
    }

    /// Names variables that the program inherits although the environment is [cleared](Self::env_clear).
    pub fn env_pass<N: Into<OsString>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.passed.extend(names.into_iter().map(Into::into));
        self
    }

    /// Sets the user id that the program runs as. Default: that of this process, which must be root to change it.
    ///
    /// Supplementary groups are dropped. The user becomes the owner of the child's private directory. Without
    /// `CAP_SYS_PTRACE`, the port of such a child is [verified](crate::spawn#listening-socket) by the user of its socket.
    #[cfg(unix)]
    pub fn uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// Sets the group id that the program runs as. Default: that of this process, which must be root to change it.
    #[cfg(unix)]
    pub fn gid(mut self, gid: u32) -> Self {
        self.gid = Some(gid);
        self
    }

    /// Limits a resource: sets the soft and the hard limit (`setrlimit`). Default: the limits of this process.
    ///
    /// `/bin/sh` sets the limit with `ulimit` and then executes the program in its place. If a limit cannot be set, the
    /// start fails.
    #[cfg(unix)]
    pub fn limit(mut self, resource: Resource, amount: u64) -> Self {
        self.limits.push((resource, amount));
        self
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let has_nul = |text: &OsStr| text.as_encoded_bytes().contains(&0);
        if self.argv.first().is_none_or(|program| program.is_empty()) {
            return Err(ConfigError::missing("command", "no program to run"));
        }
        if let Some(arg) = self.argv.iter().find(|arg| has_nul(arg)) {
            return Err(ConfigError::invalid("command", arg.to_string_lossy(), "contains a NUL byte"));
        }
        for (name, value) in &self.env {
            let bad = name.is_empty() || name.as_encoded_bytes().contains(&b'=') || has_nul(name);
            if bad || value.as_ref().is_some_and(|value| has_nul(value)) {
                return Err(ConfigError::invalid(
                    "env",
                    name.to_string_lossy(),
                    "is not a valid name, or name or value contains a NUL byte",
                ));
            }
        }
        Ok(())
    }

    /// True if `placeholder` stands anywhere.
    pub(super) fn mentions(&self, placeholder: &str) -> bool {
        let values = self.env.values().flatten();
        let mut texts = self.argv.iter().skip(self.verbatim).chain(values);
        texts.any(|text| text.to_str().is_some_and(|text| text.contains(placeholder)))
    }

    /// Returns parts of the command line and the environment that contain an address or path of one child.
    #[cfg(target_os = "linux")]
    pub(super) fn marks(&self, filled: &[(&str, &str)]) -> super::escaped::Marks {
        let has_placeholder = |text: &OsStr| {
            text.to_str().is_some_and(|text| filled.iter().any(|(placeholder, _)| text.contains(placeholder)))
        };
        let mut marks = super::escaped::Marks::default();
        if self.argv.iter().skip(self.verbatim).any(|text| has_placeholder(text)) {
            for (at, arg) in self.argv.iter().enumerate().skip(1) {
                let arg = if at < self.verbatim { arg.clone() } else { fill(arg, filled) };
                marks.arguments.extend([arg.as_encoded_bytes(), b"\0"].concat());
            }
            let is_bare = |text: &OsString| filled.iter().any(|(placeholder, _)| text == placeholder);
            marks.are_distinctive = self.argv.len() > 2 || self.argv.iter().skip(1).any(|text| !is_bare(text));
        }
        if self.env.values().flatten().any(|text| has_placeholder(text)) {
            let set = self.env.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
            let entry = |(name, value): (&OsString, &OsString)| {
                [name.as_encoded_bytes(), b"=", fill(value, filled).as_encoded_bytes()].concat()
            };
            marks.variables = set.map(entry).collect();
        }
        marks
    }

    /// Returns a variable of the environment that the program gets.
    #[cfg(unix)]
    pub(super) fn variable(&self, name: &str) -> Option<OsString> {
        match self.env.get(OsStr::new(name)) {
            Some(value) => value.clone(),
            None if self.clear && !self.passed.iter().any(|passed| passed == name) => None,
            None => std::env::var_os(name),
        }
    }

    /// True if a shell executes the program.
    #[cfg(unix)]
    pub(super) fn needs_shell(&self, inherit: bool) -> bool {
        !self.limits.is_empty() || inherit
    }

    /// The command to execute, with `filled` in the places of the placeholders. With `inherit`, standard input is to be a listening socket, which the
    /// program finds as descriptor 3.
    pub(super) fn to_tokio(&self, filled: &[(&str, &str)], inherit: bool) -> tokio::process::Command {
        let argv = self.argv.iter().enumerate();
        let mut argv = argv.map(|(at, arg)| if at < self.verbatim { arg.clone() } else { fill(arg, filled) });
        let mut command = match self.script(inherit) {
            None => tokio::process::Command::new(argv.next().unwrap_or_default()),
            Some(script) => {
                let mut shell = tokio::process::Command::new("/bin/sh");
                shell.args(["-c", &script, "sh"]);
                shell
            }
        };
        command.args(argv);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        if self.clear {
            command.env_clear();
            let kept = self.passed.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
            command.envs(kept);
        }
        OURS.iter().for_each(|name| _ = command.env_remove(name));
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, fill(value, filled)),
                None => command.env_remove(name),
            };
        }
        #[cfg(unix)]
        {
            self.gid.iter().for_each(|gid| _ = command.gid(*gid));
            self.uid.iter().for_each(|uid| _ = command.uid(*uid));
        }
        command
    }

    /// The script of a shell that has something to do before it becomes the program. Nothing of the command is part of the script.
    #[cfg(unix)]
    fn script(&self, inherit: bool) -> Option<String> {
        if !self.needs_shell(inherit) {
            return None;
        }
        let mut script = String::new();
        for (resource, amount) in &self.limits {
            script += &match resource {
                Resource::CpuSeconds => format!("ulimit -t {amount} || exit 126\n"),
                Resource::AddressSpaceKib => format!("ulimit -v {amount} || exit 126\n"),
                Resource::OpenFiles => format!("ulimit -n {amount} || exit 126\n"),
                // The letter is not the same in all shells.
                Resource::Processes => {
                    format!("ulimit -u {amount} 2>/dev/null || ulimit -p {amount} || exit 126\n")
                }
            };
        }
        // `exec` keeps the process, so that its id is right (sd_listen_fds compares it).
        script += if inherit {
            "LISTEN_PID=$$ LISTEN_FDS=1\nexport LISTEN_PID LISTEN_FDS\nexec \"$@\" 3<&0 </dev/null"
        } else {
            "exec \"$@\""
        };
        Some(script)
    }

    #[cfg(not(unix))]
    fn script(&self, _: bool) -> Option<String> {
        None
    }
}

/// Without the environment's values, which may be secrets.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.keys().collect();
        f.debug_struct("Command").field("argv", &self.argv).field("env", &names).finish_non_exhaustive()
    }
}

fn fill(text: &OsStr, filled: &[(&str, &str)]) -> OsString {
    match text.to_str() {
        Some(text) if text.contains("__") => {
            filled.iter().fold(text.to_owned(), |text, (placeholder, by)| text.replace(placeholder, by)).into()
        }
        _ => text.to_owned(),
    }
}

/// Variables that speak of this process, and would be taken for the child's own.
const OURS: [&str; 6] =
    ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

#[cfg(all(test, unix))]
#[expect(clippy::unwrap_used, reason = "it is not seen that these are tests")]
mod tests {
    use super::*;

    async fn output(command: Command, filled: &[(&str, &str)]) -> String {
        let output = command.to_tokio(filled, false).output().await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[tokio::test]
    async fn placeholders_are_replaced_in_arguments_and_in_the_environment_but_in_no_script() {
        let print =
            Command::new("sh").args(["-c", "printf '%s|' \"$@\" \"$BIND\"", "sh", "--port=__PORT__", "__PORT__"]);
        let printed = output(print.env("BIND", "127.0.0.1:__PORT__"), &[("__PORT__", "81")]).await;
        assert_eq!(printed, "--port=81|81|127.0.0.1:81|");
        let script = Command::shell("printf %s __PORT__");
        assert!(!script.mentions("__PORT__"));
        assert_eq!(output(script, &[("__PORT__", "81")]).await, "__PORT__");
    }

    #[tokio::test]
    async fn arguments_are_never_read_by_a_shell() {
        let argument = "$(echo no) `echo no` \"'; exit 1 #";
        let command = Command::new("printf").args(["%s", argument]);
        assert_eq!(output(command.clone(), &[]).await, argument);
        assert_eq!(output(command.limit(Resource::OpenFiles, 64), &[]).await, argument);
    }

    #[tokio::test]
    async fn what_is_limited_is_limited_before_the_program_runs() {
        let limits =
            Command::shell("ulimit -n; ulimit -t").limit(Resource::OpenFiles, 71).limit(Resource::CpuSeconds, 9);
        assert_eq!(output(limits.limit(Resource::Processes, 5_000), &[]).await, "71\n9\n");
    }

    #[tokio::test]
    async fn the_environment_can_be_cleared_but_for_what_is_passed() {
        let env = Command::new("env").env_clear().env("A", "b").env_pass(["PATH", "THERE_IS_NONE"]);
        let mut names: Vec<_> =
            output(env, &[]).await.lines().map(|line| line.split('=').next().unwrap().to_owned()).collect();
        names.sort();
        assert_eq!(names, ["A", "PATH"]);
    }

    #[test]
    fn values_of_the_environment_are_not_shown() {
        assert!(!format!("{:?}", Command::new("x").env("KEY", "secret")).contains("secret"));
    }
}
