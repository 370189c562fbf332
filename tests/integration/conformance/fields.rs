//! Requirements on single headers.

use http::Method;
use http_body_util::BodyExt;
use nexthop::{ExactProxy, ProxyApp, TransparentProxy};

use crate::support::{Front, RawUpstream, get, send};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn front(upstream: &RawUpstream) -> Front {
    Front::serve(ProxyApp::builder(upstream.url("")).build().unwrap()).await
}

// RFC 9110 §6.6.1
#[tokio::test]
async fn a_response_has_one_date_its_own_or_the_time_it_came() {
    const THEN: &str = "Tue, 15 Nov 1994 08:12:31 GMT";
    let with = format!("HTTP/1.1 200 OK\r\ndate: {THEN}\r\ncontent-length: 0\r\n\r\n");
    for (answer, date) in [(with.as_str(), Some(THEN)), ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", None)] {
        let upstream = RawUpstream::answering([answer]);
        let answer = front(&upstream).await.exchange("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let found = answer.header("date").expect("a date");
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
    let seen = upstream.only_request();
    assert_eq!((answer.text(), seen.body.as_slice(), seen.header("expect")), ("ok", &b"abc"[..], None));
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
    assert_eq!(answer.header("content-encoding"), Some("x-unheard-of"));
    assert_eq!((answer.header("x-unheard-of"), answer.body.as_slice()), (Some("(a\"b\" c); d"), &b"\0\x01\r\n"[..]));
    assert_eq!(answer.header("allow"), Some("GET,,FOO"));
    assert_eq!(answer.headers("www-authenticate"), ["A b=\"c\", D", "E"]);
    let seen = upstream.only_request();
    for head in [&answer.head, &seen.head] {
        assert!(head.contains("x-padded: a b\r\n"), "the value includes surrounding white space: {head}");
    }
    for (name, value) in [
        ("authorization", "A  b, c=d"),
        ("if-match", "\"a\", W/\"b\""),
        ("if-none-match", "*"),
        ("if-range", "x"),
        ("referer", "http://h/y?z"),
    ] {
        assert_eq!(seen.header(name), Some(value));
    }
    assert_eq!((seen.line(), seen.body.as_slice()), ("PURGE /x HTTP/1.1", &b"\0\r\n"[..]));
    assert_eq!((seen.header("content-encoding"), seen.header("x-unheard-of")), (Some("x-unheard-of"), Some(";;,\"")));
}

// RFC 9110 §9.3.7
#[tokio::test]
async fn a_request_without_max_forwards_gets_none() {
    let upstream = RawUpstream::answering([OK]);
    let front = front(&upstream).await;
    for method in ["OPTIONS", "GET"] {
        assert_eq!(front.exchange(format!("{method} / HTTP/1.1\r\nhost: h\r\n\r\n")).await.status(), 200);
        assert_eq!(upstream.requests().pop().unwrap().header("max-forwards"), None, "{method}");
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

/// Sends a request without a proxy and returns the names of the response's trailers.
async fn trailers_of(upstream: &RawUpstream) -> Vec<String> {
    let response = send(&ExactProxy::new(), get(upstream.url("/"))).await.unwrap();
    let trailers = response.into_body().collect().await.unwrap().trailers().cloned().unwrap_or_default();
    trailers.keys().map(ToString::to_string).collect()
}

// RFC 9110 §7.6.1
#[tokio::test]
async fn what_connection_names_is_left_out_of_trailers_too() {
    let upstream = RawUpstream::answering([concat!(
        "HTTP/1.1 200 OK\r\nconnection: keep-alive, X-Hop\r\nconnection: x-other\r\ntransfer-encoding: chunked\r\n\r\n",
        "2\r\nok\r\n0\r\nx-hop: 1\r\nX-Other: 2\r\nx-hop: 3\r\nx-sum: 4\r\n\r\n",
    )]);
    // The second response exercises the cache of response heads.
    for _ in 0..2 {
        assert_eq!(trailers_of(&upstream).await, ["x-sum"]);
    }
    let app = ProxyApp::builder(upstream.url("")).build().unwrap();
    let (app, transparent) = (Front::serve(app).await, Front::serve(TransparentProxy::new()).await);
    for front in [app, transparent, Front::serve(ExactProxy::new()).await] {
        let request = format!(
            "POST {} HTTP/1.1\r\nhost: h\r\nconnection: keep-alive, X-Hop\r\nconnection: x-other\r\n\
             transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx-hop: 1\r\nX-Other: 2\r\nx-sum: 4\r\n\r\n",
            upstream.url("/")
        );
        assert_eq!(front.exchange(request).await.status(), 200);
        let seen = upstream.requests().pop().unwrap();
        let sent = String::from_utf8(seen.wire_body).unwrap();
        assert_eq!((sent.as_str(), seen.body.as_slice()), ("2\r\nab\r\n0\r\nx-sum: 4\r\n\r\n", &b"ab"[..]));
    }
}

// RFC 9110 §9.3.8
#[tokio::test]
async fn a_trace_with_content_is_refused_and_one_without_goes_on() {
    let upstream = RawUpstream::answering([OK]);
    let app = ProxyApp::builder(upstream.url("")).allowed_methods([Method::TRACE]);
    let front = Front::serve(app.build().unwrap()).await;
    for content in ["content-length: 6\r\n\r\nsecret", "transfer-encoding: chunked\r\n\r\n6\r\nsecret\r\n0\r\n\r\n"] {
        assert_eq!(front.exchange(format!("TRACE / HTTP/1.1\r\nhost: h\r\n{content}")).await.status(), 400);
    }
    assert_eq!(upstream.connections(), 0);
    for none in ["", "content-length: 0\r\n"] {
        assert_eq!(front.exchange(format!("TRACE / HTTP/1.1\r\nhost: h\r\n{none}\r\n")).await.status(), 200);
    }
}

// RFC 9110 §10.1.1
#[tokio::test]
async fn an_expectation_without_content_goes_no_further() {
    let upstream = RawUpstream::answering([OK]);
    let front = front(&upstream).await;
    for (request, expected) in [
        ("GET / HTTP/1.1\r\nhost: h\r\nexpect: 100-Continue\r\n\r\n", None),
        ("POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 0\r\n\r\n", None),
        ("POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nab", Some("100-continue")),
        ("GET / HTTP/1.1\r\nhost: h\r\nexpect: other\r\n\r\n", Some("other")),
    ] {
        let mut client = front.client().await;
        client.send(request).await;
        let mut answer = client.response().await;
        if answer.status() == 100 {
            answer = client.response().await;
        }
        assert_eq!(answer.status(), 200, "{request}");
        assert_eq!(upstream.requests().pop().unwrap().header("expect"), expected, "{request}");
    }
}

// RFC 9110 §15
#[tokio::test]
async fn a_status_beyond_599_is_no_success_and_passes_as_it_came() {
    for status in [600, 799, 999] {
        let upstream = RawUpstream::answering([format!("HTTP/1.1 {status} Odd\r\ncontent-length: 2\r\n\r\nok")]);
        let front = front(&upstream).await;
        let answer = front.exchange("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
        assert_eq!((answer.status(), answer.text()), (status, "ok"));
        // A status above 599 does not accept an upgrade.
        let upgrade = "GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n";
        assert_eq!(front.exchange(upgrade).await.status(), status);
    }
}
