//! Both ends of a hop in one process: a shop behind `ProxyMiddleware`, and a front that signs what it forwards below `/shop`.
//!
//! ```text
//! cargo run --release --example quickstart              # then try the curl lines that it prints
//! cargo run --release --example quickstart -- --once    # sends one request through itself, and shows what the shop saw
//! ```

use axum::{
    Extension, Router,
    http::{HeaderMap, Uri},
    middleware::map_request,
    routing::any,
};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use nexthop::{
    Body, BoxError, ExactProxy, ProxyApp, ProxyMiddleware,
    ext::{RequestOrigin, TrustedBy},
    middleware::Trust,
    protocol::{carry::CarriedKeys, keyring::Keyring, signature::Signer},
    secret::Secret,
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};

/// Whom the front has logged in. Carried to the shop, where it may be believed because the front signed it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct User {
    name: String,
}

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
    let proxy = ProxyApp::builder(format!("http://{shop_addr}").parse()?)
        .carried(carried)
        .signer(Signer::builder(keys).build()?)
        .build()?;
    let front = Router::new().nest_service("/shop", proxy).layer(map_request(log_in));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let front_addr = listener.local_addr()?;
    let front = nexthop::serve(listener, front);

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
    request.extensions_mut().insert(User { name: "alice".into() });
    request
}

/// The shop's one page: the client's view of the request, and how it is known.
async fn what_it_saw(origin: RequestOrigin, user: Extension<User>, uri: Uri, headers: HeaderMap) -> String {
    let client = origin.client().map_or("unknown".into(), |client| client.to_string());
    let trusted_by = match origin.trusted_by() {
        TrustedBy::Signature { key_id } => format!("signature of {key_id}"),
        other => format!("{other:?}"),
    };
    format!(
        "client      {client}\nscheme      {}\nhost        {}\nprefix      {}\npath        {uri}\nuser        {}\n\
         trusted by  {trusted_by}\nfields left {:?}\n",
        origin.scheme(),
        origin.host().map_or("unknown", |host| host.as_str()),
        origin.prefix(),
        user.name,
        headers.keys().map(|name| name.as_str()).collect::<Vec<_>>(),
    )
}

async fn show(request: Request<Body>) -> Result<(), BoxError> {
    println!("the client sent {} {} with {:?}\n", request.method(), request.uri(), request.headers());
    let response = ExactProxy::new().oneshot(request).await?;
    let (status, body) = (response.status(), response.into_body().collect().await?.to_bytes());
    println!("the shop saw ({status})\n\n{}", String::from_utf8_lossy(&body));
    if status == StatusCode::OK { Ok(()) } else { Err("the front did not get through".into()) }
}
