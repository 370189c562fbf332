//! Mismatches between the `CONNECT` target, the SNI name and `Host`.

use nexthop::forward::HostMismatchPolicy;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::tools::{Proxy, client_hello, says};
use crate::support::{RawClient, RawResponse, log::Log};

/// Opens a tunnel to `a.test` with the SNI name `sni`, and sends a request for `host`.
async fn ask(policy: HostMismatchPolicy, sni: &str, target: &str, host: &str) -> RawResponse {
    let proxy = Proxy::page(|builder| builder.host_mismatch(policy)).await;
    let io: TcpStream = proxy.tunnel("a.test:443").await;
    let io = proxy.tls(io, sni).await;
    RawClient::over(io).exchange(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
}

/// Certificates cannot name it, and TLS libraries refuse it as a server name.
#[tokio::test]
async fn a_host_that_no_certificate_can_name_is_not_intercepted_and_is_logged() {
    let (log, _guard) = Log::start();
    let proxy = Proxy::page(|builder| builder).await;
    let mut named = client_hello(&proxy.authority, "aq.test", &[]);
    let at = named.windows(7).position(|name| name == b"aq.test").unwrap();
    named[at..at + 7].copy_from_slice(b"a-.test");
    for (host, hello) in [("a-.test", named), ("-b.test", client_hello(&proxy.authority, "127.0.0.1", &[]))] {
        let mut io = proxy.tunnel(&format!("{host}:443")).await;
        io.write_all(&hello).await.unwrap();
        let answer = RawClient::over(io).read_to_end().await.0;
        assert_eq!((answer.len(), answer[0], answer[5]), (7, 21, 2), "a fatal alert");
    }
    let lines: Vec<_> = log.text().lines().filter(|line| line.contains("WARN")).map(str::to_owned).collect();
    assert_eq!(lines.len(), 1, "one a minute: {lines:?}");
    assert!(lines[0].contains("a-.test") && lines[0].contains("a label begins or ends with a hyphen"), "{lines:?}");
}

#[tokio::test]
async fn agreement_is_by_what_names_mean() {
    for host in ["a.test", "A.TEST", "a.test:443", "a.test."] {
        says(&ask(HostMismatchPolicy::Strict, "a.test", "/x", host).await, &[&format!("host: {host}"), "sni: a.test"]);
    }
    let absolute = ask(HostMismatchPolicy::Strict, "a.test", "https://a.test/x", "ignored.test").await;
    says(&absolute, &["GET /prefix/https://a.test/x", "host: a.test"]);
}

#[tokio::test]
async fn disagreement_is_misdirected_by_default() {
    for (sni, target, host) in [
        ("a.test", "/", "b.test"),
        ("a.test", "/", "a.test:8443"),
        ("b.test", "/", "a.test"),
        ("b.test", "/", "b.test"),
        ("a.test", "https://b.test/", "a.test"),
        ("a.test", "http://a.test/", "a.test"),
    ] {
        let response = ask(HostMismatchPolicy::Strict, sni, target, host).await;
        assert_eq!(response.status(), 421, "{sni} {target} {host}");
    }
}

#[tokio::test]
async fn a_policy_says_which_counts_and_host_follows_it() {
    for (policy, says_url, host) in [
        (HostMismatchPolicy::UseSni, "https://b.test/x", "b.test"),
        (HostMismatchPolicy::UseConnect, "https://a.test/x", "a.test"),
        (HostMismatchPolicy::UseInner, "https://c.test/x", "c.test"),
    ] {
        let response = ask(policy, "b.test", "/x", "c.test").await;
        says(&response, &[&format!("url: {says_url}"), &format!("host: {host}"), "connect: a.test Some(443)"]);
    }
}

#[tokio::test]
async fn in_plain_http_only_connect_and_host_can_disagree() {
    for (policy, expected) in [
        (HostMismatchPolicy::Strict, None),
        (HostMismatchPolicy::UseSni, Some("http://a.test/x")),
        (HostMismatchPolicy::UseConnect, Some("http://a.test/x")),
        (HostMismatchPolicy::UseInner, Some("http://b.test/x")),
    ] {
        let proxy = Proxy::page(|builder| builder.host_mismatch(policy)).await;
        let mut client = RawClient::over(proxy.tunnel("a.test:80").await);
        let response = client.exchange("GET /x HTTP/1.1\r\nHost: b.test\r\n\r\n").await;
        match expected {
            Some(url) => says(&response, &[&format!("url: {url}")]),
            None => assert_eq!(response.status(), 421),
        }
        // An HTTP/1.0 request may omit `Host`.
        says(&client.exchange("GET /x HTTP/1.0\r\n\r\n").await, &["url: http://a.test/x", "host: a.test"]);
    }
}
