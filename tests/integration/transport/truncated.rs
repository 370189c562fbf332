//! Upstreams that break off: what has arrived is delivered, and then it is seen that the rest is missing.

use std::{
    io::{self, Write},
    sync::Arc,
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nexthop::{ExactProxy, ProxyApp, net::Tls};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::{Frames, Front, RawUpstream, Scripted, get, read, send, tls::TestCa, within};

/// How an upstream ends its connection over TLS, in the same write as the last of its data.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// As it should: `close_notify`, then FIN.
    Notify,
    Fin,
    Reset,
    /// With a record that cannot be decrypted.
    Garbage,
    /// Within a record.
    Half,
}

const CUTS: [End; 4] = [End::Fin, End::Reset, End::Garbage, End::Half];

/// Answers one request over TLS with these bytes, and ends the connection. Returns its URL.
async fn over_tls(ca: &TestCa, response: Vec<u8>, end: End) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let acceptor = TlsAcceptor::from(Arc::new(ca.server_config(&["http/1.1"])));
    let task = tokio::spawn(async move {
        let (io, _) = listener.accept().await.unwrap();
        io.set_nodelay(true).unwrap(); // so that nothing is unsent when it is reset
        let mut tls = acceptor.accept(io).await.unwrap();
        head(&mut tls).await;
        let (mut io, mut tls) = tls.into_inner();
        let mut wire = Vec::new();
        for piece in response.chunks(16_000) {
            tls.writer().write_all(piece).unwrap();
            while tls.wants_write() {
                tls.write_tls(&mut wire).unwrap();
            }
        }
        let record = [&[0x17, 3, 3, 0, 32][..], &[7; 32]].concat();
        match end {
            End::Notify => {
                tls.send_close_notify();
                tls.write_tls(&mut wire).unwrap();
            }
            End::Garbage => wire.extend_from_slice(&record),
            End::Half => wire.extend_from_slice(&record[..20]),
            End::Fin | End::Reset => {}
        }
        io.write_all(&wire).await.unwrap();
        if end == End::Reset {
            io.set_zero_linger().unwrap();
        }
    });
    (url, task)
}

async fn head(io: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.unwrap());
    }
}

fn client(ca: &TestCa) -> ExactProxy {
    ExactProxy::builder().tls(Tls::roots_pem(ca.root_pem().as_bytes()).unwrap()).build().unwrap()
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n % 251) as u8).collect()
}

