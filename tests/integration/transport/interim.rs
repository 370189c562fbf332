//! Interim responses (1xx), and request bodies that wait for a 100.

use std::sync::{Arc, Mutex};

use http::Request;
use nexthop::{ErrorKind, ExactProxy, ProxyApp, TransparentProxy, ext::OnInformational};

use crate::support::{
    Front, RawUpstream,
    body::{Fed, Feed, fed},
    fetch, get, read, send, within,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn expecting(upstream: &RawUpstream) -> (Feed, Request<Fed>) {
    let (feed, body) = fed();
    let request = Request::post(upstream.url("/")).header("expect", "100-Continue").header("content-length", "4");
    (feed, request.body(body).unwrap())
}

/// Builds a client that waits one minute for a 100, longer than any test takes.
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

/// Records interim responses: status, value of `link` and number of headers.
fn listening(request: &mut Request<nexthop::Body>) -> Arc<Mutex<Vec<(u16, String, usize)>>> {
    let told = Arc::<Mutex<Vec<_>>>::default();
    let tell = told.clone();
    request.extensions_mut().insert(OnInformational::new(move |response| {
        let link = response.headers().get("link").map_or("", |link| link.to_str().unwrap());
        tell.lock().unwrap().push((response.status().as_u16(), link.to_owned(), response.headers().len()));
    }));
    told
}

#[tokio::test]
async fn whoever_wants_to_know_is_told_of_interim_responses_before_the_final_one() {
    let (told_first, first) = tokio::sync::oneshot::channel::<()>();
    let first = Mutex::new(Some(first));
    let upstream = RawUpstream::tcp(move |mut conn| {
        let first = first.lock().unwrap().take();
        async move {
            conn.request().await;
            conn.write(
                "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nconnection: x-a\r\nx-a: 1\r\ncontent-length: 7\r\n\r\n",
            )
            .await;
            first.unwrap().await.unwrap();
            conn.write("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </b>\r\nx: y\r\n\r\n").await;
            conn.write(OK).await;
        }
    });
    let mut request = get(upstream.url("/"));
    let told = listening(&mut request);
    let response = tokio::spawn(send(&ExactProxy::new(), request));
    within("the first hint", async {
        while told.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!response.is_finished());
    assert_eq!(
        told.lock().unwrap().as_slice(),
        [(103, "</a>".to_owned(), 1)],
        "connection-specific headers are removed"
    );
    told_first.send(()).unwrap();
    let response = response.await.unwrap().unwrap();
    assert_eq!((response.status().as_u16(), response.headers().len()), (200, 1));
    let told = told.lock().unwrap().clone();
    assert_eq!(told[1..], [(102, String::new(), 0), (103, "</b>".to_owned(), 2)]);
}

#[tokio::test]
async fn interim_responses_reach_a_listener_in_front_of_an_app_and_never_its_client() {
    let upstream = RawUpstream::answering([format!("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n{OK}")]);
    let told = Arc::<Mutex<Vec<u16>>>::default();
    let tell = told.clone();
    let app = ProxyApp::builder(upstream.url("/")).build().unwrap();
    let app = tower::ServiceBuilder::new()
        .map_request(move |mut request: Request<_>| {
            let tell = tell.clone();
            let tell = move |response: &http::Response<()>| tell.lock().unwrap().push(response.status().as_u16());
            request.extensions_mut().insert(OnInformational::new(tell));
            request
        })
        .service(app);
    let front = Front::serve(app).await;
    assert_eq!(front.exchange("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.status(), 200);
    assert_eq!(told.lock().unwrap().as_slice(), [103]);
}

#[tokio::test]
async fn a_head_of_many_kilobytes_that_comes_byte_by_byte_is_read() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        let hint = format!("HTTP/1.1 103 Early Hints\r\nx: {}\r\n\r\n", "h".repeat(3_000));
        let head = format!("{hint}HTTP/1.1 200 OK\r\nx: {}\r\ntransfer-encoding: chunked\r\n\r\n", "y".repeat(20_000));
        for byte in head.bytes().chain(*b"2\r\nok\r\n0\r\nx-sum: 1\r\nx-more: 2\r\n\r\n") {
            conn.write([byte]).await;
        }
        conn.read_to_end().await;
    });
    let response = send(&ExactProxy::new(), get(upstream.url("/"))).await.unwrap();
    assert_eq!(response.headers()["x"].len(), 20_000);
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-more"], "2");
    assert_eq!(body.to_bytes(), "ok");
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
    let agree = Mutex::new(Some(agree));
    let upstream = RawUpstream::tcp(move |mut conn| {
        let agree = agree.lock().unwrap().take();
        async move {
            assert_eq!(conn.head().await.header("expect"), Some("100-Continue"));
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
    assert!(feed.data("bo").await); // fills the body's buffer of one frame
    let mut response = std::pin::pin!(fetch(&proxy, request));
    tokio::select! {
        biased;
        _ = &mut response => panic!("answered"),
        _ = upstream.wait_requests(1) => {}
    }
    assert!(feed.is_full(), "the body was read before the 100");
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
    for status in [413, 417, 200] {
        let upstream = RawUpstream::tcp(move |mut conn| async move {
            conn.head().await;
            conn.write(format!("HTTP/1.1 {status} X\r\ncontent-length: 3\r\n\r\nbig")).await;
            assert_eq!(conn.read_to_end().await, b"", "bytes of the body were sent");
        });
        let (feed, request) = expecting(&upstream);
        assert!(feed.data("body").await);
        assert_eq!(fetch(&patient(), request).await, (status, "big".to_owned()));
        feed.dropped().await;
        upstream.wait_closed().await;
    }
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
    assert_eq!((response.status(), response.text()), (401, "no"), "the client received a 100 first");
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
        response = client.head_response().await; // hyper sends a 100 if the body has not arrived yet
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
