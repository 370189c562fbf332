//! A reverse proxy that starts its backend on the first request and stops it after a minute without requests.
//!
//! ```text
//! cargo run --features spawn --example spawn_backend 127.0.0.1:8080 -- python3 -m http.server --bind 127.0.0.1 __PORT__
//! curl -i http://127.0.0.1:8080/
//! ```
//!
//! `__PORT__` or `__SOCKET__` in the command is replaced by the port or socket to listen on. Without either, the backend inherits a listening
//! socket as descriptor 3: try `-- python3 examples/spawn_inherited.py`. The environment variable IDLE_SECONDS sets the idle timeout.

use std::{net::SocketAddr, time::Duration};

use nexthop::{
    BoxError,
    spawn::{Command, ListenMode, SpawnApp},
};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    const USAGE: &str = "usage: spawn_backend LISTEN -- COMMAND ...";
    let mut args = std::env::args().skip(1);
    let listen: SocketAddr = args.next().ok_or(USAGE)?.parse()?;
    let command: Vec<String> = args.skip_while(|arg| arg == "--").collect();
    let has_placeholder = command.iter().any(|arg| arg.contains("__PORT__") || arg.contains("__SOCKET__"));
    let idle = std::env::var("IDLE_SECONDS").map_or(Ok(60), |seconds| seconds.parse())?;

    let mut builder = SpawnApp::builder(Command::from_argv(command)).idle_timeout(Duration::from_secs(idle));
    if !has_placeholder {
        builder = builder.listen(ListenMode::Inherited);
    }
    let app = builder.build()?;
    let handle = app.handle();
    let mut events = handle.events();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            println!("{event:?}");
        }
    });

    let listener = TcpListener::bind(listen).await?;
    println!("http://{}", listener.local_addr()?);
    nexthop::serve(listener, app).with_graceful_shutdown(nexthop::serve::shutdown_signal()).await;
    handle.shut_down().await?;
    Ok(())
}
