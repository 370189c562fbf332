//! Connections that are upgraded to another protocol.

use http::Request;
use nexthop::{Body, ExactProxy, TransparentProxy, tunnel::Upgraded};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Front, RawUpstream, fetch, get, read, send, within};

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, x-gone\r\nUpgrade: Foo\r\nX-Gone: 1\r\n\
                      Sec-Foo: 2\r\ncontent-length: 9\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn handshake(url: String) -> Request<Body> {
    let mut request = get(url);
    request.headers_mut().insert("connection", "keep-alive, Upgrade".parse().unwrap());
    request.headers_mut().insert("upgrade", "foo".parse().unwrap());
    request.headers_mut().insert("sec-foo", "1".parse().unwrap());
    request
}

/// Accepts an upgrade and sends the first bytes together with the head. Then echoes `count` bytes, and the rest after
/// the end of the peer's direction.
fn switching(count: usize) -> RawUpstream {
    RawUpstream::tcp(move |mut conn| async move {
        let seen = conn.request().await;
        assert_eq!((seen.header("connection"), seen.header("upgrade")), (Some("upgrade"), Some("foo")));
        assert_eq!(seen.header("sec-foo"), Some("1"));
        conn.write(format!("{SWITCH}hello")).await;
        let echoed = conn.read(count).await;
        conn.write(echoed).await;
        let rest = conn.read_to_end().await;
        conn.write([b"then ", rest.as_slice()].concat()).await;
        conn.finish_writing().await;
    })
}

#[tokio::test]
async fn a_client_finds_the_connection_in_the_response_with_the_bytes_glued_to_it() {
    let upstream = switching(4);
    let mut response = send(&ExactProxy::new(), handshake(upstream.url("/"))).await.unwrap();
    assert_eq!(response.status(), 101);
    let mut fields: Vec<_> = response.headers().keys().map(|name| name.as_str()).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["connection", "sec-foo", "upgrade"]);
    let mut io = Upgraded::take(&mut response).expect("a connection");
    assert!(Upgraded::take(&mut response).is_none(), "the connection can be taken once only");
    let mut glued = [0; 5];
    within("the glued bytes", io.read_exact(&mut glued)).await.unwrap();
    assert_eq!(&glued, b"hello");
    io.write_all(b"ping").await.unwrap();
    let mut echoed = [0; 4];
    within("the echo", io.read_exact(&mut echoed)).await.unwrap();
    io.write_all(b"bye").await.unwrap();
    io.shutdown().await.unwrap();
    let mut rest = Vec::new();
    within("the end", io.read_to_end(&mut rest)).await.unwrap();
    assert_eq!((&echoed, rest.as_slice()), (b"ping", &b"then bye"[..]));
    upstream.wait_closed().await;
}

#[tokio::test]
async fn a_tunnel_through_a_hyper_server_carries_glued_bytes_and_each_end() {
    let upstream = switching(9);
    let front = Front::hyper(TransparentProxy::new()).await;
    let mut client = front.client().await;
    let head = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: foo\r\nSec-Foo: 1\r\n\r\n",
        upstream.addr()
    );
    client.send(format!("{head}glued")).await;
    let response = client.head_response().await;
    assert_eq!((response.status(), response.header("upgrade")), (101, Some("Foo")));
    assert_eq!((response.header("x-gone"), response.header("content-length")), (None, None));
    assert_eq!(client.read(5).await, b"hello");
    client.send("more").await;
    assert_eq!(client.read(9).await, b"gluedmore");
    client.send("bye").await;
    client.finish_writing().await;
    assert_eq!(client.read_to_end().await, (b"then bye".to_vec(), true));
    upstream.wait_closed().await;
}

#[tokio::test]
async fn the_upstreams_end_leaves_the_other_direction_open() {
    let (heard, mut hear) = tokio::sync::mpsc::channel(1);
    let upstream = RawUpstream::tcp(move |mut conn| {
        let heard = heard.clone();
        async move {
            conn.request().await;
            conn.write(format!("{SWITCH}all")).await;
            conn.finish_writing().await;
            heard.send(conn.read_to_end().await).await.unwrap();
        }
    });
    let front = Front::hyper(TransparentProxy::new()).await;
    let mut client = front.client().await;
    client
        .send(format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n", upstream.addr()))
        .await;
    assert_eq!(client.head_response().await.status(), 101);
    assert_eq!(client.read_to_end().await, (b"all".to_vec(), true));
    client.send("still here").await;
    client.finish_writing().await;
    assert_eq!(within("what came after", hear.recv()).await.unwrap(), b"still here");
}

#[tokio::test]
async fn a_side_that_leaves_closes_the_other() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.write(SWITCH).await;
        if conn.index == 0 {
            conn.read(1).await;
        }
    });
    let front = Front::hyper(TransparentProxy::new()).await;
    for _ in 0..2 {
        let mut client = front.client().await;
        client
            .send(format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n", upstream.addr()))
            .await;
        assert_eq!(client.head_response().await.status(), 101);
        if upstream.connections() == 1 {
            client.reset();
        } else {
            client.read_to_end().await;
        }
    }
    upstream.wait_closed().await;
}

#[tokio::test]
async fn a_refusal_is_an_answer_like_any_other_and_the_connection_goes_on_with_http() {
    let upstream = RawUpstream::answering(["HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", OK]);
    let front = Front::hyper(TransparentProxy::new()).await;
    let mut client = front.client().await;
    let host = upstream.addr();
    // The second request must not reach the upstream before the first one is answered, and must not be lost.
    let pipelined = format!("GET /2 HTTP/1.1\r\nHost: {host}\r\n\r\n");
    client
        .send(format!("GET /1 HTTP/1.1\r\nHost: {host}\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n{pipelined}"))
        .await;
    let refused = client.response().await;
    assert_eq!((refused.status(), refused.text()), (403, "no"));
    assert_eq!(client.response().await.text(), "ok");
    assert_eq!(upstream.connections(), 1);
    assert!(upstream.requests()[0].body.is_empty());

    let mut response = send(&ExactProxy::new(), handshake(upstream.url("/"))).await.unwrap();
    assert!(Upgraded::take(&mut response).is_none());
    assert_eq!(read(response).await.0, b"no");
}

#[tokio::test]
async fn the_place_of_a_tunnel_is_taken_by_a_new_connection() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        if conn.request().await.header("upgrade").is_some() {
            conn.write(SWITCH).await;
            conn.read(1).await;
        } else {
            conn.write(OK).await;
            conn.request().await;
        }
    });
    let proxy = ExactProxy::new();
    let response = send(&proxy, handshake(upstream.url("/"))).await.unwrap();
    assert_eq!(fetch(&proxy, get(upstream.url("/"))).await.1, "ok");
    assert_eq!(upstream.connections(), 2);
    drop(response); // drops the upgraded connection unused
    upstream.wait_requests(2).await;
}

#[tokio::test]
async fn a_handshake_is_not_carried_from_http_1_0() {
    let upstream = RawUpstream::answering([OK]);
    let front = Front::hyper(TransparentProxy::new()).await;
    let head = format!("GET / HTTP/1.0\r\nHost: {}\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n", upstream.addr());
    assert_eq!(front.exchange(head).await.status(), 200);
    assert_eq!((upstream.only_request().header("upgrade"), upstream.only_request().header("connection")), (None, None));
}
