//! The shortest reverse proxy on axum: a handler that passes the request to hyper-util's pooled client, as in axum's own `reverse-proxy`
//! example. Defaults throughout, so Nagle's algorithm stays on and no header is removed. Arguments: LISTEN UPSTREAM.

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

#[derive(Clone)]
struct Proxy {
    client: Client<HttpConnector, Body>,
    upstream: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(upstream)) = (args.next(), args.next()) else {
        return Err(std::io::Error::other("usage: axum-legacy LISTEN UPSTREAM"));
    };
    let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let app = Router::new().fallback(forward).with_state(Proxy { client, upstream });
    axum::serve(tokio::net::TcpListener::bind(listen).await?, app).await
}

async fn forward(State(proxy): State<Proxy>, mut request: Request) -> Result<Response, StatusCode> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri = format!("http://{}{path}", proxy.upstream);
    *request.uri_mut() = Uri::try_from(uri).map_err(|_| StatusCode::BAD_REQUEST)?;
    *request.version_mut() = axum::http::Version::HTTP_11; // a request that came over HTTP/2 goes out as HTTP/1.1
    Ok(proxy.client.request(request).await.map_err(|_| StatusCode::BAD_GATEWAY)?.into_response())
}
