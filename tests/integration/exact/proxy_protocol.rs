//! The client's address at the head of connections to upstreams.

use http::{Request, Response};
use nexthop::{
    Body, ExactProxy,
    ext::{PeerAddr, UnixPeer},
    net::{ProxyProtocolVersion, Tls},
    serve::ProxyProtocol,
};
use tokio_rustls::TlsAcceptor;

use crate::support::{Front, RawConn, RawUpstream, fetch, get, tls::TestCa};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn sending(version: ProxyProtocolVersion) -> ExactProxy {
    ExactProxy::builder().send_proxy_protocol(version).build().unwrap()
}

fn from(client: &str, url: &str) -> Request<Body> {
    let mut request = get(url);
    request.extensions_mut().insert(PeerAddr::Tcp(client.parse().unwrap()));
    request
}

#[tokio::test]
async fn a_connection_begins_with_its_client_and_serves_no_other() {
    // The headers of all clients have the same length.
    let upstream = RawUpstream::tcp(|mut conn| async move {
        let mut header = Vec::new();
        while !header.ends_with(b"\r\n") {
            header.extend(conn.read(1).await);
        }
        let header = String::from_utf8(header).unwrap();
        let header = header.trim_end();
        loop {
            conn.request().await;
            conn.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{header}", header.len())).await;
        }
    });
    let proxy = sending(ProxyProtocolVersion::V1);
    let port = upstream.addr().port();
    for (client, connections) in [("192.0.2.1:5", 1), ("192.0.2.2:5", 2), ("192.0.2.1:6", 3), ("192.0.2.1:5", 3)] {
        let client_port = client.split(':').nth(1).unwrap();
        let header = format!("PROXY TCP4 {} 127.0.0.1 {client_port} {port}", client.split(':').next().unwrap());
        assert_eq!(fetch(&proxy, from(client, &upstream.url("/"))).await, (200, header));
        assert_eq!(upstream.connections(), connections, "{client}");
    }
    let mut unix = get(upstream.url("/"));
    unix.extensions_mut().insert(PeerAddr::Unix(UnixPeer::unknown()));
    for request in [unix, get(upstream.url("/"))] {
        assert_eq!(fetch(&proxy, request).await.1, "PROXY UNKNOWN");
    }
    assert_eq!(upstream.connections(), 4);
}

#[tokio::test]
async fn our_own_server_reads_what_we_send() {
    let peer = |request: Request<hyper::body::Incoming>| async move {
        let peer = request.extensions().get::<PeerAddr>().map(|peer| format!("{:?} {:?}", peer.ip(), peer.port()));
        Ok::<_, std::convert::Infallible>(Response::new(Body::from(peer.unwrap_or_default())))
    };
    let front = Front::serve_with(tower::service_fn(peer), |serve| serve.proxy_protocol(ProxyProtocol::Required)).await;
    for version in [ProxyProtocolVersion::V1, ProxyProtocolVersion::V2] {
        let proxy = sending(version);
        for (client, seen) in [
            ("192.0.2.7:56324", "Some(192.0.2.7) Some(56324)"),
            ("[2001:db8::7]:5", "Some(2001:db8::7) Some(5)"),
            ("[::ffff:192.0.2.7]:5", "Some(192.0.2.7) Some(5)"),
        ] {
            assert_eq!(fetch(&proxy, from(client, &front.url("/"))).await, (200, seen.to_owned()));
        }
        assert_eq!(
            fetch(&proxy, get(front.url("/"))).await,
            (200, String::new()),
            "the proxy's own address is not sent"
        );
    }
}

#[tokio::test]
async fn the_header_is_sent_before_tls() {
    let ca = TestCa::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = Tls::roots_pem(ca.root_pem().as_bytes()).unwrap();
    let builder = ExactProxy::builder().tls(tls).send_proxy_protocol(ProxyProtocolVersion::V2);
    let acceptor = TlsAcceptor::from(std::sync::Arc::new(ca.server_config(&[])));
    let accepting = async {
        let (mut io, _) = listener.accept().await.unwrap();
        let mut header = [0; 28];
        tokio::io::AsyncReadExt::read_exact(&mut io, &mut header).await.unwrap();
        let mut conn = RawConn::over(acceptor.accept(io).await.unwrap());
        conn.request().await;
        conn.write(OK).await;
        header
    };
    let proxy = builder.build().unwrap();
    let (answer, header) =
        tokio::join!(fetch(&proxy, from("192.0.2.7:256", &format!("https://{address}/"))), accepting);
    assert_eq!(answer.1, "ok");
    let port = address.port().to_be_bytes();
    let expected = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[192, 0, 2, 7, 127, 0, 0, 1, 1, 0], &port].concat();
    assert_eq!(header, expected[..]);
}
