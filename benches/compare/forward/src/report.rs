//! The results as Markdown.

use std::fmt::{self, Display, Formatter};

use crate::{
    environment::Environment,
    load::{HOSTS, IDLE_TUNNELS, Memory, Pace, Row, Workload},
    proxies::{PROXIES, Proxy},
    statistics::{Spread, median},
};

pub struct Report {
    pub command: String,
    pub environment: Environment,
    pub pace: Pace,
    pub rows: Vec<(&'static Workload, Vec<Row>)>,
    pub memory: Vec<(&'static Proxy, Memory)>,
}

impl Report {
    fn head(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { environment, pace, .. } = self;
        writeln!(f, "# Results of {}\n", environment.date)?;
        writeln!(f, "Command: `{}`. [README.md](../README.md) explains the figures.\n", self.command)?;
        writeln!(f, "* Machine: {environment}; load average before the run: {}", environment.busy)?;
        writeln!(f, "* Compiler: {}", environment.compiler)?;
        let Pace { starts, rounds, length } = pace;
        let length = length.as_millis();
        writeln!(
            f,
            "* Rounds: {rounds} of {length} ms after each of {starts} starts, per proxy and workload; the figures are medians"
        )?;
        let rows = self.rows.iter().flat_map(|(workload, rows)| rows.iter().map(move |row| (workload, row)));
        let compared = rows.clone().filter(|(workload, row)| row.proxy.name != workload.baseline);
        let widths: Vec<f64> = compared.map(|(_, row)| row.ratio.relative() * 100.0).collect();
        writeln!(
            f,
            "* Spread: the middle half of the rounds spans {:.0} % of a ratio (median of all rows); at most {:.0} %",
            median(widths.iter().copied()),
            widths.iter().copied().fold(0.0, f64::max)
        )?;
        let disturbances: Vec<f64> = rows.map(|(_, row)| row.disturbance * 100.0).collect();
        writeln!(
            f,
            "* Disturbance: other processes held the proxies' core for {:.0} % of the time (median of all rows), at most {:.0} %",
            median(disturbances.iter().copied()),
            disturbances.iter().copied().fold(0.0, f64::max)
        )?;
        writeln!(f, "\nProxies:\n")?;
        for proxy in PROXIES {
            writeln!(f, "* {} ({}): {}", proxy.name, proxy.version(), proxy.what)?;
        }
        writeln!(f)
    }

    fn costs(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "## CPU time per request or handshake\n")?;
        writeln!(f, "An `=` marks the baseline of each workload.\n")?;
        writeln!(
            f,
            "| workload | proxy | CPU µs | ÷ baseline | middle half | core used | per second |\n|---|---|--:|--:|--:|--:|--:|"
        )?;
        for (workload, row) in self.rows.iter().flat_map(|(workload, rows)| rows.iter().map(move |row| (workload, row)))
        {
            let Spread { low, median, high } = row.ratio;
            let mark = if row.proxy.name == workload.baseline { " =" } else { "" };
            writeln!(
                f,
                "| {} | {}{mark} | {:.1} | {median:.2} | {low:.2} to {high:.2} | {:.0} % | {:.0} |",
                workload.title,
                row.proxy.name,
                row.cpu.as_secs_f64() * 1e6,
                row.utilization * 100.0,
                row.per_second,
            )?;
        }
        writeln!(f)
    }

    fn memories(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "## Resident memory\n")?;
        writeln!(
            f,
            "Per intercepted tunnel: {IDLE_TUNNELS} tunnels, idle after one request each. In total: at the start, after"
        )?;
        writeln!(f, "2000 handshakes for a new host each, and after {HOSTS}.\n")?;
        writeln!(
            f,
            "| proxy | KiB per tunnel | MiB at the start | after 2000 hosts | after {HOSTS} |\n|---|--:|--:|--:|--:|"
        )?;
        for (proxy, Memory { per_tunnel_kib, hosts_mib: [before, some, all] }) in &self.memory {
            writeln!(f, "| {} | {per_tunnel_kib:.1} | {before:.1} | {some:.1} | {all:.1} |", proxy.name)?;
        }
        Ok(())
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.costs(f)?;
        self.memories(f)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::WORKLOADS;

    #[test]
    fn the_report_names_machine_spread_utilization_and_baseline() {
        let row = |proxy, ratio: f64| Row {
            proxy,
            cpu: Duration::from_nanos((30_000.0 * ratio) as u64),
            ratio: Spread { low: ratio * 0.9, median: ratio, high: ratio * 1.1 },
            utilization: 0.95,
            disturbance: 0.01,
            per_second: 30_000.0,
        };
        let environment = Environment {
            date: "2026-01-31".to_owned(),
            processor: "Some CPU".to_owned(),
            cores: 2,
            kernel: "Linux 6.1.0".to_owned(),
            compiler: "rustc 1.95.0".to_owned(),
            busy: "0.05".to_owned(),
        };
        let report = Report {
            command: "cargo run -- --save".to_owned(),
            environment,
            pace: Pace { starts: 8, rounds: 15, length: Duration::from_millis(60) },
            rows: vec![(&WORKLOADS[0], vec![row(&PROXIES[0], 0.5), row(&PROXIES[1], 1.0)])],
            memory: vec![(&PROXIES[0], Memory { per_tunnel_kib: 26.9, hosts_mib: [9.1, 11.0, 11.0] })],
        };
        let text = report.to_string();
        for line in [
            "# Results of 2026-01-31",
            "* Machine: Some CPU, 2 cores, Linux 6.1.0; load average before the run: 0.05",
            "* Rounds: 15 of 60 ms after each of 8 starts, per proxy and workload; the figures are medians",
            "* Spread: the middle half of the rounds spans 20 % of a ratio (median of all rows); at most 20 %",
            "| intercepted GET of 13 bytes, 32 tunnels | nexthop | 15.0 | 0.50 | 0.45 to 0.55 | 95 % | 30000 |",
            "| intercepted GET of 13 bytes, 32 tunnels | hudsucker = | 30.0 | 1.00 | 0.90 to 1.10 | 95 % | 30000 |",
            "| nexthop | 26.9 | 9.1 | 11.0 | 11.0 |",
        ] {
            assert!(text.lines().any(|other| other == line), "no line {line:?} in\n{text}");
        }
    }
}
