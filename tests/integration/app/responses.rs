//! Responses as the client receives them.

use axum::Router;
use nexthop::app::HostHeader;

use super::app;
use crate::support::{Front, RawUpstream};

const GET: &str = "GET /api/x HTTP/1.1\r\nhost: front.example:8080\r\n\r\n";

#[tokio::test]
async fn urls_and_cookies_are_mapped_to_where_the_client_is() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        let host = conn.request().await.header("host").unwrap().to_owned();
        conn.write(format!(
            concat!(
                "HTTP/1.1 302 Found\r\ncontent-length: 0\r\n",
                "location: http://{0}/app/y?z#f\r\ncontent-location: /app/y\r\nrefresh: 5; url=/app/z\r\n",
                "link: </app/a>; rel=next, <http://elsewhere.example/app>; rel=x\r\nlink: <b>; rel=prev\r\n",
                "set-cookie: a=1; Path=/app; Domain=127.0.0.1\r\nset-cookie: b=2; Path=/app/c; Secure\r\nset-cookie: c=3\r\n\r\n",
            ),
            host
        ))
        .await;
    });
    let service = app(&upstream, "/app").build().unwrap();
    let front = Front::hyper(Router::new().nest_service("/api", service)).await;
    let answer = front.exchange(GET).await;
    assert_eq!(answer.status(), 302);
    assert_eq!(answer.header("location"), Some("http://front.example:8080/api/y?z#f"));
    assert_eq!(answer.header("content-location"), Some("/api/y"));
    assert_eq!(answer.header("refresh"), Some("5; url=/api/z"));
    assert_eq!(answer.headers("link"), ["</api/a>; rel=next, <http://elsewhere.example/app>; rel=x", "<b>; rel=prev"]);
    assert_eq!(answer.headers("set-cookie"), ["a=1; Path=/api", "b=2; Path=/api/c; Secure", "c=3"]);
}

#[tokio::test]
async fn mapping_can_be_turned_off() {
    let upstream = RawUpstream::answering([
        "HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: /app/y\r\nset-cookie: a=1; Path=/app\r\n\r\n",
    ]);
    let service = app(&upstream, "/app").map_responses(false).build().unwrap();
    let front = Front::hyper(Router::new().nest_service("/api", service)).await;
    let answer = front.exchange(GET).await;
    assert_eq!((answer.header("location"), answer.header("set-cookie")), (Some("/app/y"), Some("a=1; Path=/app")));
}

#[tokio::test]
async fn an_upstream_that_names_itself_by_the_clients_scheme_is_mapped() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        let seen = conn.request().await;
        let (scheme, host) = (seen.header("x-forwarded-proto").unwrap(), seen.header("host").unwrap());
        let own = format!("{scheme}://{host}/app");
        conn.write(format!(
            "HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: {own}/y\r\ncontent-location: {own}\r\n\
             refresh: 5;{own}/z\r\nlink: <{own}/a>\r\n\r\n"
        ))
        .await;
    });
    let service = app(&upstream, "/app").public_scheme(http::uri::Scheme::HTTPS).build().unwrap();
    let front = Front::hyper(Router::new().nest_service("/api", service)).await;
    let answer = front.exchange(GET).await;
    let own = "https://front.example:8080/api";
    assert_eq!(answer.header("location"), Some(&*format!("{own}/y")));
    assert_eq!(answer.header("content-location"), Some(own));
    assert_eq!(answer.header("refresh"), Some(&*format!("5;{own}/z")));
    assert_eq!(answer.header("link"), Some(&*format!("<{own}/a>")));
}

#[tokio::test]
async fn an_upstream_that_was_sent_the_clients_host_is_mapped_by_that_name() {
    let upstream = RawUpstream::answering([
        "HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: http://front.example:8080/y\r\n\r\n",
    ]);
    let service = app(&upstream, "").host(HostHeader::Keep).public_scheme(http::uri::Scheme::HTTPS).build().unwrap();
    let front = Front::hyper(Router::new().nest_service("/api", service)).await;
    assert_eq!(front.exchange(GET).await.header("location"), Some("https://front.example:8080/api/y"));
}

#[tokio::test]
async fn hop_by_hop_fields_of_the_upstream_end_here() {
    let upstream = RawUpstream::answering([concat!(
        "HTTP/1.1 200 Fine\r\nConnection: x-gone\r\nConnection: keep-alive, X-Too\r\nx-gone: 1\r\nx-too: 2\r\nKeep-Alive: timeout=5\r\n",
        "Proxy-Connection: keep-alive\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\nx-kept: \u{e9}\r\n\r\n",
        "2\r\nok\r\n0\r\n\r\n",
    )]);
    let front = Front::hyper(app(&upstream, "").build().unwrap()).await;
    let answer = front.exchange(GET).await;
    assert_eq!(answer.text(), "ok");
    for gone in ["x-gone", "x-too", "keep-alive", "proxy-connection", "proxy-authenticate", "upgrade"] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    assert_eq!(answer.header("x-kept"), Some("\u{e9}"));
    assert!(answer.head.starts_with("HTTP/1.1 200 Fine\r\n"), "{}", answer.head);
}

#[tokio::test]
async fn bodiless_answers_stay_bodiless_and_head_keeps_its_length() {
    for (method, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n"),
    ] {
        let upstream = RawUpstream::answering([head]);
        let front = Front::hyper(app(&upstream, "").build().unwrap()).await;
        let mut client = front.client().await;
        for _ in 0..2 {
            client.send(format!("{method} / HTTP/1.1\r\nhost: h\r\n\r\n")).await;
            let answer = client.head_response().await;
            assert_eq!(answer.header("content-length"), (method == "HEAD").then_some("5"));
            assert_eq!(answer.header("transfer-encoding"), None);
        }
    }
}

#[tokio::test]
async fn an_http_1_0_client_gets_what_it_understands() {
    let upstream =
        RawUpstream::answering(["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"]);
    let front = Front::hyper(app(&upstream, "").build().unwrap()).await;
    let answer = front.exchange("GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.head.starts_with("HTTP/1.0 200"), "{}", answer.head);
    assert_eq!((answer.header("transfer-encoding"), &*answer.wire_body), (None, &b"ok"[..]));
}

#[tokio::test]
async fn an_http_1_0_upstream_is_answered_for_in_http_1_1() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        conn.request().await;
        conn.write("HTTP/1.0 200 OK\r\n\r\nuntil the end").await;
    });
    let front = Front::hyper(app(&upstream, "").build().unwrap()).await;
    let answer = front.exchange(GET).await;
    assert!(answer.head.starts_with("HTTP/1.1 200"), "{}", answer.head);
    assert_eq!(answer.text(), "until the end");
}

#[tokio::test]
async fn a_body_that_is_cut_never_looks_complete() {
    for head in ["content-length: 5\r\n\r\nhel", "transfer-encoding: chunked\r\n\r\n5\r\nhel"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}");
        let upstream = RawUpstream::tcp(move |mut conn| {
            let answer = answer.clone();
            async move {
                conn.request().await;
                conn.write(answer).await;
            }
        });
        let front = Front::hyper(app(&upstream, "").build().unwrap()).await;
        let mut client = front.client().await;
        client.send(GET).await;
        assert!(client.try_response(true).await.is_err());
    }
}

#[tokio::test]
async fn connections_to_the_upstream_outlive_those_of_clients() {
    let upstream = RawUpstream::answering([super::OK]);
    let front = Front::hyper(app(&upstream, "").build().unwrap()).await;
    for _ in 0..3 {
        front.exchange("GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    }
    assert_eq!((upstream.requests().len(), upstream.connections()), (3, 1));
}
