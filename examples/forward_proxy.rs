//! A forward proxy that looks into TLS: for programs on this machine, to wherever they want.
//!
//! ```text
//! cargo run --release --features intercept --example forward_proxy 127.0.0.1:8080 ca.pem
//! curl -x 127.0.0.1:8080 --cacert ca-certificate.pem https://example.com/
//! curl -x 127.0.0.1:8080 http://nexthop/ # the certificate, to be installed by hand
//! ```
//!
//! CA_PEM is made if it is not there; it holds the authority's key. The certificate alone is printed to the file that the second line names.
//! `--trust` names the certificates that servers are verified by, instead of the platform's. `--resolve` says where a host is, as
//! `HOST=IP` or `HOST=IP:PORT`, `*` for all hosts. `--tunnel` intercepts nothing. The environment's WORKERS is the number of runtime threads.

use std::{collections::HashMap, io, net::SocketAddr, path::PathBuf};

use nexthop::{
    BoxError, ExactProxy, ForwardProxy,
    ca::CertificateAuthority,
    forward::ConnectAction,
    net::{DnsLookup, DnsResolver, Tls},
};
use tokio::{net::TcpListener, runtime::Builder, signal::ctrl_c};
use tower::Layer;

struct Options {
    listen: SocketAddr,
    ca: PathBuf,
    trust: Option<PathBuf>,
    places: HashMap<String, String>,
    tunnel: bool,
}

/// Knows where some hosts are, and asks the system for others.
struct Places(HashMap<String, String>);

impl DnsResolver for Places {
    fn resolve(&self, host: &str, port: u16) -> DnsLookup {
        let place = self.0.get(host).or_else(|| self.0.get("*")).cloned();
        let host = host.to_owned();
        Box::pin(async move {
            let Some(place) = place else { return Ok(tokio::net::lookup_host((host, port)).await?.collect()) };
            let address = place.parse().or_else(|_| place.parse().map(|ip| SocketAddr::new(ip, port)));
            Ok(vec![address.map_err(io::Error::other)?])
        })
    }
}

fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let options = options(std::env::args().skip(1))?;
    let mut runtime = match std::env::var("WORKERS").ok().map(|workers| workers.parse()).transpose()? {
        Some(1) => Builder::new_current_thread(),
        workers => {
            let mut runtime = Builder::new_multi_thread();
            workers.map(|workers: usize| runtime.worker_threads(workers.max(1)));
            runtime
        }
    };
    runtime.enable_all().build()?.block_on(run(options))
}

async fn run(options: Options) -> Result<(), BoxError> {
    let authority = CertificateAuthority::builder().name("nexthop forward proxy").file(&options.ca).build()?;
    let certificate = options.ca.with_file_name("ca-certificate.pem");
    std::fs::write(&certificate, authority.certificate_pem())?;

    let mut exact = ExactProxy::builder();
    if let Some(path) = &options.trust {
        exact = exact.tls(Tls::roots_pem(&std::fs::read(path)?)?);
    }
    if !options.places.is_empty() {
        exact = exact.dns_resolver(Places(options.places));
    }
    let exact = exact.build()?;
    let listener = TcpListener::bind(options.listen).await?;
    let mut proxy = ForwardProxy::builder()
        .certificate_authority(authority)
        .client(exact.clone())
        .connect_ports(None)
        .dangerous_dial_anywhere() // only programs on this machine may use it
        .local_addresses(listener.local_addr()?)
        .max_new_hosts(None)
        .verbose_errors(true);
    if options.tunnel {
        proxy = proxy.on_connect(|_| ConnectAction::Tunnel);
    }
    println!("http://{} {}", listener.local_addr()?, certificate.display());
    let stop = async {
        let _ = ctrl_c().await;
    };
    nexthop::serve(listener, proxy.build()?.layer(exact)).with_graceful_shutdown(stop).await;
    Ok(())
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, BoxError> {
    const USAGE: &str =
        "usage: forward_proxy LISTEN CA_PEM [--trust ORIGIN_CA_PEM] [--resolve HOST=ADDR]... [--tunnel]";
    let (listen, ca) = (args.next().ok_or(USAGE)?, args.next().ok_or(USAGE)?);
    let listen = listen.parse().map_err(|error| format!("{listen}: {error}"))?;
    let mut options = Options { listen, ca: ca.into(), trust: None, places: HashMap::new(), tunnel: false };
    while let Some(option) = args.next() {
        match option.as_str() {
            "--trust" => options.trust = Some(args.next().ok_or(USAGE)?.into()),
            "--resolve" => {
                let place = args.next().ok_or(USAGE)?;
                let (host, address) = place.split_once('=').ok_or(USAGE)?;
                options.places.insert(host.to_owned(), address.to_owned());
            }
            "--tunnel" => options.tunnel = true,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}
