//! Single fields whose meaning is a duty.

use nexthop::ProxyApp;

use crate::support::{Front, RawUpstream};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn front(upstream: &RawUpstream) -> Front {
    Front::serve(ProxyApp::builder(upstream.url("").parse().unwrap()).build().unwrap()).await
}

// RFC 9110 §6.6.1
#[tokio::test]
async fn a_response_has_one_date_its_own_or_the_time_it_came() {
    const THEN: &str = "Tue, 15 Nov 1994 08:12:31 GMT";
    let with = format!("HTTP/1.1 200 OK\r\ndate: {THEN}\r\ncontent-length: 0\r\n\r\n");
    for (answer, date) in [(with.as_str(), Some(THEN)), ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", None)] {
        let upstream = RawUpstream::answering([answer]);
        let answer = front(&upstream).await.exchange("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let found = answer.field("date").expect("a date");
        assert_eq!((found == THEN, found.ends_with(" GMT")), (date.is_some(), true), "{found}");
    }
}

// RFC 9110 §15.2, §10.1.1
#[tokio::test]
async fn an_http_1_0_client_gets_no_interim_response() {
    let upstream = RawUpstream::answering([concat!(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )]);
    let front = front(&upstream).await;
    let mut client = front.client().await;
    client.send("POST / HTTP/1.0\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc").await;
    let answer = client.response().await;
    assert!(answer.head.starts_with("HTTP/1.0 200 OK\r\n"), "{}", answer.head);
    let seen = upstream.only();
    assert_eq!((answer.text(), seen.body.as_slice(), seen.field("expect")), ("ok", &b"abc"[..], None));
}

// RFC 9110 §5.1, §5.5, §7.7, §10.1.3, §10.2.1, §11.6.1, §11.6.2, §13.2.1
#[tokio::test]
async fn fields_and_contents_that_nobody_here_knows_pass_as_they_are() {
    let upstream = RawUpstream::answering([concat!(
        "HTTP/1.1 299 Whatever\r\ncontent-encoding: x-unheard-of\r\ncontent-type: text/plain\r\ncache-control: no-transform\r\n",
        "allow: GET,,FOO\r\nwww-authenticate: A b=\"c\", D\r\nwww-authenticate: E\r\ncontent-length: 4\r\n",
        "x-unheard-of: (a\"b\" c); d\r\nx-padded:\t a b \t\r\n\r\n\u{0}\u{1}\r\n",
    )]);
    let request = concat!(
        "PURGE /x HTTP/1.1\r\nhost: h\r\ncontent-encoding: x-unheard-of\r\nauthorization: A  b, c=d\r\n",
        "if-match: \"a\", W/\"b\"\r\nif-none-match: *\r\nif-range: x\r\nreferer: http://h/y?z\r\n",
        "x-unheard-of: ;;,\"\r\nx-padded:\t a b \t\r\ncontent-length: 3\r\n\r\n\0\r\n",
    );
    let answer = front(&upstream).await.exchange(request).await;
    assert!(answer.head.starts_with("HTTP/1.1 299 Whatever\r\n"), "{}", answer.head);
    assert_eq!(answer.field("content-encoding"), Some("x-unheard-of"));
    assert_eq!((answer.field("x-unheard-of"), answer.body.as_slice()), (Some("(a\"b\" c); d"), &b"\0\x01\r\n"[..]));
    assert_eq!(answer.field("allow"), Some("GET,,FOO"));
    assert_eq!(answer.fields("www-authenticate"), ["A b=\"c\", D", "E"]);
    let seen = upstream.only();
    for head in [&answer.head, &seen.head] {
        assert!(head.contains("x-padded: a b\r\n"), "white space around a value is no part of it: {head}");
    }
    for (name, value) in [
        ("authorization", "A  b, c=d"),
        ("if-match", "\"a\", W/\"b\""),
        ("if-none-match", "*"),
        ("if-range", "x"),
        ("referer", "http://h/y?z"),
    ] {
        assert_eq!(seen.field(name), Some(value));
    }
    assert_eq!((seen.line(), seen.body.as_slice()), ("PURGE /x HTTP/1.1", &b"\0\r\n"[..]));
    assert_eq!((seen.field("content-encoding"), seen.field("x-unheard-of")), (Some("x-unheard-of"), Some(";;,\"")));
}

// RFC 9110 §9.3.7
#[tokio::test]
async fn a_request_without_max_forwards_gets_none() {
    let upstream = RawUpstream::answering([OK]);
    let front = front(&upstream).await;
    for method in ["OPTIONS", "GET"] {
        assert_eq!(front.exchange(format!("{method} / HTTP/1.1\r\nhost: h\r\n\r\n")).await.status(), 200);
        assert_eq!(upstream.seen().pop().unwrap().field("max-forwards"), None, "{method}");
    }
}

// RFC 9110 §7.8
#[tokio::test]
async fn a_client_is_told_to_go_on_before_it_is_told_of_the_switch() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        conn.write("HTTP/1.1 100 Continue\r\n\r\n").await;
        assert_eq!(conn.read(4).await, b"body");
        conn.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\nhello").await;
    });
    let front = front(&upstream).await;
    let mut client = front.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: foo\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        .await;
    assert_eq!(client.head_response().await.status(), 100);
    client.send("body").await;
    assert_eq!(client.head_response().await.status(), 101);
    assert_eq!(client.read(5).await, b"hello");
}
