//! HTTP/2 frame by frame: malformed requests to a `ProxyApp`, malformed responses to an `ExactProxy`.

use nexthop::{Body, ErrorKind, ExactProxy, ProxyApp, exact::HttpVersions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::ServiceExt;

use crate::support::{
    Front, RawUpstream, Scripted,
    frames::{ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE},
    get, post, within,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const SECOND: std::time::Duration = std::time::Duration::from_secs(1);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const CONTINUATION: u8 = 9;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Encodes headers as literals without indexing (RFC 7541 §6.2.2), so that the test controls every byte.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.extend([0, name.len() as u8]);
        block.extend(name.bytes());
        block.push(value.len() as u8);
        block.extend(value.bytes());
    }
    block
}

/// Writes a preface, empty SETTINGS and `frames`. Returns the first frame for which `wanted(kind, flags)` is true.
async fn answer(front: &Front, frames: &[u8], wanted: impl Fn(u8, u8) -> bool) -> (u8, Vec<u8>) {
    let mut io = TcpStream::connect(front.addr).await.unwrap();
    io.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), frames].concat()).await.unwrap();
    loop {
        let mut head = [0; 9];
        within("a frame", io.read_exact(&mut head)).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        within("its payload", io.read_exact(&mut payload)).await.unwrap();
        if wanted(head[3], head[4]) {
            return (head[3], payload);
        }
    }
}

/// Returns true if a frame completes or fails a request: a response head or an error.
fn ends_a_request(kind: u8, _: u8) -> bool {
    matches!(kind, HEADERS | RST_STREAM | GOAWAY)
}

async fn proxy(upstream: &RawUpstream) -> Front {
    Front::serve(ProxyApp::builder(upstream.url("")).build().unwrap()).await
}

/// The pseudo-headers of a valid request.
const WHOLE: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h")];

// RFC 9113 §8.1.1, §8.2.1, §8.2.2, §8.3, §8.3.1, §8.5, §10.3; RFC 8441 §4
#[tokio::test]
async fn a_malformed_request_is_refused_and_nobody_behind_hears_of_it() {
    let upstream = RawUpstream::answering([OK]);
    let front = proxy(&upstream).await;
    let with = |more: &[(&'static str, &'static str)]| [&WHOLE[..], more].concat();
    let without = |name: &str| WHOLE.into_iter().filter(|(found, _)| *found != name).collect::<Vec<_>>();
    let connect =
        |more: &[(&'static str, &'static str)]| [&[(":method", "CONNECT"), (":authority", "h:1")], more].concat();
    for fields in [
        with(&[("X-Upper", "1")]),
        with(&[("x y", "1")]),
        with(&[("x:y", "1")]),
        with(&[("", "1")]),
        with(&[("x", "a\rb")]),
        with(&[("x", "a\nb")]),
        with(&[("x", "a\0b")]),
        with(&[("connection", "close")]),
        with(&[("keep-alive", "timeout=5")]),
        with(&[("proxy-connection", "keep-alive")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "foo")]),
        with(&[("te", "gzip")]),
        with(&[("x", "1"), (":path", "/")]),
        with(&[(":path", "/other")]),
        with(&[(":authority", "other")]),
        with(&[(":status", "200")]),
        with(&[(":foo", "1")]),
        with(&[("content-length", "1")]),
        without(":method"),
        without(":scheme"),
        without(":path"),
        [&without(":path")[..], &[(":path", "")]].concat(),
        [&without(":path")[..], &[(":path", "x")]].concat(),
        [&without(":path")[..], &[(":path", "*")]].concat(),
        [&without(":authority")[..], &[(":authority", "u@h")]].concat(),
        connect(&[(":scheme", "http"), (":path", "/")]),
        connect(&[(":protocol", "websocket")]),
        connect(&[(":protocol", "websocket"), (":scheme", "http")]),
        with(&[(":protocol", "websocket")]),
    ] {
        let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields));
        let (kind, payload) = answer(&front, &head, ends_a_request).await;
        // `0x8c` is status 400 in HPACK's static table. In error frames, the code is at the end of the payload.
        let refused = match kind {
            HEADERS => payload.first() == Some(&0x8c),
            _ => payload.ends_with(&PROTOCOL_ERROR.to_be_bytes()) || kind == GOAWAY,
        };
        assert!(refused, "{fields:?}: {kind} {payload:?}");
    }
    let whole = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&WHOLE));
    assert_eq!(answer(&front, &whole, ends_a_request).await.1.first(), Some(&0x88), "200");
    assert_eq!(upstream.only_request().line(), "GET / HTTP/1.1");
}

