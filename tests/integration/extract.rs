//! The extractors under `axum::serve` and under `nexthop::serve`.

use axum::{
    Router, ServiceExt,
    extract::{ConnectInfo, Request},
    routing::get,
};
use nexthop::{
    axum::ClientIp,
    ext::{OriginalRequest, PeerAddr},
    middleware::{ProxyMiddleware, Trust},
    protocol::ForwardedHeaders,
};
use tower::Layer;

use super::support::{Front, RawClient, RawResponse, within};

fn app() -> Router {
    Router::new()
        .route("/peer", get(async |peer: PeerAddr| format!("{:?}", peer.ip())))
        .route("/maybe-peer", get(async |peer: Option<PeerAddr>| format!("{}", peer.is_some())))
        .route("/client", get(async |ClientIp(ip): ClientIp| ip.to_string()))
        .route("/maybe-client", get(async |client: Option<ClientIp>| format!("{client:?}")))
        .route("/origin", get(async |origin: OriginalRequest| origin.scheme().to_string()))
        .route("/maybe-origin", get(async |origin: Option<OriginalRequest>| format!("{}", origin.is_some())))
}

fn layer() -> ProxyMiddleware {
    let trust = Trust::peers(["loopback"]).unwrap();
    ProxyMiddleware::builder().trust(trust).read_headers(ForwardedHeaders::XForwarded).build().unwrap()
}

fn get_with(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}Connection: close\r\n\r\n")
}

/// Sends one request to a server that `axum::serve` runs.
async fn under_axum<S>(service: S, request: String) -> RawResponse
where
    S: tower::Service<Request, Response = axum::response::Response, Error = std::convert::Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let make = ServiceExt::<Request>::into_make_service_with_connect_info::<PeerAddr>(service);
    let server = axum::serve(listener, make);
    within("an exchange with axum::serve", async {
        tokio::select! {
            ended = async { server.await } => panic!("the server ended: {ended:?}"),
            response = async { RawClient::tcp(addr).await.exchange(request).await } => response,
        }
    })
    .await
}

#[tokio::test]
async fn axum_serve_names_the_peer() {
    let response = under_axum(app(), get_with("/peer", "")).await;
    assert_eq!((response.status(), response.text()), (200, "Some(127.0.0.1)"));
}

#[tokio::test]
async fn a_layer_under_axum_serve_believes_the_peer_it_names() {
    let response = under_axum(layer().layer(app()), get_with("/client", "X-Forwarded-For: 192.0.2.7\r\n")).await;
    assert_eq!((response.status(), response.text()), (200, "192.0.2.7"));
    let response = under_axum(layer().layer(app()), get_with("/peer", "X-Forwarded-For: 192.0.2.7\r\n")).await;
    assert_eq!((response.status(), response.text()), (200, "Some(127.0.0.1)"));
}

#[tokio::test]
async fn axums_own_address_is_no_peer_unless_asked_for() {
    let app = Router::new().route("/", get(async |peer: Option<PeerAddr>| format!("{}", peer.is_some())));
    let app = app.layer(axum::Extension(ConnectInfo(std::net::SocketAddr::from(([127, 0, 0, 1], 1)))));
    assert_eq!(Front::hyper(app).await.exchange(get_with("/", "")).await.text(), "false");
}

#[cfg(unix)]
#[tokio::test]
async fn axum_serve_names_the_user_at_the_other_end_of_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let own = tokio::net::UnixStream::pair().unwrap().0.peer_cred().unwrap().uid();
    let trust = Trust::unix_peer([own]);
    let layer = ProxyMiddleware::builder().trust(trust).read_headers(ForwardedHeaders::XForwarded).build().unwrap();
    let service = layer.layer(app());
    let make = ServiceExt::<Request>::into_make_service_with_connect_info::<PeerAddr>(service);
    let server = axum::serve(listener, make);
    let response = within("an exchange over a unix socket", async {
        tokio::select! {
            ended = async { server.await } => panic!("the server ended: {ended:?}"),
            response = async {
                let mut client = RawClient::unix(&path).await;
                client.exchange(get_with("/client", "X-Forwarded-For: 192.0.2.7\r\n")).await
            } => response,
        }
    })
    .await;
    assert_eq!((response.status(), response.text()), (200, "192.0.2.7"));
}

#[tokio::test]
async fn our_server_names_the_peer() {
    let front = Front::serve(layer().layer(app())).await;
    let claim = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n";
    assert_eq!(front.exchange(get_with("/peer", claim)).await.text(), "Some(127.0.0.1)");
    assert_eq!(front.exchange(get_with("/client", claim)).await.text(), "192.0.2.7");
    assert_eq!(front.exchange(get_with("/origin", claim)).await.text(), "https");
    assert_eq!(front.exchange(get_with("/client", "")).await.text(), "127.0.0.1");
}

#[tokio::test]
async fn an_unreadable_client_is_unknown_and_a_bad_request() {
    let front = Front::serve(layer().layer(app())).await;
    let claim = "X-Forwarded-For: 192.0.2.7, nonsense\r\n";
    assert_eq!(front.exchange(get_with("/client", claim)).await.status(), 400);
    assert_eq!(front.exchange(get_with("/maybe-client", claim)).await.text(), "None");
}

#[tokio::test]
async fn without_the_layer_it_is_the_servers_fault() {
    let front = Front::hyper(app()).await;
    for path in ["/peer", "/client", "/maybe-client", "/origin"] {
        let response = front.exchange(get_with(path, "")).await;
        assert_eq!((response.status(), response.text()), (500, "the server is misconfigured"), "{path}");
    }
    assert_eq!(front.exchange(get_with("/maybe-peer", "")).await.text(), "false");
    assert_eq!(front.exchange(get_with("/maybe-origin", "")).await.text(), "false");
}
