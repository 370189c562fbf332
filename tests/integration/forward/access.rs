//! Access control of the forward proxy.

use std::time::Duration;

use nexthop::{
    ForwardProxy,
    ca::CertificateAuthority,
    ext::{PeerAddr, ProxyRequest},
    forward::{Access, AccessDecision, ConnectAction, Resolved, Resolver},
};
use tokio::{io::AsyncWriteExt, time::Instant};
use tower::Layer;

use super::tools::{Proxy, WAYS, Way, basic, client_hello, connect, connect_on, page, says};
use crate::support::{Front, Memory, RawClient, RawResponse, within};

fn users() -> Access {
    Access::basic([("alice", "wonder"), ("other-prefix", "x")]).unwrap()
}

/// Sends a request with an absolute URL or a `CONNECT`, and returns the response.
async fn ask(proxy: &Proxy, way: Way, fields: &str) -> RawResponse {
    let request = match way {
        Way::Absolute => format!("GET http://h.test/ HTTP/1.1\r\nHost: h.test\r\n{fields}\r\n"),
        Way::Plain => format!("CONNECT h.test:80 HTTP/1.1\r\nHost: h.test\r\n{fields}\r\n"),
        Way::Tls => format!("CONNECT h.test:443 HTTP/1.1\r\nHost: h.test\r\n{fields}\r\n"),
    };
    proxy.front.exchange(request).await
}

