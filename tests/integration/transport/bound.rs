//! Connections that an upstream authenticates (NTLM, Negotiate; RFC 4559): they serve one client connection.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::{Request, Response, header::AUTHORIZATION};
use nexthop::{
    Body, ExactProxy, ProxyApp,
    exact::{ExactProxyBuilder, HttpVersions},
    ext::ConnectionId,
    net::Tls,
    pool::CloseReason,
};
use tokio::net::TcpListener;

use crate::support::{
    Front, RawClient, RawUpstream, fetch, get,
    ntlm::{authenticates, unauthorized},
    send,
    tls::TestCa,
    within,
};

/// Sends a `GET` with these headers.
async fn ask(client: &mut RawClient, headers: &str) -> (u16, String) {
    let response = client.exchange(format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n")).await;
    (response.status(), response.text().to_owned())
}

/// Both legs of a handshake.
async fn log_in(client: &mut RawClient, user: &str) -> (u16, String) {
    assert_eq!(ask(client, "Authorization: NTLM hello\r\n").await.0, 401);
    ask(client, &format!("Authorization: NTLM {user}\r\n")).await
}

fn app(
    upstream: &RawUpstream,
    settings: impl FnOnce(ExactProxyBuilder) -> ExactProxyBuilder,
) -> (ProxyApp, ExactProxy) {
    let exact = settings(ExactProxy::builder()).build().unwrap();
    let app = ProxyApp::builder(upstream.url("/").as_str()).client(exact.clone()).build().unwrap();
    (app, exact)
}

#[tokio::test]
async fn an_authenticated_connection_serves_its_client_connection_and_no_other() {
    let upstream = RawUpstream::tcp(authenticates);
    let front = Front::serve(app(&upstream, |builder| builder).0).await;
    let (mut alice, mut bob, mut eve) = (front.client().await, front.client().await, front.client().await);
    assert_eq!(ask(&mut alice, "").await, (401, "none".into()));
    assert_eq!(log_in(&mut alice, "alice").await, (200, "alice 0".into()));
    assert_eq!(log_in(&mut bob, "bob").await, (200, "bob 1".into()));
    for _ in 0..2 {
        assert_eq!(ask(&mut eve, "").await, (401, "none".into()));
        assert_eq!(ask(&mut bob, "").await, (200, "bob 1".into()), "no credentials are sent again");
        assert_eq!(ask(&mut alice, "").await, (200, "alice 0".into()));
    }
    assert_eq!(ask(&mut front.client().await, "").await, (401, "none".into()));
}

/// A request that must not be lost takes young connections only, but this one is the client's own however old it is.
#[tokio::test]
async fn a_post_goes_on_the_connection_that_its_client_has_authenticated() {
    let upstream = RawUpstream::tcp(authenticates);
    let front = Front::serve(app(&upstream, |builder| builder).0).await;
    let mut alice = front.client().await;
    log_in(&mut alice, "alice").await;
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(alice.exchange(post).await.text(), "alice 0");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn an_authenticated_connection_is_closed_when_its_client_leaves() {
    let upstream = RawUpstream::tcp(authenticates);
    let (app, exact) = app(&upstream, |builder| builder);
    let front = Front::serve(app).await;
    let mut alice = front.client().await;
    log_in(&mut alice, "alice").await;
    assert_eq!(upstream.open(), 1);
    drop(alice);
    upstream.wait_closed().await;
    assert_eq!(exact.pool_stats().closed_by(CloseReason::Finished), 1);
}

/// A server other than `serve` inserts no `ConnectionId`.
#[tokio::test]
async fn without_a_client_connection_an_authenticated_connection_is_closed_after_the_exchange() {
    let upstream = RawUpstream::tcp(authenticates);
    let front = Front::hyper(app(&upstream, |builder| builder).0).await;
    let mut client = front.client().await;
    for index in 0..3 {
        assert_eq!(ask(&mut client, "Authorization: Negotiate alice\r\n").await, (200, format!("alice {index}")));
    }
    assert_eq!(ask(&mut client, "").await, (401, "none".into()), "connection 3");
    assert_eq!(ask(&mut client, "Authorization: Negotiate bob\r\n").await, (200, "bob 4".into()));
    upstream.wait_closed().await;
}

#[tokio::test]
async fn another_acceptor_can_name_its_connections() {
    let upstream = RawUpstream::tcp(authenticates);
    let exact = ExactProxy::new();
    let (one, other) = (ConnectionId::new(), ConnectionId::new());
    let from = |id: &ConnectionId, credentials: Option<&'static str>| {
        let mut request = get(upstream.url("/"));
        request.extensions_mut().insert(id.clone());
        if let Some(credentials) = credentials {
            request.headers_mut().insert(AUTHORIZATION, credentials.parse().unwrap());
        }
        request
    };
    assert_eq!(fetch(&exact, from(&one, Some("Negotiate alice"))).await, (200, "alice 0".into()));
    assert_eq!(fetch(&exact, from(&other, None)).await, (401, "none".into()));
    assert_eq!(fetch(&exact, from(&one, None)).await, (200, "alice 0".into()));
    assert_eq!(fetch(&exact, from(&other, Some("negotiate bob"))).await, (200, "bob 1".into()));
    assert_eq!(fetch(&exact, from(&other, None)).await, (200, "bob 1".into()));
}

/// Which of two requests, from two clients, share a connection if the first is answered with these headers.
async fn shares(status: &str, headers: &'static str, request: &str) -> bool {
    let status = status.to_owned();
    let upstream = RawUpstream::tcp(move |mut conn| {
        let answer = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n");
        async move {
            loop {
                conn.request().await;
                conn.write(&answer).await;
            }
        }
    });
    let exact = ExactProxy::builder().keep_hop_by_hop().build().unwrap();
    let front = Front::serve(ProxyApp::builder(upstream.url("/").as_str()).client(exact).build().unwrap()).await;
    for _ in 0..2 {
        ask(&mut front.client().await, request).await;
    }
    upstream.connections() == 1
}

#[tokio::test]
async fn every_spelling_of_a_challenge_binds_the_connection_and_no_other_scheme_does() {
    for challenge in [
        "WWW-Authenticate: NTLM\r\n",
        "WWW-Authenticate: Negotiate\r\n",
        "www-authenticate: ntlm TlRMTVNTUAAC\r\n",
        "WWW-Authenticate: NEGOTIATE oYG2MIGz\r\n",
        "WWW-Authenticate: Basic realm=\"a, b\"\r\nWWW-Authenticate: Negotiate\r\n",
        "WWW-Authenticate: Basic realm=\"a\\\" b\", NTLM\r\n",
        "WWW-Authenticate: Basic realm=a , , Negotiate , Digest realm=\"b\"\r\n",
        "WWW-Authenticate:\tNTLM\r\n",
        "Connection: WWW-Authenticate\r\nWWW-Authenticate: NTLM\r\n",
        "Proxy-Authenticate: NTLM\r\n",
    ] {
        for status in ["401 Unauthorized", "407 Proxy Authentication Required", "200 OK", "403 Forbidden"] {
            assert!(!shares(status, challenge, "").await, "{status}: {challenge}");
        }
    }
    for challenge in [
        "",
        "WWW-Authenticate: Basic realm=\"NTLM\"\r\n",
        "WWW-Authenticate: Basic realm=\"a, NTLM\", Digest realm=\"Negotiate\"\r\n",
        "WWW-Authenticate: NTLMv9, Bearer negotiate=1\r\n",
        "X-Authenticate: NTLM\r\n",
    ] {
        assert!(shares("401 Unauthorized", challenge, "").await, "{challenge}");
    }
}

#[tokio::test]
async fn credentials_of_such_a_scheme_bind_the_connection_whatever_the_answer() {
    for credentials in [
        "Authorization: NTLM TlRMTVNTUAAB\r\n",
        "authorization: negotiate YII\r\n",
        "Authorization:  Negotiate\tYII\r\n",
        "Authorization: Negotiate\r\n",
        "Authorization: Basic YTpi\r\nAuthorization: NTLM TlRMTVNTUAAB\r\n",
    ] {
        assert!(!shares("200 OK", "", credentials).await, "{credentials}");
        assert!(!shares("404 Not Found", "", credentials).await, "{credentials}");
    }
    for credentials in
        ["Authorization: Basic TlRMTQ==\r\n", "Authorization: NTLMx y\r\n", "X-Authorization: NTLM x\r\n"]
    {
        assert!(shares("200 OK", "", credentials).await, "{credentials}");
    }
}

/// A head is let go once it is written; it is written again if the pool's connection was closed.
#[tokio::test]
async fn credentials_bind_the_connection_on_which_they_are_sent_again() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        if conn.index == 0 {
            // Closes on the second request, which is the one with credentials.
            conn.head().await;
            return;
        }
        authenticates(conn).await;
    });
    let front = Front::serve(app(&upstream, |builder| builder).0).await;
    ask(&mut front.client().await, "").await;
    let mut alice = front.client().await;
    assert_eq!(ask(&mut alice, "Authorization: Negotiate alice\r\n").await.0, 200);
    let mut eve = front.client().await;
    ask(&mut eve, "").await;
    assert_eq!(upstream.requests().last().unwrap().connection, 2, "not that of the credentials");
}

