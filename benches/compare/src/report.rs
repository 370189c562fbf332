//! The results as Markdown.

use std::{
    fmt::{self, Display, Formatter},
    fs,
    process::Command,
};

use crate::{
    proxies::{BASELINE, PROXIES, Proxy},
    rounds::{Outcome, Row},
    workload::{IDLE_CONNECTIONS, Workload},
};

#[derive(Default)]
pub struct Report {
    pub outcomes: Vec<Outcome>,
    pub idle: Vec<(&'static Proxy, f64)>,
    pub instructions: Vec<(&'static Proxy, &'static Workload, u64)>,
    pub left_out: Vec<String>,
}

impl Report {
    pub fn proxies(&self) -> impl Iterator<Item = &'static Proxy> {
        PROXIES.iter().filter(|proxy| {
            let measured = self.outcomes.iter().any(|outcome| row(outcome, proxy).is_some());
            measured || self.idle.iter().any(|(idle, _)| idle.name == proxy.name)
        })
    }

    fn summary(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let names = self.outcomes.iter().map(|outcome| outcome.workload.name);
        table(f, [format!("CPU time per request ÷ {BASELINE}")].into_iter().chain(names.map(str::to_owned)))?;
        for proxy in self.proxies() {
            let ratios = self.outcomes.iter().map(|outcome| ratio(row(outcome, proxy).and_then(|row| row.ratio)));
            line(f, [proxy.name.to_owned()].into_iter().chain(ratios))?;
        }
        writeln!(f)
    }

    fn counts(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.instructions.is_empty() {
            writeln!(f, "## Instructions per request in user space (callgrind, 16 connections)\n")?;
            table(f, ["proxy", "workload", "instructions", "÷ nginx"].map(str::to_owned))?;
            for (proxy, workload, count) in &self.instructions {
                let same = |(other, under, _): &&(&Proxy, &Workload, u64)| {
                    other.name == BASELINE && under.name == workload.name
                };
                let baseline = self.instructions.iter().find(same);
                let ratio = ratio(baseline.map(|(_, _, baseline)| *count as f64 / *baseline as f64));
                line(f, [proxy.name.to_owned(), workload.name.to_owned(), count.to_string(), ratio])?;
            }
            writeln!(f)?;
        }
        if !self.idle.is_empty() {
            writeln!(
                f,
                "## Memory of an idle client connection\n\nResident KiB for each of {IDLE_CONNECTIONS}, after one request.\n"
            )?;
            table(f, ["proxy", "KiB"].map(str::to_owned))?;
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
                "half of the rounds",
                "requests/s",
                "p50 µs",
                "p99 µs",
                "RSS MiB",
            ];
            table(f, heads.map(str::to_owned))?;
            for row in &outcome.rows {
                let microseconds = |time: std::time::Duration| time.as_secs_f64() * 1e6;
                line(
                    f,
                    [
                        row.proxy.name.to_owned(),
                        format!("{:.1}", microseconds(row.cpu_per_request)),
                        ratio(row.ratio),
                        row.quartiles.map_or_else(|| "–".to_owned(), |(low, high)| format!("{low:.2} to {high:.2}")),
                        format!("{:.0}", row.requests_per_second),
                        format!("{:.0}", microseconds(row.median)),
                        format!("{:.0}", microseconds(row.percentile_99)),
                        format!("{:.1}", row.resident_kib as f64 / 1024.0),
                    ],
                )?;
            }
            for failure in &outcome.failures {
                writeln!(f, "\nNot measured, for it did not answer rightly: {failure}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Results of {}\n", first_line("date", &["-u", "+%F"]))?;
        let args: Vec<_> = std::env::args().skip(1).collect();
        writeln!(f, "By `cargo run --release --manifest-path benches/compare/Cargo.toml -- {}`.", args.join(" "))?;
        writeln!(f, "How to read them: [README.md](README.md).\n")?;
        writeln!(f, "{}, Linux {}, {}.\n", processor(), first_line("uname", &["-r"]), first_line("rustc", &["-V"]))?;
        for proxy in self.proxies() {
            writeln!(f, "* {}{}: {}", proxy.name, version(proxy.name), proxy.what)?;
        }
        for why in &self.left_out {
            writeln!(f, "* {why}")?;
        }
        writeln!(f)?;
        self.summary(f)?;
        self.counts(f)?;
        self.details(f)
    }
}

pub fn row<'a>(outcome: &'a Outcome, proxy: &Proxy) -> Option<&'a Row> {
    outcome.rows.iter().find(|row| row.proxy.name == proxy.name)
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"))
}

fn table(f: &mut Formatter<'_>, heads: impl IntoIterator<Item = String>) -> fmt::Result {
    let heads: Vec<_> = heads.into_iter().collect();
    line(f, heads.iter().cloned())?;
    writeln!(f, "|---|{}", "--:|".repeat(heads.len() - 1))
}

fn line(f: &mut Formatter<'_>, cells: impl IntoIterator<Item = String>) -> fmt::Result {
    cells.into_iter().try_for_each(|cell| write!(f, "| {cell} "))?;
    writeln!(f, "|")
}

fn version(name: &str) -> String {
    let ours = include_str!("../Cargo.lock");
    let found = match name {
        "nginx" | "haproxy" => {
            let line = first_line(name, &["-v"]);
            line.split([' ', '/'])
                .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
                .unwrap_or("unknown")
                .to_owned()
        }
        "pingora" => locked(include_str!("../pingora/Cargo.lock"), "pingora-proxy"),
        "axum-legacy" => format!("axum {}, hyper-util {}", locked(ours, "axum"), locked(ours, "hyper-util")),
        "ours" => locked(ours, "nexthop"),
        "relay" => format!("tokio {}", locked(ours, "tokio")),
        name => locked(ours, name),
    };
    format!(" ({found})")
}

/// The version of a crate in the lock file.
fn locked(lock: &str, name: &str) -> String {
    let entry = format!("name = \"{name}\"\nversion = \"");
    let after = lock.split_once(&entry).map(|(_, after)| after);
    after.and_then(|after| after.split('"').next()).unwrap_or("unknown").to_owned()
}

/// What a command says first, wherever it says it; nginx uses its standard error.
fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().map(|output| [output.stdout, output.stderr].concat());
    let text = output.map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or("an unnamed processor", |(_, name)| name.trim()).to_owned()
}
