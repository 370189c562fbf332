//! An application that answers for every host, as an archive of the web does: its own site, and a proxy that clients are set to.
//!
//! ```text
//! cargo run --features intercept --example intercept_app 127.0.0.1:8080
//! curl -x localhost:8080 "http://example.com/path/file.html?A=B"
//! curl -k -x localhost:8080 "https://example.com/path/file.html?A=B"
//! curl -k -x localhost:8080 "https://wsgiprox/path/file.html?A=B"
//! curl -x localhost:8080 http://wsgiprox/download/pem
//! ```
//!
//! The first two are answered as `curl http://localhost:8080/prefix/http://example.com/path/file.html?A=B` is, the third as a path of the
//! proxy's own site. Instead of `-k`, give what the fourth prints to `--cacert`.

use axum::{Router, http::Uri, routing::get};
use nexthop::{BoxError, ForwardProxy, ca::CertificateAuthority, ext::ProxyRequest, forward::Resolver};
use tokio::net::TcpListener;
use tower::Layer;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let listen = std::env::args().nth(1).ok_or("usage: intercept_app LISTEN")?;

    let app = Router::new()
        .route("/prefix/{*url}", get(archived))
        .fallback(async |uri: Uri| format!("a page of this site: {uri}\n"));

    let proxy = ForwardProxy::builder()
        .resolver(Resolver::fixed("/prefix/"))
        .proxy_host("wsgiprox")
        .certificate_authority(CertificateAuthority::builder().name("wsgiprox https proxy CA").build()?)
        .connect_ports(None) // nothing is dialled
        .build()?;

    let listener = TcpListener::bind(listen).await?;
    println!("http://{}", listener.local_addr()?);
    nexthop::serve(listener, proxy.layer(app)).await;
    Ok(())
}

/// A page of the archive. Through the proxy, what was asked for is known in full.
async fn archived(uri: Uri, request: axum::extract::Request) -> String {
    match request.extensions().get::<ProxyRequest>() {
        Some(asked) => format!("archived {} for a client of the proxy\n", asked.url()),
        None => format!("archived {}\n", uri.to_string().trim_start_matches("/prefix/")),
    }
}