/// The response comes before the request has ended, so that a task goes on with both.
#[tokio::test]
async fn an_early_challenge_binds_the_connection() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        if conn.index == 0 {
            conn.head().await;
            conn.write(unauthorized("WWW-Authenticate: NTLM\r\n")).await;
            conn.read(2).await;
        }
        authenticates(conn).await;
    });
    let front = Front::serve(app(&upstream, |builder| builder).0).await;
    let mut alice = front.client().await;
    alice.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n").await;
    let early = alice.response().await;
    assert_eq!(early.status(), 401);
    drop((alice, early));
    assert_eq!(ask(&mut front.client().await, "").await.0, 401);
    assert_eq!(upstream.requests().last().unwrap().connection, 1);
}

#[tokio::test]
async fn a_client_connection_does_not_block_others_where_connections_are_limited() {
    let upstream = RawUpstream::tcp(authenticates);
    let front = Front::serve(app(&upstream, |builder| builder.pool_max_connections(1)).0).await;
    let (mut alice, mut eve) = (front.client().await, front.client().await);
    assert_eq!(log_in(&mut alice, "alice").await, (200, "alice 0".into()));
    assert_eq!(ask(&mut eve, "").await, (401, "none".into()), "on connection 1, in the place of the other");
    assert_eq!(ask(&mut alice, "").await, (401, "none".into()));
    assert_eq!(log_in(&mut alice, "alice").await, (200, "alice 2".into()), "on that of the challenge");
}

