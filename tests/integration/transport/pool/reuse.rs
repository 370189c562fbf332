//! Reused and closed connections.

use http_body_util::BodyExt;
use nexthop::{ExactProxy, TransparentProxy};

use crate::support::{Front, Gate, InMemory, RawUpstream, fetch, get, post, send, within};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn serve(mut conn: crate::support::RawConn) {
    loop {
        conn.request().await;
        conn.write(OK).await;
    }
}

#[tokio::test]
async fn one_connection_serves_one_request_after_another_and_two_serve_two_at_once() {
    let upstream = RawUpstream::tcp(serve);
    let proxy = ExactProxy::new();
    for _ in 0..20 {
        fetch(&proxy, get(upstream.url("/"))).await;
        fetch(&proxy, post(upstream.url("/"), "x")).await;
    }
    assert_eq!(upstream.connections(), 1);
    let held = send(&proxy, get(upstream.url("/"))).await.unwrap();
    // The whole body arrived with the head, so the connection is free already.
    fetch(&proxy, get(upstream.url("/"))).await;
    drop(held);
    assert_eq!(upstream.connections(), 1);
    tokio::join!(fetch(&proxy, get(upstream.url("/"))), fetch(&proxy, get(upstream.url("/"))));
    fetch(&proxy, get(upstream.url("/"))).await;
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn services_made_apart_share_nothing() {
    let upstream = RawUpstream::tcp(serve);
    for _ in 0..2 {
        fetch(&ExactProxy::new(), get(upstream.url("/"))).await;
    }
    assert_eq!(upstream.connections(), 2);
    upstream.wait_closed().await; // dropping a service closes its pool
}

#[tokio::test]
async fn a_connection_that_was_closed_is_noticed_before_it_is_used() {
    let (closed, mut wait) = tokio::sync::mpsc::channel(2);
    let upstream = RawUpstream::tcp(move |mut conn| {
        let closed = closed.clone();
        async move {
            conn.request().await;
            conn.write(OK).await;
            drop(conn);
            closed.send(()).await.unwrap();
        }
    });
    let proxy = ExactProxy::new();
    for n in 1..=5 {
        // A POST is not retryable, so it would fail on the closed connection.
        assert_eq!(fetch(&proxy, post(upstream.url("/"), "x")).await.0, 200);
        wait.recv().await.unwrap();
        assert_eq!(upstream.connections(), n);
    }
}

#[tokio::test]
async fn a_close_that_the_runtime_has_not_seen_is_noticed_before_a_request_that_cannot_be_sent_twice() {
    // A blocking server in a thread. The client's runtime never polls the sockets in between.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (close, asked) = std::sync::mpsc::channel();
    let (closed, done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for io in listener.incoming() {
            let (mut io, mut read) = (io.unwrap(), Vec::new());
            while !read.ends_with(b"\r\n\r\nx") {
                let mut some = [0; 1024];
                let n = io.read(&mut some).unwrap();
                assert!(n > 0, "the client disconnected");
                read.extend_from_slice(&some[..n]);
            }
            io.write_all(OK.as_bytes()).unwrap();
            if asked.recv().is_err() {
                return;
            }
            drop(io);
            closed.send(()).unwrap();
        }
    });
    let proxy = ExactProxy::new();
    for _ in 0..5 {
        assert_eq!(fetch(&proxy, post(&url, "x")).await.0, 200);
        close.send(()).unwrap();
        done.recv().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_closed_is_dropped_without_another_request() {
    let (asked, mut ask) = tokio::sync::mpsc::channel(1);
    let upstream = InMemory::new(move |mut conn| {
        let asked = asked.clone();
        async move {
            conn.request().await;
            conn.write(OK).await;
            conn.finish_writing().await;
            conn.read_to_end().await; // the proxy closes the connection
            asked.send(()).await.unwrap();
        }
    });
    let proxy = ExactProxy::builder().connector(upstream).pool_idle_timeout(None).build().unwrap();
    fetch(&proxy, get("http://h/")).await;
    within("the reaper", ask.recv()).await.unwrap();
}

#[tokio::test]
async fn without_idle_connections_each_serves_one_request() {
    let upstream = RawUpstream::tcp(serve);
    let proxy = ExactProxy::builder().pool_max_idle(0).build().unwrap();
    for n in 1..4 {
        fetch(&proxy, get(upstream.url("/"))).await;
        assert_eq!(upstream.connections(), n);
    }
    upstream.wait_closed().await;
}

#[tokio::test]
async fn a_connection_whose_upstream_takes_no_more_is_not_kept() {
    let gate = Gate::default().unresponsive_after(5000);
    let connector = gate.connector(|mut conn| async move {
        conn.head().await;
        conn.write(OK).await;
        std::future::pending::<()>().await;
    });
    let proxy = ExactProxy::builder().connector(connector).build().unwrap();
    for n in 1..3 {
        assert_eq!(fetch(&proxy, post("http://h/", vec![0; 9000])).await, (200, "ok".to_owned()));
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.connections(), n);
    }
}

#[tokio::test]
async fn no_more_idle_connections_are_kept_than_said() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no").await;
        conn.wait_requests(3).await;
        conn.write("k").await;
        serve(conn).await;
    });
    let proxy = ExactProxy::builder().pool_max_idle(1).build().unwrap();
    let one = || fetch(&proxy, get(upstream.url("/")));
    tokio::join!(one(), one(), one());
    within("two closes", async {
        while upstream.open() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    one().await;
    assert_eq!(upstream.connections(), 3);
}

#[tokio::test]
async fn a_response_that_is_dropped_or_not_awaited_closes_its_connection() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        if conn.index == 0 {
            conn.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok").await;
        }
        conn.read(1).await;
    });
    let proxy = ExactProxy::new();
    let response = send(&proxy, get(upstream.url("/"))).await.unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    upstream.wait_closed().await;

    let mut waiting = std::pin::pin!(send(&proxy, get(upstream.url("/"))));
    tokio::select! {
        biased;
        _ = &mut waiting => panic!("answered"),
        () = upstream.wait_requests(2) => {}
    }
    waiting.set(send(&proxy, get(upstream.url("/")))); // drops the waiting request
    upstream.wait_closed().await;
}

