//! Runs a proxy's process on a core of its own, measures it through `/proc`, and kills it on drop.

use std::{
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_setaffinity},
};
use tokio::{net::TcpStream, time::sleep};

const LOAD_CORE: usize = 0;
const PROXY_CORE: usize = 1;

/// Pins this process (the load and the origin) to its core and raises the limit of open files for it and its children.
pub fn settle() -> io::Result<()> {
    if std::thread::available_parallelism()?.get() <= PROXY_CORE {
        return Err(io::Error::other("two cores are needed: one for the proxy, one for the load"));
    }
    pin(LOAD_CORE)?;
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Pins the calling thread, and the processes and threads it starts from now on, to one core.
fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// Returns the program of that name in `PATH` or `/usr/sbin`, which is not in every user's `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

pub struct Process(Child);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// User and system time.
    pub cpu: Duration,
    /// The time in which a thread was ready to run but something else had the core.
    pub waiting: Duration,
}

impl Times {
    /// Parses the contents of `schedstat`.
    fn parse(text: &str) -> io::Result<Self> {
        let mut numbers = text.split_whitespace().map(|word| word.parse().map(Duration::from_nanos));
        match (numbers.next(), numbers.next()) {
            (Some(Ok(cpu)), Some(Ok(waiting))) => Ok(Self { cpu, waiting }),
            _ => Err(io::Error::other(format!("unexpected schedstat {text:?}"))),
        }
    }
}

impl std::ops::Sub for Times {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { cpu: self.cpu - earlier.cpu, waiting: self.waiting - earlier.waiting }
    }
}

impl Process {
    /// Runs `command` on the proxies' core, with these environment variables. The command must neither fork nor daemonize.
    pub fn start(command: &[String], variables: &[(&str, &str)]) -> io::Result<Self> {
        let (program, args) = command.split_first().ok_or_else(|| io::Error::other("no program to start"))?;
        pin(PROXY_CORE)?; // inherited by the child
        let child = Command::new(program)
            .args(args)
            .env("WORKERS", "1")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("cannot start {program}: {error}")));
        pin(LOAD_CORE)?;
        child.map(Self)
    }

    /// Waits until the process accepts connections, for up to 30 s.
    pub async fn listens(&mut self, address: SocketAddr) -> io::Result<()> {
        for _ in 0..1500 {
            if TcpStream::connect(address).await.is_ok() {
                return Ok(());
            }
            if let Some(status) = self.0.try_wait()? {
                return Err(io::Error::other(format!("ended before it listened on {address} ({status})")));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Err(io::Error::other(format!("does not listen on {address} after 30 s")))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Returns the scheduler's account of all live threads, in nanoseconds' precision.
    pub fn times(&self) -> io::Result<Times> {
        let mut sum = Times::default();
        for thread in fs::read_dir(format!("/proc/{}/task", self.id()))? {
            let times = Times::parse(&fs::read_to_string(thread?.path().join("schedstat"))?)?;
            sum.cpu += times.cpu;
            sum.waiting += times.waiting;
        }
        Ok(sum)
    }

    /// Returns the resident memory in KiB.
    pub fn resident(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        resident(&status).ok_or_else(|| io::Error::other("no VmRSS in /proc/PID/status"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn resident(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_parsed() {
        let times = Times { cpu: Duration::from_nanos(1500), waiting: Duration::from_nanos(20) };
        assert_eq!(Times::parse("1500 20 3\n").unwrap(), times);
        assert!(Times::parse("1500\n").is_err());
        assert_eq!(resident("VmHWM:\t   20000 kB\nVmRSS:\t   10880 kB\n"), Some(10880));
        assert_eq!(resident("Name:\tzombie\n"), None);
    }

    #[tokio::test]
    async fn a_program_that_does_not_exist_is_named() {
        let error = Process::start(&["/nonexistent/proxy".to_owned()], &[]).err().unwrap();
        assert!(error.to_string().starts_with("cannot start /nonexistent/proxy: "), "{error}");
    }

    #[tokio::test]
    async fn a_process_that_ends_early_is_reported_with_its_status() {
        let mut process = Process::start(&["false".to_owned()], &[]).unwrap();
        let error = process.listens("127.0.0.1:1".parse().unwrap()).await.unwrap_err().to_string();
        assert!(error.contains("ended before it listened on 127.0.0.1:1 (exit status: 1)"), "{error}");
    }
}
