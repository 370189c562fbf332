//! A proxy's process: started on a core of its own, measured through `/proc`, killed on drop.

use std::{
    fs, io,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_setaffinity},
};

const LOAD_CORE: usize = 0;
const PROXY_CORE: usize = 1;

/// Puts this process, which is the load and the origin, on its core, and lets it and its children open many files.
pub fn settle() -> io::Result<()> {
    if std::thread::available_parallelism()?.get() <= PROXY_CORE {
        return Err(io::Error::other("needs two cores: one for the proxy, one for the load"));
    }
    let mut cores = CpuSet::new();
    cores.set(LOAD_CORE);
    sched_setaffinity(None, &cores)?;
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// The program of that name in `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

pub struct Process(Child);

impl Process {
    /// Runs `command`, which must neither fork nor daemonize, on the proxies' core.
    pub fn start(command: &[String]) -> io::Result<Self> {
        let core = PROXY_CORE.to_string();
        let mut taskset = Command::new("taskset");
        taskset.args(["-c", &core]).args(command).env("WORKERS", "1").stdin(Stdio::null()).stdout(Stdio::null());
        taskset.spawn().map(Self).map_err(|error| io::Error::new(error.kind(), format!("taskset: {error}")))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// User and system time of all its threads, in nanoseconds' precision (those that have ended are not in it).
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut nanoseconds = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.id()))? {
            let times = fs::read_to_string(thread?.path().join("schedstat"))?;
            nanoseconds += first_number(&times)?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        first_number(status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default())
    }

    /// Whether it ended by itself.
    pub fn is_gone(&mut self) -> io::Result<bool> {
        Ok(self.0.try_wait()?.is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn first_number(text: &str) -> io::Result<u64> {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).ok_or(io::Error::other("an odd file in /proc"))
}