#[tokio::test]
async fn a_client_that_leaves_closes_the_upstream_connection_at_once() {
    let front = Front::hyper(TransparentProxy::new()).await;
    for answer in
        ["", "HTTP/1.1 200 OK\r\n\r\nsome", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n"]
    {
        let upstream = RawUpstream::tcp(move |mut conn| async move {
            conn.request().await;
            conn.write(answer).await;
            conn.read(1).await;
        });
        let mut client = front.client().await;
        client.send(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", upstream.addr())).await;
        upstream.wait_requests(1).await;
        if !answer.is_empty() {
            client.read(15).await;
        }
        drop(client);
        upstream.wait_closed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn connections_are_closed_when_they_are_idle_for_too_long_or_too_old() {
    use std::time::Duration;
    let upstream = InMemory::new(serve);
    let builder = ExactProxy::builder().connector(upstream.clone());
    let proxy =
        builder.pool_idle_timeout(Duration::from_secs(8)).pool_max_age(Duration::from_secs(30)).build().unwrap();
    for (wait, connections) in [(0, 1), (7, 1), (7, 1), (9, 2), (7, 2), (7, 2), (7, 2), (7, 2), (7, 3)] {
        tokio::time::advance(Duration::from_secs(wait)).await;
        fetch(&proxy, get("http://h/")).await;
        assert_eq!(upstream.connections(), connections);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_twice_takes_only_a_connection_used_lately() {
    use std::time::Duration;
    let upstream = InMemory::new(serve);
    let proxy = ExactProxy::builder().connector(upstream.clone()).build().unwrap();
    fetch(&proxy, get("http://h/")).await;
    tokio::time::advance(Duration::from_millis(2900)).await;
    fetch(&proxy, post("http://h/", "x")).await;
    assert_eq!(upstream.connections(), 1);
    tokio::time::advance(Duration::from_millis(3100)).await;
    fetch(&proxy, post("http://h/", "x")).await;
    assert_eq!(upstream.connections(), 2);
    tokio::time::advance(Duration::from_millis(60_000)).await;
    fetch(&proxy, get("http://h/")).await;
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_upstreams_keep_alive_is_honoured_less_a_second() {
    use std::time::Duration;
    for (field, waits) in [
        ("timeout=5, max=100", [(3, 1), (5, 2)]),
        ("timeout=1", [(0, 2), (0, 3)]),
        ("max=3", [(80, 1), (95, 2)]),
        // Longer than any clock can measure.
        ("timeout=18446744073709551615, max=18446744073709551615", [(80, 1), (95, 2)]),
    ] {
        let upstream = InMemory::new(move |mut conn| async move {
            loop {
                conn.request().await;
                conn.write(format!("HTTP/1.1 200 OK\r\nKeep-Alive: {field}\r\ncontent-length: 0\r\n\r\n")).await;
            }
        });
        let proxy = ExactProxy::builder().connector(upstream.clone()).build().unwrap();
        fetch(&proxy, get("http://h/")).await;
        for (wait, connections) in waits {
            tokio::time::advance(Duration::from_secs(wait)).await;
            fetch(&proxy, get("http://h/")).await;
            assert_eq!(upstream.connections(), connections, "{field}");
        }
    }
}

#[test]
fn a_runtime_that_ends_takes_its_connections_with_it() {
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", upstream.local_addr().unwrap());
    let (proxy, accepted) = (ExactProxy::new(), std::sync::mpsc::channel());
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for io in upstream.incoming() {
            let mut io = io.unwrap();
            let _ = io.read(&mut [0; 1024]).unwrap();
            io.write_all(OK.as_bytes()).unwrap();
            if accepted.0.send(io).is_err() {
                return;
            }
        }
    });
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(runtime.block_on(fetch(&proxy, get(&url))).1, "ok");
        drop(runtime);
        let mut io = accepted.1.recv().unwrap();
        io.set_read_timeout(Some(crate::support::DEADLINE)).unwrap();
        assert_eq!(std::io::Read::read(&mut io, &mut [0; 1]).unwrap(), 0, "the connection is still open");
    }
}

#[test]
fn a_body_read_on_another_runtime_does_not_bring_its_connection_there() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let (upstream, go) = first.block_on(async {
        let (go, wait) = tokio::sync::watch::channel(false);
        let upstream = RawUpstream::tcp(move |mut conn| {
            let mut wait = wait.clone();
            async move {
                loop {
                    conn.request().await;
                    conn.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no").await;
                    wait.wait_for(|go| *go).await.unwrap();
                    conn.write("k").await;
                }
            }
        });
        (upstream, go)
    });
    let proxy = ExactProxy::new();
    let response = first.block_on(send(&proxy, get(upstream.url("/")))).unwrap();
    go.send(true).unwrap();
    assert_eq!(second.block_on(crate::support::read(response)).0, b"ok");
    assert_eq!(second.block_on(fetch(&proxy, get(upstream.url("/")))).1, "ok");
    assert_eq!(first.block_on(fetch(&proxy, get(upstream.url("/")))).1, "ok");
    assert_eq!(upstream.connections(), 3);
    first.block_on(async { drop(upstream) });
}