// RFC 9113 §8.1.1
#[tokio::test]
async fn a_request_of_another_length_than_it_says_is_never_whole_at_the_upstream() {
    for data in ["ab", "abcd"] {
        let upstream = RawUpstream::tcp(|mut conn| async move {
            conn.head().await;
            assert!(conn.read_to_end().await.len() < 3, "the request appears to be complete");
        });
        let front = proxy(&upstream).await;
        let fields = [&WHOLE[1..], &[(":method", "POST"), ("content-length", "3")]].concat();
        let frames = [frame(HEADERS, END_HEADERS, 1, &block(&fields)), frame(DATA, END_STREAM, 1, data.as_bytes())];
        let (kind, payload) = answer(&front, &frames.concat(), ends_a_request).await;
        assert!(kind != HEADERS || payload.first() == Some(&0x8c), "{data}: {kind} {payload:?}");
    }
}

// RFC 9113 §4.2, §4.3, §5.1, §5.1.1, §5.4.1, §6.1, §6.2, §6.4, §6.5, §6.5.2, §6.7, §6.9, §6.9.1, §6.10
#[tokio::test]
async fn a_frame_that_breaks_the_rules_ends_the_connection_with_its_code() {
    let upstream = RawUpstream::answering([OK]);
    let front = proxy(&upstream).await;
    let request = |stream: u32| frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&WHOLE));
    for (frames, code) in [
        (frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
        (frame(DATA, 0, 1, b"x"), PROTOCOL_ERROR),
        (request(2), PROTOCOL_ERROR),
        (request(0), PROTOCOL_ERROR),
        (frame(SETTINGS, 0, 1, &[]), PROTOCOL_ERROR),
        (frame(PING, 0, 1, &[0; 8]), PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, &[0; 4]), PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), FLOW_CONTROL_ERROR),
        (frame(RST_STREAM, 0, 1, &[0; 4]), PROTOCOL_ERROR),
        (frame(CONTINUATION, END_HEADERS, 1, &[]), PROTOCOL_ERROR),
        (vec![0, 0x40, 1, DATA, 0, 0, 0, 0, 1], FRAME_SIZE_ERROR),
    ] {
        let (_, payload) = answer(&front, &frames, |kind, _| kind == GOAWAY).await;
        assert_eq!(payload[4..8], code.to_be_bytes(), "{frames:?}");
    }
    // For these frames h2 uses PROTOCOL_ERROR, where the RFC defines more specific codes.
    for frames in [
        frame(HEADERS, END_HEADERS, 1, &[0xff; 9]),
        frame(SETTINGS, ACK, 0, &[0; 6]),
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        frame(PING, 0, 0, &[0; 7]),
    ] {
        let (_, payload) = answer(&front, &frames, |kind, _| kind == GOAWAY).await;
        assert_ne!(payload[4..8], [0; 4], "{frames:?}");
    }
    assert_eq!(upstream.connections(), 0);
}

// RFC 9113 §6.1
#[tokio::test]
async fn padding_is_no_part_of_a_body_and_more_of_it_than_there_is_an_error() {
    const PADDED: u8 = 8;
    let upstream = RawUpstream::answering([OK]);
    let front = proxy(&upstream).await;
    let post = [&WHOLE[1..], &[(":method", "POST")]].concat();
    let head = frame(HEADERS, END_HEADERS, 1, &block(&post));
    let padded =
        |pad: u8| [&head[..], &frame(DATA, END_STREAM | PADDED, 1, &[&[pad], &b"abc\0\0"[..]].concat())].concat();
    let (_, payload) = answer(&front, &padded(2), ends_a_request).await;
    assert_eq!((payload.first(), upstream.only_request().body.as_slice()), (Some(&0x88), &b"abc"[..]));
    let (_, payload) = answer(&front, &padded(6), |kind, _| kind == GOAWAY).await;
    assert_eq!(payload[4..8], PROTOCOL_ERROR.to_be_bytes());
}

