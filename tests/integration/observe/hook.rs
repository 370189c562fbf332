//! The hook `on_exchange` and the records it receives.

use std::sync::{Arc, Mutex};

use http::Request;
use nexthop::{
    Body, ErrorKind, ExactProxy, ProxyApp,
    observe::{ExchangeSummary, Outcome},
};

use super::OK;
use crate::support::{Front, RawUpstream, fetch, get, post, send};

type Told = Arc<Mutex<Vec<ExchangeSummary>>>;

fn telling() -> (ExactProxy, Told) {
    let told = Told::default();
    let teller = told.clone();
    let hook = move |exchange: &ExchangeSummary| teller.lock().unwrap().push(exchange.clone());
    (ExactProxy::builder().on_exchange(hook).build().unwrap(), told)
}

#[tokio::test]
async fn it_is_told_once_of_each_exchange_with_or_without_spans() {
    let upstream = RawUpstream::answering([OK]);
    let (proxy, told) = telling();
    fetch(&proxy, post(upstream.url("/path?query"), "body")).await;
    let [one] = &told.lock().unwrap()[..] else { panic!("{told:?}") };
    assert_eq!((one.method.as_str(), one.uri.path_and_query().unwrap().as_str()), ("POST", "/path?query"));
    assert_eq!(one.destination.as_ref().unwrap().port(), Some(upstream.addr().port()));
    assert_eq!((one.outcome, one.status.unwrap().as_u16()), (Outcome::Complete, 200));
    assert_eq!((one.sent, one.received, one.attempts, one.reused, one.tunnel), (4, 2, 1, false, false));
    assert!(one.error.is_none());
    assert!(one.timings.sent <= one.timings.head && one.timings.head.unwrap() <= one.timings.total);
    let debug = format!("{one:?}");
    assert!(debug.contains("Complete") && !debug.contains("query"), "{debug}");
}

#[tokio::test]
async fn it_is_told_why_nothing_was_sent() {
    let (proxy, told) = telling();
    send(&proxy, get("/no/authority")).await.unwrap_err();
    let [one] = &told.lock().unwrap()[..] else { panic!("{told:?}") };
    assert_eq!((one.outcome, one.error.as_ref().unwrap().kind()), (Outcome::Failed, ErrorKind::InvalidTarget));
    assert!(one.destination.is_none() && one.status.is_none() && one.version.is_none());
}

#[tokio::test]
async fn a_future_that_was_never_polled_was_cancelled() {
    let (mut proxy, told) = telling();
    drop(tower::Service::call(&mut proxy, get("http://up.test/")));
    assert_eq!(told.lock().unwrap()[0].outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn a_hook_that_panics_does_not_harm_the_exchange() {
    let upstream = RawUpstream::answering([OK]);
    let proxy = ExactProxy::builder().on_exchange(|_| panic!("the hook panics on purpose")).build().unwrap();
    for _ in 0..2 {
        assert_eq!(fetch(&proxy, get(upstream.url("/"))).await, (200, "ok".to_owned()));
    }
    assert_eq!(upstream.connections(), 1);
}

/// hyper does not poll a body of known length to its end, nor a body that it does not send.
#[tokio::test]
async fn behind_a_server_every_body_that_was_passed_on_is_complete() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        loop {
            let seen = conn.request().await;
            let length = if seen.target() == "/small" { 10 } else { 300_000 };
            conn.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")).await;
            if !seen.line().starts_with("HEAD") {
                conn.write(vec![b'x'; length]).await;
            }
        }
    });
    let (exact, told) = telling();
    let front = Front::serve(ProxyApp::builder(upstream.url("")).client(exact).build().unwrap()).await;
    let client = ExactProxy::new();
    for (method, path, length) in [("GET", "/small", 10), ("GET", "/large", 300_000), ("HEAD", "/large", 0)] {
        let request = Request::builder().method(method).uri(front.url(path)).body(Body::empty()).unwrap();
        assert_eq!(fetch(&client, request).await.1.len(), length);
    }
    // The server has finished an exchange before it accepts the next request of its connection, so one more request
    // follows.
    fetch(&client, get(front.url("/small"))).await;
    let told: Vec<_> = told.lock().unwrap().iter().take(3).map(|one| (one.outcome, one.received)).collect();
    assert_eq!(told, [(Outcome::Complete, 10), (Outcome::Complete, 300_000), (Outcome::Complete, 0)]);
}
