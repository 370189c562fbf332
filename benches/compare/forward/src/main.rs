//! Compares nexthop's forward proxy with hudsucker on this machine, and its tunnels with a bare relay. `../README.md` describes the
//! measurement.

mod client;
#[path = "../../src/environment.rs"]
mod environment;
#[path = "../../src/http1.rs"]
#[allow(dead_code, reason = "each program uses its part of the shared modules")]
mod http1;
mod load;
#[path = "../../src/origin.rs"]
mod origin;
#[path = "../../src/process.rs"]
#[allow(dead_code, reason = "as above")]
mod process;
#[path = "../../src/programs.rs"]
mod programs;
mod proxies;
mod report;
#[path = "../../src/statistics.rs"]
#[allow(dead_code, reason = "as above")]
mod statistics;
mod tls;
#[path = "../../src/transfer.rs"]
#[allow(dead_code, reason = "as above")]
mod transfer;
#[path = "../../src/websocket.rs"]
#[allow(dead_code, reason = "as above")]
mod websocket;

use std::{error::Error, fs, path::Path, process::ExitCode, time::Duration};

use crate::{
    environment::Environment,
    load::{Pace, WORKLOADS},
    programs::Programs,
    proxies::{PROXIES, World},
    report::Report,
};

const FOLDER: &str = env!("CARGO_MANIFEST_DIR");
const COMMAND: &str = "cargo run --release --manifest-path benches/compare/forward/Cargo.toml --";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = args.iter().find(|arg| !["--quick", "--save"].contains(&arg.as_str())) {
        return Err(format!("unknown argument {unknown:?}; usage: forward [--quick] [--save]").into());
    }
    let has = |name: &str| args.iter().any(|arg| arg == name);
    let mut programs = Programs::default();
    programs.build(Path::new(FOLDER))?;
    let length = Duration::from_millis(60);
    let pace = match has("--quick") {
        true => Pace { starts: 1, rounds: 25, length },
        false => Pace { starts: 8, rounds: 15, length },
    };
    let mut report = Report {
        command: format!("{COMMAND} {}", args.join(" ")).trim_end_matches([' ', '-']).to_owned(),
        environment: Environment::read(),
        pace,
        rows: Vec::new(),
        memory: Vec::new(),
    };
    process::settle()?;
    let world = World::new(programs).await?;
    for workload in WORKLOADS {
        eprintln!("{}", workload.title);
        report.rows.push((workload, load::compare(workload, &world, &pace).await?));
    }
    for proxy in PROXIES.iter().filter(|proxy| !proxy.is_relay()) {
        eprintln!("{}: memory", proxy.name);
        report.memory.push((proxy, load::memory(proxy, &world).await?));
    }
    let text = report.to_string();
    println!("{text}");
    if has("--save") {
        let file = Path::new(FOLDER).join("RESULTS.md");
        fs::write(&file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        eprintln!("saved {}", file.display());
    }
    Ok(())
}
