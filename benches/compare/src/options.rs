//! The command line.

use crate::{
    proxies::{PROXIES, Proxy},
    workload::{IDLE, WORKLOADS, Workload},
};

const USAGE: &str = "usage: compare [--quick] [--only PROXY,...] [--workload WORKLOAD,...] [--callgrind] [--save]";

pub struct Options {
    pub quick: bool,
    pub callgrind: bool,
    pub save: bool,
    pub proxies: Vec<&'static Proxy>,
    pub workloads: Vec<&'static Workload>,
    pub idle: bool,
}

impl Options {
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            quick: false,
            callgrind: false,
            save: false,
            proxies: PROXIES.iter().collect(),
            workloads: WORKLOADS.iter().collect(),
            idle: true,
        };
        while let Some(arg) = args.next() {
            let mut names =
                || args.next().map(|names| names.split(',').map(str::to_owned).collect::<Vec<_>>()).ok_or(USAGE);
            match arg.as_str() {
                "--quick" => options.quick = true,
                "--callgrind" => options.callgrind = true,
                "--save" => options.save = true,
                "--only" => {
                    let names = names()?;
                    known(&names, PROXIES.iter().map(|proxy| proxy.name))?;
                    options.proxies.retain(|proxy| names.iter().any(|name| name == proxy.name));
                }
                "--workload" => {
                    let names = names()?;
                    known(&names, WORKLOADS.iter().map(|workload| workload.name).chain([IDLE]))?;
                    options.workloads.retain(|workload| names.iter().any(|name| name == workload.name));
                    options.idle = names.iter().any(|name| name == IDLE);
                }
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(options)
    }
}

fn known(names: &[String], all: impl Iterator<Item = &'static str>) -> Result<(), String> {
    let all: Vec<_> = all.collect();
    match names.iter().find(|name| !all.contains(&name.as_str())) {
        Some(name) => Err(format!("{name} is none of {}", all.join(", "))),
        None => Ok(()),
    }
}
