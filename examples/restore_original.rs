//! Restores the client's address, scheme, host and prefix in an axum app behind another proxy (nginx, a load balancer), where axum apps
//! expect them: `ConnectInfo`, `OriginalUri`, `Host`.
//!
//! ```text
//! cargo run --example restore_original            # trusts X-Forwarded-* headers of peers on loopback
//! curl -H 'X-Forwarded-For: 203.0.113.9, 198.51.100.7' -H 'X-Forwarded-Proto: https' \
//!      -H 'X-Forwarded-Host: www.example.com' -H 'X-Forwarded-Prefix: /app' http://127.0.0.1:3000/page
//! ```
//!
//! With the arguments `127.0.0.1:3000 nobody`, no peer is trusted, and the same headers are removed.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::{ConnectInfo, OriginalUri},
    http::{HeaderMap, Uri},
    routing::any,
};
use nexthop::{
    BoxError, ProxyMiddleware,
    ext::OriginalRequest,
    middleware::{RestoredHeaders, Trust},
};
use tokio::net::TcpListener;
use tower::Layer;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let listener = TcpListener::bind(args.next().as_deref().unwrap_or("127.0.0.1:3000")).await?;
    let trust = if args.next().as_deref() == Some("nobody") { Trust::none() } else { Trust::peers(["loopback"])? };
    let layer = ProxyMiddleware::builder()
        .trust(trust)
        .restore(RestoredHeaders::default().host().prefix()) // in addition to client and scheme
        .build()?;

    // The layer wraps the router. `Router::layer` would run after routing, too late to change the path.
    let app = layer.layer(Router::new().fallback(any(page)));
    println!("http://{}", listener.local_addr()?);
    nexthop::serve(listener, app).with_graceful_shutdown(nexthop::serve::shutdown_signal()).await;
    Ok(())
}

/// Prints the restored values; only `OriginalRequest` is a type of this crate.
async fn page(
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    OriginalUri(url): OriginalUri,
    uri: Uri,
    headers: HeaderMap,
    original: OriginalRequest,
) -> String {
    format!(
        "client {client} by {} asked {:?} for {url}, here {uri}\nheaders left: {:?}\n{original:#?}\n",
        original.scheme(),
        headers["host"],
        headers.keys().map(|name| name.as_str()).collect::<Vec<_>>(),
    )
}
