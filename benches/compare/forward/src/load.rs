//! Interleaved rounds: in each, every proxy gets the same load for a moment, and its cost is divided by the baseline's in the same round.
//! The rounds are short because the machine's speed changes.

use std::{io, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    client::Client,
    proxies::{PROXIES, Proxy, Running, World},
    statistics::{Spread, median},
    transfer::Mode,
};

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Intercepted,
    Handshake { new: bool },
    Absolute,
    Tunnel { bulk: bool },
}

pub struct Workload {
    pub title: &'static str,
    pub kind: Kind,
    pub clients: usize,
    /// [`Mode::Count`] (a fast client) or [`Mode::Paced`] (a slow one).
    pub mode: Mode,
    /// The proxy that the others are compared with.
    pub baseline: &'static str,
}

pub const WORKLOADS: &[Workload] = &[
    workload("intercepted GET of 13 bytes, 32 tunnels", Kind::Intercepted, 32, "hudsucker"),
    workload("CONNECT and handshake, host known, 8 at a time", Kind::Handshake { new: false }, 8, "hudsucker"),
    workload("CONNECT and handshake, host new each time, 8 at a time", Kind::Handshake { new: true }, 8, "hudsucker"),
    workload("GET http://… of 13 bytes, 32 connections", Kind::Absolute, 32, "hudsucker"),
    workload("blind tunnel, GET of 13 bytes, 32 tunnels", Kind::Tunnel { bulk: false }, 32, "relay"),
    workload("blind tunnel, GET of 1 MiB, 4 tunnels, fast client", Kind::Tunnel { bulk: true }, 4, "relay"),
    Workload {
        mode: Mode::Paced,
        ..workload("blind tunnel, GET of 1 MiB, 4 tunnels, slow client", Kind::Tunnel { bulk: true }, 4, "relay")
    },
];

const fn workload(title: &'static str, kind: Kind, clients: usize, baseline: &'static str) -> Workload {
    Workload { title, kind, clients, mode: Mode::Count, baseline }
}

/// Medians over the rounds.
pub struct Row {
    pub proxy: &'static Proxy,
    pub cpu: Duration,
    pub ratio: Spread,
    /// The proxy's CPU time as a share of the time that passed.
    pub utilization: f64,
    /// The share of the time in which the proxy was ready but other processes had its core.
    pub disturbance: f64,
    pub per_second: f64,
}

/// The number and length of the rounds.
#[derive(Clone, Copy)]
pub struct Pace {
    pub starts: usize,
    pub rounds: usize,
    pub length: Duration,
}

struct Contender {
    proxy: &'static Proxy,
    running: Running,
    clients: Vec<Client>,
}

/// The results of one round of one proxy.
struct Sample {
    /// Seconds of CPU time per exchange.
    cpu: f64,
    /// As in [`Row`].
    utilization: f64,
    disturbance: f64,
    per_second: f64,
}

