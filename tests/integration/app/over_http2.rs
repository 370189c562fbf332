//! HTTP/2 clients, with HTTP/1.1 and HTTP/2 upstreams.

use bytes::Bytes;
use http::{Method, Request, Response, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::{client::conn::http2::SendRequest, ext::Protocol};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nexthop::{ExactProxy, ProxyApp, app::HostHeader, exact::HttpVersions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{OK, app};
use crate::support::{Front, RawUpstream, body::fed, within};

/// Connects an HTTP/2 client to `front` with prior knowledge.
async fn client<B>(front: &Front) -> SendRequest<B>
where
    B: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<nexthop::BoxError>,
{
    let io = TokioIo::new(TcpStream::connect(front.addr).await.unwrap());
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: Method, url: &str) -> Request<Empty<Bytes>> {
    Request::builder().method(method).uri(url).version(Version::HTTP_2).body(Empty::new()).unwrap()
}

#[tokio::test]
async fn head_has_no_body_and_keeps_its_length_whatever_the_upstream_speaks() {
    let old = RawUpstream::tcp(|mut conn| async move {
        loop {
            let body = if conn.request().await.line().starts_with("HEAD") { "" } else { "hello" };
            conn.write(format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{body}")).await;
        }
    });
    let new = Front::hyper(tower::service_fn(async |request: Request<hyper::body::Incoming>| {
        let body = if request.method() == Method::HEAD { Bytes::new() } else { Bytes::from_static(b"hello") };
        Response::builder().header("content-length", "5").body(Full::new(body))
    }))
    .await;
    let http2 = ExactProxy::builder().http_versions(HttpVersions::Http2Only).build().unwrap();
    let to_new = ProxyApp::builder(new.url("")).client(http2).build().unwrap();
    for service in [app(&old, "").build().unwrap(), to_new] {
        let front = Front::serve(service).await;
        let mut sender = client(&front).await;
        for (method, body) in [(Method::HEAD, ""), (Method::GET, "hello"), (Method::HEAD, "")] {
            let response = within("a response", sender.send_request(request(method, &front.url("/")))).await.unwrap();
            assert_eq!(
                (response.status().as_u16(), &response.headers()["content-length"]),
                (200, &"5".parse().unwrap())
            );
            let read = within("its body", response.into_body().collect()).await.unwrap();
            assert_eq!(read.to_bytes(), body);
        }
        let head = front.exchange("HEAD / HTTP/1.1\r\nhost: h\r\n\r\n").await;
        assert_eq!((head.status(), head.header("content-length"), head.body.len()), (200, Some("5"), 0));
    }
    assert_eq!(old.connections(), 1);
}

#[tokio::test]
async fn hop_by_hop_fields_of_the_upstream_end_before_an_http_2_client() {
    let upstream = RawUpstream::answering([concat!(
        "HTTP/1.1 200 Fine\r\nConnection:\r\nConnection: x-gone\r\nConnection: keep-alive, X-Too\r\nx-gone: 1\r\nx-too: 2\r\n",
        "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n",
        "Transfer-Encoding: chunked\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-kept: 1\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    )]);
    let front = Front::serve(app(&upstream, "").build().unwrap()).await;
    let asked = client(&front).await.send_request(request(Method::GET, &front.url("/"))).await;
    let response = asked.unwrap();
    let mut names: Vec<_> = response.headers().keys().map(|name| name.as_str()).collect();
    names.retain(|name| *name != "date");
    names.sort_unstable();
    assert_eq!(names, ["set-cookie", "x-kept"]);
    assert_eq!(response.headers().get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
}

#[tokio::test]
async fn host_is_replaced_kept_or_fixed_in_http_2_and_in_handshakes_alike() {
    let upstream = RawUpstream::answering([OK]);
    let fixed = HostHeader::Fixed("fixed.example".parse().unwrap());
    for (rule, expected) in [
        (HostHeader::Replace, upstream.addr().to_string()),
        (HostHeader::Keep, "f.example:81".to_owned()),
        (fixed, "fixed.example".to_owned()),
    ] {
        let front = Front::serve(app(&upstream, "").host(rule.clone()).build().unwrap()).await;
        let begin = upstream.requests().len();
        let mut sender = client(&front).await;
        let plain = within("a response", sender.send_request(request(Method::GET, "http://f.example:81/x"))).await;
        assert_eq!(plain.unwrap().status(), 200);
        let mut extended = request(Method::CONNECT, "http://f.example:81/x");
        extended.extensions_mut().insert(Protocol::from("websocket"));
        within("a refusal", sender.send_request(extended)).await.unwrap();
        let handshake = "GET /x HTTP/1.1\r\nhost: f.example:81\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        assert_eq!(front.exchange(handshake).await.status(), 200);
        let seen = upstream.requests().split_off(begin);
        assert_eq!(seen.len(), 3);
        for seen in &seen {
            assert_eq!(seen.header("host"), Some(&*expected), "{rule:?} {}", seen.head);
            assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"), "{rule:?} {}", seen.head);
        }
        assert_eq!(seen.iter().filter(|seen| seen.header("upgrade") == Some("websocket")).count(), 2);
    }
}

/// Returns the status of the response to `GET /` over HTTP/2. Writes raw frames, since client libraries always send an
/// authority.
async fn status(front: &Front, authority: Option<&str>, host: Option<&str>) -> u16 {
    // :method GET, :scheme http, :path /, each by its index in the static table (RFC 7541, appendix A).
    let mut block = vec![0x82, 0x86, 0x84];
    for (index, value) in [(1, authority), (38, host)] {
        if let Some(value) = value {
            // A literal without indexing; `index` refers to the header's name in the static table.
            block.extend(if index < 15 { vec![index] } else { vec![0x0f, index - 15] });
            block.push(value.len() as u8);
            block.extend(value.bytes());
        }
    }
    let mut io = TcpStream::connect(front.addr).await.unwrap();
    io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    io.write_all(&[&[0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1], &block[..]].concat()).await.unwrap();
    loop {
        let mut head = [0; 9];
        within("a frame", io.read_exact(&mut head)).await.unwrap();
        let mut payload = vec![0; usize::from(head[1]) * 256 + usize::from(head[2])];
        within("its payload", io.read_exact(&mut payload)).await.unwrap();
        match (head[3], payload.first()) {
            (1, Some(0x88)) => return 200,
            (1, Some(0x8c)) => return 400,
            (1 | 3 | 7, _) => panic!("neither 200 nor 400: {head:?} {payload:?}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn authority_and_host_must_be_the_same_and_one_of_them_is_enough() {
    let upstream = RawUpstream::answering([OK]);
    let front = Front::serve(app(&upstream, "").host(HostHeader::Keep).build().unwrap()).await;
    for (authority, host, expected) in [
        (Some("a.example"), None, 200),
        (None, Some("a.example"), 200),
        (Some("a.example"), Some("A.example"), 200),
        (Some("a.example"), Some("b.example"), 400),
        (Some("a.example"), Some(""), 400),
        (None, None, 400),
        (None, Some("u@a.example"), 400),
    ] {
        assert_eq!(status(&front, authority, host).await, expected, "{authority:?} {host:?}");
    }
    let hosts: Vec<_> = upstream.requests().iter().map(|seen| seen.header("host").unwrap().to_lowercase()).collect();
    assert_eq!(hosts, ["a.example"; 3]);
}

#[tokio::test]
async fn no_path_leads_to_another_authority() {
    let upstream = RawUpstream::answering([OK]);
    let front = Front::serve(app(&upstream, "").build().unwrap()).await;
    let paths =
        ["/@evil.example/", "//evil.example/x", "/\\evil.example", "/:81@evil.example", "/http://evil.example/?@x"];
    for path in paths {
        let answer = front.exchange(format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        assert_eq!(answer.status(), 200, "{path}");
        let seen = upstream.requests().pop().unwrap();
        assert_eq!((seen.target(), seen.header("host")), (path, Some(&*upstream.addr().to_string())));
    }
}

#[tokio::test]
async fn an_early_answer_reaches_an_http_2_client_that_still_sends_and_its_connection_lives_on() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        if conn.index == 0 {
            conn.head().await;
            conn.write("HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
            conn.read_to_end().await;
            return;
        }
        conn.request().await;
        conn.write(OK).await;
    });
    let front = Front::serve(app(&upstream, "").build().unwrap()).await;
    let mut sender = client(&front).await;
    let (feed, body) = fed();
    let upload = Request::post(front.url("/")).version(Version::HTTP_2).body(body).unwrap();
    let response = within("a response", sender.send_request(upload)).await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(within("its body", response.into_body().collect()).await.unwrap().to_bytes(), "big");
    within("the end of the upload", async { while feed.data(vec![7; 16 * 1024]).await {} }).await;
    upstream.wait_closed().await;
    let (feed, body) = fed();
    drop(feed);
    let again = Request::get(front.url("/")).version(Version::HTTP_2).body(body).unwrap();
    let response = within("another response", sender.send_request(again)).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
}
