//! `CONNECT` to other hosts, without interception.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Method, Request, StatusCode};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nexthop::{
    Body, ExactProxy, ForwardProxy,
    forward::{Access, ConnectAction, DetectedProtocol, ForwardProxyBuilder},
    net::{DnsLookup, DnsResolver},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::{Layer, ServiceExt};

use super::tools::{Proxy, Way, client_hello, connect};
use crate::support::{DEADLINE, Front, InMemory, Memory, RawClient, RawConn, RawUpstream, tls::TestCa, within};

/// Starts a proxy that tunnels to all hosts.
async fn tunnelling() -> Proxy {
    tunnelling_by(ExactProxy::new(), |builder| builder).await
}

async fn tunnelling_by(exact: ExactProxy, settings: impl FnOnce(ForwardProxyBuilder) -> ForwardProxyBuilder) -> Proxy {
    let all = |builder: ForwardProxyBuilder| {
        settings(builder.client(exact.clone()).dangerous_dial_anywhere().on_connect(|_| ConnectAction::Tunnel))
    };
    Proxy::over(exact.clone(), all).await
}

/// Starts an upstream that echoes each byte.
fn echoing() -> RawUpstream {
    RawUpstream::tcp(|mut conn| async move {
        loop {
            let byte = conn.read(1).await;
            conn.write(byte).await;
        }
    })
}

fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn answer(proxy: &Proxy, request: &str) -> u16 {
    let mut io = TcpStream::connect(proxy.addr()).await.unwrap();
    io.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    within("an answer", io.read_exact(&mut head)).await.unwrap();
    std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}

#[tokio::test]
async fn carries_bytes_both_ways_and_each_end_by_itself() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        let said = conn.read_to_end().await;
        conn.write(said.repeat(2)).await;
    });
    let proxy = tunnelling().await;
    let mut client = RawClient::over(proxy.tunnel(&upstream.addr().to_string()).await);
    client.send("abc").await;
    client.finish_writing().await;
    assert_eq!(client.read_to_end().await, (b"abcabc".to_vec(), true));
    upstream.wait_closed().await;
}

#[tokio::test]
async fn what_is_sent_right_behind_the_head_is_the_tunnels() {
    let (upstream, proxy) = (echoing(), tunnelling().await);
    let mut client = proxy.front.client().await;
    client.send(format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\nearly", upstream.addr())).await;
    assert_eq!(client.head_response().await.status(), 200);
    assert_eq!(client.read(5).await, b"early");
}

#[tokio::test]
async fn a_server_may_speak_first() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.write("220 ready\r\n").await;
        let said = conn.read(4).await;
        conn.write(said).await;
    });
    let proxy = tunnelling().await;
    let mut client = RawClient::over(proxy.tunnel(&upstream.addr().to_string()).await);
    assert_eq!(client.read(11).await, b"220 ready\r\n");
    client.send("QUIT").await;
    assert_eq!(client.read(4).await, b"QUIT");
}

