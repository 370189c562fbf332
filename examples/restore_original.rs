//! An application behind somebody else's proxy (nginx, a load balancer) gets the client's address, scheme, host and prefix back, in the
//! places where axum apps look for them anyway.
//!
//! ```text
//! cargo run --release --example restore_original            # believes the de-facto fields of peers on loopback
//! curl -H 'X-Forwarded-For: 203.0.113.9, 198.51.100.7' -H 'X-Forwarded-Proto: https' \
//!      -H 'X-Forwarded-Host: www.example.com' -H 'X-Forwarded-Prefix: /app' http://127.0.0.1:3000/page
//! ```
//!
//! With the arguments `127.0.0.1:3000 nobody`, nothing of the same request is believed.

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
        .restore(RestoredHeaders::default().host().prefix()) // besides the client and the scheme
        .build()?;

    // Around the router, not `Router::layer`: that would run after routing, when the path has been looked at.
    let app = layer.layer(Router::new().fallback(any(page)));
    println!("http://{}", listener.local_addr()?);
    nexthop::serve(listener, app).await;
    Ok(())
}

/// Knows nothing of proxies, but for `OriginalRequest`, which tells it all at once.
async fn page(
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    OriginalUri(url): OriginalUri,
    uri: Uri,
    headers: HeaderMap,
    origin: OriginalRequest,
) -> String {
    format!(
        "client {client} by {} asked {:?} for {url}, here {uri}\nfields left: {:?}\n{origin:#?}\n",
        origin.scheme(),
        headers["host"],
        headers.keys().map(|name| name.as_str()).collect::<Vec<_>>(),
    )
}
