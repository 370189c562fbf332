//! A backend in another language: starts `examples/python_backend.py`, which verifies our signatures with nothing but Python's standard
//! library, and forwards to it.
//!
//! ```text
//! cargo run --release --features python --example python_backend              # needs python3; prints the curl lines to try, with its ports:
//! curl -d some=data 'http://127.0.0.1:PORT/python/cart?id=7'
//! cargo run --release --features python --example python_backend -- --once    # sends one request through, one past the front, and exits
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
    // One file that both programs read. Here it is made at start, for our eyes only.
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
        post("through the front", format!("{front}/python/cart?id=7")).await?;
        return post("past the front", format!("{backend}/cart?id=7")).await;
    }
    println!("signed by the front, believed:\n  curl -d some=data '{front}/python/cart?id=7'");
    println!("past the front, refused:\n  curl -d some=data '{backend}/cart?id=7'");
    server.await;
    Ok(())
}

/// Starts the backend, which prints its address when it is ready.
async fn start(secret: &Path) -> Result<(Child, String), BoxError> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python_backend.py");
    let mut command = Command::new("python3");
    let mut child = command.arg(script).arg(secret).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let output = child.stdout.take().ok_or("its output is not ours")?;
    let address = BufReader::new(output).lines().next_line().await?.ok_or("it ended before it was ready")?;
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