#[tokio::test]
async fn a_client_without_a_name_is_asked_for_it_and_may_answer_on_the_same_connection() {
    let proxy = Proxy::page(|builder| builder.access(users()).realm("the proxy")).await;
    for way in WAYS {
        let response = ask(&proxy, way, "").await;
        assert_eq!(response.status(), 407);
        assert_eq!(response.header("proxy-authenticate"), Some("Basic realm=\"the proxy\", charset=\"UTF-8\""));
        assert_eq!(ask(&proxy, way, &basic("alice:wrong")).await.status(), 407);
    }
    let (head, mut io) = connect(proxy.addr(), "h.test:80", "").await;
    assert!(head.starts_with("HTTP/1.1 407 "), "{head}");
    let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut text = vec![0; length];
    tokio::io::AsyncReadExt::read_exact(&mut io, &mut text).await.unwrap();
    let head = connect_on(&mut io, "h.test:80", &basic("alice:wonder")).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[tokio::test]
async fn the_name_of_a_client_is_carried_into_its_tunnel_and_its_password_nowhere() {
    let proxy = Proxy::page(|builder| builder.access(users())).await;
    for way in WAYS {
        let mut channel = proxy.open_with(way, "h.test", way.port(), &basic("alice:wonder")).await;
        for _ in 0..2 {
            let response = channel.get("/a").await;
            says(&response, &["user: alice", &format!("url: {}://h.test/a", way.scheme())]);
            assert!(!response.text().contains("left:"), "{}", response.text());
        }
    }
}

#[tokio::test]
async fn a_request_for_the_application_itself_needs_no_name() {
    let proxy = Proxy::page(|builder| builder.access(users()).local_hosts(["own.test"])).await;
    says(&proxy.front.exchange("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await, &["url: -"]);
    says(&proxy.front.exchange("GET http://own.test/ HTTP/1.1\r\nHost: x\r\n\r\n").await, &["url: -"]);
}

#[tokio::test]
async fn clients_from_elsewhere_are_denied_before_anything_is_looked_at() {
    let proxy = Proxy::page(|builder| builder.access(Access::clients(["192.0.2.0/24"]).unwrap())).await;
    for way in WAYS {
        let response = ask(&proxy, way, "").await;
        assert_eq!((response.status(), response.text()), (403, "Forbidden: this client may not use the proxy\n"));
    }
    let bad = proxy.front.exchange("CONNECT nowhere HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(bad.status(), 403);
}

/// The server does not report the client's address; access is then denied.
#[tokio::test]
async fn behind_a_server_that_names_no_peer_nobody_may_use_it() {
    let layer = ForwardProxy::builder().resolver(Resolver::fixed("/prefix/")).build().unwrap();
    let front = Front::hyper(layer.layer(tower::service_fn(page))).await;
    let response = front.exchange("GET http://h.test/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(response.status(), 403);
}

#[tokio::test]
async fn a_function_may_let_in_by_anything_and_give_names() {
    let by_token = Access::function(|asker| {
        assert!(matches!(asker.peer(), Some(PeerAddr::Tcp(_))));
        match asker.parts().headers.get("proxy-authorization").map(|value| value.as_bytes()) {
            None => AccessDecision::Challenge,
            Some(b"Bearer right") if asker.target().host() == Some("h.test") => {
                AccessDecision::AllowAs("robot".to_owned())
            }
            Some(_) => AccessDecision::Deny,
        }
    });
    let proxy = Proxy::page(|builder| builder.access(by_token)).await;
    assert_eq!(ask(&proxy, Way::Tls, "").await.status(), 407);
    assert_eq!(ask(&proxy, Way::Tls, "Proxy-Authorization: Bearer wrong\r\n").await.status(), 403);
    let mut channel = proxy.open_with(Way::Tls, "h.test", 443, "Proxy-Authorization: Bearer right\r\n").await;
    says(&channel.get("/").await, &["user: robot"]);
}

/// Corresponds to wsgiprox's `ProxyAuthResolver`: the user name becomes the prefix.
#[tokio::test]
async fn the_name_of_a_client_becomes_the_prefix() {
    let proxy = Proxy::page(|builder| builder.resolver(Resolver::proxy_auth())).await;
    for way in WAYS {
        let refused = ask(&proxy, way, "").await;
        assert_eq!(refused.status(), 407);
        assert!(refused.header("proxy-authenticate").is_some());
        let mut channel = proxy.open_with(way, "example.com", way.port(), &basic("other-prefix:ignored")).await;
        let url = format!("{}://example.com/path/file?foo=bar", way.scheme());
        says(&channel.get("/path/file?foo=bar").await, &[&format!("GET /other-prefix/{url}"), "user: -"]);
    }
    // If access requires a password, the prefix is the authenticated user.
    let proxy = Proxy::page(|builder| builder.resolver(Resolver::proxy_auth()).access(users())).await;
    let mut channel = proxy.open_with(Way::Tls, "example.com", 443, &basic("other-prefix:x")).await;
    says(&channel.get("/").await, &["GET /other-prefix/https://example.com/", "user: other-prefix"]);
    assert_eq!(ask(&proxy, Way::Tls, &basic("other-prefix:ignored")).await.status(), 407);
}

/// A request inside a tunnel carries neither the user nor the `CONNECT` target; the extension `ProxyRequest` does.
#[tokio::test]
async fn a_resolver_knows_who_asks_and_through_which_tunnel() {
    let by_user = Resolver::function(|url, parts| {
        let asked = parts.extensions.get::<ProxyRequest>().unwrap();
        assert_eq!((asked.url(), asked.is_for_proxy_host()), (url, false));
        let tunnel = asked.connect_host().zip(asked.connect_port());
        Resolved::Path(format!("/{}/{tunnel:?}/{}", asked.user().unwrap(), asked.scheme()).replace(['"', ' '], ""))
    });
    let proxy = Proxy::page(|builder| builder.access(users()).resolver(by_user)).await;
    for (way, path) in [
        (Way::Absolute, "/alice/None/http"),
        (Way::Plain, "/alice/Some((h.test,80))/http"),
        (Way::Tls, "/alice/Some((h.test,443))/https"),
    ] {
        let mut channel = proxy.open_with(way, "h.test", way.port(), &basic("alice:wonder")).await;
        says(&channel.get("/a").await, &[&format!("GET {path}"), &format!("url: {}://h.test/a", way.scheme())]);
    }
}

#[tokio::test]
async fn there_are_no_more_tunnels_than_there_may_be() {
    let proxy = Proxy::page(|builder| builder.max_tunnels(3).max_tunnels_per_client(2)).await;
    let (first, second) = (proxy.tunnel("a.test:443").await, proxy.tunnel("b.test:443").await);
    let (head, _io) = connect(proxy.addr(), "c.test:443", "").await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    // A plain request does not count as a tunnel.
    assert_eq!(ask(&proxy, Way::Absolute, "").await.status(), 200);
    drop(first);
    within("a place", async {
        while !connect(proxy.addr(), "c.test:443", "").await.0.starts_with("HTTP/1.1 200 ") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(second);
}

#[tokio::test]
async fn a_client_has_no_more_certificates_made_than_it_may() {
    let proxy = Proxy::page(|builder| builder.max_new_hosts(2)).await;
    for host in ["a.test", "b.test", "a.test"] {
        assert_eq!(proxy.get(Way::Tls, host, 443, "/").await.status(), 200);
    }
    let mut io = proxy.tunnel("c.test:443").await;
    io.write_all(&client_hello(&proxy.authority, "c.test", &[])).await.unwrap();
    let internal_error = [21, 3, 3, 0, 2, 2, 80];
    assert_eq!(
        RawClient::over(io).read_to_end().await.0,
        internal_error,
        "the tunnel ends with an internal_error alert"
    );
    assert_eq!(proxy.authority.stats().misses, 2);
}

#[tokio::test]
async fn a_client_may_return_to_any_number_of_hosts_whose_certificates_are_cached() {
    // One more than are remembered of each client.
    const HOSTS: u32 = 257;
    let proxy = Proxy::page(|builder| builder.max_new_hosts(HOSTS)).await;
    for _ in 0..2 {
        for host in 0..HOSTS {
            proxy.tls(proxy.tunnel(&format!("{host}.test:443")).await, &format!("{host}.test")).await;
        }
    }
    assert_eq!(proxy.authority.stats().misses, u64::from(HOSTS));
}

#[tokio::test]
async fn hosts_whose_certificates_others_had_made_cost_a_client_nothing() {
    let proxy = Proxy::page(|builder| builder.max_new_hosts(1)).await;
    for host in ["a.test", "b.test"] {
        proxy.authority.server_config(host).await.unwrap();
    }
    for host in ["a.test", "b.test", "c.test"] {
        assert_eq!(proxy.get(Way::Tls, host, 443, "/").await.status(), 200, "{host}");
    }
}

/// One that cannot have more certificates must not take those of others out of the cache.
#[tokio::test]
async fn hosts_that_are_refused_evict_no_certificate() {
    let authority = CertificateAuthority::builder().cache_capacity(2).build().unwrap();
    let with = authority.clone();
    let mut proxy = Proxy::page(|builder| builder.max_new_hosts(1).certificate_authority(with)).await;
    proxy.authority = authority;
    for host in ["a.test", "b.test"] {
        proxy.authority.server_config(host).await.unwrap();
    }
    // In the place of a.test.
    assert_eq!(proxy.get(Way::Tls, "c.test", 443, "/").await.status(), 200);
    for host in ["d.test", "e.test", "f.test"] {
        let mut io = proxy.tunnel(&format!("{host}:443")).await;
        io.write_all(&client_hello(&proxy.authority, host, &[])).await.unwrap();
        assert_eq!(RawClient::over(io).read_to_end().await.0, [21, 3, 3, 0, 2, 2, 80], "{host}");
    }
    for host in ["b.test", "c.test"] {
        proxy.authority.server_config(host).await.unwrap();
    }
    assert_eq!(proxy.authority.stats().misses, 3);
}

/// A client in memory, whose clock is paused, and its first answer.
async fn wrong(server: &Memory, way: Way, password: &str) -> (RawClient, RawResponse) {
    let mut client = server.client().await;
    let fields = basic(&format!("alice:{password}"));
    let response = client.exchange(match way {
        Way::Absolute => format!("GET http://h.test/ HTTP/1.1\r\nHost: h.test\r\n{fields}\r\n"),
        Way::Plain | Way::Tls => format!("CONNECT h.test:80 HTTP/1.1\r\nHost: h.test\r\n{fields}\r\n"),
    });
    let response = response.await;
    (client, response)
}

#[tokio::test(start_paused = true)]
async fn repeated_wrong_passwords_are_answered_slowly_and_close_the_connection() {
    for way in [Way::Absolute, Way::Plain] {
        let builder = ForwardProxy::builder().access(users()).resolver(Resolver::fixed("/prefix/"));
        let layer = builder.on_connect(|_| ConnectAction::Deny).build().unwrap();
        let (server, _running) = Memory::serve(layer.layer(tower::service_fn(page)), |serve| serve);
        let start = Instant::now();
        for n in 0..5 {
            let (_, response) = wrong(&server, way, &n.to_string()).await;
            assert_eq!((response.status(), response.header("connection")), (407, None));
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        let all = tokio::join!(wrong(&server, way, "a"), wrong(&server, way, "b"), wrong(&server, way, "c"));
        for (mut client, response) in [all.0, all.1, all.2] {
            assert_eq!((response.status(), response.header("connection")), (407, Some("close")));
            assert!(client.read_to_end().await.0.is_empty());
        }
        assert_eq!(start.elapsed().as_secs(), 3, "one per second");
        // They may be those of another client at the same address.
        let (_, response) = wrong(&server, way, "wonder").await;
        let let_in = if way == Way::Absolute { 200 } else { 403 };
        assert_eq!((response.status(), start.elapsed().as_secs()), (let_in, 3));
    }
}
