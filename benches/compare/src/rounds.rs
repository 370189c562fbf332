//! Interleaved rounds: in each, every proxy gets the same load for a moment, and its cost is divided by the baseline's in the same round.
//! A disturbance of the machine then affects all proxies alike.

use std::{io, time::Duration};

use crate::{
    client::Client,
    proxies::{BASELINE, Proxy, Running, Setup},
    statistics::{Spread, median},
    transfer::Mode,
    workload::{IDLE_CONNECTIONS, Kind, Sample, Workload, measure, verify},
};

/// The results of one proxy under one workload: medians over the rounds.
#[derive(Clone)]
pub struct Row {
    pub proxy: &'static Proxy,
    pub cpu_per_request: Duration,
    /// CPU time per request as a multiple of the baseline's, if the baseline was measured.
    pub ratio: Option<Spread>,
    /// As in [`Sample`].
    pub utilization: f64,
    /// As in [`Sample`].
    pub disturbance: f64,
    pub requests_per_second: f64,
    pub median: Duration,
    pub percentile_99: Duration,
    pub resident_kib: u64,
}

pub struct Outcome {
    pub workload: &'static Workload,
    pub rows: Vec<Row>,
    /// The proxies that answered wrongly, each with its error.
    pub failures: Vec<String>,
}

#[derive(Clone, Copy)]
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

/// Starts the proxies, verifies the responses of each, and measures the correct ones.
pub async fn compare(
    workload: &'static Workload,
    proxies: &[&'static Proxy],
    setup: &Setup,
    pace: &Pace,
) -> io::Result<Outcome> {
    let mut contenders = Vec::new();
    for proxy in proxies.iter().filter(|proxy| proxy.can(workload.kind)) {
        let running = proxy.start(setup, &[]).await?;
        let failure = verify(workload, &running).await.err();
        contenders.push(Contender { proxy, running, samples: Vec::new(), failure });
    }
    for _ in 0..pace.rounds {
        for contender in contenders.iter_mut().filter(|contender| contender.failure.is_none()) {
            match measure(workload, &contender.running, pace.length).await {
                Ok(sample) => contender.samples.push(sample),
                Err(error) => contender.failure = Some(error),
            }
        }
        contenders.rotate_left(1); // so that the order of the proxies changes
    }
    let failed = contenders.iter().filter_map(|contender| Some((contender.proxy.name, contender.failure.as_ref()?)));
    let failures = failed.map(|(name, error)| format!("{name}: {error}")).collect();
    contenders.retain(|contender| contender.failure.is_none());
    let baseline = contenders.iter().find(|contender| contender.proxy.name == BASELINE);
    let baseline = baseline.map(|contender| contender.samples.as_slice());
    let mut rows = Vec::with_capacity(contenders.len());
    for Contender { proxy, running, samples, .. } in &contenders {
        rows.push(row(proxy, samples, baseline, running.process.resident()?));
    }
    rows.sort_by_key(|row| proxies.iter().position(|proxy| proxy.name == row.proxy.name));
    Ok(Outcome { workload, rows, failures })
}

fn row(proxy: &'static Proxy, samples: &[Sample], baseline: Option<&[Sample]>, resident_kib: u64) -> Row {
    let of = |value: fn(&Sample) -> f64| median(samples.iter().map(value));
    let seconds = |value: fn(&Sample) -> f64| Duration::from_secs_f64(of(value));
    let cpu = |sample: &Sample| sample.cpu_per_request.as_secs_f64();
    let ratios = |baseline: &[Sample]| Spread::of(samples.iter().zip(baseline).map(|(own, its)| cpu(own) / cpu(its)));
    Row {
        proxy,
        cpu_per_request: seconds(|sample| sample.cpu_per_request.as_secs_f64()),
        ratio: baseline.and_then(ratios),
        utilization: of(|sample| sample.utilization),
        disturbance: of(|sample| sample.disturbance),
        requests_per_second: of(|sample| sample.requests_per_second),
        median: seconds(|sample| sample.median.as_secs_f64()),
        percentile_99: seconds(|sample| sample.percentile_99.as_secs_f64()),
        resident_kib,
    }
}

/// Returns the KiB of resident memory per idle client connection that has had one response, in a fresh process.
pub async fn idle(proxies: &[&'static Proxy], setup: &Setup) -> io::Result<Vec<(&'static Proxy, f64)>> {
    let mut results = Vec::new();
    for proxy in proxies {
        let running = proxy.start(setup, &[]).await?;
        let open = || Client::open(Kind::Get { fields: 0 }, Mode::Count, 1, &running.listening);
        let mut clients = open().await?;
        let before = running.process.resident()?;
        while clients.len() <= IDLE_CONNECTIONS {
            clients.extend(open().await?);
        }
        let added = running.process.resident()?.saturating_sub(before);
        results.push((*proxy, added as f64 / IDLE_CONNECTIONS as f64));
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxies::PROXIES;

    fn samples(microseconds: &[u64]) -> Vec<Sample> {
        let sample = |&cpu| Sample {
            cpu_per_request: Duration::from_micros(cpu),
            utilization: 0.9,
            disturbance: 0.01,
            requests_per_second: 1e6 / cpu as f64,
            median: Duration::from_micros(cpu * 2),
            percentile_99: Duration::from_micros(cpu * 3),
        };
        microseconds.iter().map(sample).collect()
    }

    #[test]
    fn a_ratio_compares_samples_of_the_same_round() {
        // The machine is twice as slow in the second round, for both.
        let row = row(&PROXIES[0], &samples(&[10, 20, 10]), Some(&samples(&[20, 40, 20])), 1024);
        assert_eq!(row.ratio, Some(Spread { low: 0.5, median: 0.5, high: 0.5 }));
        assert_eq!(row.cpu_per_request, Duration::from_micros(10));
        assert_eq!(row.utilization, 0.9);
    }

    #[test]
    fn without_a_baseline_there_is_no_ratio() {
        assert_eq!(row(&PROXIES[0], &samples(&[10]), None, 1024).ratio, None);
    }
}
