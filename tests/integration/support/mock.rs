//! An application that returns the request it received through a layer.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
};

use http::{Request, Response, request};
use http_body_util::BodyExt;
use nexthop::{
    Body, Error,
    ext::{OriginalRequest, PeerAddr, UnixPeer},
    middleware::ProxyMiddleware,
};
use tower::{Layer, ServiceExt};

/// A request as the application received it.
pub struct Saw {
    pub parts: request::Parts,
    pub body: Result<Vec<u8>, Error>,
}

impl Saw {
    pub fn origin(&self) -> &OriginalRequest {
        self.parts.extensions.get().expect("every admitted request has an OriginalRequest")
    }

    pub fn client(&self) -> Option<String> {
        self.origin().client().map(|ip| ip.to_string())
    }

    /// Returns the values of all lines of a header, joined by `|`.
    pub fn header(&self, name: &str) -> Option<String> {
        let lines: Vec<_> =
            self.parts.headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
        (!lines.is_empty()).then(|| lines.join("|"))
    }
}

/// Sends a request through the layer. Returns the request that the application received, or the status and the error of
/// the refusal.
pub async fn through(layer: &ProxyMiddleware, request: Request<Body>) -> Result<Saw, (u16, Error)> {
    let (seen, mut sight) = tokio::sync::mpsc::channel(1);
    let app = tower::service_fn(move |request: Request<Body>| {
        let seen = seen.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes().to_vec());
            assert!(seen.send(Saw { parts, body }).await.is_ok(), "the application receives one request only");
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }
    });
    let response = layer.layer(app).oneshot(request).await.unwrap();
    match sight.try_recv() {
        Ok(saw) => {
            assert_eq!(response.status(), 200);
            Ok(saw)
        }
        Err(_) => {
            let error =
                response.extensions().get::<Error>().expect("a refusal inserts its error for outer layers").clone();
            assert_eq!(response.status(), error.status());
            Err((response.status().as_u16(), error))
        }
    }
}

/// Returns a request on a socket whose peer is `peer`: an address, `uid:N`, or empty if the peer is unknown.
pub fn request(peer: &str, uri: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::get(uri);
    if !fields.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "socket.example");
    }
    for (name, value) in fields {
        request = request.header(*name, value.as_bytes());
    }
    if let Some(uid) = peer.strip_prefix("uid:") {
        request = request.extension(PeerAddr::Unix(UnixPeer::unknown().with_uid(uid.parse().unwrap())));
    } else if !peer.is_empty() {
        request = request.extension(PeerAddr::Tcp(SocketAddr::new(peer.parse::<IpAddr>().unwrap(), 50_000)));
    }
    request.body(Body::empty()).unwrap()
}

/// Sends such a request through the layer, as [`through`] does, without the error of a refusal.
pub async fn ask(layer: &ProxyMiddleware, peer: &str, uri: &str, fields: &[(&str, &str)]) -> Result<Saw, u16> {
    through(layer, request(peer, uri, fields)).await.map_err(|(status, _)| status)
}

/// Sends such a request through the layer, which must admit it.
#[track_caller]
pub fn admitted(layer: &ProxyMiddleware, peer: &str, uri: &str, fields: &[(&str, &str)]) -> impl Future<Output = Saw> {
    let at = std::panic::Location::caller();
    let request = request(peer, uri, fields);
    async move { through(layer, request).await.unwrap_or_else(|refused| panic!("{at}: refused: {refused:?}")) }
}
