//! Compares our forward proxy with hudsucker on this machine, and its tunnels with a bare relay. What is measured and how: `../README.md`.

mod client;
#[path = "../../src/http1.rs"]
#[allow(dead_code)] // each program uses its share
mod http1;
mod load;
#[path = "../../src/origin.rs"]
mod origin;
#[path = "../../src/process.rs"]
#[allow(dead_code)]
mod process;
#[path = "../../src/programs.rs"]
mod programs;
mod proxies;
mod report;
mod tls;
#[path = "../../src/websocket.rs"]
#[allow(dead_code)]
mod websocket;

use std::{error::Error, fs, path::Path, time::Duration};

use crate::{
    load::{Pace, WORKLOADS},
    programs::Programs,
    proxies::{PROXIES, World},
    report::Report,
};

const FOLDER: &str = env!("CARGO_MANIFEST_DIR");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = args.iter().find(|arg| !["--quick", "--save"].contains(&arg.as_str())) {
        return Err(format!("{unknown} is neither --quick nor --save").into());
    }
    let has = |name: &str| args.iter().any(|arg| arg == name);
    let mut programs = Programs::default();
    programs.build(Path::new(FOLDER))?;
    process::settle()?;
    let world = World::new(programs).await?;
    let length = Duration::from_millis(60);
    let pace = match has("--quick") {
        true => Pace { starts: 1, rounds: 25, length },
        false => Pace { starts: 8, rounds: 15, length },
    };
    let mut report = Report::default();
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
        fs::write(Path::new(FOLDER).join("RESULTS.md"), text)?;
    }
    Ok(())
}
