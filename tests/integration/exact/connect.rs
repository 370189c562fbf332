//! Opening TCP connections: name resolution, allowed and denied addresses, several addresses for one name.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Request;
use nexthop::{
    Body, ConfigError, ErrorKind, ExactProxy, Phase,
    ext::{ConnectTo, ConnectWith, DialPolicy},
    net::{DnsLookup, DnsResolver},
};

use crate::support::{InMemory, RawConn, RawUpstream, fetch, get, send};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Resolves every name to the same addresses, and records the names.
#[derive(Clone, Default)]
struct Fixed(Vec<SocketAddr>, Arc<Mutex<Vec<String>>>);

impl DnsResolver for Fixed {
    fn resolve(&self, host: &str, port: u16) -> DnsLookup {
        self.1.lock().unwrap().push(format!("{host} {port}"));
        let found = self.0.clone();
        Box::pin(async move { Ok(found) })
    }
}

/// Never answers.
struct Silent;

impl DnsResolver for Silent {
    fn resolve(&self, _: &str, _: u16) -> DnsLookup {
        Box::pin(std::future::pending())
    }
}

/// Resolves no name.
struct Nobody;

impl DnsResolver for Nobody {
    fn resolve(&self, _: &str, _: u16) -> DnsLookup {
        Box::pin(async { Err(io::Error::other("no such name")) })
    }
}

fn resolving(addresses: &[SocketAddr]) -> (ExactProxy, Fixed) {
    let fixed = Fixed(addresses.to_vec(), Arc::default());
    (ExactProxy::builder().dns_resolver(fixed.clone()).build().unwrap(), fixed)
}

/// Returns an address on which nothing listens.
fn closed() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn with<T: Clone + Send + Sync + 'static>(extension: T, uri: &str) -> Request<Body> {
    let mut request = get(uri);
    request.extensions_mut().insert(extension);
    request
}

#[tokio::test]
async fn a_resolver_of_ones_own_is_asked_once_per_connection_and_its_addresses_are_tried_in_turn() {
    let upstream = RawUpstream::answering([OK]);
    let (proxy, fixed) = resolving(&[closed(), closed(), upstream.addr()]);
    for _ in 0..2 {
        assert_eq!(fetch(&proxy, get("http://app.example.test:81/")).await.1, "ok");
    }
    assert_eq!(*fixed.1.lock().unwrap(), ["app.example.test 81"]);
    assert_eq!(upstream.requests()[0].header("host"), Some("app.example.test:81"));
}

#[tokio::test]
async fn every_address_that_failed_is_told_of_but_not_named() {
    let (proxy, _) = resolving(&[closed(), closed()]);
    let error = send(&proxy, get("http://app.example.test/")).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Phase::Connect));
    let source = std::error::Error::source(&error).unwrap();
    let text = source.to_string();
    assert!(
        text.starts_with("none of 2 addresses accepted a connection: ") && text.matches("refused").count() == 2,
        "{text}"
    );
    assert!(!text.contains("127.0.0.1"), "{text}");
    let last = source.source().unwrap().downcast_ref::<io::Error>().unwrap();
    assert_eq!(last.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_name_without_an_address_fails_while_it_is_resolved() {
    let unknown = ExactProxy::builder().dns_resolver(Nobody).build().unwrap();
    for (proxy, why) in [(resolving(&[]).0, "the name has no address"), (unknown, "no such name")] {
        let error = send(&proxy, get("http://app.example.test/")).await.unwrap_err();
        assert_eq!((error.kind(), error.phase(), error.is_retryable()), (ErrorKind::Connect, Phase::Resolve, true));
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), why);
    }
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_does_not_answer_is_out_of_time() {
    let proxy = ExactProxy::builder().dns_resolver(Silent).build().unwrap();
    let error = send(&proxy, get("http://app.example.test/")).await.unwrap_err();
    assert_eq!((error.kind(), error.phase(), error.status().as_u16()), (ErrorKind::Timeout, Phase::Resolve, 504));
}

#[tokio::test]
async fn an_address_needs_no_resolver() {
    let upstream = RawUpstream::answering([OK]);
    let proxy = ExactProxy::builder().dns_resolver(Nobody).build().unwrap();
    assert_eq!(fetch(&proxy, get(upstream.url("/"))).await.1, "ok");
    let addresses = ConnectTo::Addresses([closed(), upstream.addr()].into());
    assert_eq!(fetch(&proxy, with(addresses, "http://app.example.test/a")).await.1, "ok");
    assert_eq!(upstream.requests()[1].header("host"), Some("app.example.test"));
    let none = send(&proxy, with(ConnectTo::Addresses([].into()), "http://app.example.test/")).await.unwrap_err();
    assert_eq!(none.kind(), ErrorKind::InvalidTarget);
}

