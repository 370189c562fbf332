//! Upstreams behind another proxy, by `CONNECT` or SOCKS5.

use std::{
    error::Error as _,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use nexthop::{
    ConfigError, Error, ErrorKind, ExactProxy, ForwardProxy, Phase, ProxyApp,
    exact::ExactProxyBuilder,
    ext::{ConnectTo, ConnectWith, DialPolicy},
    forward::ConnectAction,
    net::{DnsLookup, DnsResolver, ProxyProtocolVersion, Tls, UpstreamProxy},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::{accept_async, client_async, tungstenite::Message};
use tower::Layer;

use crate::support::{Front, InMemory, RawUpstream, fetch, get, send, tls::TestCa, within};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const ESTABLISHED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

/// A proxy that connects every client to one upstream, and records each request for a tunnel.
struct Proxy {
    address: SocketAddr,
    told: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Starts a proxy with a handshake `script`, which returns the stream if it accepts the tunnel.
    async fn new<S, F>(to: SocketAddr, tls: Option<TlsAcceptor>, script: S) -> Self
    where
        S: Fn(Box<dyn Duplex>, Arc<Mutex<Vec<String>>>) -> F + Copy + Send + 'static,
        F: Future<Output = io::Result<Option<Box<dyn Duplex>>>> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, told) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let (mut tasks, notes) = (JoinSet::new(), told.clone());
        tasks.spawn(async move {
            let mut tunnels = JoinSet::new();
            while let Ok((io, _)) = listener.accept().await {
                let (notes, tls) = (notes.clone(), tls.clone());
                tunnels.spawn(async move {
                    io.set_nodelay(true).unwrap();
                    let io: Box<dyn Duplex> = match tls {
                        None => Box::new(io),
                        Some(tls) => match tls.accept(io).await {
                            Ok(io) => Box::new(io),
                            Err(_) => return,
                        },
                    };
                    if let Ok(Some(mut io)) = script(io, notes).await {
                        let mut upstream = TcpStream::connect(to).await.unwrap();
                        let _ = copy_bidirectional(&mut io, &mut upstream).await;
                    }
                });
            }
        });
        Self { address, told, _tasks: tasks }
    }

    /// Starts an HTTP proxy that accepts all clients.
    async fn http(to: SocketAddr) -> Self {
        Self::new(to, None, |io, notes| http(io, notes, ESTABLISHED)).await
    }

    /// Starts a SOCKS5 proxy that expects user `me` and password `secret` if the client offers a password.
    async fn socks(to: SocketAddr) -> Self {
        Self::new(to, None, |io, notes| socks(io, notes, 0)).await
    }

    /// Returns the proxy as a setting.
    fn setting(&self, scheme: &str) -> UpstreamProxy {
        format!("{scheme}://{}", self.address).parse().unwrap()
    }

    fn builder(&self, scheme: &str) -> ExactProxyBuilder {
        ExactProxy::builder().upstream_proxy(self.setting(scheme))
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

async fn http(
    mut io: Box<dyn Duplex>,
    notes: Arc<Mutex<Vec<String>>>,
    answer: &str,
) -> io::Result<Option<Box<dyn Duplex>>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await?);
    }
    notes.lock().unwrap().push(String::from_utf8(head).unwrap());
    io.write_all(answer.as_bytes()).await?;
    io.flush().await?;
    Ok(answer.contains(" 200 ").then_some(io))
}

/// Accepts a SOCKS5 client, byte by byte (RFC 1928 and RFC 1929).
async fn socks(
    mut io: Box<dyn Duplex>,
    notes: Arc<Mutex<Vec<String>>>,
    reply: u8,
) -> io::Result<Option<Box<dyn Duplex>>> {
    let note = |text: String| notes.lock().unwrap().push(text);
    assert_eq!(io.read_u8().await?, 5);
    let mut methods = vec![0; io.read_u8().await?.into()];
    io.read_exact(&mut methods).await?;
    if methods.contains(&2) {
        io.write_all(&[5, 2]).await?;
        assert_eq!(io.read_u8().await?, 1);
        let mut known_as = Vec::new();
        for _ in 0..2 {
            let mut text = vec![0; io.read_u8().await?.into()];
            io.read_exact(&mut text).await?;
            known_as.push(String::from_utf8(text).unwrap());
        }
        let good = known_as == ["me", "secret"];
        note(known_as.join(":"));
        io.write_all(&[1, u8::from(!good)]).await?;
        if !good {
            return Ok(None);
        }
    } else {
        io.write_all(&[5, 0]).await?;
    }
    let mut request = [0; 4];
    io.read_exact(&mut request).await?;
    assert_eq!(request[..3], [5, 1, 0]);
    let host = match request[3] {
        1 => std::net::Ipv4Addr::from(io.read_u32().await?).to_string(),
        4 => format!("[{}]", std::net::Ipv6Addr::from(io.read_u128().await?)),
        3 => {
            let mut name = vec![0; io.read_u8().await?.into()];
            io.read_exact(&mut name).await?;
            String::from_utf8(name).unwrap()
        }
        kind => panic!("{kind}"),
    };
    note(format!("{host} {}", io.read_u16().await?));
    io.write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    Ok((reply == 0).then_some(io))
}

