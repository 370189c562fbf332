//! The proxies, and the world around them: an origin in clear text, the same behind TLS, and two authorities.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use crate::{load::Kind, origin, process::Process, programs::Programs, tls::Authorities};

pub struct Proxy {
    pub name: &'static str,
    pub what: &'static str,
}

pub const PROXIES: &[Proxy] = &[
    Proxy { name: "ours", what: "`examples/forward_proxy.rs` of this crate; 1024 hosts kept" },
    Proxy { name: "hudsucker", what: "as in its `noop` example; 1000 hosts kept" },
    Proxy { name: "relay", what: "`tokio::io::copy_bidirectional`; knows no CONNECT and has one upstream" },
    Proxy { name: "tls_relay", what: "the same between TLS and TLS, with one certificate" },
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
    pub fn can(&self, kind: Kind) -> bool {
        match self.name {
            "relay" => matches!(kind, Kind::Tunnel { .. } | Kind::Absolute),
            "tls_relay" => kind == Kind::Intercepted,
            _ => true,
        }
    }

    /// Carries everything to one place, unasked.
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
            "ours" => {
                let mut args = vec![listen, ca, "--trust".into(), trust, "--resolve".into(), "*=127.0.0.1".into()];
                args.extend(tunnel.then(|| "--tunnel".into()));
                args
            }
            "hudsucker" => vec![listen, ca, trust, if tunnel { "tunnel" } else { "intercept" }.into()],
            "tls_relay" => vec![listen, world.secure.to_string(), world.authorities.relay_file(), trust],
            _ => vec![listen, world.plain.to_string()],
        };
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.name));
        let mut process = Process::start(&[vec![program], args].concat()).map_err(named)?;
        process.listens(address).await.map_err(named)?;
        Ok(Running { process, address })
    }
}
