//! The program `wrk` as a client, where it is installed: a check of this package's own fast client.

use std::{io, time::Duration};

use tokio::{process::Command, time::Instant};

use crate::{process::find, proxies::Running, workload::Sample};

pub fn is_installed() -> bool {
    find("wrk").is_some()
}

/// Runs wrk with one thread on the load's core, for whole seconds, and returns the proxy's cost.
pub async fn measure(connections: usize, proxy: &Running, length: Duration) -> io::Result<Sample> {
    let seconds = length.as_secs().max(1);
    let mut wrk = Command::new(find("wrk").ok_or_else(|| io::Error::other("wrk is not installed"))?);
    wrk.args(["-t1", "--latency", &format!("-c{connections}"), &format!("-d{seconds}s")]);
    wrk.arg(format!("http://{}/bulk", proxy.listening.http1)).kill_on_drop(true);
    let (before, start) = (proxy.process.times()?, Instant::now());
    let output = wrk.output().await?;
    let (times, wall) = (proxy.process.times()? - before, start.elapsed().as_secs_f64());
    let text = String::from_utf8_lossy(&output.stdout);
    let summary = Summary::parse(&text).map_err(|error| io::Error::other(format!("wrk: {error}")))?;
    Ok(Sample {
        cpu_per_request: times.cpu / summary.requests,
        utilization: times.cpu.as_secs_f64() / wall,
        disturbance: times.waiting.as_secs_f64() / wall,
        requests_per_second: f64::from(summary.requests) / summary.length.as_secs_f64(),
        median: summary.median,
        percentile_99: summary.percentile_99,
    })
}

#[derive(Debug, PartialEq)]
struct Summary {
    requests: u32,
    length: Duration,
    median: Duration,
    percentile_99: Duration,
}

impl Summary {
    fn parse(text: &str) -> Result<Self, String> {
        let trouble = |line: &&str| line.contains("Socket errors") || line.contains("Non-2xx");
        if let Some(line) = text.lines().find(trouble) {
            return Err(line.trim().to_owned());
        }
        let after = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name));
        let latency = |percent| after(percent).and_then(|text| duration(text.trim()));
        let totals = text.lines().find_map(|line| line.trim().split_once(" requests in "));
        let summary = totals.and_then(|(requests, rest)| {
            Some(Self {
                requests: requests.parse().ok().filter(|&requests| requests > 0)?,
                length: duration(rest.split(',').next()?)?,
                median: latency("50%")?,
                percentile_99: latency("99%")?,
            })
        });
        summary.ok_or_else(|| format!("unexpected output: {text:?}"))
    }
}

/// Parses a duration such as `1.53ms`.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let unit = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "Running 1s test @ http://127.0.0.1:8099/bulk
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.04ms    3.48ms  17.66ms   84.85%
    Req/Sec     1.10k   397.66     1.67k    72.73%
  Latency Distribution
     50%  780.00us
     75%    5.00ms
     90%    8.66ms
     99%   15.50ms
  1204 requests in 1.10s, 1.18GB read
Requests/sec:   1094.93
Transfer/sec:      1.07GB
";

    #[test]
    fn the_output_of_wrk_is_parsed() {
        let expected = Summary {
            requests: 1204,
            length: Duration::from_millis(1100),
            median: Duration::from_micros(780),
            percentile_99: Duration::from_micros(15500),
        };
        assert_eq!(Summary::parse(OUTPUT), Ok(expected));
    }

    #[test]
    fn failed_requests_are_an_error() {
        let output = format!("{OUTPUT}  Non-2xx or 3xx responses: 3\n");
        assert_eq!(Summary::parse(&output), Err("Non-2xx or 3xx responses: 3".to_owned()));
        assert!(Summary::parse("unable to connect").is_err());
        assert!(Summary::parse(&OUTPUT.replace("1204 requests", "0 requests")).is_err());
    }
}
