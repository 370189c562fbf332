//! The proxies: what each is, what it can do, and how it is started with one worker.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{net::TcpStream, time::sleep};

use crate::{
    process::{Process, find},
    workload::Kind,
};

pub struct Proxy {
    pub name: &'static str,
    pub what: &'static str,
    package: Option<&'static str>,
    http2: bool,
    websocket: bool,
}

/// The one that the others are compared with.
pub const BASELINE: &str = "nginx";

pub const PROXIES: &[Proxy] = &[
    Proxy {
        name: "ours",
        what: "`examples/reverse_proxy.rs` of this crate",
        package: None,
        http2: true,
        websocket: true,
    },
    Proxy {
        name: BASELINE,
        what: "access log off, 128 connections kept to the origin, buffers of 64 KiB but for small requests",
        package: Some("nginx"),
        http2: true,
        websocket: true,
    },
    Proxy {
        name: "haproxy",
        what: "`http-reuse always`, else the defaults (buffers of 16 KiB)",
        package: Some("haproxy"),
        http2: true,
        websocket: true,
    },
    Proxy {
        name: "axum-reverse-proxy",
        what: "the crate, its default policy",
        package: None,
        http2: true,
        websocket: true,
    },
    Proxy {
        name: "axum-legacy",
        what: "an axum handler around hyper-util's client: the obvious thing, defaults throughout (`TCP_NODELAY` off)",
        package: None,
        http2: true,
        websocket: false,
    },
    Proxy { name: "pingora", what: "pingora-proxy, its defaults", package: None, http2: true, websocket: true },
    Proxy {
        name: "relay",
        what: "`tokio::io::copy_bidirectional` with its buffers of 8 KiB; knows nothing of HTTP: the lower bound for small requests",
        package: None,
        http2: false,
        websocket: true,
    },
];

#[derive(Clone, Copy)]
pub struct Listening {
    pub http1: SocketAddr,
    pub http2: SocketAddr,
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

    /// Why it cannot be run here.
    pub fn missing(&self) -> Option<String> {
        match self.package {
            Some(package) if program(package).is_none() => Some(format!("{} is left out: `apt-get install {package}`", self.name)),
            _ => None,
        }
    }

    /// Starts it, in front of `origin`, as the last argument of `wrapper` (nothing, or valgrind).
    pub async fn start(&self, origin: SocketAddr, wrapper: &[String]) -> io::Result<Running> {
        let listening = Listening { http1: free_port()?, http2: free_port()? };
        let folder = std::env::temp_dir().join(format!("compare-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let (own, listening) = self.command(origin, listening, &folder)?;
        let process = Process::start(&[wrapper, &own].concat())?;
        let mut running = Running { process, listening };
        for _ in 0..1500 {
            if TcpStream::connect(listening.http1).await.is_ok() {
                return Ok(running);
            }
            if running.process.is_gone()? {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        Err(io::Error::other(format!("{} does not listen", self.name)))
    }

    fn command(&self, origin: SocketAddr, listening: Listening, folder: &Path) -> io::Result<(Vec<String>, Listening)> {
        let fill = |template: &str| {
            let text = template.replace("{HTTP1}", &listening.http1.to_string());
            let text = text.replace("{HTTP2}", &listening.http2.to_string());
            text.replace("{ORIGIN}", &origin.to_string()).replace("{FOLDER}", &folder.to_string_lossy())
        };
        let configuration = folder.join(format!("{}.conf", self.name)).to_string_lossy().into_owned();
        if self.name == "nginx" {
            fs::write(&configuration, fill(include_str!("nginx.conf")))?;
            return Ok((vec![path("nginx")?, "-c".to_owned(), configuration], listening));
        }
        if self.name == "haproxy" {
            fs::write(&configuration, fill(include_str!("haproxy.cfg")))?;
            return Ok((vec![path("haproxy")?, "-db".to_owned(), "-q".to_owned(), "-f".to_owned(), configuration], listening));
        }
        let program = std::env::current_exe()?.with_file_name(self.name).to_string_lossy().into_owned();
        let http1 = listening.http1; // these tell the two versions apart by a connection's first bytes
        Ok((vec![program, http1.to_string(), origin.to_string()], Listening { http1, http2: http1 }))
    }
}

fn path(name: &str) -> io::Result<String> {
    let file = program(name).ok_or(io::Error::other(format!("{name} is not installed")))?;
    Ok(file.to_string_lossy().into_owned())
}

fn program(name: &str) -> Option<PathBuf> {
    find(name).or_else(|| Some(Path::new("/usr/sbin").join(name)).filter(|file| file.is_file()))
}

fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
