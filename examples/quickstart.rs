//! Both ends of a hop in one process: a shop behind `ProxyMiddleware`, and a front that signs what it forwards below `/shop`.
//!
//! ```text
//! cargo run --example quickstart               # prints the curl lines to try, with its ports:
//! curl 'http://127.0.0.1:PORT/shop/cart?id=7'
//! cargo run --example quickstart -- --once     # sends one request through itself, and shows what the shop saw
//! ```

use axum::http::{Request, Uri};
use axum::{Extension, Router, middleware::map_request, routing::any};
use nexthop::ext::{OriginalRequest, TrustedBy};
use nexthop::protocol::{carry::CarriedKeys, keyring::Keyring, signature::Signer};
use nexthop::{Body, BoxError, ExactProxy, ProxyApp, ProxyMiddleware, middleware::Trust, secret::Secret};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tower::Layer;

/// Whom the front has logged in. Carried to the shop, where it may be believed because the front signed it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct User(String);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let keys = Keyring::new("front-1", Secret::random()?)?; // two processes would share a file: `Secret::from_file`
    let carried = CarriedKeys::builder().json::<User>("user").build()?;

    // The shop: an ordinary axum app. The layer goes around it from outside, so that it runs before routing.
    let trust = ProxyMiddleware::builder().trust(Trust::signature(keys.clone())).carried(carried.clone()).build()?;
    let shop = TcpListener::bind("127.0.0.1:0").await?;
    let shop_addr = shop.local_addr()?;
    tokio::spawn(nexthop::serve(shop, trust.layer(Router::new().fallback(any(what_it_saw)))).into_future());

    // The front: logs its users in, and forwards everything below /shop.
    let signer = Signer::builder(keys).build()?;
    let proxy = ProxyApp::builder(format!("http://{shop_addr}")).carried(carried).signer(signer).build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let front_addr = listener.local_addr()?;
    let front = nexthop::serve(listener, Router::new().nest_service("/shop", proxy).layer(map_request(log_in)));

    if std::env::args().any(|arg| arg == "--once") {
        tokio::spawn(front.into_future());
        let request = Request::get(format!("http://{front_addr}/shop/cart?id=7"));
        let request = request.header("host", "www.example.com").header("x-forwarded-for", "203.0.113.9"); // forged
        return show(request.body(Body::empty())?).await;
    }
    println!("what the shop sees:     curl 'http://{front_addr}/shop/cart?id=7'");
    println!("with a forged address:  curl -H 'X-Forwarded-For: 203.0.113.9' http://{front_addr}/shop/cart");
    println!("past the front (403):   curl -i -H 'X-Forwarded-For: 203.0.113.9' http://{shop_addr}/cart");
    front.await;
    Ok(())
}

/// Stands for a real login.
async fn log_in<B>(mut request: Request<B>) -> Request<B> {
    request.extensions_mut().insert(User("alice".into()));
    request
}

/// The shop's one page: the client's view of the request, and how it is known.
async fn what_it_saw(origin: OriginalRequest, Extension(User(user)): Extension<User>, uri: Uri) -> String {
    let client = origin.client().map_or("unknown".into(), |client| client.to_string());
    let (scheme, host) = (origin.scheme(), origin.host().map_or("unknown", |host| host.as_str()));
    let seen = format!("client      {client}\nscheme      {scheme}\nhost        {host}\n");
    let seen = format!("{seen}prefix      {}\npath        {uri}\nuser        {user}\n", origin.prefix());
    match origin.trusted_by() {
        TrustedBy::Signature { key_id } => format!("{seen}trusted by  signature of {key_id}\n"),
        other => format!("{seen}trusted by  {other:?}\n"),
    }
}

async fn show(request: Request<Body>) -> Result<(), BoxError> {
    println!("the client sent {} {} with {:?}\n", request.method(), request.uri(), request.headers());
    let response = ExactProxy::new().request(request).await?;
    let (status, body) = (response.status(), response.into_body().bytes(1 << 20).await?);
    println!("the shop saw ({status})\n\n{}", String::from_utf8_lossy(&body));
    if status.is_success() { Ok(()) } else { Err("the front did not get through".into()) }
}
