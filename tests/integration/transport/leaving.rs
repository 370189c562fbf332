//! A client that disconnects before the end of the response: the upstream connection is closed at once and not reused.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::Request;
use http_body_util::BodyExt;
use nexthop::{
    Body, ExactProxy, ProxyApp,
    net::{Connect, Connecting, Destination},
};

use crate::support::{Front, RawUpstream, body::fed, fetch, get, within};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Progress of an exchange.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Sending,
    Expecting,
    AwaitingHead,
    HeadHalfRead,
    BodyHalfRead,
    /// The response has started, and the request body is still being sent.
    Relaying,
    /// The response is complete, and the request body is still being sent.
    Draining,
}

const PLACES: [At; 7] =
    [At::Sending, At::Expecting, At::AwaitingHead, At::HeadHalfRead, At::BodyHalfRead, At::Relaying, At::Draining];

/// Serves one request on each connection. The first connection then stops at `at` in the second request, and waits for
/// its peer to disconnect.
fn stopping(at: At) -> RawUpstream {
    RawUpstream::tcp(move |mut conn| async move {
        conn.request().await;
        conn.write(OK).await;
        if conn.index > 0 {
            return pending().await;
        }
        conn.head().await;
        match at {
            At::Sending | At::Expecting | At::AwaitingHead => {}
            At::HeadHalfRead => conn.write("HTTP/1.1 200 OK\r\nx: ").await,
            At::BodyHalfRead | At::Relaying => {
                conn.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha").await;
            }
            At::Draining => conn.write(OK).await,
        }
        conn.read_to_end().await;
    })
}

#[tokio::test]
async fn dropping_a_request_or_its_response_closes_the_connection_at_once_and_for_good() {
    for at in PLACES {
        let upstream = stopping(at);
        let proxy =
            ExactProxy::builder().expect_continue_timeout(std::time::Duration::from_secs(3600)).build().unwrap();
        fetch(&proxy, get(upstream.url("/"))).await;

        let (feed, body) = fed();
        let request = match at {
            At::Sending | At::Relaying | At::Draining => Request::post(upstream.url("/")).body(Body::new(body)),
            At::Expecting => Request::post(upstream.url("/")).header("expect", "100-continue").body(Body::new(body)),
            At::AwaitingHead | At::HeadHalfRead | At::BodyHalfRead => {
                Request::get(upstream.url("/")).body(Body::empty())
            }
        };
        let mut response = Box::pin(tower::ServiceExt::oneshot(proxy.clone(), request.unwrap()));
        match at {
            At::Sending | At::Expecting | At::AwaitingHead | At::HeadHalfRead => {
                tokio::select! {
                    biased;
                    answer = &mut response => panic!("answered: {answer:?}"),
                    () = upstream.wait_requests(2) => {}
                }
            }
            At::BodyHalfRead | At::Relaying | At::Draining => {
                let mut response = within("a response", &mut response).await.unwrap();
                assert!(response.body_mut().frame().await.is_some());
                drop(response);
            }
        }
        drop(response);
        if at == At::Draining {
            // The rest of the client's body is read and discarded for a while.
            drop(feed);
        } else if !matches!(at, At::AwaitingHead | At::HeadHalfRead | At::BodyHalfRead) {
            within("the end of the upload", feed.dropped()).await;
        }
        if at != At::Draining {
            upstream.wait_closed().await;
            fetch(&proxy, get(upstream.url("/"))).await;
            assert_eq!(upstream.connections(), 2, "{at:?}");
        }
    }
}

#[tokio::test]
async fn dropping_a_request_that_is_connecting_drops_the_connecting() {
    struct Waiting(Arc<AtomicBool>);
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    impl Connect for Waiting {
        fn connect(&self, _: &Destination) -> Connecting {
            let dropped = Dropped(self.0.clone());
            Box::pin(async move {
                let _dropped = dropped;
                pending().await
            })
        }
    }
    let dropped = Arc::new(AtomicBool::new(false));
    let proxy = ExactProxy::builder().connector(Waiting(dropped.clone())).build().unwrap();
    let mut response = Box::pin(tower::ServiceExt::oneshot(proxy, get("http://h/")));
    tokio::select! {
        biased;
        answer = &mut response => panic!("answered: {answer:?}"),
        () = tokio::task::yield_now() => {}
    }
    drop(response);
    assert!(dropped.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_client_that_leaves_a_served_app_leaves_the_upstream_too() {
    for at in PLACES.into_iter().filter(|at| !matches!(at, At::Draining | At::Expecting)) {
        let upstream = stopping(at);
        let front = Front::serve(ProxyApp::builder(upstream.url("/")).build().unwrap()).await;
        assert_eq!(front.exchange("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.status(), 200);
        let mut client = front.client().await;
        if matches!(at, At::Sending | At::Relaying) {
            client.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nhalf").await;
        } else {
            client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
        }
        upstream.wait_requests(2).await;
        if matches!(at, At::BodyHalfRead | At::Relaying) {
            client.read("HTTP/1.1 200 OK\r\n".len()).await;
        }
        drop(client);
        upstream.wait_closed().await;
        assert_eq!(front.exchange("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.status(), 200);
        assert_eq!(upstream.connections(), 2, "{at:?}");
    }
}

#[tokio::test]
async fn leaving_the_queue_for_a_connection_gives_the_turn_back_and_nothing_is_sent() {
    let answers = Arc::new(tokio::sync::Notify::new());
    let go = answers.clone();
    let upstream = RawUpstream::tcp(move |mut conn| {
        let go = go.clone();
        async move {
            loop {
                if conn.request().await.target() == "/first" {
                    go.notified().await;
                }
                conn.write(OK).await;
            }
        }
    });
    let proxy = ExactProxy::builder().pool_max_connections(1).build().unwrap();
    let waiting = async |count| {
        within("the queue", async {
            while proxy.pool_stats().waiting != count {
                tokio::task::yield_now().await;
            }
        })
        .await
    };
    let first = tokio::spawn(fetch(&proxy, get(upstream.url("/first"))));
    upstream.wait_requests(1).await;

    let (feed, body) = fed();
    let request = Request::post(upstream.url("/second")).body(Body::new(body)).unwrap();
    let mut second = Box::pin(tower::ServiceExt::oneshot(proxy.clone(), request));
    tokio::select! {
        biased;
        answer = &mut second => panic!("answered: {answer:?}"),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(proxy.pool_stats().waiting, 1);
    drop(second);
    assert_eq!(proxy.pool_stats().waiting, 0);
    within("the end of the upload", feed.dropped()).await;

    let app = ProxyApp::builder(upstream.url("")).client(proxy.clone()).build().unwrap();
    let front = Front::serve(app).await;
    let mut client = front.client().await;
    client.send("GET /third HTTP/1.1\r\nhost: h\r\n\r\n").await;
    waiting(1).await;
    drop(client);
    waiting(0).await;

    answers.notify_one();
    assert_eq!(first.await.unwrap().0, 200);
    assert_eq!(fetch(&proxy, get(upstream.url("/fourth"))).await.0, 200);
    let targets: Vec<_> = upstream.requests().iter().map(|seen| seen.target().to_owned()).collect();
    assert_eq!((targets, upstream.connections()), (vec!["/first".to_owned(), "/fourth".to_owned()], 1));
}
