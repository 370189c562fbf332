//! The tunnel limit: a tunnel holds its permit as long as any part of it exists, and returns it however the client
//! leaves.

use std::{convert::Infallible, io, net::SocketAddr};

use http::{Request, Response};
use http_body_util::BodyExt;
use nexthop::{
    Body, ExactProxy,
    forward::{ConnectAction, Resolver},
    net::{DnsLookup, DnsResolver},
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::tools::{Channel, Proxy, Way, client_hello, connect};
use crate::support::{RawClient, body::fed, within};

/// Phase of a tunnel in which the client leaves.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The proxy is connecting to the target.
    Connecting,
    /// The tunnel is established, and no byte was sent in it.
    Silence,
    HalfAClientHello,
    /// The client has read the proxy's part of the TLS handshake and has not answered.
    InTheHandshake,
    /// The tunnel is idle after one exchange.
    Idle(Way),
    InTheHead(Way),
    InTheBody(Way),
    /// The application is processing a request.
    Waiting(Way),
    InTheResponse(Way),
    /// The tunnel's connection was upgraded to another protocol.
    Upgraded(Way),
}

const PHASES: [Phase; 16] = [
    Phase::Connecting,
    Phase::Silence,
    Phase::HalfAClientHello,
    Phase::InTheHandshake,
    Phase::Idle(Way::Plain),
    Phase::Idle(Way::Tls),
    Phase::InTheHead(Way::Plain),
    Phase::InTheHead(Way::Tls),
    Phase::InTheBody(Way::Plain),
    Phase::InTheBody(Way::Tls),
    Phase::Waiting(Way::Plain),
    Phase::Waiting(Way::Tls),
    Phase::InTheResponse(Way::Plain),
    Phase::InTheResponse(Way::Tls),
    Phase::Upgraded(Way::Plain),
    Phase::Upgraded(Way::Tls),
];

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: echo\r\n";

/// Records each name, and never resolves it.
struct Unanswering(UnboundedSender<String>);

impl DnsResolver for Unanswering {
    fn resolve(&self, host: &str, _: u16) -> DnsLookup {
        self.0.send(host.to_owned()).unwrap();
        Box::pin(std::future::pending::<io::Result<Vec<SocketAddr>>>())
    }
}

/// Behaves according to the path, and reports each request.
async fn app(mut request: Request<Body>, told: UnboundedSender<String>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    told.send(path.clone()).unwrap();
    if path.ends_with("/wait") {
        std::future::pending::<()>().await;
    }
    if path.ends_with("/endless") {
        let (feed, body) = fed();
        tokio::spawn(async move { while feed.data(vec![b'x'; 64 * 1024]).await {} });
        return Ok(Response::new(Body::new(body)));
    }
    if path.ends_with("/echo") {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
            let (mut read, mut write) = tokio::io::split(io);
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let agreed = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
        return Ok(agreed.body(Body::empty()).unwrap());
    }
    let _ = request.into_body().collect().await;
    Ok(Response::new(Body::from("ok")))
}

/// Starts a proxy that allows one tunnel. Returns a receiver of the paths its application served and the names it
/// resolved.
async fn with_one_place() -> (Proxy, UnboundedReceiver<String>) {
    let (tell, told) = unbounded_channel();
    let exact = ExactProxy::builder().dns_resolver(Unanswering(tell.clone())).build().unwrap();
    let proxy = Proxy::over(tower::service_fn(move |request| app(request, tell.clone())), |builder| {
        builder.resolver(Resolver::fixed("/")).client(exact).max_tunnels(1).on_connect(|connect| {
            if connect.host() == "a.test" { ConnectAction::Intercept } else { ConnectAction::Tunnel }
        })
    })
    .await;
    (proxy, told)
}

async fn go_as_far_as(phase: Phase, proxy: &Proxy, told: &mut UnboundedReceiver<String>) -> RawClient {
    let channel = async |way: Way| proxy.open(way, "a.test", way.port()).await;
    let sent = async |mut channel: Channel, request: String| {
        channel.raw.send(request).await;
        channel.raw
    };
    let client = match phase {
        Phase::Connecting => {
            let mut client = proxy.front.client().await;
            client.send("CONNECT elsewhere.test:443 HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n").await;
            client
        }
        Phase::Silence => RawClient::over(proxy.tunnel("a.test:443").await),
        Phase::HalfAClientHello | Phase::InTheHandshake => {
            let mut client = RawClient::over(proxy.tunnel("a.test:443").await);
            let hello = client_hello(&proxy.authority, "a.test", &[]);
            let whole = matches!(phase, Phase::InTheHandshake);
            client.send(if whole { &hello[..] } else { &hello[..hello.len() / 2] }).await;
            if whole {
                assert_eq!(client.read(1).await, [22], "a ServerHello");
            }
            client
        }
        Phase::Idle(way) => {
            let mut channel = channel(way).await;
            assert_eq!(channel.get("/").await.text(), "ok");
            channel.raw
        }
        Phase::InTheHead(way) => sent(channel(way).await, "GET / HTTP/1.1\r\nHost: a.te".into()).await,
        Phase::InTheBody(way) => {
            let channel = channel(way).await;
            let request = channel.request("POST", "/", "Content-Length: 9\r\n") + "body";
            sent(channel, request).await
        }
        Phase::Waiting(way) => {
            let channel = channel(way).await;
            let request = channel.request("GET", "/wait", "");
            sent(channel, request).await
        }
        Phase::InTheResponse(way) => {
            let channel = channel(way).await;
            let request = channel.request("GET", "/endless", "");
            let mut client = sent(channel, request).await;
            client.read(1024).await;
            client
        }
        Phase::Upgraded(way) => {
            let channel = channel(way).await;
            let request = channel.request("GET", "/echo", UPGRADE);
            let mut client = sent(channel, request).await;
            assert_eq!(client.head_response().await.status(), 101);
            client.send("x").await;
            assert_eq!(client.read(1).await, b"x");
            client
        }
    };
    if matches!(phase, Phase::Connecting | Phase::InTheBody(_) | Phase::Waiting(_)) {
        within("the request to get there", told.recv()).await.unwrap();
    }
    client
}

/// Returns true if the limit is reached. Requests a tunnel to a forbidden address: with a free permit the response is
/// 403, else 503.
async fn is_full(proxy: &Proxy) -> bool {
    let (head, _) = connect(proxy.addr(), "10.0.0.1:443", "").await;
    assert!(head.starts_with("HTTP/1.1 403 ") || head.starts_with("HTTP/1.1 503 "), "{head}");
    head.starts_with("HTTP/1.1 503 ")
}

#[tokio::test]
async fn a_place_is_held_until_the_client_leaves_and_given_back_wherever_it_does() {
    let (proxy, mut told) = with_one_place().await;
    for phase in PHASES {
        for reset in [true, false] {
            let client = go_as_far_as(phase, &proxy, &mut told).await;
            assert!(is_full(&proxy).await, "the tunnel holds no permit: {phase:?}");
            if reset {
                client.reset();
            } else {
                drop(client);
            }
            let room = async {
                while is_full(&proxy).await {
                    tokio::task::yield_now().await;
                }
            };
            within("a place", room).await;
            while told.try_recv().is_ok() {}
        }
    }
}
