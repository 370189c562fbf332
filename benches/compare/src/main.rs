//! Compares our reverse proxy with others on this machine. What is measured and how: `README.md` beside this package.

mod callgrind;
mod chart;
mod client;
mod http1;
mod options;
mod origin;
mod process;
mod programs;
mod proxies;
mod report;
mod rounds;
mod websocket;
mod workload;

use std::{error::Error, fs, path::Path, time::Duration};

use crate::{
    options::Options,
    programs::Programs,
    proxies::Setup,
    report::Report,
    rounds::Pace,
    workload::{Kind, Workload},
};

const FOLDER: &str = env!("CARGO_MANIFEST_DIR");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut options = Options::parse(std::env::args().skip(1))?;
    let mut report = Report::default();
    options.proxies.retain(|proxy| match proxy.missing() {
        Some(why) => {
            report.left_out.push(why);
            false
        }
        None => true,
    });
    let mut programs = Programs::default();
    programs.build(Path::new(FOLDER))?;
    let pingora = options.proxies.iter().any(|proxy| proxy.name == "pingora");
    if pingora && let Err(error) = programs.build(&Path::new(FOLDER).join("pingora")) {
        report.left_out.push(format!("pingora is left out: {error}"));
        options.proxies.retain(|proxy| proxy.name != "pingora");
    }
    process::settle()?;
    let setup = Setup { origin: origin::start().await?, programs };
    let pace = match options.quick {
        true => Pace { rounds: 3, length: Duration::from_millis(300) },
        false => Pace { rounds: 9, length: Duration::from_millis(400) },
    };
    for workload in &options.workloads {
        eprintln!("{}: {}", workload.name, workload.title);
        report.outcomes.push(rounds::compare(workload, &options.proxies, &setup, &pace).await?);
    }
    if options.idle {
        eprintln!("idle: {} client connections", workload::IDLE_CONNECTIONS);
        report.idle = rounds::idle(&options.proxies, &setup).await?;
    }
    match callgrind::missing() {
        Some(why) if options.callgrind => report.left_out.push(why.to_owned()),
        None if options.callgrind => count(&options, &setup, &mut report).await,
        _ => {}
    }
    let text = report.to_string();
    println!("{text}");
    if options.save {
        fs::write(Path::new(FOLDER).join("RESULTS.md"), text)?;
        fs::write(Path::new(FOLDER).join("chart.svg"), chart::draw(&report))?;
    }
    Ok(())
}

/// The two kinds of request where a proxy's own work is most of the time.
async fn count(options: &Options, setup: &Setup, report: &mut Report) {
    let counted = |workload: &&&Workload| matches!(workload.kind, Kind::Get { .. }) && workload.clients > 1;
    for workload in options.workloads.iter().filter(counted) {
        for proxy in &options.proxies {
            eprintln!("instructions: {}, {}", workload.name, proxy.name);
            match callgrind::instructions(workload, proxy, setup).await {
                Ok(count) => report.instructions.push((proxy, workload, count)),
                Err(error) => {
                    report.left_out.push(format!("instructions of {}, {}: {error}", proxy.name, workload.name))
                }
            }
        }
    }
}
