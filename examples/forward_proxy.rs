//! A TLS-intercepting forward proxy for clients on this machine, to any address.
//!
//! ```text
//! cargo run --features intercept --example forward_proxy 127.0.0.1:8080 ca.pem
//! curl -x 127.0.0.1:8080 --cacert ca-certificate.pem https://example.com/
//! curl -x 127.0.0.1:8080 http://nexthop/ # a page to download the certificate from
//! ```
//!
//! CA_PEM is created if it does not exist; it contains the CA's key. The certificate alone is written to `ca-certificate.pem` beside it.
//! `--trust` sets the root certificates for servers, instead of the platform's. `--resolve` sets the address of a host, as `HOST=IP` or
//! `HOST=IP:PORT`; `*` stands for all hosts. `--tunnel` disables interception. The environment variable WORKERS sets the number of runtime
//! threads.

use std::{collections::HashMap, io, net::SocketAddr, path::PathBuf};

use nexthop::{
    BoxError, ExactProxy, ForwardProxy,
    ca::CertificateAuthority,
    forward::ConnectAction,
    net::{DnsLookup, DnsResolver, Tls},
};
use tokio::{net::TcpListener, runtime::Builder};
use tower::Layer;

struct Options {
    listen: SocketAddr,
    ca: PathBuf,
    trust: Option<PathBuf>,
    addresses: HashMap<String, String>,
    tunnel: bool,
}

/// Resolves some hosts to configured addresses, and all others by the system's resolver.
struct Addresses(HashMap<String, String>);

impl DnsResolver for Addresses {
    fn resolve(&self, host: &str, port: u16) -> DnsLookup {
        let address = self.0.get(host).or_else(|| self.0.get("*")).cloned();
        let host = host.to_owned();
        Box::pin(async move {
            let Some(address) = address else {
                return Ok(tokio::net::lookup_host((host, port)).await?.collect());
            };
            let address = address.parse().or_else(|_| address.parse().map(|ip| SocketAddr::new(ip, port)));
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
    let ca = CertificateAuthority::builder().name("nexthop forward proxy").file(&options.ca).build()?;
    let certificate = options.ca.with_file_name("ca-certificate.pem");
    std::fs::write(&certificate, ca.certificate_pem())?;

    let mut client = ExactProxy::builder();
    if let Some(path) = &options.trust {
        client = client.tls(Tls::roots_pem(&std::fs::read(path)?)?);
    }
    if !options.addresses.is_empty() {
        client = client.dns_resolver(Addresses(options.addresses));
    }
    let client = client.build()?;
    let listener = TcpListener::bind(options.listen).await?;
    let mut proxy = ForwardProxy::builder()
        .certificate_authority(ca)
        .client(client.clone())
        .connect_ports(None)
        .dangerous_dial_anywhere() // only clients on this machine are admitted
        .local_addresses(listener.local_addr()?)
        .max_new_hosts(None)
        .verbose_errors(true);
    if options.tunnel {
        proxy = proxy.on_connect(|_| ConnectAction::Tunnel);
    }
    println!("http://{} {}", listener.local_addr()?, certificate.display());
    let server = nexthop::serve(listener, proxy.build()?.layer(client));
    server.with_graceful_shutdown(nexthop::serve::shutdown_signal()).await;
    Ok(())
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, BoxError> {
    const USAGE: &str =
        "usage: forward_proxy LISTEN CA_PEM [--trust ORIGIN_CA_PEM] [--resolve HOST=ADDR]... [--tunnel]";
    let (listen, ca) = (args.next().ok_or(USAGE)?, args.next().ok_or(USAGE)?);
    let listen = listen.parse().map_err(|error| format!("{listen}: {error}"))?;
    let mut options = Options { listen, ca: ca.into(), trust: None, addresses: HashMap::new(), tunnel: false };
    while let Some(option) = args.next() {
        match option.as_str() {
            "--trust" => options.trust = Some(args.next().ok_or(USAGE)?.into()),
            "--resolve" => {
                let pair = args.next().ok_or(USAGE)?;
                let (host, address) = pair.split_once('=').ok_or(USAGE)?;
                options.addresses.insert(host.to_owned(), address.to_owned());
            }
            "--tunnel" => options.tunnel = true,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}
