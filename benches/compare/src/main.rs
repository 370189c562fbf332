//! Compares our reverse proxy with others on this machine. What is measured and how: `README.md` beside this package.

mod callgrind;
mod chart;
mod client;
mod http1;
mod options;
mod origin;
mod process;
mod proxies;
mod report;
mod rounds;
mod websocket;
mod workload;

use std::{error::Error, fs, path::Path, process::Command, time::Duration};

use crate::{
    options::Options,
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
    build(FOLDER)?;
    let pingora = options.proxies.iter().any(|proxy| proxy.name == "pingora");
    if pingora && let Err(error) = build(concat!(env!("CARGO_MANIFEST_DIR"), "/pingora")) {
        report.left_out.push(format!("pingora is left out: {error}"));
        options.proxies.retain(|proxy| proxy.name != "pingora");
    }
    process::settle()?;
    let origin = origin::start().await?;
    let pace = match options.quick {
        true => Pace { rounds: 3, length: Duration::from_millis(300) },
        false => Pace { rounds: 9, length: Duration::from_millis(400) },
    };
    for workload in &options.workloads {
        eprintln!("{}: {}", workload.name, workload.title);
        report.outcomes.push(rounds::compare(workload, &options.proxies, origin, &pace).await?);
    }
    if options.idle {
        eprintln!("idle: {} client connections", workload::IDLE_CONNECTIONS);
        report.idle = rounds::idle(&options.proxies, origin).await?;
    }
    match callgrind::missing() {
        Some(why) if options.callgrind => report.left_out.push(why.to_owned()),
        None if options.callgrind => count(&options, origin, &mut report).await,
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

/// `cargo run` builds the program it runs; the proxies are programs, too.
fn build(package: &str) -> Result<(), Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--bins", "--target-dir"]).arg(Path::new(FOLDER).join("target"));
    let built = build.current_dir(package).status()?.success();
    if built { Ok(()) } else { Err(format!("{package} does not build").into()) }
}

/// The two kinds of request where a proxy's own work is most of the time.
async fn count(options: &Options, origin: std::net::SocketAddr, report: &mut Report) {
    let counted = |workload: &&&Workload| matches!(workload.kind, Kind::Get { .. }) && workload.clients > 1;
    for workload in options.workloads.iter().filter(counted) {
        for proxy in &options.proxies {
            eprintln!("instructions: {}, {}", workload.name, proxy.name);
            match callgrind::instructions(workload, proxy, origin).await {
                Ok(count) => report.instructions.push((proxy, workload, count)),
                Err(error) => {
                    report.left_out.push(format!("instructions of {}, {}: {error}", proxy.name, workload.name))
                }
            }
        }
    }
}
