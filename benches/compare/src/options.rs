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
                    check("proxy", &names, PROXIES.iter().map(|proxy| proxy.name))?;
                    options.proxies.retain(|proxy| names.iter().any(|name| name == proxy.name));
                }
                "--workload" => {
                    let names = names()?;
                    check("workload", &names, WORKLOADS.iter().map(|workload| workload.name).chain([IDLE]))?;
                    options.workloads.retain(|workload| names.iter().any(|name| name == workload.name));
                    options.idle = names.iter().any(|name| name == IDLE);
                }
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(options)
    }
}

fn check(kind: &str, names: &[String], all: impl Iterator<Item = &'static str>) -> Result<(), String> {
    let all: Vec<_> = all.collect();
    match names.iter().find(|name| !all.contains(&name.as_str())) {
        Some(name) => Err(format!("unknown {kind} {name:?}, expected one of: {}", all.join(", "))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn without_arguments_everything_is_measured_and_nothing_saved() {
        let options = parse("").unwrap();
        assert_eq!((options.proxies.len(), options.workloads.len()), (PROXIES.len(), WORKLOADS.len()));
        assert!(options.idle && !options.quick && !options.callgrind && !options.save);
    }

    #[test]
    fn proxies_and_workloads_are_selected_by_name() {
        let options = parse("--quick --only nexthop,nginx --workload download,idle --save").unwrap();
        assert_eq!(options.proxies.iter().map(|proxy| proxy.name).collect::<Vec<_>>(), ["nexthop", "nginx"]);
        assert_eq!(options.workloads.iter().map(|workload| workload.name).collect::<Vec<_>>(), ["download"]);
        assert!(options.idle && options.quick && options.save);
        assert!(!parse("--workload small").unwrap().idle);
    }

    #[test]
    fn unknown_names_and_flags_are_rejected() {
        let error = parse("--only ours").err().unwrap();
        assert!(error.starts_with("unknown proxy \"ours\", expected one of: nexthop, nginx, "), "{error}");
        let error = parse("--workload huge").err().unwrap();
        assert!(error.starts_with("unknown workload \"huge\", expected one of: small, "), "{error}");
        assert_eq!(parse("--fast").err().unwrap(), USAGE);
        assert_eq!(parse("--only").err().unwrap(), USAGE);
    }
}