/// Resolves every name to the same addresses.
struct Everywhere(Vec<SocketAddr>);

impl DnsResolver for Everywhere {
    fn resolve(&self, _: &str, port: u16) -> DnsLookup {
        let found = self.0.iter().map(|address| SocketAddr::new(address.ip(), port)).collect();
        Box::pin(async move { Ok(found) })
    }
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Returns the targets of recorded `CONNECT` requests.
fn connects(told: &[String]) -> Vec<&str> {
    told.iter().map(|head| head.split(' ').nth(1).unwrap()).collect()
}

fn cause(error: &Error) -> String {
    error.source().map(ToString::to_string).unwrap_or_default()
}

#[tokio::test]
async fn an_http_proxy_is_asked_for_a_tunnel_once_and_the_upstream_sees_what_it_would_see_without() {
    let upstream = RawUpstream::answering([OK]);
    let proxy = Proxy::http(upstream.addr()).await;
    let exact = proxy.builder("http").build().unwrap();
    for _ in 0..2 {
        assert_eq!(fetch(&exact, get("http://up.test/a?b")).await, (200, "ok".into()));
    }
    assert_eq!(proxy.told(), ["CONNECT up.test:80 HTTP/1.1\r\nHost: up.test:80\r\n\r\n"], "the connection is pooled");
    assert_eq!(upstream.requests()[0].head, "GET /a?b HTTP/1.1\r\nhost: up.test\r\n\r\n");

    assert_eq!(fetch(&exact, get("http://[::1]:81/")).await.0, 200);
    let mut elsewhere = get("http://up.test/");
    elsewhere.extensions_mut().insert(ConnectTo::Authority("other.test:82".parse().unwrap()));
    assert_eq!(fetch(&exact, elsewhere).await.0, 200);
    assert_eq!(connects(&proxy.told()), ["up.test:80", "[::1]:81", "other.test:82"]);
}

#[tokio::test]
async fn credentials_are_for_the_proxy_alone() {
    let upstream = RawUpstream::answering([OK]);
    let proxy = Proxy::http(upstream.addr()).await;
    let setting = format!("http://me:s%3Acret@{}", proxy.address).parse().unwrap();
    let exact = ExactProxy::builder().upstream_proxy(setting).build().unwrap();
    assert_eq!(fetch(&exact, get("http://up.test/")).await.0, 200);
    assert!(proxy.told()[0].ends_with("\r\nProxy-Authorization: Basic bWU6czpjcmV0\r\n\r\n"), "{:?}", proxy.told());
    assert!(upstream.only_request().header("proxy-authorization").is_none());

    let proxy = Proxy::socks(upstream.addr()).await;
    let setting = proxy.setting("socks5h").credentials("me", "secret").unwrap();
    let exact = ExactProxy::builder().upstream_proxy(setting).build().unwrap();
    assert_eq!(fetch(&exact, get("http://up.test/")).await.0, 200);
    assert_eq!(proxy.told(), ["me:secret", "up.test 80"]);
    let long = "x".repeat(256);
    for (user, password) in [("", "hunter2"), ("me", ""), (&*long, "hunter2"), ("me", &long), ("m\r\ne", "hunter2")] {
        let error = proxy.setting("socks5h").credentials(user, password).unwrap_err();
        assert!(matches!(error, ConfigError::Secret { .. }) && !error.to_string().contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_socks_proxy_resolves_names_or_is_told_addresses() {
    let upstream = RawUpstream::answering([OK]);
    let proxy = Proxy::socks(upstream.addr()).await;
    for scheme in ["socks5h", "socks5"] {
        let builder = proxy.builder(scheme).dns_resolver(Everywhere(addresses(&["192.0.2.7:0"])));
        assert_eq!(fetch(&builder.build().unwrap(), get("http://up.test:81/")).await.0, 200);
    }
    assert_eq!(fetch(&proxy.builder("socks5h").build().unwrap(), get("http://[2001:db8::1]/")).await.0, 200);
    assert_eq!(proxy.told(), ["up.test 81", "192.0.2.7 81", "[2001:db8::1] 80"]);
}

#[tokio::test]
async fn https_and_http_2_go_through_both_and_tls_to_the_proxy_is_verified() {
    let ca = TestCa::new();
    let roots = ca.root_pem();
    let upstream = RawUpstream::tls(&ca, &["http/1.1"], |mut conn| async move {
        loop {
            conn.request().await;
            conn.write(OK).await;
        }
    });
    let h2 = Front::serve(crate::support::echo()).await;
    let acceptor = TlsAcceptor::from(Arc::new(ca.server_config(&["h2", "http/1.1"])));
    let tls = || Tls::builder().roots_pem(roots.as_bytes()).server_name("localhost").build().unwrap();
    for scheme in ["http", "socks5h", "https"] {
        let [through, to_h2] = [upstream.addr(), h2.addr].map(|to| {
            let acceptor = (scheme == "https").then(|| acceptor.clone());
            async move {
                match scheme {
                    "socks5h" => Proxy::socks(to).await,
                    _ => Proxy::new(to, acceptor, |io, notes| http(io, notes, ESTABLISHED)).await,
                }
            }
        });
        let (through, to_h2) = (through.await, to_h2.await);
        // The configured TLS server name of upstreams does not apply to the proxy.
        let exact = through.builder(scheme).tls(tls()).build().unwrap();
        assert_eq!(fetch(&exact, get("https://up.test/")).await, (200, "ok".into()), "{scheme}");
        let prior = nexthop::exact::HttpVersions::Http2Only;
        let exact = to_h2.builder(scheme).tls(tls()).http_versions(prior).build().unwrap();
        let (status, echo) = fetch(&exact, get("http://up.test/")).await;
        assert!(status == 200 && echo.contains("HTTP/2.0"), "{scheme}: {echo}");
    }
    let through = Proxy::new(upstream.addr(), Some(acceptor), |io, notes| http(io, notes, ESTABLISHED)).await;
    let stranger = TestCa::new().root_pem();
    let exact = through.builder("https").tls(Tls::roots_pem(stranger.as_bytes()).unwrap()).build().unwrap();
    let error = send(&exact, get("http://up.test/")).await.unwrap_err();
    assert_eq!((error.kind(), error.phase(), through.told().len()), (ErrorKind::Connect, Phase::Tls, 0));
}

#[tokio::test]
async fn websockets_go_through_both() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            let mut socket = accept_async(io).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() {
                    socket.send(message).await.unwrap();
                }
            }
        }
    });
    for (proxy, scheme) in [(Proxy::http(upstream).await, "http"), (Proxy::socks(upstream).await, "socks5h")] {
        let exact = proxy.builder(scheme).build().unwrap();
        let app = ProxyApp::builder("http://up.test").client(exact).build().unwrap();
        let front = Front::serve(app).await;
        let io = TcpStream::connect(front.addr).await.unwrap();
        let (mut socket, _) =
            within("a handshake", client_async(format!("ws://{}/chat", front.addr), io)).await.unwrap();
        for text in ["one", "two"] {
            socket.send(Message::text(text)).await.unwrap();
            assert_eq!(within("a message", socket.next()).await.unwrap().unwrap(), Message::text(text));
        }
        socket.close(None).await.unwrap();
        assert!(proxy.told()[0].contains("up.test"));
    }
}

