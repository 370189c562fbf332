//! axum-reverse-proxy as in its README, with its default policy. Arguments: LISTEN UPSTREAM.

use axum::Router;
use axum_reverse_proxy::ReverseProxy;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(upstream)) = (args.next(), args.next()) else {
        return Err(std::io::Error::other("usage: axum-reverse-proxy LISTEN UPSTREAM"));
    };
    let app: Router = ReverseProxy::new("/", format!("http://{upstream}")).into();
    axum::serve(tokio::net::TcpListener::bind(listen).await?, app).await
}
