//! An app that answers for every host, as a web archive does: a site of its own, and a TLS-intercepting proxy to the same app.
//!
//! ```text
//! cargo run --features intercept --example intercept_app 127.0.0.1:8080
//! curl -x localhost:8080 "http://example.com/path/file.html?A=B"
//! curl -k -x localhost:8080 "https://example.com/path/file.html?A=B"
//! curl -k -x localhost:8080 "https://wsgiprox/path/file.html?A=B"
//! curl -x localhost:8080 http://wsgiprox/download/pem
//! ```
//!
//! The first two commands get the same page as `curl http://localhost:8080/prefix/http://example.com/path/file.html?A=B`, the third a page of
//! the app's own site. The fourth prints the certificate for `--cacert`, which replaces `-k`.

use axum::{Router, http::Uri, routing::get};
use nexthop::{BoxError, ForwardProxy, ca::CertificateAuthority, ext::ProxyRequest, forward::Resolver};
use tokio::net::TcpListener;
use tower::Layer;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let listen = std::env::args().nth(1).ok_or("usage: intercept_app LISTEN")?;

    let app = Router::new()
        .route("/prefix/{*url}", get(archived))
        .fallback(async |uri: Uri| format!("a page of this site: {uri}\n"));

    let proxy = ForwardProxy::builder()
        .resolver(Resolver::fixed("/prefix/"))
        .proxy_host("wsgiprox")
        .certificate_authority(CertificateAuthority::builder().name("wsgiprox https proxy CA").build()?)
        .connect_ports(None) // no port is dialled
        .build()?;

    let listener = TcpListener::bind(listen).await?;
    println!("http://{}", listener.local_addr()?);
    let server = nexthop::serve(listener, proxy.layer(app));
    server.with_graceful_shutdown(nexthop::serve::shutdown_signal()).await;
    Ok(())
}

/// A page of the archive. Requests through the proxy contain the complete URL.
async fn archived(uri: Uri, request: axum::extract::Request) -> String {
    match request.extensions().get::<ProxyRequest>() {
        Some(proxied) => format!("archived {} for a client of the proxy\n", proxied.url()),
        None => format!("archived {}\n", uri.to_string().trim_start_matches("/prefix/")),
    }
}
