//! HTTP/1.0, HTTP/1.1 and HTTP/2 on one port, byte for byte.

use axum::{Router, body::Body, extract::Request, response::Response, routing::get};
use http::{StatusCode, Version, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Front, RawClient, body::pieces, echo};

/// Answers with a body of unknown length, like an HTTP/1.0 origin server.
fn unsized_answer() -> Router {
    Router::new().fallback(async || {
        let mut response = Response::new(Body::new(pieces(&["one", "two"])));
        *response.version_mut() = Version::HTTP_10;
        response
    })
}

#[tokio::test]
async fn the_shortest_http_1_0_request_is_answered_at_once() {
    let front = Front::serve(unsized_answer()).await;
    let mut client = front.client().await;
    client.send("GET /a HTTP/1.0\r\n\r\n").await; // 19 bytes: shorter than the preface of HTTP/2
    let response = client.response().await;
    assert!(response.head.starts_with("HTTP/1.0 200 OK\r\n"), "{}", response.head);
    assert_eq!((response.header("transfer-encoding"), response.header("content-length")), (None, None));
    assert_eq!(response.text(), "onetwo"); // ended by close
}

#[tokio::test]
async fn an_http_1_0_client_that_asks_for_it_keeps_its_connection_where_the_length_is_known() {
    let front = Front::serve(echo()).await;
    let mut client = front.client().await;
    for path in ["/1", "/2"] {
        let response = client.exchange(format!("GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")).await;
        assert!(response.head.starts_with("HTTP/1.0 200 OK\r\n"), "{}", response.head);
        assert_eq!(response.echo().uri, path);
    }
    client.exchange("GET / HTTP/1.0\r\n\r\n").await;
    client.closed().await;
}

#[tokio::test]
async fn the_version_of_a_response_is_the_connections_and_not_the_services() {
    let front = Front::serve(unsized_answer()).await;
    let mut client = front.client().await;
    for _ in 0..2 {
        let response = client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(response.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", response.head);
        assert_eq!((response.header("transfer-encoding"), response.text()), (Some("chunked"), "onetwo"));
    }
}

#[tokio::test]
async fn requests_are_told_from_http_2_at_the_first_byte_that_differs() {
    let front = Front::serve(echo()).await;
    for pieces in [
        &["P", "OST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"][..],
        &["PRI * HTTP/2.", "1\r\nHost: a\r\n\r\n"],
        &["\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"],
    ] {
        let mut client = front.client().await;
        for piece in pieces {
            client.send(piece).await;
            tokio::task::yield_now().await;
        }
        let status = client.response().await.status();
        assert_eq!(status, if pieces[0].starts_with("PRI") { 400 } else { 200 }, "{pieces:?}");
    }
}

#[tokio::test]
async fn pipelined_requests_that_came_in_one_packet_are_all_answered() {
    let front = Front::serve(echo()).await;
    let mut client = front.client().await;
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n".repeat(300)).await; // more than the server reads ahead
    for _ in 0..300 {
        assert_eq!(client.response().await.echo().uri, "/1");
    }
}

#[tokio::test]
async fn http_2_is_spoken_by_prior_knowledge_even_byte_by_byte() {
    let front = Front::serve(echo()).await;
    let (io, mut wire) = tokio::io::duplex(64 * 1024);
    let mut tcp = TcpStream::connect(front.addr).await.unwrap();
    tokio::spawn(async move {
        let mut preface = [0; 24];
        wire.read_exact(&mut preface).await.unwrap();
        for byte in preface {
            tcp.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let _ = tokio::io::copy_bidirectional(&mut wire, &mut tcp).await;
    });
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().uri("http://h/a?b").body(Body::empty()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
}

#[tokio::test]
async fn http_2_offers_extended_connect() {
    let front = Front::serve(echo()).await;
    let mut client = front.client().await;
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let head = client.read(9).await;
    assert_eq!((head[3], head[4]), (4, 0), "SETTINGS");
    let settings = client.read(usize::from(u16::from_be_bytes([head[1], head[2]]))).await;
    // RFC 8441 §3: SETTINGS_ENABLE_CONNECT_PROTOCOL (0x8) is 1.
    assert!(settings.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]), "{settings:?}");
}

#[tokio::test]
async fn without_http_2_its_preface_is_no_request() {
    let front = Front::serve_with(echo(), |serve| serve.http2(false)).await;
    let mut client = front.client().await;
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let (answer, _) = client.read_to_end().await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "), "{answer:?}");
}

#[tokio::test]
async fn an_upgraded_connection_is_the_services_with_the_bytes_that_came_early() {
    let app = Router::new().route(
        "/",
        get(async |mut request: Request| {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgrade.await.unwrap());
                let mut line = [0; 4];
                io.read_exact(&mut line).await.unwrap();
                io.write_all(&line).await.unwrap();
            });
            Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header(header::CONNECTION, "upgrade")
                .header(header::UPGRADE, "echo")
                .body(Body::empty())
                .unwrap()
        }),
    );
    let front = Front::serve(app).await;
    let mut client = front.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nab").await;
    assert_eq!(client.head_response().await.status(), 101);
    client.send("cd").await;
    assert_eq!(client.read(4).await, b"abcd");
    client.closed().await;
}

#[tokio::test]
async fn a_service_that_panics_ends_its_own_connection_alone() {
    let app = Router::new().route("/panic", get(async || -> &'static str { panic!("said the handler") })).merge(echo());
    let front = Front::serve(app).await;
    let mut other = front.client().await;
    other.exchange("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut client = front.client().await;
    client.send("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.closed().await;
    assert_eq!(other.exchange("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await.echo().uri, "/2");
}

#[tokio::test]
async fn a_service_that_fails_with_a_foreign_error_closes_the_connection() {
    let app = tower::service_fn(async |_: http::Request<hyper::body::Incoming>| {
        Err::<http::Response<String>, _>(std::io::Error::other("no answer"))
    });
    let front = Front::serve(app).await;
    let mut client: RawClient = front.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.closed().await;
}

#[tokio::test]
async fn a_service_that_is_not_ready_is_asked_again_until_it_is() {
    // The service handles one request at a time; the second client waits for the response to the first one.
    let (release, gate) = tokio::sync::watch::channel(false);
    let app = tower::service_fn(move |_| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.unwrap();
            Ok::<_, std::convert::Infallible>(Response::new(Body::from("done")))
        }
    });
    let front = Front::serve(tower::limit::ConcurrencyLimit::new(app, 1)).await;
    let (mut first, mut second) = (front.client().await, front.client().await);
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    second.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    release.send(true).unwrap();
    assert_eq!((first.response().await.text(), second.response().await.text()), ("done", "done"));
}
