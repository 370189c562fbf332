//! The results as Markdown.

use std::{
    fmt::{self, Display, Formatter},
    fs,
    process::Command,
};

use crate::{
    load::{HOSTS, IDLE_TUNNELS, Memory, Row, Workload},
    proxies::{PROXIES, Proxy},
};

#[derive(Default)]
pub struct Report {
    pub rows: Vec<(&'static Workload, Vec<Row>)>,
    pub memory: Vec<(&'static Proxy, Memory)>,
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Results of {}\n", first_line("date", &["-u", "+%F"]))?;
        let args: Vec<_> = std::env::args().skip(1).collect();
        writeln!(
            f,
            "By `cargo run --release --manifest-path benches/compare/forward/Cargo.toml -- {}`.",
            args.join(" ")
        )?;
        writeln!(f, "How to read them: [README.md](../README.md).\n")?;
        writeln!(f, "{}, Linux {}, {}.\n", processor(), first_line("uname", &["-r"]), first_line("rustc", &["-V"]))?;
        for proxy in PROXIES {
            writeln!(f, "* {}{}: {}", proxy.name, version(proxy.name), proxy.what)?;
        }
        writeln!(f, "\n| | proxy | CPU µs | ÷ baseline | half of the rounds | a second |\n|---|---|--:|--:|--:|--:|")?;
        for (workload, rows) in &self.rows {
            for row in rows {
                let (low, high) = row.quartiles;
                let name = if row.proxy.name == workload.baseline {
                    format!("{} =", row.proxy.name)
                } else {
                    row.proxy.name.to_owned()
                };
                writeln!(
                    f,
                    "| {} | {name} | {:.1} | {:.2} | {low:.2} to {high:.2} | {:.0} |",
                    workload.title,
                    row.cpu.as_secs_f64() * 1e6,
                    row.ratio,
                    row.per_second,
                )?;
            }
        }
        writeln!(
            f,
            "\nResident memory: of each of {IDLE_TUNNELS} intercepted tunnels, idle after one request; before there were hosts, after"
        )?;
        writeln!(f, "2000 handshakes for a new host each, and after {HOSTS}.\n")?;
        writeln!(
            f,
            "| proxy | KiB for a tunnel | MiB at first | after 2000 hosts | after {HOSTS} |\n|---|--:|--:|--:|--:|"
        )?;
        for (proxy, Memory { per_tunnel_kib, hosts_mib: [before, some, all] }) in &self.memory {
            writeln!(f, "| {} | {per_tunnel_kib:.1} | {before:.1} | {some:.1} | {all:.1} |", proxy.name)?;
        }
        Ok(())
    }
}

fn version(name: &str) -> String {
    let name = match name {
        "ours" => "nexthop",
        "relay" | "tls_relay" => "tokio",
        name => name,
    };
    let entry = format!("name = \"{name}\"\nversion = \"");
    let after = include_str!("../Cargo.lock").split_once(&entry).map(|(_, after)| after);
    format!(" ({})", after.and_then(|after| after.split('"').next()).unwrap_or("unknown"))
}

/// What a command says first.
fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or("unknown").to_owned()
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or("an unnamed processor", |(_, name)| name.trim()).to_owned()
}
