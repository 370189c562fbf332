use std::net::{IpAddr, SocketAddr};

use ::axum::extract::{ConnectInfo, FromRequestParts};
use http::{Request, request::Parts, uri::Scheme};

use super::*;
use crate::ext::{Carried, OriginalRequest, PeerAddr, TrustedBy};

fn request(origin: Option<OriginalRequest>) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    if let Some(origin) = origin {
        parts.extensions.insert(origin);
    }
    parts
}

fn origin(client: Option<IpAddr>) -> OriginalRequest {
    OriginalRequest {
        peer: Some(peer()),
        client,
        client_port: None,
        scheme: Scheme::HTTP,
        host: None,
        prefix: String::new(),
        hops: Vec::new(),
        trusted_by: TrustedBy::None,
    }
}

fn peer() -> PeerAddr {
    PeerAddr::Tcp(SocketAddr::from(([192, 0, 2, 1], 1)))
}

async fn extract<T: FromRequestParts<()>>(mut parts: Parts) -> Result<T, T::Rejection> {
    T::from_request_parts(&mut parts, &()).await
}

#[tokio::test]
async fn rejects_what_no_middleware_has_seen() {
    assert_eq!(extract::<OriginalRequest>(request(None)).await.unwrap_err(), Rejection::NoMiddleware);
    assert_eq!(extract::<ClientIp>(request(None)).await, Err(Rejection::NoMiddleware));
    assert_eq!(extract::<Option<ClientIp>>(request(None)).await, Err(Rejection::NoMiddleware));
    assert_eq!(extract::<CarriedKey<u8>>(request(None)).await, Err(Rejection::NoMiddleware));
    assert_eq!(extract::<Option<CarriedKey<u8>>>(request(None)).await, Err(Rejection::NoMiddleware));
    assert_eq!(extract::<Carried>(request(None)).await, Err(Rejection::NoMiddleware));
    assert_eq!(extract::<PeerAddr>(request(None)).await, Err(Rejection::NoPeer));
    assert!(extract::<Option<OriginalRequest>>(request(None)).await.unwrap().is_none());
    assert!(extract::<Option<PeerAddr>>(request(None)).await.unwrap().is_none());
}

#[tokio::test]
async fn extracts_the_client_and_the_peer() {
    let ip = IpAddr::from([198, 51, 100, 7]);
    assert_eq!(extract::<OriginalRequest>(request(Some(origin(Some(ip))))).await.unwrap().client(), Some(ip));
    assert_eq!(extract::<ClientIp>(request(Some(origin(Some(ip))))).await, Ok(ClientIp(ip)));
    assert_eq!(extract::<ClientIp>(request(Some(origin(None)))).await, Err(Rejection::UnknownClient));
    assert_eq!(extract::<Option<ClientIp>>(request(Some(origin(None)))).await, Ok(None));
    assert_eq!(extract::<PeerAddr>(request(Some(origin(Some(ip))))).await, Ok(peer()));
}

#[tokio::test]
async fn extracts_carried_keys_by_type() {
    let mut parts = request(Some(origin(None)));
    parts.extensions.insert(7u8);
    assert_eq!(extract::<CarriedKey<u8>>(parts.clone()).await, Ok(CarriedKey(7)));
    assert_eq!(extract::<CarriedKey<u16>>(parts.clone()).await, Err(Rejection::NotCarried));
    assert_eq!(extract::<Option<CarriedKey<u16>>>(parts.clone()).await, Ok(None));
    assert_eq!(extract::<Carried>(parts.clone()).await, Ok(Carried::new()));
    let mut carried = Carried::new();
    carried.insert_text("user", "alice");
    parts.extensions.insert(carried.clone());
    assert_eq!(extract::<Carried>(parts).await, Ok(carried));
}

#[tokio::test]
async fn finds_the_peer_of_our_server_and_of_axums() {
    let other = PeerAddr::Tcp(SocketAddr::from(([192, 0, 2, 2], 2)));
    let mut parts = request(None);
    parts.extensions.insert(ConnectInfo(peer()));
    assert_eq!(extract::<PeerAddr>(parts.clone()).await, Ok(peer()));
    parts.extensions.insert(other.clone());
    assert_eq!(extract::<PeerAddr>(parts.clone()).await, Ok(other));
    // An address that axum's own type names may be a claim that somebody restored: not asked.
    let mut parts = request(None);
    parts.extensions.insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 3], 3))));
    assert_eq!(extract::<Option<PeerAddr>>(parts).await, Ok(None));
}

#[test]
fn keeps_types_and_names_out_of_answers() {
    for rejection in [Rejection::NotCarried, Rejection::NoMiddleware, Rejection::NoPeer, Rejection::UnknownClient] {
        let response = ::axum::response::IntoResponse::into_response(rejection);
        assert_eq!(response.status(), rejection.status());
        assert_eq!(
            rejection.status().is_server_error(),
            matches!(rejection, Rejection::NoMiddleware | Rejection::NoPeer)
        );
    }
}

#[tokio::test]
async fn answers_with_an_error_as_the_services_do_and_with_a_body_as_it_is() {
    use ::axum::{body::to_bytes, response::IntoResponse};

    let secret = std::io::Error::other("10.0.0.1 refused");
    let error = crate::Error::new(crate::ErrorKind::Connect, "no connection").with_source(secret);
    let response = error.into_response();
    assert_eq!(response.status(), 502);
    assert_eq!(response.extensions().get::<crate::Error>().map(crate::Error::kind), Some(crate::ErrorKind::Connect));
    assert_eq!(to_bytes(response.into_body(), 99).await.unwrap(), "Bad Gateway\n");

    let response = crate::Body::from("text").into_response();
    assert_eq!(response.headers().get("content-type"), None);
    assert_eq!(to_bytes(response.into_body(), 99).await.unwrap(), "text");
}
