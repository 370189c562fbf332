//! A signed hop in one process: a front end that forwards `/shop` to a backend behind `ProxyMiddleware`.
//!
//! ```text
//! cargo run --example quickstart               # prints the curl lines to try, with its ports:
//! curl 'http://127.0.0.1:PORT/shop/cart?id=7'
//! cargo run --example quickstart -- --once     # sends one request and prints what the backend received
//! ```

use axum::http::{Request, Uri};
use axum::{Extension, Router, middleware::map_request, routing::any};
use nexthop::ext::{OriginalRequest, TrustedBy};
use nexthop::protocol::{carry::CarriedKeys, keyring::Keyring, signature::Signer};
use nexthop::{Body, BoxError, ExactProxy, ProxyApp, ProxyMiddleware, middleware::Trust, secret::Secret, serve};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tower::Layer;

/// The logged-in user: carried to the backend, authenticated by the front end's signature.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct User(String);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let keys = Keyring::new("front-1", Secret::random()?)?; // two processes share a file: `Secret::from_file`
    let carried = CarriedKeys::builder().json::<User>("user").build()?;

    // The backend: an axum app. The layer wraps the router, so that it runs before routing.
    let trust = Trust::signature(keys.clone());
    let layer = ProxyMiddleware::builder().trust(trust).carried(carried.clone()).build()?;
    let app = layer.layer(Router::new().fallback(any(received)));
    let backend = TcpListener::bind("127.0.0.1:0").await?;
    let backend_addr = backend.local_addr()?;
    tokio::spawn(serve(backend, app).into_future());

    // The front end: logs users in, and forwards /shop.
    let signer = Signer::builder(keys).build()?;
    let proxy = ProxyApp::builder(format!("http://{backend_addr}")).carried(carried).signer(signer).build()?;
    let site = Router::new().nest_service("/shop", proxy).layer(map_request(log_in));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let front_addr = listener.local_addr()?;
    let front_end = serve(listener, site).with_graceful_shutdown(serve::shutdown_signal());

    if std::env::args().any(|arg| arg == "--once") {
        tokio::spawn(front_end.into_future());
        let request = Request::get(format!("http://{front_addr}/shop/cart?id=7"));
        let request = request.header("host", "www.example.com").header("x-forwarded-for", "203.0.113.9"); // forged
        return show(request.body(Body::empty())?).await;
    }
    println!("through the front end:      curl 'http://{front_addr}/shop/cart?id=7'");
    println!("with a forged address:      curl -H 'X-Forwarded-For: 203.0.113.9' http://{front_addr}/shop/cart");
    println!("past the front end (403):   curl -i -H 'X-Forwarded-For: 203.0.113.9' http://{backend_addr}/cart");
    front_end.await;
    Ok(())
}

/// Stands for a real login.
async fn log_in<B>(mut request: Request<B>) -> Request<B> {
    request.extensions_mut().insert(User("alice".into()));
    request
}

/// The backend's page: the request as the client made it, and who authenticated it.
async fn received(original: OriginalRequest, Extension(User(user)): Extension<User>, uri: Uri) -> String {
    let client = original.client().map_or("unknown".into(), |client| client.to_string());
    let (scheme, host) = (original.scheme(), original.host().map_or("unknown", |host| host.as_str()));
    let page = format!("client      {client}\nscheme      {scheme}\nhost        {host}\n");
    let page = format!("{page}prefix      {}\npath        {uri}\nuser        {user}\n", original.prefix());
    match original.trusted_by() {
        TrustedBy::Signature { key_id } => format!("{page}trusted by  signature of {key_id}\n"),
        other => format!("{page}trusted by  {other:?}\n"),
    }
}

async fn show(request: Request<Body>) -> Result<(), BoxError> {
    println!("the client sent {} {} with {:?}\n", request.method(), request.uri(), request.headers());
    let response = ExactProxy::new().request(request).await?;
    let (status, body) = (response.status(), response.into_body().bytes(1 << 20).await?);
    println!("the backend received ({status})\n\n{}", String::from_utf8_lossy(&body));
    if status.is_success() { Ok(()) } else { Err("the backend refused the request".into()) }
}
