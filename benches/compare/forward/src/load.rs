//! Interleaved rounds: in each, every proxy has the same load for a moment, and is compared with the baseline's moment of that round. The
//! moments are short, because the machine is not equally fast for long.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::timeout};

use crate::{
    client::Client,
    proxies::{PROXIES, Proxy, Running, World},
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
    /// What the others are compared with.
    pub baseline: &'static str,
}

pub const WORKLOADS: &[Workload] = &[
    workload("intercepted GET of 13 bytes, 32 tunnels", Kind::Intercepted, 32, "hudsucker"),
    workload("CONNECT and handshake, host known, 8 at a time", Kind::Handshake { new: false }, 8, "hudsucker"),
    workload("CONNECT and handshake, host new each time, 8 at a time", Kind::Handshake { new: true }, 8, "hudsucker"),
    workload("GET http://… of 13 bytes, 32 connections", Kind::Absolute, 32, "hudsucker"),
    workload("blind tunnel, GET of 13 bytes, 32 tunnels", Kind::Tunnel { bulk: false }, 32, "relay"),
    workload("blind tunnel, GET of 1 MiB, 4 tunnels", Kind::Tunnel { bulk: true }, 4, "relay"),
];

const fn workload(title: &'static str, kind: Kind, clients: usize, baseline: &'static str) -> Workload {
    Workload { title, kind, clients, baseline }
}

/// Medians over the rounds.
pub struct Row {
    pub proxy: &'static Proxy,
    pub cpu: Duration,
    pub ratio: f64,
    pub quartiles: (f64, f64),
    pub per_second: f64,
}

/// How long is measured.
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

/// What came out of a round.
struct Sample {
    /// Seconds of CPU time for each exchange.
    cpu: f64,
    /// Exchanges.
    per_second: f64,
}

/// Of each proxy, in the order of the rounds.
type Samples = Vec<(&'static Proxy, Vec<Sample>)>;

/// Starts the proxies several times, since where a process finds its memory makes it faster or slower for good.
pub async fn compare(workload: &Workload, world: &World, pace: &Pace) -> io::Result<Vec<Row>> {
    let mut samples = Samples::new();
    for _ in 0..pace.starts {
        rounds(workload, world, pace, &mut samples).await?;
    }
    let baseline = samples.iter().find(|(proxy, _)| proxy.name == workload.baseline);
    let (_, baseline) = baseline.ok_or(io::Error::other("no baseline"))?;
    let mut rows: Vec<Row> = samples.iter().map(|(proxy, own)| row(proxy, own, baseline)).collect();
    rows.sort_by_key(|row| PROXIES.iter().position(|proxy| proxy.name == row.proxy.name));
    Ok(rows)
}

/// One start of each, and what they do from then on.
async fn rounds(workload: &Workload, world: &World, pace: &Pace, samples: &mut Samples) -> io::Result<()> {
    let mut contenders = Vec::new();
    for proxy in PROXIES.iter().filter(|proxy| proxy.can(workload.kind)) {
        let running = proxy.start(workload.kind, world).await?;
        let clients = open(workload.kind, workload.clients, proxy, &running, world).await?;
        contenders.push(Contender { proxy, running, clients });
    }
    // One more than is counted: in the first, memory and caches are filled.
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
        contenders.rotate_left(1); // nobody always follows the same one
    }
    Ok(())
}

fn row(proxy: &'static Proxy, own: &[Sample], baseline: &[Sample]) -> Row {
    let ratios = || own.iter().zip(baseline).map(|(own, its)| own.cpu / its.cpu);
    Row {
        proxy,
        cpu: Duration::from_secs_f64(quantile(0.5, own.iter().map(|sample| sample.cpu))),
        ratio: quantile(0.5, ratios()),
        quartiles: (quantile(0.25, ratios()), quantile(0.75, ratios())),
        per_second: quantile(0.5, own.iter().map(|sample| sample.per_second)),
    }
}

/// The value below which that share of the (at least one) values lies.
fn quantile(share: f64, values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

/// One round of one proxy.
async fn measure(contender: &mut Contender, length: Duration) -> io::Result<Sample> {
    let (cpu, start) = (contender.running.process.cpu()?, Instant::now());
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
    let (cpu, wall) = (contender.running.process.cpu()? - cpu, start.elapsed());
    if total == 0 {
        return Err(io::Error::other("nothing was answered"));
    }
    let total = total as f64;
    Ok(Sample { cpu: cpu.as_secs_f64() / total, per_second: total / wall.as_secs_f64() })
}

/// Clients that have each done one exchange.
async fn open(kind: Kind, count: usize, proxy: &Proxy, running: &Running, world: &World) -> io::Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = Client::open(kind, running.address, proxy.is_relay(), world).await?;
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
    let mut held = open(Kind::Intercepted, 20, proxy, &running, world).await?;
    let before = running.process.resident()?;
    held.extend(open(Kind::Intercepted, IDLE_TUNNELS, proxy, &running, world).await?);
    let per_tunnel_kib = running.process.resident()?.saturating_sub(before) as f64 / IDLE_TUNNELS as f64;
    drop(held);

    let running = proxy.start(Kind::Intercepted, world).await?;
    open(Kind::Intercepted, 20, proxy, &running, world).await?;
    let mib = |running: &Running| io::Result::Ok(running.process.resident()? as f64 / 1024.0);
    let mut hosts_mib = [mib(&running)?, 0.0, 0.0];
    let mut client = Client::open(Kind::Handshake { new: true }, running.address, false, world).await?;
    for host in 0..HOSTS {
        client.exchange().await?;
        if host + 1 == 2_000 {
            hosts_mib[1] = mib(&running)?;
        }
    }
    hosts_mib[2] = mib(&running)?;
    Ok(Memory { per_tunnel_kib, hosts_mib })
}
