//! Bodies that are streamed, and replayed if the pooled connection turns out to be lost.

use http::{HeaderMap, Request};
use nexthop::{Body, ExactProxy};

use crate::support::{
    InMemory, RawConn, RawUpstream,
    body::{Feed, fed, pieces},
    fetch, get, read, send,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Serves one request on its first connection, and closes it after `bytes` of the next request's body. Later
/// connections run `rest`.
fn lost_after<F, Fut>(bytes: usize, rest: F) -> RawUpstream
where
    F: Fn(RawConn) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    RawUpstream::tcp(move |mut conn| {
        let rest = rest.clone();
        async move {
            if conn.index > 0 {
                return rest(conn).await;
            }
            conn.request().await;
            conn.write(OK).await;
            conn.head().await;
            conn.read(bytes).await;
        }
    })
}

fn put(url: String) -> (Feed, Request<Body>) {
    let (feed, body) = fed();
    (feed, Request::put(url).body(Body::new(body)).unwrap())
}

#[tokio::test]
async fn what_passed_of_a_streamed_body_is_sent_again_and_the_rest_streams_on() {
    let upstream = lost_after("3\r\none\r\n".len(), |mut conn| async move {
        conn.head().await;
        let wire = "3\r\none\r\n3\r\ntwo\r\n0\r\nx-sum: 1\r\n\r\n";
        assert_eq!(String::from_utf8(conn.read(wire.len()).await).unwrap(), wire);
        conn.write(OK).await;
    });
    let proxy = ExactProxy::new();
    fetch(&proxy, get(upstream.url("/"))).await;
    let (feed, request) = put(upstream.url("/"));
    let feeding = async {
        feed.data("one").await;
        upstream.wait_requests(3).await; // the second attempt
        feed.data("two").await;
        feed.trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())])).await;
        drop(feed);
    };
    let (answer, ()) = tokio::join!(fetch(&proxy, request), feeding);
    assert_eq!((answer.0, upstream.connections()), (200, 2));
}

#[tokio::test]
async fn a_streamed_body_that_was_sent_whole_is_sent_again_whole() {
    for length in [None, Some("9")] {
        let upstream = lost_after(9, |mut conn| async move {
            conn.request().await;
            conn.write(OK).await;
        });
        let proxy = ExactProxy::new();
        fetch(&proxy, get(upstream.url("/"))).await;
        let mut request = Request::delete(upstream.url("/")).body(pieces(&["al", "l of", "", " it"])).unwrap();
        if let Some(length) = length {
            request.headers_mut().insert("content-length", length.parse().unwrap());
        }
        assert_eq!(fetch(&proxy, request).await.0, 200);
        let seen = upstream.requests().pop().unwrap();
        assert_eq!((seen.connection, seen.body.as_slice()), (1, &b"all of it"[..]));
    }
}

#[tokio::test]
async fn a_body_longer_than_what_is_kept_is_not_sent_again() {
    let limits = [
        ExactProxy::builder().replay_max_bytes(5),
        ExactProxy::builder().replay_max_bytes(0),
        ExactProxy::builder().replay_budget_bytes(5),
        ExactProxy::builder(),
    ];
    for (at, builder) in limits.into_iter().enumerate() {
        let fits = at == 3;
        let upstream = lost_after(9, |mut conn| async move {
            conn.request().await;
            conn.write(OK).await;
        });
        let proxy = builder.build().unwrap();
        fetch(&proxy, get(upstream.url("/"))).await;
        let request = Request::put(upstream.url("/")).body(pieces(&["all", " of ", "it"])).unwrap();
        let answer = send(&proxy, request).await.map_err(|error| (error.status().as_u16(), error.is_retryable()));
        assert_eq!(answer.map(|response| response.status().as_u16()), if fits { Ok(200) } else { Err((502, false)) });
        assert_eq!(upstream.connections(), if fits { 2 } else { 1 });
    }
}

#[tokio::test]
async fn what_was_kept_is_given_back_when_the_head_has_come_though_the_upload_goes_on() {
    // The replay budget is sufficient for one body at a time.
    let proxy = ExactProxy::builder().replay_max_bytes(100).replay_budget_bytes(150).build().unwrap();
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.write(OK).await;
        if conn.head().await.target() == "/open" {
            conn.write("HTTP/1.1 200 OK\r\n\r\nopen").await;
        } else {
            conn.read(3).await;
        }
        if conn.index == 0 {
            conn.read_to_end().await;
        }
    });
    fetch(&proxy, get(upstream.url("/"))).await;
    let (feed, request) = put(upstream.url("/open"));
    let (response, ()) = tokio::join!(send(&proxy, request), async {
        feed.data("x".repeat(50)).await;
    });
    let response = response.unwrap();
    for _ in 0..5 {
        // Each request is lost on the connection of the previous one, and needs the replay budget.
        let request =
            Request::put(upstream.url("/")).body(pieces(&["x-------------------------------------x"])).unwrap();
        assert_eq!(fetch(&proxy, request).await.0, 200);
    }
    drop((response, feed));
}

#[tokio::test(start_paused = true)]
async fn no_more_is_repeated_than_a_fifth_of_the_requests_and_ten_a_second() {
    // Each connection serves one request and fails on the next.
    let upstream = InMemory::new(|mut conn| async move {
        conn.request().await;
        conn.write(OK).await;
        conn.request().await;
    });
    let proxy = ExactProxy::builder().connector(upstream.clone()).build().unwrap();
    let mut answered = 0;
    loop {
        match send(&proxy, get("http://h/")).await {
            Ok(response) => assert_eq!(read(response).await.0, b"ok"),
            Err(error) => break assert_eq!((error.status().as_u16(), error.is_retryable()), (502, false)),
        }
        answered += 1;
    }
    assert!(
        (1_200..1_300).contains(&answered),
        "{answered} requests; the retry budget is 1000 plus 20 % of the requests"
    );
}
