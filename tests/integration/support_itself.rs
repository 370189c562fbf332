//! Tests of the helpers.

use crate::support::{Front, RawClient, RawUpstream, echo, tls::TestCa};

#[tokio::test]
async fn an_upstream_records_bytes_and_answers_in_turn() {
    let upstream = RawUpstream::answering([
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nyou\r\n0\r\n\r\n",
    ]);
    let mut client = RawClient::tcp(upstream.addr()).await;
    assert_eq!(client.exchange("GET /%2F HTTP/1.1\r\nHost: a\r\n\r\n").await.text(), "hi");
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\nT: v\r\n\r\n";
    assert_eq!(client.exchange(chunked).await.text(), "you");

    let seen = upstream.requests();
    assert_eq!(seen[0].head, "GET /%2F HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        (seen[1].body.as_slice(), seen[1].wire_body.as_slice()),
        (&b"ab"[..], &b"2;x=y\r\nab\r\n0\r\nT: v\r\n\r\n"[..])
    );
    assert_eq!((upstream.connections(), seen[1].connection), (1, 0));
    drop(client);
    upstream.wait_closed().await;
}

#[tokio::test]
async fn a_cut_response_is_not_taken_for_a_whole_one() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
        conn.reset();
    });
    let mut client = RawClient::tcp(upstream.addr()).await;
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    assert!(client.try_response(true).await.is_err());
}

#[tokio::test]
async fn an_upstream_listens_on_a_unix_socket_and_behind_tls() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
    let unix = RawUpstream::unix(move |mut conn| async move {
        conn.request().await;
        conn.write(answer).await;
    });
    assert_eq!(RawClient::unix(unix.path()).await.exchange("GET / HTTP/1.1\r\n\r\n").await.text(), "hi");

    let ca = TestCa::new();
    let tls = RawUpstream::tls(&ca, &["http/1.1"], move |mut conn| async move {
        conn.request().await;
        conn.write(answer).await;
    });
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(ca.client_config(&["http/1.1"])));
    let tcp = tokio::net::TcpStream::connect(tls.addr()).await.unwrap();
    let io = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
    assert_eq!(RawClient::over(io).exchange("GET / HTTP/1.1\r\n\r\n").await.text(), "hi");
}

#[tokio::test]
#[should_panic(expected = "panic of the script")]
async fn a_panic_in_a_script_fails_the_test() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        panic!("panic of the script");
    });
    let mut client = RawClient::tcp(upstream.addr()).await;
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    client.closed().await;
    tokio::task::yield_now().await;
}

#[tokio::test]
async fn an_echo_tells_what_it_saw() {
    let front = Front::hyper(echo()).await;
    let echo =
        front.exchange("PUT /a?b HTTP/1.1\r\nHost: h\r\nX: 1\r\nx: 2\r\nContent-Length: 2\r\n\r\nhi").await.echo();
    assert_eq!((echo.method.as_str(), echo.uri.as_str(), echo.body.as_str()), ("PUT", "/a?b", "hi"));
    assert_eq!((echo.header("host"), echo.headers("x")), (Some("h"), vec!["1", "2"]));
}
