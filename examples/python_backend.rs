//! A backend in Python: starts `examples/python_backend.py`, which verifies the signatures with Python's standard library, and forwards
//! requests to it.
//!
//! ```text
//! cargo run --features python --example python_backend              # needs python3; prints the curl lines to try, with its ports:
//! curl -d some=data 'http://127.0.0.1:PORT/python/cart?id=7'
//! cargo run --features python --example python_backend -- --once    # sends one signed and one unsigned request, and exits
//! ```

use std::{io::Write, path::Path, process::Stdio};

use axum::{Router, http::Request, middleware::map_request};
use base64::{Engine, engine::general_purpose::STANDARD};
use nexthop::protocol::{carry::CarriedKeys, keyring::Keyring, signature::Signer};
use nexthop::{Body, BoxError, ExactProxy, ProxyApp, secret::Secret};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct User {
    name: String,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    // The secret file that both programs read: created at start, readable by its owner only.
    let mut random = [0; 32];
    getrandom::fill(&mut random)?;
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(STANDARD.encode(random).as_bytes())?;

    let (_child, backend) = start(file.path()).await?; // killed when dropped
    let proxy = ProxyApp::builder(backend.as_str())
        .carried(CarriedKeys::builder().json::<User>("user").build()?)
        .signer(Signer::builder(Keyring::new("front-1", Secret::from_file(file.path())?)?).build()?)
        .build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let front = format!("http://{}", listener.local_addr()?);
    let server = nexthop::serve(listener, Router::new().nest_service("/python", proxy).layer(map_request(log_in)));

    if std::env::args().any(|arg| arg == "--once") {
        tokio::spawn(server.into_future());
        post("signed by the front end", format!("{front}/python/cart?id=7")).await?;
        return post("past the front end", format!("{backend}/cart?id=7")).await;
    }
    println!("signed by the front end, accepted:\n  curl -d some=data '{front}/python/cart?id=7'");
    println!("past the front end, refused:\n  curl -d some=data '{backend}/cart?id=7'");
    server.with_graceful_shutdown(nexthop::serve::shutdown_signal()).await;
    Ok(())
}

/// Starts the backend, which prints its address when it is ready.
async fn start(secret: &Path) -> Result<(Child, String), BoxError> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python_backend.py");
    let mut command = Command::new("python3");
    let mut child = command.arg(script).arg(secret).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let output = child.stdout.take().ok_or("the backend has no standard output")?;
    let address = BufReader::new(output).lines().next_line().await?.ok_or("the backend exited before it was ready")?;
    Ok((child, address))
}

/// Stands for a real login.
async fn log_in<B>(mut request: Request<B>) -> Request<B> {
    request.extensions_mut().insert(User { name: "alice".into() });
    request
}

async fn post(how: &str, url: String) -> Result<(), BoxError> {
    let request = Request::post(url).body(Body::from("some=data"))?;
    let response = ExactProxy::new().request(request).await?;
    let status = response.status();
    let body = response.into_body().bytes(1 << 20).await?;
    println!("{how}: {} {}", status.as_u16(), String::from_utf8_lossy(&body).trim_end());
    Ok(())
}