// RFC 9113 §5.1
#[tokio::test]
async fn what_comes_on_a_stream_that_its_client_has_ended_is_an_error() {
    let upstream = RawUpstream::answering([OK]);
    let front = proxy(&upstream).await;
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&WHOLE));
    for more in [frame(DATA, 0, 1, b"more"), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&WHOLE))] {
        let frames = [&request[..], &more].concat();
        let (_, payload) = answer(&front, &frames, |kind, _| kind == RST_STREAM || kind == GOAWAY).await;
        // The RFC demands STREAM_CLOSED; for DATA, h2 ends the connection with PROTOCOL_ERROR.
        assert!(!payload.ends_with(&[0; 4]), "{more:?}: {payload:?}");
    }
}

// RFC 9113 §6.10, §10.5.1
#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let upstream = RawUpstream::answering([OK]);
    // The header `x` with a value of 16000 bytes, five times; the limit is 64 KiB.
    let long = [b"\0\x01x\x7f\x81\x7c".as_slice(), &[b'a'; 16_000]].concat();
    let mut frames = frame(HEADERS, END_STREAM, 1, &block(&WHOLE));
    for n in 1..=5 {
        frames.extend(frame(CONTINUATION, if n == 5 { END_HEADERS } else { 0 }, 1, &long));
    }
    let (kind, payload) = answer(&proxy(&upstream).await, &frames, ends_a_request).await;
    assert!(kind != HEADERS || payload.first() != Some(&0x88), "{kind} {payload:?}");
    assert_eq!(upstream.connections(), 0);
}

// RFC 9113 §5.1.2
#[tokio::test]
async fn a_stream_too_many_is_refused() {
    let never = tower::service_fn(|_: http::Request<hyper::body::Incoming>| {
        std::future::pending::<Result<http::Response<Body>, std::convert::Infallible>>()
    });
    let front = Front::serve(never).await;
    let (_, settings) = answer(&front, &[], |_, _| true).await;
    let limit = settings.chunks(6).find(|setting| setting[..2] == [0, 3]).expect("a limit of streams");
    let limit = u32::from_be_bytes(limit[2..].try_into().unwrap());
    let mut frames = frame(SETTINGS, ACK, 0, &[]);
    for n in 0..=limit {
        frames.extend(frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block(&WHOLE)));
    }
    let (_, payload) = answer(&front, &frames, ends_a_request).await;
    assert!(payload.ends_with(&REFUSED_STREAM.to_be_bytes()), "{payload:?}");
}

// RFC 9113 §4.1, §5.5, §6.5.2, §6.5.3, §6.7
#[tokio::test]
async fn what_is_unknown_is_passed_over_and_what_asks_is_answered() {
    let upstream = RawUpstream::answering([OK]);
    let front = proxy(&upstream).await;
    let odd = [
        frame(0x77, 0xff, 0, b"unknown"),
        frame(SETTINGS, 0, 0, &[0x77, 0x77, 1, 2, 3, 4]),
        frame(PING, 0x76, 0, b"87654321"),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&WHOLE)),
    ]
    .concat();
    let (_, payload) = answer(&front, &odd, ends_a_request).await;
    assert_eq!(payload.first(), Some(&0x88), "200");
    let (_, payload) = answer(&front, &odd, |kind, flags| kind == PING && flags & ACK != 0).await;
    assert_eq!(payload, b"87654321");
    let (_, payload) = answer(&front, &odd, |kind, flags| kind == SETTINGS && flags & ACK != 0).await;
    assert_eq!(payload, b"");
}

/// Returns the outcome of the first request of an `ExactProxy`, which the upstream answers with `frames`.
async fn behind(frames: Vec<u8>) -> Result<(u16, Option<ErrorKind>), ErrorKind> {
    let upstream = Scripted::frames(move |_, io| {
        let frames = frames.clone();
        async move {
            let mut io = io.greet(&[]).await;
            io.request().await;
            let mut rest = frames.as_slice();
            while let [a, b, c, kind, flags, s, t, u, v, more @ ..] = rest {
                let (payload, more) = more.split_at(u32::from_be_bytes([0, *a, *b, *c]) as usize);
                io.write(*kind, *flags, u32::from_be_bytes([*s, *t, *u, *v]), payload).await;
                rest = more;
            }
            io.drain().await;
        }
    });
    let exact = ExactProxy::builder().http_versions(HttpVersions::Http2Only).connector(upstream).build().unwrap();
    match exact.oneshot(get("http://h/")).await {
        Ok(response) => {
            let status = response.status().as_u16();
            let end = http_body_util::BodyExt::collect(Body::new(response.into_body())).await;
            Ok((status, end.err().map(|error| error.kind())))
        }
        Err(error) => Err(error.kind()),
    }
}