#[tokio::test]
async fn tls_goes_through_untouched() {
    let ca = TestCa::new();
    let upstream = RawUpstream::tls(&ca, &[], |mut conn| async move {
        conn.request().await;
        conn.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
    });
    let proxy = tunnelling().await;
    let io = proxy.tunnel(&upstream.addr().to_string()).await;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(ca.client_config(&[])));
    let io = connector.connect("localhost".try_into().unwrap(), io).await.unwrap();
    assert_eq!(RawClient::over(io).exchange("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.text(), "hi");
}

#[tokio::test]
async fn the_answer_to_an_http_1_0_connect_is_a_tunnel_too() {
    let (upstream, proxy) = (echoing(), tunnelling().await);
    let mut client = proxy.front.client().await;
    client.send(format!("CONNECT {} HTTP/1.0\r\n\r\n", upstream.addr())).await;
    let head = client.head_response().await.head;
    assert!(head.starts_with("HTTP/1.0 200 Connection established\r\n"), "{head}");
    client.send("x").await;
    assert_eq!(client.read(1).await, b"x");
}

#[tokio::test]
async fn the_head_of_the_answer_frames_no_body() {
    let (upstream, proxy) = (echoing(), tunnelling().await);
    let (head, _io) = connect(proxy.addr(), &upstream.addr().to_string(), "").await;
    let names: Vec<_> = head.lines().skip(1).filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
    assert_eq!(names, ["date"], "{head}");
}

#[tokio::test]
async fn a_bad_authority_is_400() {
    let proxy = tunnelling().await;
    for target in [
        "h.test",
        "h.test:",
        "h.test:0",
        "h.test:99999",
        "h.test:x",
        ":443",
        "u@h.test:443",
        "[::1:443",
        "/path",
        "http://h.test:443/",
    ] {
        let status = answer(&proxy, &format!("CONNECT {target} HTTP/1.1\r\nHost: h\r\n\r\n")).await;
        assert_eq!(status, 400, "{target}");
    }
}

#[tokio::test]
async fn a_connect_without_exactly_one_valid_host_is_400() {
    let proxy = tunnelling().await;
    for fields in ["", "Host: a\r\nHost: a\r\n", "Host: a b\r\n", "Host:\r\n"] {
        assert_eq!(answer(&proxy, &format!("CONNECT h.test:443 HTTP/1.1\r\n{fields}\r\n")).await, 400, "{fields:?}");
    }
}

#[tokio::test]
async fn a_connect_with_a_body_is_400() {
    let (upstream, proxy) = (echoing(), tunnelling().await);
    for fields in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        let request = format!("CONNECT {} HTTP/1.1\r\nHost: h\r\n{fields}\r\n", upstream.addr());
        assert_eq!(answer(&proxy, &request).await, 400, "{fields}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn nobody_there_is_502_and_the_connection_goes_on() {
    let (upstream, proxy) = (echoing(), tunnelling().await);
    let (head, io) = connect(proxy.addr(), &nobody().to_string(), "").await;
    assert!(head.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut client = RawClient::over(io);
    let text = String::from_utf8(client.read(length).await).unwrap();
    assert!(text.to_lowercase().contains("connection refused") && !text.contains("127.0.0.1"), "{text}");
    client.send(format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", upstream.addr())).await;
    assert_eq!(client.head_response().await.status(), 200);
}

/// Resolves one name; queries for other names never complete.
struct Names(SocketAddr, Arc<Mutex<Vec<String>>>);

impl DnsResolver for Names {
    fn resolve(&self, host: &str, port: u16) -> DnsLookup {
        self.1.lock().unwrap().push(format!("{host} {port}"));
        let (known, address) = (host == "known.test", self.0);
        Box::pin(async move { if known { Ok(vec![address]) } else { std::future::pending::<io::Result<_>>().await } })
    }
}

#[tokio::test(start_paused = true)]
async fn no_answer_in_time_is_504() {
    let exact = ExactProxy::builder().dns_resolver(Names(nobody(), Arc::default())).build().unwrap();
    let layer = ForwardProxy::builder().access(Access::dangerous_any_client()).client(exact.clone()).build().unwrap();
    let (memory, _) = Memory::serve(layer.layer(exact), |serve| serve);
    let mut client = memory.client().await;
    let start = tokio::time::Instant::now();
    let response = client.exchange("CONNECT slow.test:443 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!((response.status(), start.elapsed().as_secs()), (504, 10));
    assert_eq!(response.text(), "Gateway Timeout: timeout connecting to the upstream (resolving)\n");
}

#[tokio::test]
async fn names_are_resolved_once_and_ipv6_addresses_are_none() {
    let (upstream, asked) = (echoing(), Arc::<Mutex<Vec<String>>>::default());
    let exact = ExactProxy::builder().dns_resolver(Names(upstream.addr(), asked.clone())).build().unwrap();
    let proxy = tunnelling_by(exact, |builder| builder).await;
    let mut client = RawClient::over(proxy.tunnel("known.test:4433").await);
    client.send("x").await;
    assert_eq!(client.read(1).await, b"x");
    assert_eq!(*asked.lock().unwrap(), ["known.test 4433"]);

    let Ok(listener) = tokio::net::TcpListener::bind("[::1]:0").await else {
        return eprintln!("not run: IPv6 is not available");
    };
    let mut client = RawClient::over(proxy.tunnel(&listener.local_addr().unwrap().to_string()).await);
    let (mut io, _) = listener.accept().await.unwrap();
    io.write_all(b"six").await.unwrap();
    assert_eq!(client.read(3).await, b"six");
}

#[tokio::test]
async fn only_some_ports_may_be_named_and_only_public_addresses_dialled() {
    let upstream = echoing();
    let strict = Proxy::over(ExactProxy::new(), |builder| {
        builder.connect_ports(vec![80, 443, 8443]).on_connect(|_| ConnectAction::Tunnel)
    })
    .await;
    for port in [22, 25, 3306, 8080] {
        assert_eq!(answer(&strict, &format!("CONNECT 192.0.2.1:{port} HTTP/1.1\r\nHost: x\r\n\r\n")).await, 403);
    }
    let all_ports = Proxy::over(ExactProxy::new(), |builder| builder.on_connect(|_| ConnectAction::Tunnel)).await;
    let port = upstream.addr().port();
    for host in
        ["127.0.0.1", "localhost", "127.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1"]
    {
        let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(answer(&all_ports, &request).await, 403, "{host}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_decision_is_made_for_each_connect() {
    let (upstream, seen) = (echoing(), Arc::<Mutex<Vec<String>>>::default());
    let asked = seen.clone();
    let proxy = tunnelling_by(ExactProxy::new(), move |builder| {
        builder.on_connect(move |connect| {
            asked.lock().unwrap().push(format!("{} {} {}", connect.host(), connect.port(), connect.peer().is_some()));
            if connect.host() == "127.0.0.1" { ConnectAction::Tunnel } else { ConnectAction::Deny }
        })
    })
    .await;
    proxy.tunnel(&upstream.addr().to_string()).await;
    assert_eq!(answer(&proxy, "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: x\r\n\r\n").await, 403);
    let expected = [format!("127.0.0.1 {} true", upstream.addr().port()), "2001:db8::1 443 true".to_owned()];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_decision_by_name_holds_for_every_spelling_of_it() {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let names = Names(nobody(), asked.clone());
    let proxy = tunnelling_by(ExactProxy::builder().dns_resolver(names).build().unwrap(), |builder| {
        builder.on_connect(|connect| match connect.host() {
            host if host.ends_with(".internal") => ConnectAction::Deny,
            "10.0.0.1" | "fd00::1" => ConnectAction::Deny,
            _ => ConnectAction::Tunnel,
        })
    })
    .await;
    for host in ["db.internal", "DB.Internal", "db.internal.", "[::ffff:10.0.0.1]", "[FD00:0:0::1]", "[fd00::0.0.0.1]"]
    {
        let status = answer(&proxy, &format!("CONNECT {host}:443 HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_eq!(status, 403, "{host}");
    }
    assert_eq!(asked.lock().unwrap().len(), 0, "no name was resolved");
}

#[tokio::test]
async fn a_server_that_cannot_upgrade_is_told_by_405() {
    let service =
        ForwardProxy::builder().access(Access::dangerous_any_client()).build().unwrap().layer(ExactProxy::new());
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("h.test:443")
        .header("host", "h.test:443")
        .body(Body::empty())
        .unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(response.headers().contains_key("allow"));
}

#[tokio::test]
async fn behind_a_peek_the_first_bytes_decide() {
    let (upstream, openings) = (echoing(), Arc::<Mutex<Vec<DetectedProtocol>>>::default());
    let seen = openings.clone();
    let proxy = Proxy::over(ExactProxy::new(), |builder| {
        builder.dangerous_dial_anywhere().peek_timeout(DEADLINE).on_detected(move |connect, opening| {
            assert_eq!(connect.host(), "127.0.0.1");
            seen.lock().unwrap().push(opening.clone());
            match opening {
                DetectedProtocol::Tls(hello) if hello.server_name() == Some("denied.test") => ConnectAction::Deny,
                DetectedProtocol::Http => ConnectAction::Peek,
                _ => ConnectAction::Tunnel,
            }
        })
    })
    .await;
    let to = upstream.addr().to_string();
    let mut other = RawClient::over(proxy.tunnel(&to).await);
    other.send("\0binary").await;
    assert_eq!(other.read(7).await, b"\0binary");
    let mut http = RawClient::over(proxy.tunnel(&to).await);
    http.send("GET / HTTP/1.1\r\n\r\n").await;
    http.closed().await;
    for (name, is_let_through) in [("Allowed.test", true), ("denied.test", false)] {
        let hello = client_hello(&proxy.authority, name, &["h2"]);
        let mut tls = RawClient::over(proxy.tunnel(&to).await);
        let (first, second) = hello.split_at(3);
        tls.send(first).await;
        tls.send(second).await;
        if is_let_through {
            assert_eq!(tls.read(hello.len()).await, hello, "the bytes differ");
        } else {
            tls.closed().await;
        }
    }
    // A client may send before the response to `CONNECT`; its bytes go through the tunnel unchanged.
    let hello = client_hello(&proxy.authority, "allowed.test", &[]);
    let mut eager = proxy.front.client().await;
    let more = [&hello[..], &[7; 5000]].concat();
    eager.send([format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes(), &more].concat()).await;
    assert_eq!(eager.head_response().await.status(), 200);
    assert_eq!(eager.read(more.len()).await, more);
    let openings = openings.lock().unwrap();
    assert!(openings.contains(&DetectedProtocol::Other) && openings.contains(&DetectedProtocol::Http), "{openings:?}");
    let hello = openings.iter().find_map(|opening| match opening {
        DetectedProtocol::Tls(hello) if hello.server_name() == Some("allowed.test") => Some(hello),
        _ => None,
    });
    assert!(hello.unwrap().offers("h2") && !hello.unwrap().offers("http/1.1"));
}

#[tokio::test]
async fn behind_a_peek_a_server_may_speak_first_where_silence_is_let_through() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.write("220 ready\r\n").await;
        let said = conn.read(4).await;
        conn.write(said).await;
    });
    let proxy = Proxy::over(ExactProxy::new(), |builder| {
        builder.dangerous_dial_anywhere().peek_timeout(Duration::from_millis(1)).on_detected(|_, opening| match opening
        {
            DetectedProtocol::Silent => ConnectAction::Tunnel,
            _ => ConnectAction::Deny,
        })
    })
    .await;
    let mut client = RawClient::over(proxy.tunnel(&upstream.addr().to_string()).await);
    assert_eq!(client.read(11).await, b"220 ready\r\n");
    client.send("QUIT").await;
    assert_eq!(client.read(4).await, b"QUIT");
}

#[tokio::test]
async fn a_tunnel_to_nowhere_behind_a_peek_is_closed() {
    let proxy = Proxy::over(ExactProxy::new(), |builder| {
        builder.dangerous_dial_anywhere().on_detected(|_, _| ConnectAction::Tunnel)
    })
    .await;
    let mut client = RawClient::over(proxy.tunnel(&nobody().to_string()).await);
    client.send("\0").await;
    client.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_in_which_nothing_moves_is_closed_on_both_sides() {
    let (ended, mut end) = tokio::sync::mpsc::channel(1);
    let connector = InMemory::new(move |mut conn: RawConn| {
        let ended = ended.clone();
        async move {
            conn.read_to_end().await;
            ended.send(()).await.unwrap();
        }
    });
    let exact =
        ExactProxy::builder().connector(connector).tunnel_idle_timeout(Duration::from_secs(60)).build().unwrap();
    let layer =
        ForwardProxy::builder().access(Access::dangerous_any_client()).client(exact.clone()).dangerous_dial_anywhere();
    let (memory, _) = Memory::serve(layer.build().unwrap().layer(exact), |serve| serve);
    let mut client = memory.client().await;
    client.send("CONNECT h.test:443 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.head_response().await.status(), 200);
    let start = tokio::time::Instant::now();
    client.closed().await;
    end.recv().await.unwrap();
    assert!((60..=75).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_tunnel_along() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.write("hello").await;
        conn.read_to_end().await;
    });
    let proxy = tunnelling().await;
    let mut client = RawClient::over(proxy.tunnel(&upstream.addr().to_string()).await);
    client.read(5).await;
    client.reset();
    upstream.wait_closed().await;
}

/// hyper's client uses one stream for each tunnel.
#[tokio::test]
async fn tunnels_share_a_connection_of_http_2() {
    let (upstream, proxy) = (echoing(), tunnelling().await);
    let io = TokioIo::new(TcpStream::connect(proxy.addr()).await.unwrap());
    let (mut client, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<bytes::Bytes>>(TokioExecutor::new(), io).await.unwrap();
    let driving = tokio::spawn(connection);
    let request = |to: &str| Request::builder().method(Method::CONNECT).uri(to).body(Empty::new()).unwrap();
    for to in [format!("127.0.0.1:{}", nobody().port()), "127.0.0.1:0".to_owned()] {
        let response = within("an answer", client.send_request(request(&to))).await.unwrap();
        assert!([400, 502].contains(&response.status().as_u16()), "{}", response.status());
    }
    let mut tunnels = Vec::new();
    for _ in 0..3 {
        let response = within("an answer", client.send_request(request(&upstream.addr().to_string()))).await.unwrap();
        assert_eq!(response.status(), 200);
        tunnels.push(TokioIo::new(hyper::upgrade::on(response).await.unwrap()));
    }
    for (n, tunnel) in tunnels.iter_mut().enumerate() {
        tunnel.write_all(&[n as u8; 3]).await.unwrap();
        let mut back = [9; 3];
        within("an echo", tunnel.read_exact(&mut back)).await.unwrap();
        assert_eq!(back, [n as u8; 3]);
    }
    drop((tunnels, client));
    upstream.wait_closed().await;
    driving.abort();
}

#[tokio::test]
async fn a_shutdown_waits_for_tunnels_and_cuts_them_at_the_deadline() {
    let upstream = echoing();
    let exact = ExactProxy::new();
    let layer = ForwardProxy::builder().client(exact.clone()).dangerous_dial_anywhere().connect_ports(None);
    let drain = nexthop::serve::Drain::new();
    let (on, registered) = (drain.clone(), drain.clone());
    let front = Front::serve_with(layer.build().unwrap().layer(exact), |serve| {
        serve.drain(on).drain_timeout(Duration::from_millis(100))
    })
    .await;
    let (head, io) = connect(front.addr, &upstream.addr().to_string(), "").await;
    assert!(head.starts_with("HTTP/1.1 200"));
    assert_eq!((registered.open(), registered.tunnels()), (1, 1));
    drain.begin();
    let mut client = RawClient::over(io);
    client.send("still").await;
    assert_eq!(client.read(5).await, b"still");
    client.closed().await;
    upstream.wait_closed().await;
    within("the end", drain.drained()).await;
}

#[tokio::test]
async fn plain_http_in_a_tunnel_reaches_what_the_tunnel_would_have_led_to() {
    let upstream = RawUpstream::answering(["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"]);
    let exact = ExactProxy::new();
    let proxy = Proxy::over(exact.clone(), |builder| builder.client(exact).dangerous_dial_anywhere()).await;
    for way in [Way::Absolute, Way::Plain] {
        assert_eq!(proxy.get(way, "127.0.0.1", upstream.addr().port(), "/x?y").await.text(), "ok");
        assert_eq!(upstream.requests().last().unwrap().line(), "GET /x?y HTTP/1.1");
    }
}
