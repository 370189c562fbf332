//! What is measured, and one measurement.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::timeout};

use crate::{client::Client, proxies::Running};

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Get { fields: usize },
    Download,
    Echo,
    NewConnection,
    Http2,
    WebSocket { size: usize },
}

pub struct Workload {
    pub name: &'static str,
    pub title: &'static str,
    pub kind: Kind,
    pub clients: usize,
}

const fn workload(name: &'static str, title: &'static str, kind: Kind, clients: usize) -> Workload {
    Workload { name, title, kind, clients }
}

pub const WORKLOADS: &[Workload] = &[
    workload("small", "GET of 13 bytes, 64 connections", Kind::Get { fields: 0 }, 64),
    workload("fields", "the same with 30 more request fields", Kind::Get { fields: 30 }, 64),
    workload("latency", "GET of 13 bytes, one connection", Kind::Get { fields: 0 }, 1),
    workload("download", "GET of 1 MiB, 4 connections", Kind::Download, 4),
    workload("echo", "POST of 1 MiB, sent back, 4 connections", Kind::Echo, 4),
    workload("new", "GET of 13 bytes, each on a new connection, 16 at a time", Kind::NewConnection, 16),
    workload("h2c", "GET of 13 bytes over HTTP/2, 8 connections of 8 streams", Kind::Http2, 64),
    workload("ws64", "WebSocket, messages of 64 bytes, 64 connections", Kind::WebSocket { size: 64 }, 64),
    workload("ws64k", "WebSocket, messages of 64 KiB, 8 connections", Kind::WebSocket { size: 65536 }, 8),
];

/// The workload of its own: how much memory an idle client connection holds.
pub const IDLE: &str = "idle";
pub const IDLE_CONNECTIONS: usize = 1000;

/// One proxy under one load for a while.
pub struct Sample {
    pub cpu_per_request: Duration,
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

/// Opens the clients, lets them run for `length`, and says what that took.
pub async fn measure(workload: &Workload, proxy: &Running, length: Duration) -> io::Result<Sample> {
    let clients = Client::open(workload.kind, workload.clients, &proxy.listening).await?;
    let (cpu, start) = (proxy.process.cpu()?, Instant::now());
    let mut latencies = load(clients, Until::Time(start + length)).await?.1;
    let (cpu, wall) = (proxy.process.cpu()? - cpu, start.elapsed());
    latencies.sort_unstable();
    let count = latencies.len();
    let at = |per_cent: usize| {
        latencies.get(count * per_cent / 100).copied().ok_or(io::Error::other("no request was answered"))
    };
    Ok(Sample {
        cpu_per_request: cpu / count.max(1) as u32,
        requests_per_second: count as f64 / wall.as_secs_f64(),
        median: at(50)?,
        percentile_99: at(99)?,
    })
}

/// Runs the clients side by side until the end; returns them, and how long each exchange took. The first error ends it all.
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
