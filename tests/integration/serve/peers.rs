//! Extensions of a connection: peer, PROXY protocol and TLS.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, extract::Request, response::Response};
use nexthop::{
    ext::{OverTls, PeerAddr},
    serve::{Accepted, ProxyProtocol},
};
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::TlsConnector;

use crate::support::{Front, Memory, RawClient, tls::TestCa};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Answers with the peer in the request's extensions.
fn peer() -> Router {
    Router::new().fallback(async |request: Request| {
        let peer = match request.extensions().get::<PeerAddr>() {
            Some(PeerAddr::Tcp(addr)) => addr.to_string(),
            Some(PeerAddr::Unix(peer)) => format!("uid {:?} gid {:?} pid {:?}", peer.uid, peer.gid, peer.pid),
            _ => "unknown".to_owned(),
        };
        let tls = if request.extensions().get::<OverTls>().is_some() { " over tls" } else { "" };
        format!("{peer}{tls}, {:?}", request.version())
    })
}

async fn connect(front: &Front) -> (RawClient, SocketAddr) {
    let tcp = TcpStream::connect(front.addr).await.unwrap();
    let addr = tcp.local_addr().unwrap();
    (RawClient::over(tcp), addr)
}

#[tokio::test]
async fn every_request_knows_its_tcp_peer() {
    let front = Front::serve(peer()).await;
    let (mut client, addr) = connect(&front).await;
    for _ in 0..2 {
        assert_eq!(client.exchange(REQUEST).await.text(), format!("{addr}, HTTP/1.1"));
    }
}

