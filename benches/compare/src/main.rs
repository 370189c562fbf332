//! Compares nexthop's reverse proxy with others on this machine. `README.md` beside this package describes the measurement.

mod callgrind;
mod chart;
mod client;
mod environment;
mod http1;
mod options;
mod origin;
mod process;
mod programs;
mod proxies;
mod report;
mod rounds;
mod statistics;
mod transfer;
mod websocket;
mod workload;
mod wrk;

use std::{error::Error, fs, path::Path, process::ExitCode, time::Duration};

use crate::{
    environment::Environment,
    options::Options,
    programs::Programs,
    proxies::Setup,
    report::Report,
    rounds::Pace,
    workload::{Kind, Workload},
};

const FOLDER: &str = env!("CARGO_MANIFEST_DIR");
const COMMAND: &str = "cargo run --release --manifest-path benches/compare/Cargo.toml --";

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
    let mut options = Options::parse(args.iter().cloned())?;
    let mut left_out = Vec::new();
    options.proxies.retain(|proxy| available(proxy.missing(), &mut left_out));
    options.workloads.retain(|workload| available(workload.missing(), &mut left_out));
    let mut programs = Programs::default();
    programs.build(Path::new(FOLDER))?;
    let pingora = options.proxies.iter().any(|proxy| proxy.name == "pingora");
    if pingora && let Err(error) = programs.build(&Path::new(FOLDER).join("pingora")) {
        left_out.push(format!("pingora is left out: {error}"));
        options.proxies.retain(|proxy| proxy.name != "pingora");
    }
    let mut report = Report {
        command: format!("{COMMAND} {}", args.join(" ")).trim_end_matches([' ', '-']).to_owned(),
        environment: Environment::read(),
        pace: match options.quick {
            true => Pace { rounds: 3, length: Duration::from_millis(300) },
            false => Pace { rounds: 9, length: Duration::from_millis(400) },
        },
        versions: options.proxies.iter().map(|proxy| (proxy.name, proxy.version())).collect(),
        outcomes: Vec::new(),
        idle: Vec::new(),
        instructions: Vec::new(),
        left_out,
    };
    process::settle()?;
    let setup = Setup { origin: origin::start().await?, programs };
    for workload in &options.workloads {
        eprintln!("{}: {}", workload.name, workload.title);
        report.outcomes.push(rounds::compare(workload, &options.proxies, &setup, &report.pace).await?);
    }
    if options.idle {
        eprintln!("idle: {} client connections", workload::IDLE_CONNECTIONS);
        report.idle = rounds::idle(&options.proxies, &setup).await?;
    }
    if options.callgrind && available(callgrind::missing(), &mut report.left_out) {
        count(&options, &setup, &mut report).await;
    }
    let text = report.to_string();
    println!("{text}");
    if options.save {
        for (name, text) in [("RESULTS.md", text), ("chart.svg", chart::draw(&report))] {
            let file = Path::new(FOLDER).join(name);
            fs::write(&file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
            eprintln!("saved {}", file.display());
        }
    }
    Ok(())
}

/// Whether there is no reason for leaving something out. A reason is reported.
fn available(missing: Option<String>, left_out: &mut Vec<String>) -> bool {
    let is_available = missing.is_none();
    left_out.extend(missing.inspect(|why| eprintln!("{why}")));
    is_available
}

/// Counts the instructions of the two kinds of request in which a proxy's own work takes most of the time.
async fn count(options: &Options, setup: &Setup, report: &mut Report) {
    let counted = |workload: &&&Workload| matches!(workload.kind, Kind::Get { .. }) && workload.clients > 1;
    for workload in options.workloads.iter().filter(counted) {
        for proxy in &options.proxies {
            eprintln!("instructions: {}, {}", workload.name, proxy.name);
            match callgrind::instructions(workload, proxy, setup).await {
                Ok(count) => report.instructions.push((proxy, workload, count)),
                Err(error) => {
                    report.left_out.push(format!("instructions of {}, {}: {error}", proxy.name, workload.name));
                }
            }
        }
    }
}
