//! The proxies, and their surroundings: an origin without TLS, the same with TLS, and two certificate authorities.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use crate::{environment::locked, load::Kind, origin, process::Process, programs::Programs, tls::Authorities};

pub struct Proxy {
    pub name: &'static str,
    pub what: &'static str,
}

pub const PROXIES: &[Proxy] = &[
    Proxy {
        name: "nexthop",
        what: "`examples/forward_proxy.rs` of this repository; caches certificates for 1024 hosts",
    },
    Proxy { name: "hudsucker", what: "as in its `noop` example; caches certificates for 1000 hosts" },
    Proxy {
        name: "relay",
        what: "`tokio::io::copy_bidirectional`: copies bytes to one upstream, no HTTP and no `CONNECT`",
    },
    Proxy { name: "tls_relay", what: "the same with TLS on both sides and one certificate" },
];

pub struct World {
    pub plain: SocketAddr,
    pub secure: SocketAddr,
    pub authorities: Authorities,
    programs: Programs,
}

pub struct Running {
    pub process: Process,
    pub address: SocketAddr,
}

impl World {
    pub async fn new(programs: Programs) -> io::Result<Self> {
        let authorities = Authorities::new()?;
        let plain = origin::start().await?;
        let secure = authorities.secure().await?;
        Ok(Self { plain, secure, authorities, programs })
    }
}

impl Proxy {
    /// Returns the locked version of the crate it is made of.
    pub fn version(&self) -> String {
        let name = if self.is_relay() { "tokio" } else { self.name };
        let version = locked(include_str!("../Cargo.lock"), name);
        if self.is_relay() { format!("tokio {version}") } else { version }
    }

    pub fn can(&self, kind: Kind) -> bool {
        match self.name {
            "relay" => matches!(kind, Kind::Tunnel { .. } | Kind::Absolute),
            "tls_relay" => kind == Kind::Intercepted,
            _ => true,
        }
    }

    /// Whether it connects to one upstream without a request for it.
    pub fn is_relay(&self) -> bool {
        self.name.ends_with("relay")
    }

    pub async fn start(&self, kind: Kind, world: &World) -> io::Result<Running> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let program = world.programs.path(self.name)?;
        let tunnel = matches!(kind, Kind::Tunnel { .. });
        let (ca, trust) = (world.authorities.proxy_file(), world.authorities.origin_file());
        let listen = address.to_string();
        let args: Vec<String> = match self.name {
            "nexthop" => {
                let mut args = vec![listen, ca, "--trust".into(), trust, "--resolve".into(), "*=127.0.0.1".into()];
                args.extend(tunnel.then(|| "--tunnel".into()));
                args
            }
            "hudsucker" => vec![listen, ca, trust, if tunnel { "tunnel" } else { "intercept" }.into()],
            "tls_relay" => vec![listen, world.secure.to_string(), world.authorities.relay_file(), trust],
            _ => vec![listen, world.plain.to_string()],
        };
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.name));
        let mut process = Process::start(&[vec![program], args].concat(), &[]).map_err(named)?;
        process.listens(address).await.map_err(named)?;
        Ok(Running { process, address })
    }
}
