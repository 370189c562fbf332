//! Metrics through the `metrics` facade.

use std::{cell::RefCell, collections::BTreeMap, future::poll_fn, pin::pin, task::Poll};

use http::Request;
use http_body_util::BodyExt;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use nexthop::{Body, ExactProxy, exact::ExactProxyBuilder, tunnel::Upgraded};
use tokio::io::AsyncWriteExt;
use tower::ServiceExt;

use super::OK;
use crate::support::{RawUpstream, fetch, get, post, send};

/// Builds a service that records its metrics in a recorder of the test.
fn counted(builder: ExactProxyBuilder) -> (ExactProxy, Figures) {
    let recorder = DebuggingRecorder::new();
    let figures = Figures { snapshotter: recorder.snapshotter(), sums: RefCell::default() };
    let proxy = metrics::with_local_recorder(&recorder, || builder.metrics("shop").build().unwrap());
    (proxy, figures)
}

/// Sums of the recorded metrics. Each snapshot resets the counters, so the values are added up.
struct Figures {
    snapshotter: Snapshotter,
    sums: RefCell<BTreeMap<String, f64>>,
}

impl Figures {
    /// Returns all metrics other than 0, with keys `name{label=value,...}`. The value of a histogram is its number of
    /// samples.
    fn now(&self) -> BTreeMap<String, f64> {
        let mut sums = self.sums.borrow_mut();
        for (key, _, description, value) in self.snapshotter.snapshot().into_vec() {
            assert!(description.is_some(), "{key:?}");
            let mut labels: Vec<_> = key.key().labels().map(|label| (label.key(), label.value())).collect();
            labels.sort_unstable();
            assert!(labels.contains(&("proxy", "shop")));
            let labels = labels.iter().filter(|(key, _)| *key != "proxy").map(|(key, value)| format!("{key}={value}"));
            let name = key.key().name().strip_prefix("nexthop_").unwrap();
            let name = format!("{name}{{{}}}", labels.collect::<Vec<_>>().join(","));
            *sums.entry(name).or_default() += match value {
                DebugValue::Counter(count) => count as f64,
                DebugValue::Gauge(value) => *value,
                DebugValue::Histogram(values) => values.len() as f64,
            };
        }
        sums.iter().filter(|(_, value)| **value != 0.0).map(|(name, value)| (name.clone(), *value)).collect()
    }
}