/// A server for both versions, by ALPN; each response names the connection and the user that it has authenticated.
async fn secure(ca: &TestCa, alpn: &[&str]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(ca.server_config(alpn)));
    let open = Arc::new(AtomicUsize::new(0));
    let count = open.clone();
    tokio::spawn(async move {
        for index in 0.. {
            let Ok((io, _)) = listener.accept().await else { return };
            let (acceptor, open) = (acceptor.clone(), count.clone());
            tokio::spawn(async move {
                let Ok(io) = acceptor.accept(io).await else { return };
                open.fetch_add(1, Ordering::SeqCst);
                let version = if io.get_ref().1.alpn_protocol() == Some(b"h2") { "h2" } else { "http/1.1" };
                let user = Arc::new(std::sync::Mutex::new("nobody".to_owned()));
                let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                    let user = user.clone();
                    async move {
                        let mut user = user.lock().unwrap();
                        if let Some(sent) = request.headers().get(AUTHORIZATION) {
                            *user = sent.to_str().unwrap().rsplit(' ').next().unwrap().to_owned();
                        }
                        let text = format!("{user} {index} {version}");
                        Ok::<_, std::convert::Infallible>(Response::new(Body::from(text)))
                    }
                });
                let executor = hyper_util::rt::TokioExecutor::new();
                let server = hyper_util::server::conn::auto::Builder::new(executor);
                let _ = server.serve_connection(hyper_util::rt::TokioIo::new(io), service).await;
                open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (url, open)
}

fn secured(ca: &TestCa, versions: HttpVersions) -> ExactProxy {
    let tls = Tls::roots_pem(ca.root_pem().as_bytes()).unwrap();
    ExactProxy::builder().tls(tls).http_versions(versions).build().unwrap()
}

fn from(id: Option<&ConnectionId>, url: &str, credentials: &str) -> Request<Body> {
    let mut request = get(url);
    request.extensions_mut().extend(
        id.cloned()
            .map(|id| {
                let mut extensions = http::Extensions::new();
                extensions.insert(id);
                extensions
            })
            .unwrap_or_default(),
    );
    if !credentials.is_empty() {
        request.headers_mut().insert(AUTHORIZATION, credentials.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn such_credentials_never_travel_on_a_shared_http_2_connection() {
    let ca = TestCa::new();
    let id = ConnectionId::new();
    let (url, _) = secure(&ca, &["h2", "http/1.1"]).await;
    let proxy = secured(&ca, HttpVersions::Auto);
    assert_eq!(fetch(&proxy, from(None, &url, "")).await.1, "nobody 0 h2");
    // They authenticate connections of HTTP/1.1, so that is what is spoken.
    assert_eq!(fetch(&proxy, from(Some(&id), &url, "Negotiate alice")).await.1, "alice 1 http/1.1");
    assert_eq!(fetch(&proxy, from(Some(&id), &url, "")).await.1, "alice 1 http/1.1");
    assert_eq!(fetch(&proxy, from(None, &url, "")).await.1, "nobody 0 h2");
    assert_eq!(fetch(&proxy, from(None, &url, "NTLM bob")).await.1, "bob 2 http/1.1");
    assert_eq!(fetch(&proxy, from(None, &url, "")).await.1, "nobody 0 h2");
}

#[tokio::test]
async fn an_upstream_of_http_2_alone_gets_such_credentials_on_a_connection_for_one_request() {
    let ca = TestCa::new();
    let id = ConnectionId::new();
    for versions in [HttpVersions::Auto, HttpVersions::Http2Only] {
        let (url, open) = secure(&ca, &["h2"]).await;
        let proxy = secured(&ca, versions);
        assert_eq!(fetch(&proxy, from(Some(&id), &url, "")).await.1, "nobody 0 h2", "{versions:?}");
        let (_, first) = fetch(&proxy, from(Some(&id), &url, "Negotiate alice")).await;
        assert!(first.starts_with("alice ") && first.ends_with(" h2"), "{versions:?}: {first}");
        assert_eq!(fetch(&proxy, from(Some(&id), &url, "")).await.1, "nobody 0 h2", "{versions:?}");
        let (_, second) = fetch(&proxy, from(None, &url, "NTLM bob")).await;
        assert!(second.starts_with("bob ") && second != first, "{versions:?}: {second}");
        assert_eq!(fetch(&proxy, from(None, &url, "")).await.1, "nobody 0 h2", "{versions:?}");
        within("the end of the others", async {
            while open.load(Ordering::SeqCst) > 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn such_credentials_take_their_turn_where_connections_are_limited() {
    let ca = TestCa::new();
    for (versions, alpn) in [
        (HttpVersions::Auto, &["h2", "http/1.1"][..]),
        (HttpVersions::Auto, &["h2"]),
        (HttpVersions::Http2Only, &["h2"]),
    ] {
        let (url, _) = secure(&ca, alpn).await;
        let tls = Tls::roots_pem(ca.root_pem().as_bytes()).unwrap();
        let builder = ExactProxy::builder().tls(tls).http_versions(versions).pool_max_connections(1);
        let proxy = builder.build().unwrap();
        for _ in 0..2 {
            assert!(fetch(&proxy, from(None, &url, "")).await.1.starts_with("nobody "), "{versions:?} {alpn:?}");
            let response = send(&proxy, from(None, &url, "Negotiate alice")).await.unwrap();
            assert_eq!(response.status(), 200);
            let text = response.into_body().bytes(100).await.unwrap();
            assert!(text.starts_with(b"alice "), "{versions:?} {alpn:?}");
        }
        assert_eq!(proxy.pool_stats().waiting, 0);
    }
}
