//! Outcomes of a lost request: every method, on a new and on a pooled connection, lost after each part of the request,
//! in every way.

use http::Request;
use nexthop::{Body, ErrorKind, ExactProxy, Phase};

use crate::support::{Gate, RawConn, RawUpstream, body::fed, fetch, get, send};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const METHODS: [&str; 7] = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH"];

/// Part of the request that has arrived when the connection is lost.
#[derive(Clone, Copy, Debug, PartialEq)]
enum After {
    Head,
    Part,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Close,
    Reset,
    Garbage,
    PartialHead,
}

#[derive(Debug, PartialEq)]
enum Outcome {
    SentAgain,
    Failed(ErrorKind, Phase, u16),
}

/// If `pooled`, serves one request first. Loses the next request; later connections serve all requests.
fn losing(pooled: bool, after: After, how: How) -> RawUpstream {
    RawUpstream::tcp(move |mut conn| async move {
        if conn.index > 0 {
            conn.head().await;
            assert_eq!(conn.read(6).await, b"onetwo");
            return conn.write(OK).await;
        }
        if pooled {
            conn.request().await;
            conn.write(OK).await;
        }
        conn.head().await;
        match after {
            After::Head => {}
            After::Part => drop(conn.read(3).await),
            After::All => drop(conn.read(6).await),
        }
        match how {
            How::Close => {}
            How::Reset => conn.reset(),
            How::Garbage => conn.write("what?\r\n\r\n").await,
            How::PartialHead => conn.write("HTTP/1.1 200 OK\r\ncontent-le").await,
        }
    })
}

async fn outcome(method: &str, pooled: bool, after: After, how: How) -> Outcome {
    let upstream = losing(pooled, after, how);
    let proxy = ExactProxy::new();
    if pooled {
        fetch(&proxy, get(upstream.url("/"))).await;
    }
    let before = upstream.requests().len();
    let (feed, body) = fed();
    let request = Request::builder().method(method).uri(upstream.url("/")).header("content-length", "6");
    let sending = send(&proxy, request.body(body).unwrap());
    let feeding = async {
        let parts = ["one", "two"];
        let sent = match after {
            After::Head => 0,
            After::Part => 1,
            After::All => 2,
        };
        for part in &parts[..sent] {
            feed.data(*part).await;
        }
        if sent == 2 {
            drop(feed);
        } else {
            upstream.wait_requests(before + 2).await; // the second attempt
            for part in &parts[sent..] {
                feed.data(*part).await;
            }
            drop(feed);
        }
        std::future::pending::<()>().await;
    };
    let answer = tokio::select! {
        answer = sending => answer,
        () = feeding => unreachable!(),
    };
    let attempts = upstream.requests().len() - before;
    match answer {
        Ok(response) => {
            assert_eq!((response.status().as_u16(), attempts, upstream.connections()), (200, 2, 2));
            Outcome::SentAgain
        }
        Err(error) => {
            assert_eq!((attempts, upstream.connections()), (1, 1));
            assert!(!error.is_retryable(), "bytes of the request were sent");
            Outcome::Failed(error.kind(), error.phase(), error.status().as_u16())
        }
    }
}

#[tokio::test]
async fn what_was_sent_is_sent_again_only_if_idempotent_and_lost_on_a_pooled_connection_without_a_byte_of_an_answer() {
    for method in METHODS {
        let idempotent = !matches!(method, "POST" | "PATCH");
        for pooled in [false, true] {
            for after in [After::Head, After::Part, After::All] {
                for how in [How::Close, How::Reset, How::Garbage, How::PartialHead] {
                    let lost = matches!(how, How::Close | How::Reset);
                    let phase = match how {
                        How::Garbage => Phase::ResponseHead,
                        _ if after == After::All => Phase::ResponseHead,
                        _ => Phase::Send,
                    };
                    let expected = if pooled && idempotent && lost {
                        Outcome::SentAgain
                    } else {
                        Outcome::Failed(ErrorKind::Upstream, phase, 502)
                    };
                    let case = format!("{method} pooled: {pooled} {after:?} {how:?}");
                    assert_eq!(outcome(method, pooled, after, how).await, expected, "{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn what_was_not_sent_is_sent_again_whatever_it_is_and_on_a_fresh_connection_may_be_by_others() {
    for method in METHODS {
        let request = || Request::builder().method(method).uri("http://h/").body(Body::from("whole")).unwrap();
        let gate = Gate::default();
        let connector = gate.connector(|mut conn: RawConn| async move {
            loop {
                let seen = conn.request().await;
                assert!(seen.head.starts_with("GET / ") || seen.body == b"whole");
                conn.write(OK).await;
            }
        });
        let proxy = ExactProxy::builder().connector(connector).build().unwrap();
        fetch(&proxy, get("http://h/")).await;
        gate.shut();
        assert_eq!(send(&proxy, request()).await.unwrap().status(), 200, "{method}");
        assert_eq!(gate.connections(), 2);

        let gate = Gate::default().unresponsive_after(0);
        let proxy = ExactProxy::builder().connector(gate.connector(|_| async {})).build().unwrap();
        let error = send(&proxy, request()).await.unwrap_err();
        assert_eq!((error.kind(), error.status().as_u16(), error.is_retryable()), (ErrorKind::Upstream, 502, true));
        assert_eq!(gate.connections(), 1, "{method}");
    }
}
