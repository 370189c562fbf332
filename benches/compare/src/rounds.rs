//! Interleaved rounds: in each, every proxy has the same load for a moment, and is compared with the baseline's moment of that round. What
//! the machine does meanwhile then falls on all of them alike.

use std::{io, time::Duration};

use crate::{
    client::Client,
    proxies::{BASELINE, Proxy, Running, Setup},
    workload::{IDLE_CONNECTIONS, Kind, Sample, Workload, measure},
};

/// What a proxy did under a workload: medians over the rounds.
pub struct Row {
    pub proxy: &'static Proxy,
    pub cpu_per_request: Duration,
    /// CPU time per request as a multiple of the baseline's, where that was measured, too.
    pub ratio: Option<f64>,
    /// Between these lies the middle half of the rounds' ratios.
    pub quartiles: Option<(f64, f64)>,
    pub requests_per_second: f64,
    pub median: Duration,
    pub percentile_99: Duration,
    pub resident_kib: u64,
}

pub struct Outcome {
    pub workload: &'static Workload,
    pub rows: Vec<Row>,
    /// The proxies that gave no right answer, with what they did instead.
    pub failures: Vec<String>,
}

pub struct Pace {
    pub rounds: usize,
    pub length: Duration,
}

struct Contender {
    proxy: &'static Proxy,
    running: Running,
    samples: Vec<Sample>,
    failure: Option<io::Error>,
}

pub async fn compare(
    workload: &'static Workload,
    proxies: &[&'static Proxy],
    setup: &Setup,
    pace: &Pace,
) -> io::Result<Outcome> {
    let mut contenders = Vec::new();
    for proxy in proxies.iter().filter(|proxy| proxy.can(workload.kind)) {
        let running = proxy.start(setup, &[]).await?;
        contenders.push(Contender { proxy, running, samples: Vec::new(), failure: None });
    }
    for _ in 0..pace.rounds {
        for contender in contenders.iter_mut().filter(|contender| contender.failure.is_none()) {
            match measure(workload, &contender.running, pace.length).await {
                Ok(sample) => contender.samples.push(sample),
                Err(error) => contender.failure = Some(error),
            }
        }
        contenders.rotate_left(1); // nobody always follows the same one
    }
    let failed = contenders.iter().filter_map(|contender| Some((contender.proxy.name, contender.failure.as_ref()?)));
    let failures = failed.map(|(name, error)| format!("{name}: {error}")).collect();
    contenders.retain(|contender| contender.failure.is_none());
    let baseline = contenders.iter().find(|contender| contender.proxy.name == BASELINE);
    let mut rows = contenders.iter().map(|contender| row(contender, baseline)).collect::<io::Result<Vec<_>>>()?;
    rows.sort_by_key(|row| proxies.iter().position(|proxy| proxy.name == row.proxy.name));
    Ok(Outcome { workload, rows, failures })
}

fn row(contender: &Contender, baseline: Option<&Contender>) -> io::Result<Row> {
    let samples = &contender.samples;
    let seconds = |of: fn(&Sample) -> Duration| {
        Duration::from_secs_f64(quantile(0.5, samples.iter().map(|sample| of(sample).as_secs_f64())))
    };
    let cpu = |sample: &Sample| sample.cpu_per_request.as_secs_f64();
    let ratios = baseline.map(|baseline| samples.iter().zip(&baseline.samples).map(|(own, its)| cpu(own) / cpu(its)));
    Ok(Row {
        proxy: contender.proxy,
        cpu_per_request: seconds(|sample| sample.cpu_per_request),
        ratio: ratios.clone().map(|ratios| quantile(0.5, ratios)),
        quartiles: ratios.map(|ratios| (quantile(0.25, ratios.clone()), quantile(0.75, ratios))),
        requests_per_second: quantile(0.5, samples.iter().map(|sample| sample.requests_per_second)),
        median: seconds(|sample| sample.median),
        percentile_99: seconds(|sample| sample.percentile_99),
        resident_kib: contender.running.process.resident()?,
    })
}

/// The value below which that share of the (at least one) values lies.
fn quantile(share: f64, values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

/// KiB of resident memory that one client connection adds, once it has had an answer and says nothing more; in a fresh process.
pub async fn idle(proxies: &[&'static Proxy], setup: &Setup) -> io::Result<Vec<(&'static Proxy, f64)>> {
    let mut results = Vec::new();
    for proxy in proxies {
        let running = proxy.start(setup, &[]).await?;
        let small = Kind::Get { fields: 0 };
        let mut clients = Client::open(small, 1, &running.listening).await?;
        let before = running.process.resident()?;
        while clients.len() <= IDLE_CONNECTIONS {
            clients.extend(Client::open(small, 1, &running.listening).await?);
        }
        let added = running.process.resident()?.saturating_sub(before);
        results.push((*proxy, added as f64 / IDLE_CONNECTIONS as f64));
    }
    Ok(results)
}