#[tokio::test]
async fn a_policy_is_asked_for_every_address_however_it_was_found() {
    let upstream = RawUpstream::answering([OK]);
    let port = upstream.addr().port();
    let policy = || DialPolicy::new(|address| !address.ip().is_loopback());
    let found = Fixed(vec![upstream.addr()], Arc::default());
    let proxy = ExactProxy::builder().dns_resolver(found).dial_policy(policy()).build().unwrap();
    for request in [
        get("http://app.example.test/"),
        get(upstream.url("/")),
        get(format!("http://[::ffff:127.0.0.1]:{port}/")),
        with(ConnectTo::Authority(upstream.addr().to_string().parse().unwrap()), "http://app.example.test/"),
        with(ConnectTo::Addresses([upstream.addr()].into()), "http://app.example.test/"),
    ] {
        let uri = request.uri().clone();
        let error = send(&proxy, request).await.unwrap_err();
        assert_eq!((error.kind(), error.phase(), error.status().as_u16()), (ErrorKind::Denied, Phase::Resolve, 403));
        assert!(!error.is_retryable(), "{uri}");
    }
    // The system's resolver accepts more spellings of an address; the policy applies to the result.
    let proxy = ExactProxy::builder().dial_policy(policy()).build().unwrap();
    for host in ["localhost", "127.1"] {
        let error = send(&proxy, get(format!("http://{host}:{port}/"))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{host}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn of_several_addresses_only_the_allowed_ones_are_dialled() {
    let (allowed, forbidden) = (RawUpstream::answering([OK]), RawUpstream::answering([OK]));
    let found = Fixed(vec![forbidden.addr(), allowed.addr()], Arc::default());
    let port = forbidden.addr().port();
    let policy = DialPolicy::new(move |address| address.port() != port);
    let proxy = ExactProxy::builder().dns_resolver(found).dial_policy(policy).build().unwrap();
    assert_eq!(fetch(&proxy, get("http://app.example.test/")).await.1, "ok");
    assert_eq!((allowed.connections(), forbidden.connections()), (1, 0));
}

#[tokio::test]
async fn a_request_with_a_policy_takes_no_connection_that_was_opened_without_it() {
    let upstream = RawUpstream::answering([OK]);
    let proxy = ExactProxy::new();
    assert_eq!(fetch(&proxy, get(upstream.url("/"))).await.1, "ok");
    let nothing = ConnectWith::new().dial_policy(DialPolicy::new(|_| false));
    let error = send(&proxy, with(nothing, &upstream.url("/"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let all = ConnectWith::new().dial_policy(DialPolicy::new(|_| true));
    for _ in 0..2 {
        assert_eq!(fetch(&proxy, with(all.clone(), &upstream.url("/"))).await.1, "ok");
    }
    assert_eq!(upstream.connections(), 2);
    // The builder's policy applies in addition to the request's policy.
    let strict = ExactProxy::builder().dial_policy(DialPolicy::new(|_| false)).build().unwrap();
    assert_eq!(send(&strict, with(all, &upstream.url("/"))).await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_policy_that_nobody_would_ask_is_refused() {
    let connector = InMemory::new(|_: RawConn| async {});
    let built = ExactProxy::builder().connector(connector).dial_policy(DialPolicy::new(|_| true)).build();
    assert!(matches!(built.unwrap_err(), ConfigError::Conflict { .. }));
    let proxy = ExactProxy::builder().connector(InMemory::new(|_: RawConn| async {})).build().unwrap();
    let request = with(ConnectWith::new().dial_policy(DialPolicy::new(|_| true)), "http://h.test/");
    assert_eq!(send(&proxy, request).await.unwrap_err().kind(), ErrorKind::Denied);
    let built = ExactProxy::builder().address_timeout(Duration::ZERO).build();
    assert!(matches!(built.unwrap_err(), ConfigError::Invalid { .. }));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn connections_come_from_the_address_that_was_set() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let local: IpAddr = "127.0.0.2".parse().unwrap();
    let proxy = ExactProxy::builder().local_address(local).address_timeout(Duration::from_secs(5)).build().unwrap();
    let accepting = async {
        let (io, peer) = listener.accept().await.unwrap();
        let mut conn = RawConn::over(io);
        conn.request().await;
        conn.write(OK).await;
        peer.ip()
    };
    let (answer, from) = tokio::join!(fetch(&proxy, get(format!("http://{address}/"))), accepting);
    assert_eq!((answer.0, from), (200, local));
    let error = send(&proxy, get("http://[::1]:1/")).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Phase::Connect));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn connects_to_an_abstract_unix_socket() {
    use std::os::{linux::net::SocketAddrExt, unix::net};
    let name = format!("nexthop-test-{}", std::process::id());
    let address = net::SocketAddr::from_abstract_name(&name).unwrap();
    let listener = net::UnixListener::bind_addr(&address).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::UnixListener::from_std(listener).unwrap();
    let place = ConnectTo::Unix(std::path::Path::new(&format!("\0{name}")).into());
    let accepting = async {
        let mut conn = RawConn::over(listener.accept().await.unwrap().0);
        conn.request().await;
        conn.write(OK).await;
    };
    let (answer, ()) = tokio::join!(fetch(&ExactProxy::new(), with(place, "http://app.example.test/")), accepting);
    assert_eq!(answer.1, "ok");
}