/// The samples of each proxy, in the order of the rounds.
type Samples = Vec<(&'static Proxy, Vec<Sample>)>;

/// Starts the proxies several times, because the placement of a process's memory changes its speed for as long as it lives.
pub async fn compare(workload: &Workload, world: &World, pace: &Pace) -> io::Result<Vec<Row>> {
    let mut samples = Samples::new();
    for _ in 0..pace.starts {
        rounds(workload, world, pace, &mut samples).await?;
    }
    let baseline = samples.iter().find(|(proxy, _)| proxy.name == workload.baseline);
    let (_, baseline) = baseline.ok_or(io::Error::other("no baseline"))?;
    let rows = samples.iter().map(|(proxy, own)| row(proxy, own, baseline));
    let mut rows = rows.collect::<Option<Vec<_>>>().ok_or(io::Error::other("no rounds"))?;
    rows.sort_by_key(|row| PROXIES.iter().position(|proxy| proxy.name == row.proxy.name));
    Ok(rows)
}

/// Starts each proxy once, verifies its responses, and measures it.
async fn rounds(workload: &Workload, world: &World, pace: &Pace, samples: &mut Samples) -> io::Result<()> {
    let Workload { kind, mode, clients: count, .. } = *workload;
    let mut contenders = Vec::new();
    for proxy in PROXIES.iter().filter(|proxy| proxy.can(kind)) {
        let named = |error: io::Error| io::Error::other(format!("{}: {error}", proxy.name));
        let running = proxy.start(kind, world).await?;
        verify(open(kind, Mode::Compare, count, proxy, &running, world).await.map_err(named)?).await.map_err(named)?;
        let clients = open(kind, mode, count, proxy, &running, world).await.map_err(named)?;
        contenders.push(Contender { proxy, running, clients });
    }
    // The first round fills memory and caches, and does not count.
    for round in 0..=pace.rounds {
        for contender in &mut contenders {
            let sample = measure(contender, pace.length).await;
            let sample = sample.map_err(|error| io::Error::other(format!("{}: {error}", contender.proxy.name)))?;
            if round > 0 {
                match samples.iter_mut().find(|(proxy, _)| proxy.name == contender.proxy.name) {
                    Some((_, samples)) => samples.push(sample),
                    None => samples.push((contender.proxy, vec![sample])),
                }
            }
        }
        contenders.rotate_left(1); // so that the order of the proxies changes
    }
    Ok(())
}

/// Compares every byte of some responses to concurrent requests. Nothing is measured.
async fn verify(clients: Vec<Client>) -> io::Result<()> {
    const EXCHANGES: usize = 8; // per client
    let mut running = JoinSet::new();
    for mut client in clients {
        running.spawn(async move {
            for _ in 0..EXCHANGES {
                client.exchange().await?;
            }
            io::Result::Ok(())
        });
    }
    timeout(Duration::from_secs(60), running.join_all()).await?.into_iter().collect()
}

fn row(proxy: &'static Proxy, own: &[Sample], baseline: &[Sample]) -> Option<Row> {
    let of = |value: fn(&Sample) -> f64| median(own.iter().map(value));
    Some(Row {
        proxy,
        cpu: Duration::from_secs_f64(of(|sample| sample.cpu)),
        ratio: Spread::of(own.iter().zip(baseline).map(|(own, its)| own.cpu / its.cpu))?,
        utilization: of(|sample| sample.utilization),
        disturbance: of(|sample| sample.disturbance),
        per_second: of(|sample| sample.per_second),
    })
}

/// One round of one proxy.
async fn measure(contender: &mut Contender, length: Duration) -> io::Result<Sample> {
    let (before, start) = (contender.running.process.times()?, Instant::now());
    let mut running = JoinSet::new();
    for mut client in contender.clients.drain(..) {
        running.spawn(async move {
            let mut count = 0_u64;
            while start.elapsed() < length {
                client.exchange().await?;
                count += 1;
            }
            io::Result::Ok((client, count))
        });
    }
    let mut total = 0_u64;
    while let Some(done) = timeout(Duration::from_secs(60), running.join_next()).await? {
        let (client, count) = done.map_err(io::Error::other)??;
        contender.clients.push(client);
        total += count;
    }
    let (times, wall) = (contender.running.process.times()? - before, start.elapsed().as_secs_f64());
    if total == 0 {
        return Err(io::Error::other("no request was answered"));
    }
    let (total, cpu) = (total as f64, times.cpu.as_secs_f64());
    Ok(Sample {
        cpu: cpu / total,
        utilization: cpu / wall,
        disturbance: times.waiting.as_secs_f64() / wall,
        per_second: total / wall,
    })
}

/// Opens clients. Each makes one exchange.
async fn open(
    kind: Kind,
    mode: Mode,
    count: usize,
    proxy: &Proxy,
    running: &Running,
    world: &World,
) -> io::Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = Client::open(kind, mode, running, proxy.is_relay(), world).await?;
        client.exchange().await?;
        clients.push(client);
    }
    Ok(clients)
}

pub struct Memory {
    pub per_tunnel_kib: f64,
    /// MiB before there were hosts, after the first 2,000, and after all of them.
    pub hosts_mib: [f64; 3],
}

pub const IDLE_TUNNELS: usize = 500;
pub const HOSTS: usize = 10_000;

pub async fn memory(proxy: &Proxy, world: &World) -> io::Result<Memory> {
    let running = proxy.start(Kind::Intercepted, world).await?;
    let mut held = open(Kind::Intercepted, Mode::Count, 20, proxy, &running, world).await?;
    let before = running.process.resident()?;
    held.extend(open(Kind::Intercepted, Mode::Count, IDLE_TUNNELS, proxy, &running, world).await?);
    let per_tunnel_kib = running.process.resident()?.saturating_sub(before) as f64 / IDLE_TUNNELS as f64;
    drop(held);

    let running = proxy.start(Kind::Intercepted, world).await?;
    open(Kind::Intercepted, Mode::Count, 20, proxy, &running, world).await?;
    let mib = |running: &Running| io::Result::Ok(running.process.resident()? as f64 / 1024.0);
    let mut hosts_mib = [mib(&running)?, 0.0, 0.0];
    let mut client = Client::open(Kind::Handshake { new: true }, Mode::Count, &running, false, world).await?;
    for host in 0..HOSTS {
        client.exchange().await?;
        if host + 1 == 2_000 {
            hosts_mib[1] = mib(&running)?;
        }
    }
    hosts_mib[2] = mib(&running)?;
    Ok(Memory { per_tunnel_kib, hosts_mib })
}
