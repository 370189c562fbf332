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

impl Process {
    /// Runs `command` on the proxies' core. The command must neither fork nor daemonize.
    pub fn start(command: &[String]) -> io::Result<Self> {
        let (program, args) = command.split_first().ok_or_else(|| io::Error::other("no program to start"))?;
        pin(PROXY_CORE)?; // inherited by the child
        let child = Command::new(program)
            .args(args)
            .env("WORKERS", "1")
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

    /// Returns the user and system time of all live threads, in nanoseconds' precision.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut nanoseconds = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.id()))? {
            let times = fs::read_to_string(thread?.path().join("schedstat"))?;
            nanoseconds += first_number(&times)?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Returns the resident memory in KiB.
    pub fn resident(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        first_number(status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn first_number(text: &str) -> io::Result<u64> {
    let number = text.split_whitespace().next().and_then(|word| word.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("no number in the /proc file: {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_of_a_proc_file_is_read() {
        assert_eq!(first_number("   10880 kB").unwrap(), 10880);
        assert!(first_number("").is_err());
    }

    #[tokio::test]
    async fn a_program_that_does_not_exist_is_named() {
        let error = Process::start(&["/nonexistent/proxy".to_owned()]).err().unwrap();
        assert!(error.to_string().starts_with("cannot start /nonexistent/proxy: "), "{error}");
    }

    #[tokio::test]
    async fn a_process_that_ends_early_is_reported_with_its_status() {
        let mut process = Process::start(&["false".to_owned()]).unwrap();
        let error = process.listens("127.0.0.1:1".parse().unwrap()).await.unwrap_err().to_string();
        assert!(error.contains("ended before it listened on 127.0.0.1:1 (exit status: 1)"), "{error}");
    }
}
