//! No socket stays open after a fault while the service lives on. In particular, no socket stays in `CLOSE_WAIT`, whose
//! peer has closed.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use h2::{Reason, server::Connection};
use http::{Request, Response};
use nexthop::{Body, ExactProxy, ProxyApp, exact::ExactProxyBuilder, exact::HttpVersions, net::Tls};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    Front, RawConn, RawUpstream,
    body::{fed, pieces},
    get, read, send,
    tls::TestCa,
    within,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const SOON: Duration = Duration::from_millis(50);

/// Returns the sockets to and from a port of 127.0.0.1 that a process still holds, from the kernel's list.
fn sockets(addr: SocketAddr) -> Vec<String> {
    const LISTENS: &str = "0A";
    let place = format!("0100007F:{:04X}", addr.port());
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let held = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // A socket without an inode belongs to the kernel only.
        (fields[1] == place || fields[2] == place) && fields[3] != LISTENS && fields[9] != "0"
    };
    table.lines().skip(1).filter(held).map(str::to_owned).collect()
}

#[track_caller]
fn all_closed(addr: SocketAddr) -> impl Future<Output = ()> {
    within("the end of every socket", async move {
        while !sockets(addr).is_empty() {
            tokio::task::yield_now().await;
        }
    })
}

/// Returns a builder with short timeouts; the outcomes do not depend on their exact length.
fn hasty() -> ExactProxyBuilder {
    ExactProxy::builder().response_timeout(SOON).body_idle_timeout(SOON).connect_timeout(SOON)
}

/// Sends a request and reads its response, if there is one.
async fn whatever(proxy: &ExactProxy, request: Request<Body>) {
    if let Ok(response) = send(proxy, request).await {
        let _ = read(response).await;
    }
}