/// Responses that end within a body whose first bytes these are, by how it is framed.
fn responses(body: &[u8]) -> [(&'static str, Vec<u8>); 3] {
    let size = body.len() + 10;
    let heads = [
        ("length", format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n")),
        ("chunked", format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{size:x}\r\n")),
        ("close", "HTTP/1.1 200 OK\r\n\r\n".to_owned()),
    ];
    heads.map(|(framing, head)| (framing, [head.as_bytes(), body].concat()))
}

/// Sizes of what arrives: with the head, beyond one record, beyond what a socket holds.
fn sizes(end: End) -> &'static [usize] {
    // A reset takes nothing from what the other side of a loopback has received, but from what was still to be sent.
    if end == End::Reset { &[0, 1, 16_000] } else { &[0, 1, 16_000, 40_000, 2_000_000] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_was_decrypted_is_delivered_before_the_error() {
    let ca = TestCa::new();
    for end in CUTS {
        for size in sizes(end) {
            let body = bytes(*size);
            for (framing, response) in responses(&body) {
                let (url, task) = over_tls(&ca, response, end).await;
                let response = send(&client(&ca), get(url)).await.unwrap();
                let (delivered, ended) = read(response).await;
                assert!(delivered == body, "{end:?}, {framing}: {} of {size}", delivered.len());
                assert_eq!(ended.unwrap_err().status(), 502, "{end:?}, {framing}, {size}");
                task.await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_whole_after_close_notify_alone() {
    let ca = TestCa::new();
    let (url, task) = over_tls(&ca, b"HTTP/1.1 200 OK\r\n\r\nwhole".to_vec(), End::Notify).await;
    let (delivered, ended) = read(send(&client(&ca), get(url)).await.unwrap()).await;
    assert_eq!((&delivered[..], ended.is_ok()), (&b"whole"[..], true));
    task.await.unwrap();
}

/// The head and what came of the body, without the framing of chunks.
fn taken_apart(received: &[u8]) -> (String, Vec<u8>) {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head") + 4;
    let head = String::from_utf8(received[..end].to_vec()).unwrap();
    let mut rest = &received[end..];
    if !head.contains("chunked") {
        return (head, rest.to_vec());
    }
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        assert!(size > 0, "the last chunk");
        rest = &rest[line + 2..];
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
    (head, body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_gets_all_that_has_arrived_and_then_an_end_that_is_none() {
    let ca = TestCa::new();
    for end in CUTS {
        for size in sizes(end) {
            let body = bytes(*size);
            for (framing, response) in responses(&body) {
                let (url, task) = over_tls(&ca, response, end).await;
                let app = ProxyApp::builder(url).client(client(&ca)).build().unwrap();
                let front = Front::serve(app).await;
                let mut asking = front.client().await;
                asking.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
                let (head, delivered) = taken_apart(&asking.read_to_end().await.0);
                assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
                assert!(delivered == body, "{end:?}, {framing}: {} of {size}", delivered.len());
                task.await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_does_a_client_over_tls_or_http_2_and_one_of_an_upstream_without_tls() {
    let ca = TestCa::new();
    for size in [0, 1, 16_000, 40_000, 2_000_000] {
        let body = bytes(size);
        let [(_, response), ..] = responses(&body);
        let upstream = RawUpstream::tcp(move |mut conn| {
            let response = response.clone();
            async move {
                conn.request().await;
                conn.write(response).await;
            }
        });
        let app = ProxyApp::builder(upstream.url("")).build().unwrap();
        let front = Front::serve_with(app, |serve| serve.tls(ca.server_config(&["h2", "http/1.1"]))).await;
        for alpn in ["http/1.1", "h2"] {
            let connector = TlsConnector::from(Arc::new(ca.client_config(&[alpn])));
            let tcp = TcpStream::connect(front.addr).await.unwrap();
            let mut tls = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
            let (delivered, error) = if alpn == "h2" {
                of_http_2(tls).await
            } else {
                tls.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
                let mut received = Vec::new();
                let ended = within("the end", tls.read_to_end(&mut received)).await;
                (taken_apart(&received).1, ended.unwrap_err().kind().to_string())
            };
            assert!(delivered == body, "{alpn}: {} of {size}", delivered.len());
            assert!(["unexpected end of file", "reset"].contains(&error.as_str()), "{error}");
        }
    }
}

/// The body of a response over HTTP/2, and how it ends.
async fn of_http_2(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
) -> (Vec<u8>, String) {
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    // hyper drops what the windows hold back.
    builder.initial_stream_window_size(4_000_000).initial_connection_window_size(4_000_000);
    let (mut sender, connection) = builder.handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/").body(Empty::<Bytes>::new()).unwrap();
    let mut body = within("a head", sender.send_request(request)).await.unwrap().into_body();
    let mut delivered = Vec::new();
    loop {
        match within("a frame", body.frame()).await {
            Some(Ok(frame)) => delivered.extend_from_slice(frame.data_ref().unwrap()),
            Some(Err(error)) => {
                use std::error::Error;
                let error = error.source().unwrap().downcast_ref::<h2::Error>().unwrap();
                return (delivered, if error.is_reset() { "reset".to_owned() } else { error.to_string() });
            }
            None => return (delivered, "a clean end".to_owned()),
        }
    }
}

#[tokio::test]
async fn an_upstream_over_http_2_and_tls_delivers_what_has_arrived_too() {
    let ca = TestCa::new();
    let acceptor = TlsAcceptor::from(Arc::new(ca.server_config(&["h2"])));
    let upstream = Scripted::new(move |_, io| {
        let acceptor = acceptor.clone();
        async move {
            let mut frames = Frames::over(acceptor.accept(io).await.unwrap()).greet(&[]).await;
            let stream = frames.request().await;
            frames.ok(stream, false).await;
            frames.data(stream, &[b'x'; 16_000], false).await;
            frames.data(stream, b"last", false).await;
        }
    });
    let tls = Tls::roots_pem(ca.root_pem().as_bytes()).unwrap();
    let proxy = ExactProxy::builder().tls(tls).connector(upstream.clone()).build().unwrap();
    let (delivered, ended) = read(send(&proxy, get("https://localhost/")).await.unwrap()).await;
    assert_eq!((delivered.len(), delivered.ends_with(b"xlast"), ended.is_err()), (16_004, true, true));
    upstream.finish();
}

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n";
const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_delivers_what_has_arrived_and_its_client_over_tls_sees_that_it_was_cut() {
    let ca = TestCa::new();
    for end in [End::Notify, End::Fin, End::Garbage, End::Half] {
        for size in [0, 1, 40_000, 2_000_000] {
            let body = bytes(size);
            let (url, task) = over_tls(&ca, [SWITCH.as_bytes(), &body].concat(), end).await;
            let app = ProxyApp::builder(url).client(client(&ca)).build().unwrap();
            let front = Front::serve_with(app, |serve| serve.tls(ca.server_config(&["http/1.1"]))).await;
            let connector = TlsConnector::from(Arc::new(ca.client_config(&["http/1.1"])));
            let tcp = TcpStream::connect(front.addr).await.unwrap();
            let mut tls = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
            tls.write_all(HANDSHAKE.as_bytes()).await.unwrap();
            head(&mut tls).await;
            let mut received = Vec::new();
            let ended = within("the end of a tunnel", async {
                let ended = tls.read_to_end(&mut received).await;
                let _ = tls.shutdown().await;
                ended
            })
            .await;
            assert!(received == body, "{end:?}: {} of {size}", received.len());
            let kind = ended.err().map(|error| error.kind());
            assert_eq!(kind, (end != End::Notify).then_some(io::ErrorKind::UnexpectedEof), "{end:?} {size}");
            task.await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_upstream_over_tls_sees_whether_the_client_of_a_tunnel_ended_or_was_cut() {
    let ca = TestCa::new();
    for (clean, kind) in [(true, None), (false, Some(io::ErrorKind::UnexpectedEof))] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let acceptor = TlsAcceptor::from(Arc::new(ca.server_config(&["http/1.1"])));
        let upstream = tokio::spawn(async move {
            let mut tls = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
            head(&mut tls).await;
            tls.write_all(SWITCH.as_bytes()).await.unwrap();
            let mut received = Vec::new();
            let ended = tls.read_to_end(&mut received).await;
            (received, ended.err().map(|error| error.kind()))
        });
        let app = ProxyApp::builder(url).client(client(&ca)).build().unwrap();
        let front = Front::serve_with(app, |serve| serve.tls(ca.server_config(&["http/1.1"]))).await;
        let connector = TlsConnector::from(Arc::new(ca.client_config(&["http/1.1"])));
        let tcp = TcpStream::connect(front.addr).await.unwrap();
        let mut tls = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
        tls.write_all(HANDSHAKE.as_bytes()).await.unwrap();
        head(&mut tls).await;
        tls.write_all(b"all of it").await.unwrap();
        if clean {
            tls.shutdown().await.unwrap();
        } else {
            drop(tls);
        }
        assert_eq!(within("the upstream", upstream).await.unwrap(), (b"all of it".to_vec(), kind));
    }
}