#[tokio::test]
async fn a_tunnel_of_a_forward_proxy_goes_through_both_from_the_first_byte_that_the_upstream_says() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            io.write_all(b"ready\r\n").await.unwrap();
            let mut asked = [0; 6];
            io.read_exact(&mut asked).await.unwrap();
            io.write_all(&asked).await.unwrap();
        }
    });
    // The first proxy sends the upstream's first bytes together with its own response.
    let hasty = Proxy::new(upstream, None, |io, notes| http(io, notes, "HTTP/1.1 200 OK\r\n\r\n220 ")).await;
    let socks = Proxy::socks(upstream).await;
    for (proxy, scheme, greeting) in [(&hasty, "http", "220 ready\r\n"), (&socks, "socks5h", "ready\r\n")] {
        let exact = proxy.builder(scheme).build().unwrap();
        let forward = ForwardProxy::builder().client(exact.clone()).connect_ports(None).dangerous_dial_anywhere();
        let forward = forward.on_connect(|_| ConnectAction::Tunnel).build().unwrap();
        let front = Front::serve(forward.layer(exact)).await;
        let mut io = TcpStream::connect(front.addr).await.unwrap();
        io.write_all(b"CONNECT mail.test:25 HTTP/1.1\r\nHost: mail.test:25\r\n\r\n").await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within("an answer", io.read_u8()).await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
        let mut greeted = vec![0; greeting.len()];
        within("a greeting", io.read_exact(&mut greeted)).await.unwrap();
        assert_eq!(String::from_utf8(greeted).unwrap(), greeting);
        io.write_all(b"QUIT\r\n").await.unwrap();
        let mut rest = String::new();
        within("the end", io.read_to_string(&mut rest)).await.unwrap();
        assert_eq!(rest, "QUIT\r\n");
        assert!(proxy.told()[0].contains("mail.test"));
    }
}

