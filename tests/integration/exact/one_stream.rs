//! One request on a stream that the caller supplies.

use std::{sync::Arc, time::Duration};

use http::Request;
use nexthop::{Body, ErrorKind, ExactProxy, Phase, net::Tls, tunnel::Upgraded};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::TlsAcceptor;

use crate::support::{RawConn, get, post, read, tls::TestCa, within, within_limit};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn the_request_goes_out_on_the_stream_which_is_closed_after_the_response() {
    let (ours, theirs) = duplex(1024);
    let mut conn = RawConn::over(theirs);
    let upstream = async {
        let seen = conn.request().await;
        conn.write(OK).await;
        seen
    };
    let proxy = ExactProxy::new();
    let sending = proxy.send_on(ours, post("http://app.example.test/a", "body"));
    let (response, seen) = tokio::join!(within("a response", sending), upstream);
    assert_eq!(
        seen.head,
        "POST /a HTTP/1.1\r\nhost: app.example.test\r\nconnection: close\r\ncontent-length: 4\r\n\r\n"
    );
    assert_eq!(read(response.unwrap()).await.0, b"ok");
    assert_eq!(within("the end of the stream", conn.try_request()).await.unwrap().map(|seen| seen.head), None);
}

#[tokio::test]
async fn tls_is_spoken_over_the_stream_where_the_scheme_asks_for_it() {
    let ca = TestCa::new();
    let (ours, theirs) = duplex(1024);
    let accepting = TlsAcceptor::from(Arc::new(ca.server_config(&["http/1.1"]))).accept(theirs);
    let upstream = async {
        let mut conn = RawConn::over(accepting.await.unwrap());
        conn.request().await;
        conn.write(OK).await;
    };
    let proxy = ExactProxy::builder().tls(Tls::roots_pem(ca.root_pem().as_bytes()).unwrap()).build().unwrap();
    let (response, ()) = tokio::join!(within("a response", proxy.send_on(ours, get("https://localhost/"))), upstream);
    assert_eq!(read(response.unwrap()).await.0, b"ok");
}

#[tokio::test(start_paused = true)]
async fn a_stream_on_which_nobody_shakes_hands_is_out_of_time() {
    let ca = TestCa::new();
    let (ours, _theirs) = duplex(64 * 1024);
    let proxy = ExactProxy::builder().tls(Tls::roots_pem(ca.root_pem().as_bytes()).unwrap()).build().unwrap();
    let sending = proxy.send_on(ours, get("https://localhost/"));
    let error = within_limit(Duration::from_secs(60), "an error", sending).await.unwrap_err();
    assert_eq!((error.kind(), error.phase(), error.status().as_u16()), (ErrorKind::Timeout, Phase::Tls, 504));
}

#[tokio::test]
async fn an_upgraded_stream_is_carried_in_the_response() {
    let (ours, theirs) = duplex(1024);
    let mut conn = RawConn::over(theirs);
    let upstream = async {
        conn.request().await;
        conn.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
        let said = conn.read(4).await;
        conn.write(said).await;
    };
    let request = Request::get("http://app.example.test/").header("connection", "upgrade").header("upgrade", "echo");
    let client = async {
        let mut response = ExactProxy::new().send_on(ours, request.body(Body::empty()).unwrap()).await.unwrap();
        let mut stream = Upgraded::take(&mut response).unwrap();
        stream.write_all(b"echo").await.unwrap();
        let mut said = [0; 4];
        stream.read_exact(&mut said).await.unwrap();
        said
    };
    let (said, ()) = within("the echo", async { tokio::join!(client, upstream) }).await;
    assert_eq!(&said, b"echo");
}

#[tokio::test]
async fn a_request_is_not_sent_again_elsewhere_when_its_stream_fails() {
    let (ours, theirs) = duplex(1024);
    drop(theirs);
    let error = ExactProxy::new().send_on(ours, get("http://app.example.test/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Upstream);
    let (ours, _theirs) = duplex(1024);
    let error = ExactProxy::new().send_on(ours, get("ftp://h/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTarget);
}
