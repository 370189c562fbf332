//! Carries a logged-in user from the front end to the backend: a typed value travels from the extensions of the request in one program to
//! the extensions of the request in the other, authenticated by a signature.
//!
//! ```text
//! cargo run --example carry_user
//! curl -u alice:wonder http://127.0.0.1:3000/        # hello alice
//! curl http://127.0.0.1:3000/                        # nobody is logged in
//! curl -H 'X-WSGIProxy-Json-1: user {"name":"root","groups":[]}' http://127.0.0.1:3000/     # a forged user is removed
//! ```

use axum::{Router, http::HeaderMap, middleware::map_request, routing::get};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::Request;
use nexthop::{
    BoxError, ConfigError, ProxyApp, ProxyMiddleware,
    axum::CarriedKey,
    middleware::Trust,
    protocol::{carry::CarriedKeys, keyring::Keyring, signature::Signer},
    secret::Secret,
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tower::Layer;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct User {
    name: String,
    groups: Vec<String>,
}

/// Both programs configure the key and its type; no other value is carried.
fn carried() -> Result<CarriedKeys, ConfigError> {
    CarriedKeys::builder().json::<User>("user").build()
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let keys = Keyring::new("front-1", Secret::random()?)?; // two programs share a file: `Secret::from_file`
    let back = TcpListener::bind("127.0.0.1:0").await?;
    let front = TcpListener::bind(std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:3000")).await?;

    let proxy = ProxyApp::builder(format!("http://{}", back.local_addr()?))
        .carried(carried()?)
        .signer(Signer::builder(keys.clone()).build()?)
        .build()?;
    let trust = ProxyMiddleware::builder().trust(Trust::signature(keys)).carried(carried()?).build()?;
    let app = trust.layer(Router::new().route("/", get(hello)));
    tokio::spawn(nexthop::serve(back, app).into_future());

    println!("http://{}", front.local_addr()?);
    let site = Router::new().fallback_service(proxy).layer(map_request(log_in));
    nexthop::serve(front, site).with_graceful_shutdown(nexthop::serve::shutdown_signal()).await;
    Ok(())
}

/// The front end authenticates users with HTTP basic authentication.
async fn log_in<B>(mut request: Request<B>) -> Request<B> {
    if password(request.headers()).as_deref() == Some(b"alice:wonder") {
        request.extensions_mut().insert(User { name: "alice".into(), groups: vec!["staff".into()] });
    }
    request.headers_mut().remove("authorization"); // not for the backend
    request
}

fn password(headers: &HeaderMap) -> Option<Vec<u8>> {
    STANDARD.decode(headers.get("authorization")?.to_str().ok()?.strip_prefix("Basic ")?).ok()
}

/// The backend gets a user only if the front end sent one.
async fn hello(user: Option<CarriedKey<User>>) -> String {
    match user {
        Some(CarriedKey(user)) => format!("hello {}, member of {:?}\n", user.name, user.groups),
        None => "nobody is logged in\n".to_owned(),
    }
}