#[tokio::test]
async fn nothing_that_an_answer_says_of_a_connection_is_believed_of_the_next_request() {
    let liar = Router::new().fallback(async |request: Request| {
        let peer = request.extensions().get::<PeerAddr>().cloned();
        let known = format!("{peer:?}, {}", request.extensions().get::<OverTls>().is_some());
        let mut answer = Response::new(known);
        answer.extensions_mut().insert(PeerAddr::Tcp("6.6.6.6:6".parse().unwrap()));
        match request.uri().path() {
            "/tls" => drop(answer.extensions_mut().insert(OverTls::new())),
            "/more" => drop(answer.extensions_mut().insert("more")),
            "/same" => drop(answer.extensions_mut().insert::<PeerAddr>(peer.unwrap())),
            _ => {}
        }
        answer
    });
    let front = Front::serve(liar).await;
    let (mut client, addr) = connect(&front).await;
    for path in ["/", "/tls", "/more", "/same", "/same", "/tls", "/"] {
        let answer = client.exchange(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!(answer.text(), format!("Some({:?}), false", PeerAddr::Tcp(addr)), "{path}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_peer_on_a_unix_socket_is_known_by_user_group_and_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("serve.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(nexthop::serve(listener, peer()).into_future());
    let answer = RawClient::unix(&path).await.exchange(REQUEST).await;
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let known = format!("uid Some({uid}) gid Some({gid}) pid Some({}), HTTP/1.1", std::process::id());
    assert_eq!(answer.text(), known);
    server.abort();
}

#[tokio::test]
async fn a_connection_of_unknown_origin_names_no_peer() {
    let (memory, _end) = Memory::serve(peer(), |serve| serve);
    assert_eq!(memory.client().await.exchange(REQUEST).await.text(), "unknown, HTTP/1.1");
}

#[tokio::test]
async fn a_required_proxy_header_names_the_peer() {
    let front = Front::serve_with(peer(), |serve| serve.proxy_protocol(ProxyProtocol::Required)).await;
    let v2 = |command, family, rest: &[u8]| {
        let length = u8::try_from(rest.len()).unwrap();
        [b"\r\n\r\n\0\r\nQUIT\n", &[command, family, 0, length][..], rest].concat()
    };
    for (header, known) in [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n".to_vec(), "192.0.2.7:56324"),
        (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n".to_vec(), "[2001:db8::1]:1"),
        (v2(0x21, 0x11, &[192, 0, 2, 7, 10, 0, 0, 1, 1, 0, 0, 80]), "192.0.2.7:256"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "unknown"),
        (v2(0x21, 0, &[]), "unknown"),
    ] {
        let (mut client, _) = connect(&front).await;
        client.send(&header).await;
        for _ in 0..2 {
            assert_eq!(client.exchange(REQUEST).await.text(), format!("{known}, HTTP/1.1"), "{header:?}");
        }
        // The same header, with the request in the same packet.
        let answer = front.exchange([header.as_slice(), REQUEST.as_bytes()].concat()).await;
        assert_eq!(answer.text(), format!("{known}, HTTP/1.1"), "{header:?}");
    }
    let (mut client, addr) = connect(&front).await;
    client.send(v2(0x20, 0, &[])).await;
    assert_eq!(client.exchange(REQUEST).await.text(), format!("{addr}, HTTP/1.1"), "LOCAL keeps the socket's peer");
}

#[tokio::test]
async fn a_required_proxy_header_that_is_missing_closes_without_an_answer() {
    let front = Front::serve_with(peer(), |serve| serve.proxy_protocol(ProxyProtocol::Required)).await;
    let (mut client, _) = connect(&front).await;
    client.send(REQUEST).await;
    client.closed().await;
}

#[tokio::test]
async fn a_forbidden_proxy_header_is_a_bad_request() {
    let front = Front::serve(peer()).await;
    for header in [&b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let answer = front.exchange([header, REQUEST.as_bytes()].concat()).await;
        assert_eq!((answer.status(), answer.text()), (400, ""), "{header:?}");
    }
}

#[tokio::test]
async fn tls_is_ended_and_the_protocol_chosen_by_alpn() {
    let ca = TestCa::new();
    let front = Front::serve_with(peer(), |serve| serve.tls(ca.server_config(&[]))).await;
    for (alpn, chosen) in [
        (&["http/1.1"][..], Some("http/1.1")),
        (&["h2", "http/1.1"], Some("h2")),
        (&["http/1.0"], Some("http/1.0")),
        (&["http/1.0", "http/1.1"], Some("http/1.1")),
        (&["spdy/3", "http/1.0"], Some("http/1.0")),
        (&[], None),
    ] {
        let tcp = TcpStream::connect(front.addr).await.unwrap();
        let addr = tcp.local_addr().unwrap();
        let connector = TlsConnector::from(Arc::new(ca.client_config(alpn)));
        let tls = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), chosen.map(str::as_bytes));
        if chosen != Some("h2") {
            let answer = RawClient::over(tls).exchange(REQUEST).await;
            assert_eq!(answer.text(), format!("{addr} over tls, HTTP/1.1"));
        }
    }
}

#[tokio::test]
async fn a_server_without_http_2_selects_http_1_by_alpn() {
    let ca = TestCa::new();
    let front = Front::serve_with(peer(), |serve| serve.tls(ca.server_config(&[])).http2(false)).await;
    for (alpn, chosen) in [(&["h2", "http/1.1"][..], "http/1.1"), (&["h2", "http/1.0"], "http/1.0")] {
        let tcp = TcpStream::connect(front.addr).await.unwrap();
        let connector = TlsConnector::from(Arc::new(ca.client_config(alpn)));
        let tls = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(chosen.as_bytes()));
    }
}

#[tokio::test]
async fn a_proxy_header_comes_before_tls() {
    let ca = TestCa::new();
    let front =
        Front::serve_with(peer(), |serve| serve.tls(ca.server_config(&[])).proxy_protocol(ProxyProtocol::Required))
            .await;
    let mut tcp = TcpStream::connect(front.addr).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut tcp, b"PROXY TCP4 192.0.2.7 10.0.0.1 5 443\r\n").await.unwrap();
    let connector = TlsConnector::from(Arc::new(ca.client_config(&["http/1.1"])));
    let tls = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
    assert_eq!(RawClient::over(tls).exchange(REQUEST).await.text(), "192.0.2.7:5 over tls, HTTP/1.1");
}

#[tokio::test(start_paused = true)]
async fn handshakes_are_not_waited_for_forever() {
    let ca = TestCa::new();
    let (tls, _end) = Memory::serve(peer(), |serve| serve.tls(ca.server_config(&[])));
    let (proxied, _end) = Memory::serve(peer(), |serve| serve.proxy_protocol(ProxyProtocol::Required));
    for (memory, start) in [(&tls, &b""[..]), (&tls, b"\x16\x03\x01"), (&proxied, b""), (&proxied, b"PROXY TCP4 ")] {
        let mut client = memory.client().await;
        let began = Instant::now();
        client.send(start).await;
        client.closed().await;
        assert_eq!(began.elapsed().as_secs(), 10, "after {start:?}");
    }
}

#[tokio::test]
async fn a_listener_of_ones_own_may_name_the_peer() {
    let (connections, listener) = tokio::sync::mpsc::channel(1);
    let server = tokio::spawn(nexthop::serve(listener, peer()).into_future());
    let (client, io) = tokio::io::duplex(1024);
    let addr: SocketAddr = "192.0.2.7:9".parse().unwrap();
    connections.send(Accepted::new(io).peer(PeerAddr::Tcp(addr))).await.unwrap();
    assert_eq!(RawClient::over(client).exchange(REQUEST).await.text(), "192.0.2.7:9, HTTP/1.1");
    server.abort();
}