#[tokio::test]
async fn what_a_proxy_refuses_is_502_with_a_cause_that_tells_no_secret() {
    let nobody = addresses(&["127.0.0.1:1"])[0];
    let forbidden = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
    let wanted = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"secret\"\r\n\r\n";
    let http_403 = Proxy::new(nobody, None, |io, notes| http(io, notes, forbidden)).await;
    let http_407 = Proxy::new(nobody, None, |io, notes| http(io, notes, wanted)).await;
    let socks_5 = Proxy::new(nobody, None, |io, notes| socks(io, notes, 5)).await;
    let socks_2 = Proxy::new(nobody, None, |io, notes| socks(io, notes, 2)).await;
    let known = |proxy: &Proxy, scheme| proxy.setting(scheme).credentials("me", "secret-word").unwrap();
    for (setting, why) in [
        (http_403.setting("http"), "answered with status 403"),
        (http_407.setting("http"), "requires credentials"),
        (known(&http_407, "http"), "rejected the credentials"),
        (socks_5.setting("socks5h"), "Connection refused"),
        (socks_2.setting("socks5h"), "not allowed by ruleset"),
        (known(&socks_2, "socks5h"), "failed to connect"),
    ] {
        let exact = ExactProxy::builder().upstream_proxy(setting.clone()).build().unwrap();
        let error = send(&exact, get("http://up.test/")).await.unwrap_err();
        assert_eq!((error.status().as_u16(), error.kind(), error.phase()), (502, ErrorKind::Connect, Phase::Connect));
        assert!(error.is_retryable() && cause(&error).contains(why), "{why}: {error:?}");
        assert!(!format!("{error} {error:?} {setting:?} {exact:?}").contains("secret"), "{error:?}");

        let app = ProxyApp::builder("http://up.test").client(exact).build().unwrap();
        let answer = Front::serve(app).await.exchange("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        assert_eq!((answer.status(), answer.text()), (502, "Bad Gateway\n"), "the response reveals no details");
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let exact = ExactProxy::builder().upstream_proxy(format!("http://{closed}").parse().unwrap()).build().unwrap();
    let error = send(&exact, get("http://up.test/")).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Phase::Connect));
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_says_nothing_is_out_of_time_as_an_upstream_that_does_not_answer_the_door() {
    for scheme in ["http", "socks5h"] {
        let silent = InMemory::new(|mut conn| async move {
            conn.read_to_end().await;
        });
        let setting = format!("{scheme}://proxy.test:1").parse().unwrap();
        let builder = ExactProxy::builder().connector(silent.clone()).upstream_proxy(setting);
        let exact = builder.connect_timeout(Duration::from_secs(5)).build().unwrap();
        let start = tokio::time::Instant::now();
        let error = send(&exact, get("http://up.test/")).await.unwrap_err();
        assert_eq!((error.kind(), error.phase(), start.elapsed().as_secs()), (ErrorKind::Timeout, Phase::Connect, 5));
        silent.finish();
    }
}

#[tokio::test(start_paused = true)]
async fn one_address_of_several_takes_no_longer_than_it_may() {
    let silent = InMemory::new(|mut conn| async move {
        let asked = conn.head().await;
        if asked.target() == "192.0.2.2:80" {
            conn.write(ESTABLISHED).await;
            conn.request().await;
            conn.write(OK).await;
        }
        conn.read_to_end().await;
    });
    let setting = "http://proxy.test:1".parse().unwrap();
    let builder = ExactProxy::builder().connector(silent.clone()).upstream_proxy(setting);
    let exact = builder.address_timeout(Duration::from_secs(2)).build().unwrap();
    let mut request = get("http://up.test/");
    request.extensions_mut().insert(ConnectTo::Addresses(addresses(&["192.0.2.1:80", "192.0.2.2:80"]).into()));
    let start = tokio::time::Instant::now();
    assert_eq!(fetch(&exact, request).await.0, 200);
    assert_eq!(start.elapsed().as_secs(), 2);
    silent.finish();
}

#[tokio::test]
async fn with_a_dial_policy_the_proxy_is_asked_for_addresses_that_were_looked_at() {
    let upstream = RawUpstream::answering([OK]);
    let proxy = Proxy::http(upstream.addr()).await;
    let policy = DialPolicy::new(|address| address.ip() == addresses(&["192.0.2.1:0"])[0].ip());
    let everywhere = || Everywhere(addresses(&["127.0.0.1:0", "10.0.0.1:0", "192.0.2.1:0"]));

    let exact = proxy.builder("http").dns_resolver(everywhere()).dial_policy(policy.clone()).build().unwrap();
    assert_eq!(fetch(&exact, get("http://up.test/")).await.0, 200);
    assert_eq!(upstream.only_request().header("host"), Some("up.test"));
    let by_request = proxy.builder("http").dns_resolver(everywhere()).build().unwrap();
    let mut request = get("http://up.test:81/");
    request.extensions_mut().insert(ConnectWith::new().dial_policy(policy.clone()));
    assert_eq!(fetch(&by_request, request).await.0, 200);
    assert_eq!(
        connects(&proxy.told()),
        ["192.0.2.1:80", "192.0.2.1:81"],
        "the proxy receives checked addresses, not names"
    );

    for uri in ["http://127.0.0.1/", "http://[::ffff:10.0.0.1]/", "http://[::1]/"] {
        let error = send(&exact, get(uri)).await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Denied, Phase::Resolve), "{uri}");
    }
    let nowhere = Everywhere(addresses(&["10.0.0.1:0"]));
    let exact = proxy.builder("http").dns_resolver(nowhere).dial_policy(policy).build().unwrap();
    assert_eq!(send(&exact, get("http://up.test/")).await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(proxy.told().len(), 2, "none of these requests reached the proxy");
}

