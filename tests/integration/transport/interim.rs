//! Interim responses, and bodies that wait for one.

use http::Request;
use nexthop::{ErrorKind, ExactProxy, TransparentProxy};

use crate::support::{
    Front, RawUpstream,
    body::{Fed, Feed, fed},
    fetch, get, read, send,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn expecting(upstream: &RawUpstream) -> (Feed, Request<Fed>) {
    let (feed, body) = fed();
    let request = Request::post(upstream.url("/")).header("expect", "100-Continue").header("content-length", "4");
    (feed, request.body(body).unwrap())
}

/// Waits for a 100 for a minute, which no test does.
fn patient() -> ExactProxy {
    ExactProxy::builder().expect_continue_timeout(std::time::Duration::from_secs(60)).build().unwrap()
}

#[tokio::test]
async fn interim_responses_are_dropped_and_the_connection_is_kept() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nx: 1\r\n\r\n\
                   HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nconnection: close\r\ncontent-length: 7\r\n\r\n";
    let upstream = RawUpstream::answering([format!("{interim}{interim}{OK}")]);
    let proxy = ExactProxy::new();
    for _ in 0..2 {
        let response = send(&proxy, get(upstream.url("/"))).await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers().len()), (200, 1));
        assert_eq!(read(response).await.0, b"ok");
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn interim_responses_without_end_are_502() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.write("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(101)).await;
        conn.read_to_end().await;
    });
    let error = send(&ExactProxy::new(), get(upstream.url("/"))).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Upstream, false));
}

#[tokio::test]
async fn an_expected_body_is_not_asked_for_before_the_upstream_agrees() {
    let (agreed, agree) = tokio::sync::oneshot::channel::<()>();
    let agree = std::sync::Mutex::new(Some(agree));
    let upstream = RawUpstream::tcp(move |mut conn| {
        let agree = agree.lock().unwrap().take();
        async move {
            assert_eq!(conn.head().await.field("expect"), Some("100-Continue"));
            if let Some(agree) = agree {
                agree.await.unwrap();
            }
            conn.write("HTTP/1.1 100 Continue\r\n\r\n").await;
            assert_eq!(conn.read(4).await, b"body");
            conn.write(OK).await;
            conn.request().await;
            conn.write(OK).await;
        }
    });
    let proxy = patient();
    let (feed, request) = expecting(&upstream);
    assert!(feed.data("bo").await); // fits into the body's one place; the next one does not
    let mut response = std::pin::pin!(fetch(&proxy, request));
    tokio::select! {
        biased;
        _ = &mut response => panic!("answered"),
        _ = upstream.wait_seen(1) => {}
    }
    assert!(feed.is_full(), "the body was asked for before the upstream agreed");
    agreed.send(()).unwrap();
    let feeding = async {
        feed.data("dy").await;
        drop(feed);
    };
    let (answer, ()) = tokio::join!(response, feeding);
    assert_eq!(answer, (200, "ok".to_owned()));
    assert_eq!(fetch(&proxy, get(upstream.url("/"))).await.0, 200);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_final_answer_instead_of_100_leaves_the_body_where_it_is() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        conn.write("HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
        assert_eq!(conn.read_to_end().await, b"", "no byte of the body may follow");
    });
    let (feed, request) = expecting(&upstream);
    assert!(feed.data("body").await);
    assert_eq!(fetch(&patient(), request).await, (413, "big".to_owned()));
    feed.dropped().await;
    upstream.wait_closed().await;
}

#[tokio::test]
async fn an_expectation_goes_from_end_to_end_through_a_hyper_server() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        conn.write("HTTP/1.1 100 Continue\r\n\r\n").await;
        assert_eq!(conn.read(4).await, b"body");
        conn.write(OK).await;
    });
    let front = Front::hyper(TransparentProxy::new()).await;
    let mut client = front.client().await;
    let head =
        format!("POST / HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n", upstream.addr());
    client.send(&head).await;
    assert_eq!(client.head_response().await.status(), 100);
    client.send("body").await;
    assert_eq!(client.response().await.text(), "ok");

    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        conn.write("HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno").await;
        assert_eq!(conn.read_to_end().await, b"");
    });
    let mut client = front.client().await;
    client
        .send(head.replace(
            &head[head.find("Host").unwrap()..head.find("\r\nExpect").unwrap()],
            &format!("Host: {}", upstream.addr()),
        ))
        .await;
    let response = client.response().await;
    assert_eq!((response.status(), response.text()), (401, "no"), "and no 100 before it");
}

#[tokio::test]
async fn a_client_that_does_not_wait_loses_nothing() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        conn.write("HTTP/1.1 100 Continue\r\n\r\n").await;
        assert_eq!(conn.read(4).await, b"body");
        conn.write(OK).await;
    });
    let front = Front::hyper(TransparentProxy::new()).await;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody",
        upstream.addr()
    );
    let mut client = front.client().await;
    client.send(request).await;
    let mut response = client.head_response().await;
    if response.status() == 100 {
        response = client.head_response().await; // hyper says it whenever the body is not there yet
    }
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn an_expectation_without_a_body_waits_for_nothing() {
    let upstream = RawUpstream::answering([OK]);
    let request =
        Request::get(upstream.url("/")).header("expect", "100-continue").body(nexthop::Body::empty()).unwrap();
    assert_eq!(fetch(&patient(), request).await.0, 200);
}

#[tokio::test]
async fn a_switch_nobody_asked_for_is_502() {
    for (fields, upgrade) in [
        ("", None),
        ("upgrade: foo\r\nconnection: upgrade\r\n", None),
        ("upgrade: foo\r\nconnection: upgrade\r\n", Some("bar")),
    ] {
        let upstream = RawUpstream::answering([format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n")]);
        let mut request = get(upstream.url("/"));
        if let Some(upgrade) = upgrade {
            request.headers_mut().insert("upgrade", upgrade.parse().unwrap());
            request.headers_mut().insert("connection", "upgrade".parse().unwrap());
        }
        let error = send(&ExactProxy::new(), request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Upstream);
        upstream.wait_closed().await;
        let front = Front::hyper(TransparentProxy::new()).await;
        assert_eq!(front.exchange(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", upstream.addr())).await.status(), 502);
    }
}
