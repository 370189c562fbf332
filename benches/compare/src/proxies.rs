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
    /// The program it needs; its Debian package has the same name.
    needs: Option<&'static str>,
    http2: bool,
    websocket: bool,
}

/// The one that the others are compared with.
pub const BASELINE: &str = "nginx";

pub const PROXIES: &[Proxy] = &[
    Proxy {
        name: "ours",
        what: "`examples/reverse_proxy.rs` of this crate",
        needs: None,
        http2: true,
        websocket: true,
    },
    Proxy {
        name: BASELINE,
        what: "access log off, 128 connections kept to the origin, buffers of 64 KiB but for small requests",
        needs: Some("nginx"),
        http2: true,
        websocket: true,
    },
    Proxy {
        name: "haproxy",
        what: "`http-reuse always`, else the defaults (buffers of 16 KiB)",
        needs: Some("haproxy"),
        http2: true,
        websocket: true,
    },
    Proxy {
        name: "axum-reverse-proxy",
        what: "the crate, its default policy",
        needs: None,
        http2: true,
        websocket: true,
    },
    Proxy {
        name: "axum-legacy",
        what: "an axum handler around hyper-util's client: the obvious thing, defaults throughout (`TCP_NODELAY` off)",
        needs: None,
        http2: true,
        websocket: false,
    },
    Proxy { name: "pingora", what: "pingora-proxy, its defaults", needs: Some("cmake"), http2: true, websocket: true },
    Proxy {
        name: "relay",
        what: "`tokio::io::copy_bidirectional` with its buffers of 8 KiB; knows nothing of HTTP: the lower bound for small requests",
        needs: None,
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
        let needed = self.needs.filter(|needed| program(needed).is_none())?;
        Some(format!("{} is left out: `apt-get install {needed}`", self.name))
    }

    /// Starts it, in front of `origin`, as the last argument of `wrapper` (nothing, or valgrind).
    pub async fn start(&self, origin: SocketAddr, wrapper: &[String]) -> io::Result<Running> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/configuration");
        fs::create_dir_all(&folder)?;
        let ports = Listening { http1: free_port()?, http2: free_port()? };
        let (own, listening) = self.command(origin, ports, &folder)?;
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

    /// The command, and where it will really listen.
    fn command(&self, origin: SocketAddr, ports: Listening, folder: &Path) -> io::Result<(Vec<String>, Listening)> {
        let configured = |template: &str| {
            let file = folder.join(format!("{}.conf", self.name));
            let text =
                template.replace("{HTTP1}", &ports.http1.to_string()).replace("{HTTP2}", &ports.http2.to_string());
            let text = text.replace("{ORIGIN}", &origin.to_string()).replace("{FOLDER}", &folder.to_string_lossy());
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
                let program = std::env::current_exe()?.with_file_name(name).to_string_lossy().into_owned();
                let http1 = ports.http1; // these tell the two versions of HTTP apart by a connection's first bytes
                Ok((vec![program, http1.to_string(), origin.to_string()], Listening { http1, http2: http1 }))
            }
        }
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