// RFC 9113 §6.6, §8.1, §8.1.1, §8.2.1, §8.2.2, §8.3, §8.3.2, §8.4, §10.3
#[tokio::test(start_paused = true)]
async fn a_malformed_response_is_an_error_and_never_a_message() {
    let head = |fields: &[(&str, &str)]| frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields));
    for malformed in [
        head(&[]),
        head(&[("x", "1")]),
        head(&[(":status", "2000")]),
        head(&[(":status", "x")]),
        head(&[(":status", "200"), (":status", "200")]),
        head(&[("x", "1"), (":status", "200")]),
        head(&[(":status", "200"), ("X-Upper", "1")]),
        head(&[(":status", "200"), ("x", "a\nb")]),
        head(&[(":status", "200"), ("x", "a\0b")]),
        head(&[(":status", "200"), ("transfer-encoding", "chunked")]),
        head(&[(":status", "200"), ("upgrade", "foo")]),
        frame(DATA, END_STREAM, 1, b"no head"),
        // PUSH_PROMISE of stream 2, although the client has disabled push.
        frame(5, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &block(&WHOLE)].concat()),
    ] {
        assert_eq!(behind(malformed.clone()).await, Err(ErrorKind::Upstream), "{malformed:?}");
    }
    let begun = frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "200")]));
    for rest in [head(&[("X-Upper", "1")]), head(&[("x", "a\nb")]), begun.clone()] {
        let end = behind([begun.clone(), frame(DATA, 0, 1, b"some"), rest.clone()].concat()).await;
        assert_eq!(end, Ok((200, Some(ErrorKind::Upstream))), "{rest:?}");
    }
    let whole = [begun, frame(DATA, 0, 1, b"some"), head(&[("x-sum", "1")])].concat();
    assert_eq!(behind(whole).await, Ok((200, None)));
}

// RFC 9113 §6.9.2
#[tokio::test(start_paused = true)]
async fn a_new_initial_window_is_that_of_open_streams_too() {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let (told, mut tell) = tokio::sync::mpsc::unbounded_channel();
    let upstream = Scripted::frames(move |_, io| {
        let told = told.clone();
        async move {
            let mut io = io.greet(&[(INITIAL_WINDOW_SIZE, 10)]).await;
            let first = io.request().await;
            io.ok(first, true).await;
            let stream = io.request().await;
            told.send(io.next_of(DATA).await.payload).unwrap();
            assert!(
                tokio::time::timeout(SECOND, io.next_of(DATA)).await.is_err(),
                "data beyond the flow control window"
            );
            io.write(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 15]).await;
            told.send(io.next_of(DATA).await.payload).unwrap();
            io.ok(stream, true).await;
            io.drain().await;
        }
    });
    let exact = ExactProxy::builder().http_versions(HttpVersions::Http2Only).connector(upstream.clone());
    let exact = exact.build().unwrap();
    // The client has received the upstream's settings with the first response.
    exact.clone().oneshot(get("http://h/")).await.unwrap();
    let sending = tokio::spawn(exact.oneshot(post("http://h/", "0123456789abcdefghij")));
    let first = within("ten bytes", tell.recv()).await.unwrap();
    let second = within("five more", tell.recv()).await.unwrap();
    assert_eq!((first.as_slice(), second.as_slice()), (&b"0123456789"[..], &b"abcde"[..]));
    sending.abort();
    upstream.finish();
}

// RFC 9113 §8.2.1
#[tokio::test]
async fn a_value_that_begins_or_ends_with_white_space_is_refused_on_its_way_in() {
    let upstream = RawUpstream::answering([OK]);
    let front = proxy(&upstream).await;
    for value in [" a", "a ", "\ta", "a\t", " "] {
        let fields = [&WHOLE[..], &[("x", value)]].concat();
        let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields));
        let (kind, payload) = answer(&front, &head, ends_a_request).await;
        assert_eq!((kind, payload.first()), (HEADERS, Some(&0x8c)), "{value:?} is a 400");
    }
    assert_eq!(upstream.connections(), 0);
    let whole = [&WHOLE[..], &[("x", "a b"), ("y", "")]].concat();
    let whole = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&whole));
    assert_eq!(answer(&front, &whole, ends_a_request).await.1.first(), Some(&0x88), "200");
}

