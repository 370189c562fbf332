//! Streaming through an app behind the server: trailers, events, early responses, and bodies that end with the
//! connection.

use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nexthop::ProxyApp;
use tokio::sync::mpsc;

use super::app;
use crate::support::{Front, RawUpstream, within};

const WITH_TRAILERS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                             3\r\nabc\r\n0\r\nx-sum: 1\r\nx-unannounced: 2\r\n\r\n";

fn plain(upstream: &RawUpstream) -> ProxyApp {
    app(upstream, "").build().unwrap()
}

/// Connects an HTTP/2 client to `front` with prior knowledge.
async fn http2(front: &Front) -> hyper::client::conn::http2::SendRequest<Full<bytes::Bytes>> {
    let io = TokioIo::new(tokio::net::TcpStream::connect(front.addr).await.unwrap());
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn announced_trailers_reach_a_client_that_takes_them_and_no_other() {
    let upstream = RawUpstream::answering([WITH_TRAILERS]);
    let front = Front::serve(plain(&upstream)).await;
    let with = front.exchange("GET / HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: te\r\n\r\n").await;
    assert_eq!((with.status(), with.text(), with.header("trailer")), (200, "abc", Some("x-sum")));
    assert_eq!(String::from_utf8_lossy(&with.wire_body), "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n");
    assert_eq!(upstream.requests()[0].header("te"), Some("trailers"));

    let without = front.exchange("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(String::from_utf8_lossy(&without.wire_body), "3\r\nabc\r\n0\r\n\r\n");
}

#[tokio::test]
async fn every_trailer_reaches_a_client_on_http_2() {
    let upstream = RawUpstream::answering([WITH_TRAILERS]);
    let front = Front::serve(plain(&upstream)).await;
    let request = Request::get(front.url("/")).version(Version::HTTP_2).body(Full::default()).unwrap();
    let response = within("a response", http2(&front).await.send_request(request)).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
    let body = within("its body", response.into_body().collect()).await.unwrap();
    let trailers = body.trailers().unwrap();
    assert_eq!(trailers["x-sum"], "1");
    assert_eq!(trailers["x-unannounced"], "2");
    assert_eq!(body.to_bytes(), "abc");
    assert_eq!(upstream.only_request().line(), "GET / HTTP/1.1");
}

/// Starts an upstream that sends one event for each message on the returned sender.
fn events() -> (RawUpstream, mpsc::UnboundedSender<()>) {
    let (more, asked) = mpsc::unbounded_channel::<()>();
    let asked = std::sync::Mutex::new(Some(asked));
    let upstream = RawUpstream::tcp(move |mut conn| {
        let asked = asked.lock().unwrap().take();
        async move {
            conn.request().await;
            conn.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                .await;
            let mut asked = asked.unwrap();
            while asked.recv().await.is_some() {
                conn.write("9\r\ndata: x\n\n\r\n").await;
            }
            conn.write("0\r\n\r\n").await;
        }
    });
    (upstream, more)
}

#[tokio::test]
async fn each_event_arrives_before_the_next_one_is_made() {
    let (upstream, more) = events();
    let front = Front::serve(plain(&upstream)).await;
    let mut client = front.client().await;
    client.send("GET / HTTP/1.1\r\nhost: h\r\naccept: text/event-stream\r\n\r\n").await;
    let mut got = Vec::new();
    while !got.ends_with(b"\r\n\r\n") {
        got.extend(client.read(1).await); // the head arrives before the first event is sent
    }
    for _ in 0..20 {
        more.send(()).unwrap();
        assert_eq!(client.read(14).await, b"9\r\ndata: x\n\n\r\n");
    }
    drop(more);
    assert_eq!(client.read(5).await, b"0\r\n\r\n");
}

#[tokio::test]
async fn each_event_arrives_before_the_next_one_is_made_on_http_2_too() {
    let (upstream, more) = events();
    let front = Front::serve(plain(&upstream)).await;
    let request = Request::get(front.url("/")).version(Version::HTTP_2).body(Full::default()).unwrap();
    let mut body = within("the head", http2(&front).await.send_request(request)).await.unwrap().into_body();
    for _ in 0..20 {
        more.send(()).unwrap();
        let event = within("an event", body.frame()).await.unwrap().unwrap();
        assert_eq!(event.into_data().unwrap(), "data: x\n\n");
    }
    drop(more);
    assert_eq!(within("the end", body.collect()).await.unwrap().to_bytes(), "");
}

#[tokio::test]
async fn an_upload_without_end_is_answered_while_it_goes_on() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        conn.write("HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
        conn.read_to_end().await;
    });
    let front = Front::serve(plain(&upstream)).await;
    let io = tokio::net::TcpStream::connect(front.addr).await.unwrap();
    let (read, mut write) = tokio::io::split(io);
    let uploading = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let head = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n", 1_u64 << 30);
        let mut sent = write.write_all(head.as_bytes()).await;
        let mut bytes = 0;
        while sent.is_ok() {
            sent = write.write_all(&[7; 16 * 1024]).await;
            bytes += 16 * 1024;
        }
        bytes
    });
    let mut client = crate::support::RawClient::over(tokio::io::join(read, tokio::io::sink()));
    let response = client.response().await;
    assert_eq!((response.status(), response.text()), (413, "big"));
    let sent = within("the end of the upload", uploading).await.unwrap();
    assert!(sent < 1 << 28, "{sent} bytes of a gibibyte were accepted");
    upstream.wait_closed().await;
}

#[tokio::test]
async fn ends_are_told_in_the_clients_own_way() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let closing = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc";
    let until_close = "HTTP/1.1 200 OK\r\n\r\nabc";
    let old = "HTTP/1.0 200 OK\r\n\r\nabc";
    let old_sized = "HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc";
    for (answer, sized) in [(chunked, false), (closing, true), (until_close, false), (old, false), (old_sized, true)] {
        let upstream = RawUpstream::tcp(move |mut conn| async move {
            conn.request().await;
            conn.write(answer).await;
        });
        let front = Front::serve(plain(&upstream)).await;
        let mut client = front.client().await;
        for _ in 0..2 {
            // The upstream closes its connection; the client's connection stays open.
            let new = client.exchange("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
            assert!(new.head.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
            assert_eq!((new.text(), new.header("connection")), ("abc", None), "{answer:?}");
            let length = sized.then_some("3");
            assert_eq!(new.header("content-length"), length, "{answer:?}");
            assert_eq!(new.header("transfer-encoding"), if sized { None } else { Some("chunked") }, "{answer:?}");
        }
        let mut client = front.client().await;
        let aged = client.exchange("GET / HTTP/1.0\r\nhost: h\r\n\r\n").await;
        assert_eq!((aged.text(), aged.header("transfer-encoding")), ("abc", None), "{answer:?}");
        client.closed().await;
    }
}
