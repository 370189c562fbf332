//! One backend per host, started on the first request: a file server for each subdirectory of DIRECTORY.
//!
//! ```text
//! mkdir -p sites/a.localhost sites/b.localhost; echo hello > sites/a.localhost/index.html
//! cargo run --features spawn --example spawn_per_host 127.0.0.1:8080 sites
//! curl http://a.localhost:8080/
//! ```

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use nexthop::{
    BoxError,
    spawn::{Command, KeyedSpawnApp, SpawnApp},
};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    const USAGE: &str = "usage: spawn_per_host LISTEN DIRECTORY";
    let mut args = std::env::args().skip(1);
    let listen: SocketAddr = args.next().ok_or(USAGE)?.parse()?;
    let sites = PathBuf::from(args.next().ok_or(USAGE)?);

    // An allow-list, read once: the client's `Host` is compared, never used as a path.
    let mut hosts = Vec::new();
    for entry in std::fs::read_dir(&sites)? {
        hosts.extend(entry?.file_name().into_string());
    }
    let app = KeyedSpawnApp::by_host(move |host| {
        let known = hosts.iter().find(|known| *known == host)?;
        let serve = ["-m", "http.server", "--bind", "127.0.0.1", "__PORT__"];
        let command = Command::new("python3").args(serve).current_dir(sites.join(known));
        Some(SpawnApp::builder(command).name(host).idle_timeout(Duration::from_secs(300)))
    })
    .max_apps(20)
    .build()?;

    let listener = TcpListener::bind(listen).await?;
    println!("http://{}", listener.local_addr()?);
    nexthop::serve(listener, app.clone()).with_graceful_shutdown(nexthop::serve::shutdown_signal()).await;
    app.shut_down().await;
    Ok(())
}
