//! A reverse proxy for one upstream: every method, streaming both ways, keep-alive, upgrades.
//!
//! ```text
//! cargo run --release --example reverse_proxy 127.0.0.1:8080 127.0.0.1:8000 [--timeout-ms 5000] [--h2]
//! curl -i http://127.0.0.1:8080/
//! ```
//!
//! UPSTREAM is `HOST:PORT` or a URL. With `--h2`, the upstream is reached over HTTP/2 with prior knowledge. The environment's WORKERS is the number of runtime threads; 1 runs all on the main thread.

use std::{net::SocketAddr, time::Duration};

use nexthop::{BoxError, ExactProxy, ProxyApp, exact::HttpVersions};
use tokio::{net::TcpListener, runtime::Builder, signal::ctrl_c};

struct Options {
    listen: SocketAddr,
    upstream: String,
    timeout: Option<Duration>,
    http2: bool,
}

fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
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
    let mut exact = ExactProxy::builder();
    if let Some(limit) = options.timeout {
        exact = exact.connect_timeout(limit).response_timeout(limit).body_idle_timeout(limit);
    }
    if options.http2 {
        exact = exact.http_versions(HttpVersions::Http2Only);
    }
    let app = ProxyApp::builder(&options.upstream).client(exact.build()?).build()?;
    let listener = TcpListener::bind(options.listen).await?;
    println!("http://{} -> {}", listener.local_addr()?, options.upstream);
    let stop = async {
        let _ = ctrl_c().await;
    };
    nexthop::serve(listener, app).with_graceful_shutdown(stop).await;
    Ok(())
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, BoxError> {
    const USAGE: &str = "usage: reverse_proxy LISTEN UPSTREAM [--timeout-ms N] [--h2]";
    let (listen, upstream) = (args.next().ok_or(USAGE)?, args.next().ok_or(USAGE)?);
    let (mut timeout, mut http2) = (None, false);
    while let Some(option) = args.next() {
        match option.as_str() {
            "--timeout-ms" => timeout = Some(Duration::from_millis(args.next().ok_or(USAGE)?.parse()?)),
            "--h2" => http2 = true,
            _ => return Err(USAGE.into()),
        }
    }
    let has_scheme = upstream.contains("://") || upstream.starts_with("unix:");
    Ok(Options {
        listen: listen.parse().map_err(|error| format!("{listen}: {error}"))?,
        upstream: if has_scheme { upstream } else { format!("http://{upstream}") },
        timeout,
        http2,
    })
}
