//! Connections that an origin authenticates, through a forward proxy: they serve one client connection.

use nexthop::ExactProxy;

use super::tools::{Channel, Proxy, WAYS, Way};
use crate::support::{RawUpstream, ntlm::authenticates, tls::TestCa};

async fn ask(channel: &mut Channel, credentials: &str) -> (u16, String) {
    let fields = if credentials.is_empty() { String::new() } else { format!("Authorization: NTLM {credentials}\r\n") };
    let response = channel.exchange("GET", "/", &fields, "").await;
    (response.status(), response.text().to_owned())
}

#[tokio::test]
async fn an_authenticated_connection_serves_its_client_connection_and_no_other() {
    let ca = TestCa::new();
    for way in WAYS {
        let (origin, host) = match way {
            Way::Tls => (RawUpstream::tls(&ca, &["http/1.1"], authenticates), "localhost"),
            Way::Absolute | Way::Plain => (RawUpstream::tcp(authenticates), "127.0.0.1"),
        };
        let tls = nexthop::net::Tls::roots_pem(ca.root_pem().as_bytes()).unwrap();
        let exact = ExactProxy::builder().tls(tls).build().unwrap();
        let proxy = Proxy::over(exact.clone(), |builder| builder.client(exact).dangerous_dial_anywhere()).await;
        let port = origin.addr().port();
        let (mut alice, mut bob) = (proxy.open(way, host, port).await, proxy.open(way, host, port).await);
        let challenge = alice.get("/").await;
        assert_eq!(challenge.status(), 401, "{way:?}");
        // RFC 4559 §6; a client in a tunnel does not know of the proxy.
        let supported = (way == Way::Absolute).then_some("Session-Based-Authentication");
        assert_eq!(challenge.header("proxy-support"), supported, "{way:?}");
        assert_eq!(ask(&mut alice, "hello").await.0, 401, "{way:?}");
        assert_eq!(ask(&mut alice, "alice").await, (200, "alice 0".into()), "{way:?}");
        assert_eq!(ask(&mut bob, "").await, (401, "none".into()), "{way:?}");
        assert_eq!(ask(&mut alice, "").await, (200, "alice 0".into()), "{way:?}");
        assert_eq!(ask(&mut bob, "").await, (401, "none".into()), "{way:?}");
        drop((alice, bob));
        origin.wait_closed().await;
    }
}
