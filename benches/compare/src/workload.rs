//! The workloads, and one measurement of one proxy.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{client::Client, proxies::Running, statistics::quantile, transfer::Mode, wrk};

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Get { fields: usize },
    Download,
    Echo,
    NewConnection,
    Http2,
    WebSocket { size: usize },
}

/// The client program that makes the load.
#[derive(Clone, Copy, PartialEq)]
pub enum Load {
    /// The clients of this package.
    Own(Mode),
    /// The program `wrk`, as a check of the own clients. Fetches `/bulk` only.
    Wrk,
}

pub struct Workload {
    pub name: &'static str,
    pub title: &'static str,
    pub kind: Kind,
    pub clients: usize,
    pub load: Load,
}

impl Workload {
    const fn new(name: &'static str, title: &'static str, kind: Kind, clients: usize) -> Self {
        Self { name, title, kind, clients, load: Load::Own(Mode::Count) }
    }

    const fn load(mut self, load: Load) -> Self {
        self.load = load;
        self
    }

    /// Returns the reason why the workload cannot run here, if there is one.
    pub fn missing(&self) -> Option<String> {
        let is_missing = self.load == Load::Wrk && !wrk::is_installed();
        is_missing.then(|| format!("{} is left out: `apt-get install wrk`", self.name))
    }
}

const PACED: Load = Load::Own(Mode::Paced);

pub const WORKLOADS: &[Workload] = &[
    Workload::new("small", "GET of 13 bytes, 64 connections", Kind::Get { fields: 0 }, 64),
    Workload::new(
        "fields",
        "GET of 13 bytes with 30 more request headers, 64 connections",
        Kind::Get { fields: 30 },
        64,
    ),
    Workload::new("latency", "GET of 13 bytes, one connection", Kind::Get { fields: 0 }, 1),
    Workload::new("download", "GET of 1 MiB, 4 connections, fast client", Kind::Download, 4),
    Workload::new("download-slow", "GET of 1 MiB, 4 connections, slow client", Kind::Download, 4).load(PACED),
    Workload::new("download-wrk", "GET of 1 MiB, 4 connections, wrk as the client", Kind::Download, 4).load(Load::Wrk),
    Workload::new("echo", "POST of 1 MiB, sent back, 4 connections, fast client", Kind::Echo, 4),
    Workload::new("echo-slow", "POST of 1 MiB, sent back, 4 connections, slow client", Kind::Echo, 4).load(PACED),
    Workload::new("new", "GET of 13 bytes, each on a new connection, 16 at a time", Kind::NewConnection, 16),
    Workload::new("h2c", "GET of 13 bytes over HTTP/2, 8 connections of 8 streams", Kind::Http2, 64),
    Workload::new("ws64", "WebSocket messages of 64 bytes, 64 connections", Kind::WebSocket { size: 64 }, 64),
    Workload::new(
        "ws64k",
        "WebSocket messages of 64 KiB, 8 connections, fast client",
        Kind::WebSocket { size: 65536 },
        8,
    ),
    Workload::new(
        "ws64k-slow",
        "WebSocket messages of 64 KiB, 8 connections, slow client",
        Kind::WebSocket { size: 65536 },
        8,
    )
    .load(PACED),
];

/// The name of the measurement of an idle client connection's memory.
pub const IDLE: &str = "idle";
pub const IDLE_CONNECTIONS: usize = 1000;

/// One proxy under one load, once.
pub struct Sample {
    pub cpu_per_request: Duration,
    /// The proxy's CPU time as a share of the time that passed: its share of its core.
    pub utilization: f64,
    /// The share of the time in which the proxy was ready but other processes had its core.
    pub disturbance: f64,
    pub requests_per_second: f64,
    pub median: Duration,
    pub percentile_99: Duration,
}

/// When the clients stop.
#[derive(Clone)]
pub enum Until {
    Time(Instant),
    Requests(Arc<AtomicU64>),
}

impl Until {
    pub fn requests(count: u64) -> Self {
        Self::Requests(Arc::new(AtomicU64::new(count)))
    }

    fn reached(&self) -> bool {
        match self {
            Self::Time(end) => Instant::now() >= *end,
            Self::Requests(left) => {
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
            }
        }
    }
}

/// Compares every byte of the responses under the workload's concurrency. Nothing is measured.
pub async fn verify(workload: &Workload, proxy: &Running) -> io::Result<()> {
    const EXCHANGES: u64 = 8; // per client
    let clients = Client::open(workload.kind, Mode::Compare, workload.clients, &proxy.listening).await?;
    load(clients, Until::requests(workload.clients as u64 * EXCHANGES)).await.map(drop)
}

/// Runs the load for `length` (wrk: at least a second) and returns its cost.
pub async fn measure(workload: &Workload, proxy: &Running, length: Duration) -> io::Result<Sample> {
    let mode = match workload.load {
        Load::Own(mode) => mode,
        Load::Wrk => return wrk::measure(workload.clients, proxy, length).await,
    };
    let clients = Client::open(workload.kind, mode, workload.clients, &proxy.listening).await?;
    let (before, start) = (proxy.process.times()?, Instant::now());
    let mut latencies = load(clients, Until::Time(start + length)).await?.1;
    let (times, wall) = (proxy.process.times()? - before, start.elapsed().as_secs_f64());
    latencies.sort_unstable();
    let count = latencies.len();
    let at = |share| quantile(&latencies, share).ok_or_else(|| io::Error::other("no request was answered"));
    Ok(Sample {
        median: at(0.5)?,
        percentile_99: at(0.99)?,
        cpu_per_request: times.cpu / count as u32,
        utilization: times.cpu.as_secs_f64() / wall,
        disturbance: times.waiting.as_secs_f64() / wall,
        requests_per_second: count as f64 / wall,
    })
}

/// Runs the clients concurrently until the end. Returns them, and the duration of each exchange. The first error ends the run.
pub async fn load(clients: Vec<Client>, until: Until) -> io::Result<(Vec<Client>, Vec<Duration>)> {
    const LIMIT: Duration = Duration::from_secs(120);
    let mut running = JoinSet::new();
    for mut client in clients {
        let until = until.clone();
        running.spawn(async move {
            let mut latencies = Vec::with_capacity(4096);
            while !until.reached() {
                let start = Instant::now();
                client.exchange().await?;
                latencies.push(start.elapsed());
            }
            io::Result::Ok((client, latencies))
        });
    }
    let (mut clients, mut latencies) = (Vec::new(), Vec::new());
    while let Some(result) = timeout(LIMIT, running.join_next()).await? {
        let (client, more) = result.map_err(io::Error::other)??;
        clients.push(client);
        latencies.extend(more);
    }
    Ok((clients, latencies))
}
