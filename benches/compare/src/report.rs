//! The results as Markdown.

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use crate::{
    environment::Environment,
    proxies::{BASELINE, PROXIES, Proxy},
    rounds::{Outcome, Pace, Row},
    statistics::{Spread, median},
    workload::{IDLE_CONNECTIONS, Workload},
};

pub struct Report {
    pub command: String,
    pub environment: Environment,
    pub pace: Pace,
    /// The version of each proxy, by its name.
    pub versions: Vec<(&'static str, String)>,
    pub outcomes: Vec<Outcome>,
    pub idle: Vec<(&'static Proxy, f64)>,
    pub instructions: Vec<(&'static Proxy, &'static Workload, u64)>,
    pub left_out: Vec<String>,
}

impl Report {
    /// Returns the proxies that have a figure, in their usual order.
    pub fn proxies(&self) -> impl Iterator<Item = &'static Proxy> {
        PROXIES.iter().filter(|proxy| {
            let measured = self.outcomes.iter().any(|outcome| row(outcome, proxy).is_some());
            measured || self.idle.iter().any(|(idle, _)| idle.name == proxy.name)
        })
    }

    fn head(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { environment, pace, .. } = self;
        writeln!(f, "# Results of {}\n", environment.date)?;
        writeln!(f, "Command: `{}`. [README.md](README.md) explains the figures.\n", self.command)?;
        writeln!(f, "* Machine: {environment}; load average before the run: {}", environment.busy)?;
        writeln!(f, "* Compiler: {}", environment.compiler)?;
        let milliseconds = pace.length.as_millis();
        writeln!(f, "* Rounds: {} of {milliseconds} ms per proxy and workload; the figures are medians", pace.rounds)?;
        if let Some(spread) = self.spread() {
            writeln!(f, "* Spread: {spread}")?;
        }
        if let Some(disturbance) = self.disturbance() {
            writeln!(f, "* Disturbance: {disturbance}")?;
        }
        writeln!(f, "\nProxies:\n")?;
        for proxy in self.proxies() {
            let version = self.versions.iter().find(|(name, _)| *name == proxy.name);
            let version = version.map_or("unknown version", |(_, version)| version);
            writeln!(f, "* {} ({version}): {}", proxy.name, proxy.what)?;
        }
        for why in &self.left_out {
            writeln!(f, "* {why}")?;
        }
        writeln!(f)
    }

    /// Describes how far the ratios of the rounds lie apart: the quality of the run.
    fn spread(&self) -> Option<String> {
        let rows = self.outcomes.iter().flat_map(|outcome| outcome.rows.iter().map(move |row| (outcome, row)));
        let rows = rows.filter(|(_, row)| row.proxy.name != BASELINE);
        let widths: Vec<_> =
            rows.filter_map(|(outcome, row)| Some((outcome, row, row.ratio?.relative() * 100.0))).collect();
        let (outcome, row, widest) = widths.iter().max_by(|one, other| one.2.total_cmp(&other.2))?;
        let typical = median(widths.iter().map(|(.., width)| *width));
        Some(format!(
            "the middle half of the rounds spans {typical:.0} % of a ratio (median of all rows); at most {widest:.0} % ({}, {})",
            outcome.workload.name, row.proxy.name
        ))
    }

    /// Describes how much of the time other processes took the proxies' core.
    fn disturbance(&self) -> Option<String> {
        let rows = self.outcomes.iter().flat_map(|outcome| &outcome.rows);
        let shares = Spread::of(rows.clone().map(|row| row.disturbance))?;
        let most = rows.map(|row| row.disturbance).fold(0.0, f64::max);
        Some(format!(
            "other processes held the proxies' core for {} of the time (median of all rows), at most {}",
            percent(shares.median),
            percent(most)
        ))
    }

    fn summary(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.outcomes.is_empty() {
            return Ok(());
        }
        writeln!(f, "## CPU time per request ÷ {BASELINE}\n")?;
        writeln!(f, "In brackets: the share of its core that the proxy used.\n")?;
        table(f, ["workload"].into_iter().chain(self.proxies().map(|proxy| proxy.name)))?;
        for outcome in &self.outcomes {
            let cells = self.proxies().map(|proxy| match row(outcome, proxy) {
                Some(row) => format!("{} ({})", ratio(row.ratio), percent(row.utilization)),
                None => NONE.to_owned(),
            });
            line(f, [outcome.workload.name.to_owned()].into_iter().chain(cells))?;
        }
        writeln!(f)
    }

    fn counts(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.instructions.is_empty() {
            writeln!(f, "## Instructions per request in user space (callgrind, 16 connections)\n")?;
            table(f, ["proxy", "workload", "instructions", "÷ nginx"])?;
            for (proxy, workload, count) in &self.instructions {
                let same = |(other, under, _): &&(&Proxy, &Workload, u64)| {
                    other.name == BASELINE && under.name == workload.name
                };
                let baseline = self.instructions.iter().find(same);
                let ratio = baseline.map(|(_, _, baseline)| *count as f64 / *baseline as f64);
                let ratio = ratio.map_or_else(|| NONE.to_owned(), |ratio| format!("{ratio:.2}"));
                line(f, [proxy.name.to_owned(), workload.name.to_owned(), count.to_string(), ratio])?;
            }
            writeln!(f)?;
        }
        if !self.idle.is_empty() {
            writeln!(f, "## Memory of an idle client connection\n")?;
            writeln!(f, "Resident KiB per connection, for {IDLE_CONNECTIONS} connections after one request each.\n")?;
            table(f, ["proxy", "KiB"])?;
            for (proxy, kib) in &self.idle {
                line(f, [proxy.name.to_owned(), format!("{kib:.1}")])?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn details(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for outcome in &self.outcomes {
            writeln!(f, "## {}: {}\n", outcome.workload.name, outcome.workload.title)?;
            let heads = [
                "proxy",
                "CPU µs/request",
                "÷ nginx",
                "middle half",
                "core used",
                "requests/s",
                "p50 µs",
                "p99 µs",
                "RSS MiB",
            ];
            table(f, heads)?;
            for row in &outcome.rows {
                let microseconds = |time: Duration| time.as_secs_f64() * 1e6;
                let range = |spread: Spread| format!("{:.2} to {:.2}", spread.low, spread.high);
                line(
                    f,
                    [
                        row.proxy.name.to_owned(),
                        format!("{:.1}", microseconds(row.cpu_per_request)),
                        ratio(row.ratio),
                        row.ratio.map_or_else(|| NONE.to_owned(), range),
                        percent(row.utilization),
                        format!("{:.0}", row.requests_per_second),
                        format!("{:.0}", microseconds(row.median)),
                        format!("{:.0}", microseconds(row.percentile_99)),
                        format!("{:.1}", row.resident_kib as f64 / 1024.0),
                    ],
                )?;
            }
            for failure in &outcome.failures {
                writeln!(f, "\nNot measured because of a wrong answer: {failure}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.summary(f)?;
        self.counts(f)?;
        self.details(f)
    }
}

pub fn row<'a>(outcome: &'a Outcome, proxy: &Proxy) -> Option<&'a Row> {
    outcome.rows.iter().find(|row| row.proxy.name == proxy.name)
}

const NONE: &str = "–";

fn ratio(ratio: Option<Spread>) -> String {
    ratio.map_or_else(|| NONE.to_owned(), |ratio| format!("{:.2}", ratio.median))
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn table<'a>(f: &mut Formatter<'_>, heads: impl IntoIterator<Item = &'a str>) -> fmt::Result {
    let heads: Vec<_> = heads.into_iter().map(str::to_owned).collect();
    let columns = heads.len();
    line(f, heads)?;
    writeln!(f, "|---|{}", "--:|".repeat(columns - 1))
}

fn line(f: &mut Formatter<'_>, cells: impl IntoIterator<Item = String>) -> fmt::Result {
    cells.into_iter().try_for_each(|cell| write!(f, "| {cell} "))?;
    writeln!(f, "|")
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::workload::WORKLOADS;

    /// A report in which every proxy was measured under the workloads of these names, with these ratios.
    pub fn report(outcomes: &[(&str, &[(&str, f64)])]) -> Report {
        let row = |&(name, ratio): &(&str, f64)| Row {
            proxy: PROXIES.iter().find(|proxy| proxy.name == name).unwrap(),
            cpu_per_request: Duration::from_nanos((20_000.0 * ratio) as u64),
            ratio: Some(Spread { low: ratio * 0.95, median: ratio, high: ratio * 1.05 }),
            utilization: 0.987,
            disturbance: 0.004 + ratio / 100.0,
            requests_per_second: 50_000.0 / ratio,
            median: Duration::from_micros(1249),
            percentile_99: Duration::from_micros(1596),
            resident_kib: 7066,
        };
        let outcome = |(name, rows): &(&str, &[(&str, f64)])| Outcome {
            workload: WORKLOADS.iter().find(|workload| workload.name == *name).unwrap(),
            rows: rows.iter().map(row).collect(),
            failures: Vec::new(),
        };
        Report {
            command: "cargo run -- --save".to_owned(),
            environment: Environment {
                date: "2026-01-31".to_owned(),
                processor: "Some <CPU> & more".to_owned(),
                cores: 2,
                kernel: "Linux 6.1.0".to_owned(),
                compiler: "rustc 1.95.0".to_owned(),
                busy: "0.05".to_owned(),
            },
            pace: Pace { rounds: 9, length: Duration::from_millis(400) },
            versions: vec![("nexthop", "0.1.0".to_owned())],
            outcomes: outcomes.iter().map(outcome).collect(),
            idle: Vec::new(),
            instructions: Vec::new(),
            left_out: Vec::new(),
        }
    }

    #[test]
    fn the_head_names_date_machine_rounds_and_spread() {
        let report = report(&[("small", &[("nexthop", 0.5), ("nginx", 1.0)])]);
        let text = report.to_string();
        let (head, _) = text.split_once("## ").unwrap();
        assert_eq!(
            head,
            "# Results of 2026-01-31

Command: `cargo run -- --save`. [README.md](README.md) explains the figures.

* Machine: Some <CPU> & more, 2 cores, Linux 6.1.0; load average before the run: 0.05
* Compiler: rustc 1.95.0
* Rounds: 9 of 400 ms per proxy and workload; the figures are medians
* Spread: the middle half of the rounds spans 10 % of a ratio (median of all rows); at most 10 % (small, nexthop)
* Disturbance: other processes held the proxies' core for 1 % of the time (median of all rows), at most 1 %

Proxies:

* nexthop (0.1.0): `examples/reverse_proxy.rs` of this repository
* nginx (unknown version): access log off, 128 connections kept to the origin, buffers of 64 KiB except for small requests, `MALLOC_TRIM_THRESHOLD_` of 64 MiB

"
        );
    }

    #[test]
    fn the_summary_shows_the_utilization_beside_each_ratio() {
        let rows: &[(&str, &[(&str, f64)])] =
            &[("small", &[("nexthop", 0.5), ("nginx", 1.0), ("relay", 0.25)]), ("h2c", &[("nexthop", 0.75)])];
        let text = report(rows).to_string();
        for line in [
            "| workload | nexthop | nginx | relay |",
            "| small | 0.50 (99 %) | 1.00 (99 %) | 0.25 (99 %) |",
            "| h2c | 0.75 (99 %) | – | – |",
            "| nexthop | 10.0 | 0.50 | 0.47 to 0.53 | 99 % | 100000 | 1249 | 1596 | 6.9 |",
        ] {
            assert!(text.lines().any(|other| other == line), "no line {line:?} in\n{text}");
        }
    }

    #[test]
    fn every_row_of_a_table_has_as_many_cells_as_its_head() {
        let mut report = report(&[("small", &[("nexthop", 0.5), ("nginx", 1.0)]), ("h2c", &[("nexthop", 0.75)])]);
        report.idle = vec![(&PROXIES[0], 12.1)];
        report.instructions = vec![(&PROXIES[0], &WORKLOADS[0], 16756)];
        let text = report.to_string();
        let tables = text.split("\n\n").filter(|part| part.starts_with('|'));
        let mut count = 0;
        for table in tables {
            let cells = |line: &str| line.matches('|').count();
            let head = cells(table.lines().next().unwrap());
            assert!(table.lines().all(|line| cells(line) == head), "{table}");
            count += 1;
        }
        assert_eq!(count, 5);
    }

    #[test]
    fn failures_and_omissions_are_reported() {
        let mut report = report(&[("small", &[("nginx", 1.0)])]);
        report.outcomes[0].failures.push("nexthop: status 502 with 0 bytes".to_owned());
        report.left_out.push("pingora is left out: `apt-get install cmake`".to_owned());
        let text = report.to_string();
        assert!(
            text.contains("\nNot measured because of a wrong answer: nexthop: status 502 with 0 bytes\n"),
            "{text}"
        );
        assert!(text.contains("\n* pingora is left out: `apt-get install cmake`\n"), "{text}");
    }
}
