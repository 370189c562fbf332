//! The proxies: a description of each, the kinds of request it supports, and how it is started with one worker.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::Path,
};

use crate::{
    environment::{first_line, locked},
    process::{Process, find},
    programs::Programs,
    workload::Kind,
};

pub struct Proxy {
    pub name: &'static str,
    pub what: &'static str,
    /// A footnote on the part of a proxy's work that this one leaves out.
    pub incomplete: Option<&'static str>,
    /// The program that must be installed; its Debian package has the same name.
    needs: Option<&'static str>,
    /// Environment variables of its process.
    variables: &'static [(&'static str, &'static str)],
    http2: bool,
    websocket: bool,
}

/// The proxy that the others are compared with.
pub const BASELINE: &str = "nginx";
/// The proxy of this repository.
pub const OWN: &str = "nexthop";

const DEFAULT: Proxy =
    Proxy { name: "", what: "", incomplete: None, needs: None, variables: &[], http2: true, websocket: true };

pub const PROXIES: &[Proxy] = &[
    Proxy { name: OWN, what: "`examples/reverse_proxy.rs` of this repository", ..DEFAULT },
    Proxy {
        name: BASELINE,
        what: "access log off, 128 connections kept to the origin, buffers of 64 KiB except for small requests, \
               `MALLOC_TRIM_THRESHOLD_` of 64 MiB",
        needs: Some("nginx"),
        // With the default of 128 KiB, glibc returns the buffers to the kernel after each request, and the page faults of the next
        // one double the cost of a download.
        variables: &[("MALLOC_TRIM_THRESHOLD_", "67108864")],
        ..DEFAULT
    },
    Proxy {
        name: "haproxy",
        what: "`http-reuse always`, otherwise the defaults (buffers of 16 KiB)",
        needs: Some("haproxy"),
        ..DEFAULT
    },
    Proxy { name: "axum-reverse-proxy", what: "the crate with its default policy", ..DEFAULT },
    Proxy {
        name: "axum-legacy",
        what: "an axum handler that calls hyper-util's legacy client, defaults throughout (`TCP_NODELAY` off)",
        incomplete: Some("forwards without removing or adding headers: not a complete proxy"),
        websocket: false,
        ..DEFAULT
    },
    Proxy { name: "pingora", what: "pingora-proxy with its defaults", needs: Some("cmake"), ..DEFAULT },
    Proxy {
        name: "relay",
        what: "`tokio::io::copy_bidirectional` with its buffers of 8 KiB; copies bytes, no HTTP",
        incomplete: Some("copies bytes, no HTTP: the lower bound for small requests"),
        http2: false,
        ..DEFAULT
    },
];

#[derive(Clone, Copy)]
pub struct Listening {
    pub http1: SocketAddr,
    pub http2: SocketAddr,
}

/// The parts that every proxy is started with.
pub struct Setup {
    pub origin: SocketAddr,
    pub programs: Programs,
}

pub struct Running {
    pub process: Process,
    pub listening: Listening,
}

impl Proxy {
    pub fn can(&self, kind: Kind) -> bool {
        match kind {
            Kind::Http2 => self.http2,
            Kind::WebSocket { .. } => self.websocket,
            Kind::Get { .. } | Kind::Download | Kind::Echo | Kind::NewConnection => true,
        }
    }

    /// Returns the reason why the proxy cannot run here, if there is one.
    pub fn missing(&self) -> Option<String> {
        let needed = self.needs.filter(|needed| find(needed).is_none())?;
        Some(format!("{} is left out: `apt-get install {needed}`", self.name))
    }

    /// Returns the version of the installed program or of the locked crates.
    pub fn version(&self) -> String {
        let lock = include_str!("../Cargo.lock");
        match self.name {
            "nginx" | "haproxy" => {
                let line = first_line(&find(self.name).unwrap_or_default().to_string_lossy(), &["-v"]);
                let is_version = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
                line.split([' ', '/']).find(is_version).unwrap_or("unknown version").to_owned()
            }
            "pingora" => locked(include_str!("../pingora/Cargo.lock"), "pingora-proxy"),
            "axum-legacy" => format!("axum {}, hyper-util {}", locked(lock, "axum"), locked(lock, "hyper-util")),
            "relay" => format!("tokio {}", locked(lock, "tokio")),
            name => locked(lock, name),
        }
    }

    /// Starts the proxy in front of the origin, as the last argument of `wrapper` (empty, or valgrind's command).
    pub async fn start(&self, setup: &Setup, wrapper: &[String]) -> io::Result<Running> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/configuration");
        fs::create_dir_all(&folder)?;
        let ports = Listening { http1: free_port()?, http2: free_port()? };
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.name));
        let (own, listening) = self.command(setup, ports, &folder).map_err(named)?;
        let mut process = Process::start(&[wrapper, &own].concat(), self.variables).map_err(named)?;
        process.listens(listening.http1).await.map_err(named)?;
        Ok(Running { process, listening })
    }

    /// Returns the command and the addresses that it listens on.
    fn command(&self, setup: &Setup, ports: Listening, folder: &Path) -> io::Result<(Vec<String>, Listening)> {
        let origin = setup.origin.to_string();
        let configured = |template: &str| {
            let file = folder.join(format!("{}.conf", self.name));
            let text =
                template.replace("{HTTP1}", &ports.http1.to_string()).replace("{HTTP2}", &ports.http2.to_string());
            let text = text.replace("{ORIGIN}", &origin).replace("{FOLDER}", &folder.to_string_lossy());
            fs::write(&file, text).map(|()| file.to_string_lossy().into_owned())
        };
        match self.name {
            "nginx" => Ok((vec![path("nginx")?, "-c".to_owned(), configured(include_str!("nginx.conf"))?], ports)),
            "haproxy" => {
                let flags = ["-db", "-q", "-f"].map(str::to_owned);
                let file = configured(include_str!("haproxy.cfg"))?;
                Ok(([vec![path("haproxy")?], flags.to_vec(), vec![file]].concat(), ports))
            }
            name => {
                let http1 = ports.http1; // these detect the HTTP version by a connection's first bytes
                let command = vec![setup.programs.path(name)?, http1.to_string(), origin];
                Ok((command, Listening { http1, http2: http1 }))
            }
        }
    }
}

fn path(name: &str) -> io::Result<String> {
    let file = find(name).ok_or_else(|| io::Error::other("not installed"))?;
    Ok(file.to_string_lossy().into_owned())
}

fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
