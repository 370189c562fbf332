//! Requests on pooled connections that were closed while idle, and the requests that are retried.
//!
//! The upstreams close a connection when a request arrives, so the client cannot notice the close earlier.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use nexthop::{Body, ErrorKind, ExactProxy, Phase, ProxyApp, net::Tls};
use tower::Service;

use crate::support::{
    Front, Gate, RawConn, RawUpstream, Scripted,
    body::{fed, pieces},
    fetch, get, post, send,
    tls::TestCa,
    within,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Serves one request on each of its first `bad` connections and closes them when the second request arrives; serves
/// every request on later connections.
fn stale(bad: usize, reset: bool) -> RawUpstream {
    RawUpstream::tcp(move |conn| serve_stale(conn, bad, reset))
}

async fn serve_stale(mut conn: RawConn, bad: usize, reset: bool) {
    conn.request().await;
    conn.write(OK).await;
    if conn.index < bad {
        conn.head().await;
        if reset {
            conn.reset();
        }
        return;
    }
    loop {
        conn.request().await;
        conn.write(OK).await;
    }
}

#[tokio::test]
async fn a_get_is_sent_again_once_on_a_fresh_connection() {
    for reset in [false, true] {
        let upstream = stale(1, reset);
        let proxy = ExactProxy::new();
        for _ in 0..3 {
            assert_eq!(fetch(&proxy, get(upstream.url("/"))).await, (200, "ok".to_owned()));
        }
        assert_eq!((upstream.connections(), upstream.requests().len()), (2, 4));
    }
}

#[tokio::test]
async fn what_is_sent_again_is_the_same_head_byte_for_byte() {
    let ca = TestCa::new();
    let tls = Tls::roots_pem(ca.root_pem().as_bytes()).unwrap();
    let exact = ExactProxy::builder().tls(tls).build().unwrap();
    for (method, secure) in [("GET", false), ("HEAD", false), ("DELETE", false), ("GET", true)] {
        let upstream = match secure {
            true => RawUpstream::tls(&ca, &["http/1.1"], |conn| serve_stale(conn, 1, false)),
            false => stale(1, false),
        };
        let url = if secure { upstream.url("/base").replace("http:", "https:") } else { upstream.url("/base") };
        let proxy = ProxyApp::builder(url).client(exact.clone()).build().unwrap();
        let front = Front::serve(proxy).await;
        let mut client = front.client().await;
        client.exchange("GET /1 HTTP/1.1\r\nHost: front\r\n\r\n").await;
        client
            .send(format!("{method} /2?q=%20 HTTP/1.1\r\nHost: front\r\nCookie: a=b\r\nX-A: 1\r\nX-A: 2\r\n\r\n"))
            .await;
        let response = if method == "HEAD" { client.head_response().await } else { client.response().await };
        assert_eq!(response.status(), 200);
        upstream.wait_requests(3).await;
        let [_, lost, again] = upstream.requests().try_into().unwrap();
        assert_eq!(lost.head, again.head);
        assert_eq!((again.target(), again.header("cookie")), ("/base/2?q=%20", Some("a=b")));
        assert_eq!(again.headers("x-a"), ["1", "2"]);
        assert_eq!(again.header("x-forwarded-server"), Some("front"));
    }
}

#[test]
fn a_request_made_outside_a_runtime_takes_a_connection_of_the_runtime_that_awaits_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let upstream = {
        let _entered = runtime.enter();
        stale(0, false)
    };
    let mut proxy = ExactProxy::new();
    for _ in 0..3 {
        let response = proxy.call(get(upstream.url("/")));
        let body = async { within("a response", response).await.unwrap().into_body().collect().await.unwrap() };
        assert_eq!(runtime.block_on(body).to_bytes(), "ok");
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_second_loss_is_final() {
    let (proxy, upstream) = (
        ExactProxy::new(),
        RawUpstream::tcp(|mut conn| async move {
            conn.request().await;
            if conn.index == 0 {
                conn.write(OK).await;
                conn.head().await;
            }
        }),
    );
    fetch(&proxy, get(upstream.url("/"))).await;
    let error = send(&proxy, get(upstream.url("/"))).await.unwrap_err();
    assert_eq!((error.kind(), error.phase(), error.is_retryable()), (ErrorKind::Upstream, Phase::ResponseHead, false));
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn a_fresh_connection_that_is_lost_is_not_tried_again() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
    });
    let error = send(&ExactProxy::new(), get(upstream.url("/"))).await.unwrap_err();
    assert_eq!((error.status().as_u16(), error.is_retryable()), (502, false));
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn what_can_have_had_an_effect_is_not_sent_again() {
    let requests: [fn(String) -> Request<Body>; 3] =
        [|url| post(url, "x"), |url| post(url, Body::empty()), |url| Request::patch(url).body("x".into()).unwrap()];
    for request in requests {
        let upstream = stale(1, false);
        let proxy = ExactProxy::new();
        fetch(&proxy, get(upstream.url("/"))).await;
        let error = send(&proxy, request(upstream.url("/"))).await.unwrap_err();
        assert_eq!((error.status().as_u16(), error.is_retryable()), (502, false));
        assert_eq!((upstream.connections(), upstream.requests().len()), (1, 2));
    }
}

#[tokio::test]
async fn an_idempotent_request_is_sent_again_with_the_whole_of_a_body_in_memory() {
    for body in ["", "all of it"] {
        let upstream = stale(1, false);
        let proxy = ExactProxy::new();
        fetch(&proxy, get(upstream.url("/"))).await;
        let request = Request::put(upstream.url("/")).body(Body::from(body)).unwrap();
        assert_eq!(fetch(&proxy, request).await.0, 200);
        let seen = upstream.requests().pop().unwrap();
        assert_eq!((seen.connection, seen.body.as_slice()), (1, body.as_bytes()));
        assert_eq!(seen.header("content-length"), Some(body.len().to_string().as_str()));
    }
}

#[tokio::test]
async fn nothing_is_sent_again_after_a_byte_of_an_answer() {
    for answer in ["H", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
        let upstream = RawUpstream::tcp(move |mut conn| async move {
            conn.request().await;
            conn.write(OK).await;
            conn.request().await;
            conn.write(answer).await;
        });
        let proxy = ExactProxy::new();
        fetch(&proxy, get(upstream.url("/"))).await;
        assert_eq!(send(&proxy, get(upstream.url("/"))).await.unwrap_err().status().as_u16(), 502);
        assert_eq!(upstream.connections(), 1);
    }
}

#[tokio::test]
async fn an_unsent_post_is_sent_again_with_its_body_whole() {
    let trailers: http::HeaderMap = [("x-sum".parse().unwrap(), "1".parse().unwrap())].into_iter().collect();
    type Make = fn(http::HeaderMap) -> Body;
    let bodies: Vec<(Make, &str)> = vec![
        (|_| Body::from("whole"), "whole"),
        (|_| Body::new(Full::<Bytes>::from("whole")), "whole"),
        (|_| Body::new(pieces(&["", "wh", "ol", "e"])), "2\r\nwh\r\n2\r\nol\r\n1\r\ne\r\n0\r\n\r\n"),
        (|_| Body::new(pieces(&[])), "0\r\n\r\n"),
        (|trailers| Body::new(pieces(&[]).with_trailers(async move { Some(Ok(trailers)) })), "0\r\nx-sum: 1\r\n\r\n"),
    ];
    for (body, wire) in bodies {
        let (sent, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let gate = Gate::default();
        let connector = gate.connector(move |mut conn: RawConn| {
            let sent = sent.clone();
            async move {
                loop {
                    let request = conn.request().await;
                    sent.send(request).unwrap();
                    conn.write(OK).await;
                }
            }
        });
        let proxy = ExactProxy::builder().connector(connector).build().unwrap();
        assert_eq!(fetch(&proxy, get("http://h/")).await.0, 200);
        gate.shut();
        assert_eq!(fetch(&proxy, post("http://h/", body(trailers.clone()))).await.0, 200, "{wire}");
        assert_eq!(gate.connections(), 2);
        seen.recv().await.unwrap();
        assert_eq!(String::from_utf8(seen.recv().await.unwrap().wire_body).unwrap(), wire);
    }
}

#[tokio::test]
async fn an_unsent_body_that_fails_is_the_clients_fault_and_not_sent_again() {
    let gate = Gate::default();
    let connector = gate.connector(|mut conn: RawConn| async move {
        loop {
            conn.request().await;
            conn.write(OK).await;
        }
    });
    let proxy = ExactProxy::builder().connector(connector).build().unwrap();
    fetch(&proxy, get("http://h/")).await;
    gate.shut();
    let (feed, body) = fed();
    feed.fail("gone").await;
    let error = send(&proxy, Request::post("http://h/").body(body).unwrap()).await.unwrap_err();
    assert_eq!((error.kind(), gate.connections()), (ErrorKind::RequestBody, 1));
}

/// rustls writes a request in several records, and does not report records that were written before the failure.
#[tokio::test]
async fn a_post_of_which_some_records_were_written_is_not_sent_again() {
    let ca = TestCa::new();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(ca.server_config(&["http/1.1"])));
    let upstream = Scripted::new(move |_, io| {
        let acceptor = acceptor.clone();
        async move {
            let mut conn = RawConn::over(acceptor.accept(io).await.unwrap());
            conn.request().await;
            conn.write(OK).await;
            conn.head().await;
        }
    });
    let gate = Gate::default().unresponsive_after(20_000);
    let tls = Tls::roots_pem(ca.root_pem().as_bytes()).unwrap();
    let proxy = ExactProxy::builder().tls(tls).connector(gate.before(upstream)).build().unwrap();
    assert_eq!(fetch(&proxy, get("https://localhost/")).await, (200, "ok".to_owned()));
    let error = send(&proxy, post("https://localhost/", vec![b'x'; 60_000])).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Upstream, false));
    assert_eq!(gate.connections(), 1);
}