/// Fault of an upstream during a request.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Sends these bytes and closes the connection.
    Closes(&'static str),
    /// Sends these bytes and resets the connection.
    Resets(&'static str),
    /// Sends these bytes and waits for the peer to close the connection.
    Waits(&'static str),
}

const FAULTS: [Fault; 18] = [
    Fault::Closes(""),
    Fault::Closes("HTTP/1.1 200 OK\r\nx: "),
    Fault::Closes("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"),
    Fault::Closes("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf"),
    Fault::Closes("HTTP/1.1 200 OK\r\n\r\nto the end"),
    Fault::Closes("HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig"),
    Fault::Closes("HTTP/1.1 103 Early Hints\r\n\r\n"),
    Fault::Closes(OK),
    Fault::Resets(""),
    Fault::Resets("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"),
    Fault::Resets(OK),
    Fault::Waits(""),
    Fault::Waits("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"),
    Fault::Waits("this is not HTTP\r\n\r\n"),
    Fault::Waits("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n"),
    Fault::Waits("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
    Fault::Waits("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok, and more"),
    Fault::Waits("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n"),
];

async fn fail(fault: Fault, mut conn: RawConn) {
    conn.head().await;
    match fault {
        Fault::Closes(text) => conn.write(text).await,
        Fault::Resets(text) => {
            conn.write(text).await;
            conn.reset();
        }
        Fault::Waits(text) => {
            conn.write(text).await;
            conn.read_to_end().await;
        }
    }
}

#[tokio::test]
async fn no_socket_stays_open_after_a_fault_of_the_upstream() {
    for fault in FAULTS {
        let upstream = RawUpstream::tcp(move |conn| fail(fault, conn));
        let proxy = hasty().build().unwrap();
        whatever(&proxy, get(upstream.url("/"))).await;
        let sized = Request::post(upstream.url("/")).body(Body::from("body")).unwrap();
        whatever(&proxy, sized).await;
        let streamed = Request::put(upstream.url("/")).body(Body::new(pieces(&["one", "two"]))).unwrap();
        whatever(&proxy, streamed).await;
        let (feed, body) = fed();
        whatever(&proxy, Request::post(upstream.url("/")).body(Body::new(body)).unwrap()).await;
        drop(feed);
        upstream.wait_closed().await;
        all_closed(upstream.addr()).await;
    }
}

#[tokio::test]
async fn no_socket_stays_open_where_a_connection_fails_to_be_made() {
    let ca = TestCa::new();
    let strangers = RawUpstream::tls(&ca, &[], |mut conn| async move {
        conn.read_to_end().await;
    });
    let silent = RawUpstream::tcp(|mut conn| async move {
        conn.read_to_end().await;
    });
    let garbled = RawUpstream::tcp(|mut conn| async move {
        conn.write("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        conn.read_to_end().await;
    });
    let leaving = RawUpstream::tcp(|_| async {});
    let tls = Tls::roots_pem(TestCa::new().root_pem().as_bytes()).unwrap();
    let proxy = hasty().tls(tls).build().unwrap();
    for upstream in [&strangers, &silent, &garbled, &leaving] {
        whatever(&proxy, get(upstream.url("/").replace("http:", "https:"))).await;
        all_closed(upstream.addr()).await;
    }
    let proxy = hasty().http_versions(HttpVersions::Http2Only).build().unwrap();
    for upstream in [&silent, &garbled, &leaving] {
        whatever(&proxy, get(upstream.url("/"))).await;
    }
    all_closed(garbled.addr()).await;
    all_closed(leaving.addr()).await;
    // A connection whose upstream is silent is closed after an unanswered PING, or when the service is dropped.
    drop(proxy);
    all_closed(silent.addr()).await;
}

/// Fault of an HTTP/2 upstream during each request.
#[derive(Clone, Copy, Debug)]
enum StreamFault {
    Resets,
    ResetsInBody,
    Refuses,
    Cut,
    CutInBody,
    GoesAway,
}

async fn fail_stream(fault: StreamFault, io: TcpStream) {
    let Ok(mut connection) = h2::server::handshake(io).await else { return };
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        match fault {
            StreamFault::Resets => respond.send_reset(Reason::INTERNAL_ERROR),
            StreamFault::Refuses => respond.send_reset(Reason::REFUSED_STREAM),
            StreamFault::Cut => return,
            StreamFault::ResetsInBody | StreamFault::CutInBody => {
                let mut body = respond.send_response(Response::new(()), false).unwrap();
                body.send_data(Bytes::from_static(b"half"), false).unwrap();
                match fault {
                    StreamFault::ResetsInBody => body.send_reset(Reason::CANCEL),
                    _ => cut(&mut connection),
                }
            }
            StreamFault::GoesAway => {
                respond.send_response(Response::new(()), true).unwrap();
                connection.graceful_shutdown();
            }
        }
    }
}

fn cut(connection: &mut Connection<TcpStream, Bytes>) {
    connection.abrupt_shutdown(Reason::INTERNAL_ERROR);
}

#[tokio::test]
async fn no_socket_stays_open_after_a_fault_in_http_2() {
    for fault in [
        StreamFault::Cut,
        StreamFault::CutInBody,
        StreamFault::GoesAway,
        StreamFault::Resets,
        StreamFault::ResetsInBody,
        StreamFault::Refuses,
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                tokio::spawn(fail_stream(fault, io));
            }
        });
        let proxy = hasty().http_versions(HttpVersions::Http2Only).build().unwrap();
        for _ in 0..3 {
            whatever(&proxy, get(format!("http://{addr}/"))).await;
            whatever(&proxy, Request::post(format!("http://{addr}/")).body(Body::from("body")).unwrap()).await;
            let (feed, body) = fed();
            whatever(&proxy, Request::post(format!("http://{addr}/")).body(Body::new(body)).unwrap()).await;
            drop(feed);
        }
        if let StreamFault::Resets | StreamFault::ResetsInBody | StreamFault::Refuses = fault {
            drop(proxy); // the end of a stream does not close its connection
        }
        all_closed(addr).await;
        server.abort();
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    UpstreamCloses,
    UpstreamResets,
    ClientCloses,
    ClientResets,
}

#[tokio::test]
async fn no_socket_stays_open_after_a_tunnel_however_it_ends() {
    for end in [End::UpstreamCloses, End::UpstreamResets, End::ClientCloses, End::ClientResets] {
        let upstream = RawUpstream::tcp(move |mut conn| async move {
            conn.request().await;
            conn.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n").await;
            conn.read(4).await;
            match end {
                End::UpstreamCloses => {}
                End::UpstreamResets => conn.reset(),
                End::ClientCloses | End::ClientResets => drop(conn.read_to_end().await),
            }
        });
        let front = Front::serve(ProxyApp::builder(upstream.url("")).build().unwrap()).await;
        let mut client = front.client().await;
        client.send("GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n").await;
        assert_eq!(client.head_response().await.status(), 101);
        client.send("ping").await;
        match end {
            End::UpstreamCloses | End::UpstreamResets => {
                client.read_to_end().await;
                drop(client);
            }
            End::ClientCloses => drop(client),
            End::ClientResets => client.reset(),
        }
        upstream.wait_closed().await;
        all_closed(upstream.addr()).await;
        all_closed(front.addr).await;
    }
}

#[tokio::test]
async fn no_socket_stays_open_behind_a_client_that_leaves() {
    for sent in [
        "",
        "GET / HTTP/1.1\r\nhos",
        "GET / HTTP/1.1\r\nhost: h\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nhalf",
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x03\x01\x05\0\0\0\x01\u{2}\u{6}\u{4}",
        "this is not HTTP\r\n\r\n",
    ] {
        for resets in [false, true] {
            let upstream = RawUpstream::tcp(|mut conn| async move {
                conn.head().await;
                conn.read_to_end().await;
            });
            let front = Front::serve(ProxyApp::builder(upstream.url("")).build().unwrap()).await;
            let mut io = TcpStream::connect(front.addr).await.unwrap();
            io.write_all(sent.as_bytes()).await.unwrap();
            if sent.contains("\r\n\r\n") && sent.contains("host: h") {
                upstream.wait_requests(1).await;
            }
            if resets {
                io.set_zero_linger().unwrap();
                drop(io);
            } else {
                // The connection may be closed already.
                let _ = io.shutdown().await;
                let _ = within("the end", io.read_to_end(&mut Vec::new())).await;
                drop(io);
            }
            all_closed(front.addr).await;
            all_closed(upstream.addr()).await;
        }
    }
}