#[tokio::test]
async fn of_several_addresses_one_after_the_other_is_asked_for() {
    let upstream = RawUpstream::answering([OK]);
    let proxy = Proxy::new(upstream.addr(), None, |io, notes| async move {
        let first = notes.lock().unwrap().is_empty();
        http(io, notes, if first { "HTTP/1.1 502 Bad Gateway\r\n\r\n" } else { ESTABLISHED }).await
    })
    .await;
    let exact = proxy.builder("http").build().unwrap();
    let mut request = get("http://up.test/");
    let given = addresses(&["[2001:db8::1]:80", "192.0.2.1:80", "192.0.2.2:80"]);
    request.extensions_mut().insert(ConnectTo::Addresses(given.into()));
    assert_eq!(fetch(&exact, request).await.0, 200);
    assert_eq!(connects(&proxy.told()), ["[2001:db8::1]:80", "192.0.2.1:80"]);
}

#[tokio::test]
async fn credentials_that_are_refused_are_not_tried_again() {
    let wanted = "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
    let nobody = addresses(&["127.0.0.1:1"])[0];
    let proxy = Proxy::new(nobody, None, |io, notes| http(io, notes, wanted)).await;
    let given = || ConnectTo::Addresses(addresses(&["192.0.2.1:80", "192.0.2.2:80"]).into());
    let mut request = get("http://up.test/");
    request.extensions_mut().insert(given());
    assert!(send(&proxy.builder("http").build().unwrap(), request).await.is_err());
    assert_eq!(proxy.told().len(), 1);
}

#[tokio::test]
async fn a_proxy_header_goes_to_the_upstream_and_names_no_proxy() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        assert_eq!(conn.read(15).await, b"PROXY UNKNOWN\r\n");
        conn.request().await;
        conn.write(OK).await;
    });
    let proxy = Proxy::http(upstream.addr()).await;
    let exact = proxy.builder("http").send_proxy_protocol(ProxyProtocolVersion::V1).build().unwrap();
    assert_eq!(fetch(&exact, get("http://up.test/")).await.0, 200);
    assert!(proxy.told()[0].starts_with("CONNECT "));
}

#[tokio::test]
async fn unix_sockets_are_connected_to_directly() {
    let upstream = RawUpstream::unix(|mut conn| async move {
        conn.request().await;
        conn.write(OK).await;
    });
    let proxy = Proxy::http(addresses(&["127.0.0.1:1"])[0]).await;
    let mut request = get("http://localhost/");
    request.extensions_mut().insert(ConnectTo::Unix(upstream.path().into()));
    assert_eq!(fetch(&proxy.builder("http").build().unwrap(), request).await.0, 200);
    assert!(proxy.told().is_empty());
}
