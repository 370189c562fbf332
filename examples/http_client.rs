//! `ExactProxy` as an HTTP client.
//!
//! ```text
//! cargo run --example http_client                            # a form, an upload and a download, with its own upstream
//! cargo run --example http_client https://www.example.com/   # fetches the page
//! ```

use std::task::{Context, Poll, ready};
use std::{io, pin::Pin, time::Duration};

use axum::{Router, body::Bytes, http::HeaderMap, http::Request, routing::post};
use http_body::Frame;
use http_body_util::BodyExt;
use nexthop::{Body, BoxError, ExactProxy};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::{fs::File, net::TcpListener};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let client = ExactProxy::builder().response_timeout(Duration::from_secs(10)).build()?;
    if let Some(url) = std::env::args().nth(1) {
        return fetch(&client, Request::get(url).body(Body::empty())?).await;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/items", listener.local_addr()?);
    let app = Router::new().route("/items", post(receive).put(receive).get("a teapot\na cup\n"));
    tokio::spawn(nexthop::serve(listener, app).into_future());

    // A form. All requests of a client, and of its clones, share a connection pool.
    let form = Request::post(&url).header("content-type", "application/x-www-form-urlencoded");
    fetch(&client, form.body("name=a+teapot&price=7".into())?).await?;

    // A file, read while it is sent. The length is unknown, so that the body is chunked.
    let file = Upload(File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).await?);
    fetch(&client, Request::put(&url).body(Body::new(file))?).await?;

    fetch(&client, Request::get(&url).body(Body::empty())?).await
}

/// Sends a request and prints the response as it arrives.
async fn fetch(client: &ExactProxy, request: Request<Body>) -> Result<(), BoxError> {
    println!("{} {}", request.method(), request.uri());
    let response = client.request(request).await?;
    println!("{:?} {}", response.version(), response.status());
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            print!("{}", String::from_utf8_lossy(&data));
        }
    }
    println!();
    Ok(())
}

/// The upstream: reports the size and framing of the body.
async fn receive(headers: HeaderMap, body: Bytes) -> String {
    let framing = if headers.contains_key("transfer-encoding") { "in chunks" } else { "of known length" };
    format!("{} bytes {framing}\n", body.len())
}

/// A body that is read from a file.
struct Upload(File);

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut space = vec![0; 16 * 1024];
        let mut buffer = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer))?;
        let count = buffer.filled().len();
        space.truncate(count);
        Poll::Ready((count > 0).then(|| Ok(Frame::data(space.into()))))
    }
}