/// Responds according to the target: `/N` with status N, `/cut` with half a body, `/silent` never.
fn upstream() -> RawUpstream {
    RawUpstream::tcp(|mut conn| async move {
        loop {
            let seen = conn.request().await;
            match seen.target().trim_start_matches('/') {
                "silent" => {}
                "cut" => return conn.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await,
                status => conn.write(format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok")).await,
            }
        }
    })
}

#[tokio::test]
async fn a_hundred_mixed_requests_add_up() {
    let upstream = upstream();
    let (proxy, figures) = counted(ExactProxy::builder());
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for round in 0..10 {
        for status in ["200", "204", "302", "404", "503"] {
            let (got, _) = fetch(&proxy, post(upstream.url(&format!("/{status}")), "four")).await;
            assert_eq!(got.to_string(), status);
        }
        send(&proxy, get(format!("http://{refusing}/"))).await.unwrap_err();
        send(&proxy, get("/no/authority")).await.unwrap_err();
        send(&proxy, get(upstream.url("/cut"))).await.unwrap().into_body().collect().await.unwrap_err();
        drop(send(&proxy, get(upstream.url("/cut"))).await.unwrap());
        let before = upstream.requests().len();
        tokio::select! {
            _ = proxy.clone().oneshot(get(upstream.url("/silent"))) => panic!("the upstream never answers"),
            () = upstream.wait_requests(before + 1) => {}
        }
        assert_eq!(upstream.requests().len(), 8 * (round + 1));
    }
    let figures = figures.now();
    let counts = |name: &str| -> f64 {
        figures.iter().filter(|(key, _)| key.split('{').next() == Some(name)).map(|(_, count)| count).sum()
    };
    for (name, count) in [
        ("requests_total{outcome=complete,status=2xx}", 20.0),
        ("requests_total{outcome=complete,status=3xx}", 10.0),
        ("requests_total{outcome=complete,status=4xx}", 10.0),
        ("requests_total{outcome=complete,status=5xx}", 10.0),
        ("requests_total{outcome=failed,status=none}", 20.0),
        ("requests_total{outcome=failed,status=2xx}", 10.0),
        ("requests_total{outcome=cancelled,status=2xx}", 10.0),
        ("requests_total{outcome=cancelled,status=none}", 10.0),
        ("request_errors_total{kind=connect,phase=connect}", 10.0),
        ("request_errors_total{kind=invalid_target,phase=validate}", 10.0),
        ("request_errors_total{kind=upstream,phase=response_body}", 10.0),
        ("request_duration_seconds{}", 100.0),
        ("response_head_seconds{}", 70.0),
        ("request_body_bytes_total{}", 200.0),
        ("response_body_bytes_total{}", 80.0 + 40.0),
    ] {
        assert_eq!(figures.get(name), Some(&count), "{name} in {figures:#?}");
    }
    assert_eq!(counts("requests_total"), 100.0);
    assert_eq!(counts("requests_in_flight"), 0.0);
    assert_eq!(counts("connections_opened_total"), upstream.connections() as f64);
    assert_eq!(
        counts("connections_opened_total"),
        counts("connections_closed_total") + counts("connections_open"),
        "{figures:#?}"
    );
    assert_eq!(counts("connections_opened_total") + counts("connections_reused_total"), 80.0);
    assert_eq!(figures["step_duration_seconds{step=connect}"], counts("connections_opened_total") + 10.0);
}

#[tokio::test]
async fn what_is_open_is_counted_until_it_is_closed() {
    let upstream = upstream();
    let (proxy, figures) = counted(ExactProxy::builder());
    let mut response = send(&proxy, get(upstream.url("/200"))).await.unwrap();
    let open = figures.now();
    assert_eq!((open["requests_in_flight{}"], open["connections_open{}"]), (1.0, 1.0));
    response.body_mut().collect().await.unwrap();
    let idle = figures.now();
    assert_eq!((idle.get("requests_in_flight{}"), idle["connections_open{}"]), (None, 1.0));
    drop(proxy);
    assert_eq!(figures.now().get("connections_open{}"), None);
}

#[tokio::test]
async fn nothing_stays_in_flight_where_a_hook_panics() {
    let upstream = upstream();
    let (proxy, figures) = counted(ExactProxy::builder().on_exchange(|_| panic!("the hook panics on purpose")));
    fetch(&proxy, get(upstream.url("/200"))).await;
    drop(send(&proxy, get(upstream.url("/cut"))).await.unwrap());
    assert_eq!(figures.now().get("requests_in_flight{}"), None);
}

#[tokio::test]
async fn a_tunnel_is_no_request_in_flight_but_counted_while_it_is_open() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.write("HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n").await;
        conn.read_to_end().await;
    });
    let (proxy, figures) = counted(ExactProxy::builder());
    let request = Request::get(upstream.url("/")).header("connection", "upgrade").header("upgrade", "foo");
    let mut response = send(&proxy, request.body(Body::empty()).unwrap()).await.unwrap();
    let mut io = Upgraded::take(&mut response).unwrap();
    let open = figures.now();
    assert_eq!((open.get("requests_in_flight{}"), open["tunnels_open{}"]), (None, 1.0));
    assert_eq!(open["requests_total{outcome=upgraded,status=1xx}"], 1.0);
    io.write_all(b"ping").await.unwrap();
    drop((io, response));
    let over = figures.now();
    assert_eq!((over.get("tunnels_open{}"), over["tunnel_bytes_total{direction=to_upstream}"]), (None, 4.0));
    assert_eq!(over["connections_closed_total{reason=upgraded}"], 1.0);
    assert_eq!(over.get("request_duration_seconds{}"), None);
}

#[tokio::test]
async fn requests_that_are_repeated_or_wait_are_counted() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.write(OK).await;
        conn.request().await;
        if conn.index > 0 {
            conn.write(OK).await;
        }
    });
    let (proxy, figures) = counted(ExactProxy::builder().pool_max_connections(1));
    fetch(&proxy, get(upstream.url("/"))).await;
    fetch(&proxy, get(upstream.url("/"))).await;
    let counted = figures.now();
    assert_eq!(counted.get("retries_total{}"), Some(&1.0), "{counted:#?}");

    let slow = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.wait_requests(2).await;
    });
    tokio::select! {
        _ = proxy.clone().oneshot(get(slow.url("/"))) => panic!("the upstream never answers"),
        () = async {
            slow.wait_requests(1).await;
            let mut second = pin!(proxy.clone().oneshot(get(slow.url("/"))));
            assert!(poll_fn(|cx| Poll::Ready(second.as_mut().poll(cx).is_pending())).await);
        } => {}
    }
    let counted = figures.now();
    assert_eq!(counted["queue_entered_total{}"], 1.0, "{counted:#?}");
    assert_eq!(
        (counted["requests_total{outcome=cancelled,status=none}"], counted.get("requests_in_flight{}")),
        (2.0, None)
    );
}
