//! The date, the machine and the versions of the programs, for the head of a report.

use std::{
    fmt::{self, Display, Formatter},
    fs,
    process::Command,
};

/// The machine and the moment of a run.
pub struct Environment {
    pub date: String,
    pub processor: String,
    pub cores: usize,
    pub kernel: String,
    pub compiler: String,
    /// The load average over one minute, before the run.
    pub busy: String,
}

impl Environment {
    pub fn read() -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            date: first_line("date", &["-u", "+%F"]),
            processor: model(&processors).unwrap_or("unknown processor").to_owned(),
            // Not `available_parallelism`, which counts the cores that this process is pinned to.
            cores: processors.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: format!("{} {}", first_line("uname", &["-s"]), first_line("uname", &["-r"])),
            compiler: first_line("rustc", &["-V"]),
            busy: load.split(' ').next().unwrap_or("unknown").to_owned(),
        }
    }
}

impl Display for Environment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} cores, {}", self.processor, self.cores, self.kernel)
    }
}

fn model(processors: &str) -> Option<&str> {
    let (_, name) = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'))?;
    Some(name.trim())
}

/// Returns the version of a crate in a lock file.
pub fn locked(lock: &str, name: &str) -> String {
    let entry = format!("name = \"{name}\"\nversion = \"");
    let after = lock.split_once(&entry).map(|(_, after)| after);
    after.and_then(|after| after.split('"').next()).unwrap_or("unknown").to_owned()
}

/// Returns the first line that a command prints. nginx prints its version to standard error.
pub fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().map(|output| [output.stdout, output.stderr].concat());
    let text = output.map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_read_from_cpuinfo() {
        assert_eq!(model("processor\t: 0\nmodel name\t: AMD EPYC\nstepping\t: 1\n"), Some("AMD EPYC"));
        assert_eq!(model("processor\t: 0\n"), None);
    }

    #[test]
    fn a_locked_version_is_that_of_the_whole_name() {
        let lock = "name = \"axum-core\"\nversion = \"0.5.0\"\n\nname = \"axum\"\nversion = \"0.8.9\"\n";
        assert_eq!(locked(lock, "axum"), "0.8.9");
        assert_eq!(locked(lock, "hyper"), "unknown");
    }

    #[test]
    fn this_machine_is_described() {
        let environment = Environment::read();
        assert_eq!(environment.date.len(), "2026-01-31".len());
        assert!(environment.cores > 0);
        assert!(environment.to_string().contains("Linux "), "{environment}");
    }
}