// RFC 9113 §8.2.1
#[tokio::test]
async fn a_trailer_that_begins_or_ends_with_white_space_never_ends_a_body() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.head().await;
        assert!(!conn.read_to_end().await.ends_with(b"\r\n\r\n"), "the request appears to be complete");
    });
    let front = proxy(&upstream).await;
    let post = [&WHOLE[1..], &[(":method", "POST")]].concat();
    let frames = [
        frame(HEADERS, END_HEADERS, 1, &block(&post)),
        frame(DATA, 0, 1, b"body"),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-sum", "1 ")])),
    ];
    let (kind, payload) = answer(&front, &frames.concat(), ends_a_request).await;
    assert!(kind != HEADERS || payload.first() == Some(&0x8c), "{kind} {payload:?}");
}

// RFC 9113 §8.2.1
#[tokio::test(start_paused = true)]
async fn a_response_with_a_value_that_begins_or_ends_with_white_space_is_an_error() {
    let head = |fields: &[(&str, &str)]| frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields));
    let begun = frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "200")]));
    let hints = frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "103"), ("x", " a")]));
    for value in [" a", "a\t"] {
        assert_eq!(behind(head(&[(":status", "200"), ("x", value)])).await, Err(ErrorKind::Upstream), "{value:?}");
        let trailers = [begun.clone(), frame(DATA, 0, 1, b"some"), head(&[("x", value)])].concat();
        assert_eq!(behind(trailers).await, Ok((200, Some(ErrorKind::Upstream))), "{value:?}");
    }
    assert_eq!(behind([hints, head(&[(":status", "200")])].concat()).await, Err(ErrorKind::Upstream));
}

/// h2 accepts such pseudo-headers silently; the proxy can neither see nor forward them.
// RFC 9113 §8.3
#[tokio::test]
async fn pseudo_fields_out_of_place_reach_nobody() {
    let memory = Scripted::frames(|_, io| async move {
        let mut io = io.greet(&[]).await;
        io.request().await;
        let head = block(&[(":status", "200"), (":path", "/other"), (":method", "PUT"), ("x", "1")]);
        io.write(HEADERS, END_HEADERS, 1, &head).await;
        io.write(DATA, 0, 1, b"some").await;
        io.write(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[(":status", "500"), ("x-sum", "1")])).await;
        io.drain().await;
    });
    let exact = ExactProxy::builder().http_versions(HttpVersions::Http2Only).connector(memory).build().unwrap();
    let response = exact.oneshot(get("http://h/")).await.unwrap();
    let names = |map: &http::HeaderMap| map.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!((response.status().as_u16(), names(response.headers())), (200, vec!["x".to_owned()]));
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
    assert_eq!(body.trailers().map(names), Some(vec!["x-sum".to_owned()]));

    let upstream = RawUpstream::answering([OK]);
    let front = proxy(&upstream).await;
    let post = [&WHOLE[1..], &[(":method", "POST")]].concat();
    let frames = [
        frame(HEADERS, END_HEADERS, 1, &block(&post)),
        frame(DATA, 0, 1, b"body"),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[(":path", "/other"), ("x-sum", "1")])),
    ];
    assert_eq!(answer(&front, &frames.concat(), ends_a_request).await.1.first(), Some(&0x88), "200");
    let seen = upstream.only_request();
    assert_eq!(
        (seen.line(), seen.wire_body.as_slice()),
        ("POST / HTTP/1.1", &b"4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n"[..])
    );
}

// RFC 9110 §7.4
#[tokio::test]
async fn https_on_a_stream_in_clear_text_is_refused_unless_somebody_in_front_has_secured_it() {
    let upstream = RawUpstream::answering([OK]);
    let head = [&[(":scheme", "https")], &[WHOLE[0], WHOLE[2], WHOLE[3]][..]].concat();
    let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&head));
    let (kind, payload) = answer(&proxy(&upstream).await, &head, ends_a_request).await;
    // Status 421 has no index in HPACK's static table.
    assert_eq!((kind, payload.first().is_some_and(|first| matches!(first, 0x88..=0x8e))), (HEADERS, false));
    assert_eq!(upstream.connections(), 0);
    let secured = ProxyApp::builder(upstream.url("")).public_scheme(http::uri::Scheme::HTTPS).build();
    let front = Front::serve(secured.unwrap()).await;
    assert_eq!(answer(&front, &head, ends_a_request).await.1.first(), Some(&0x88), "200");
}
