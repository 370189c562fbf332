//! A TLS-intercepting forward proxy that prints each exchange.
//!
//! ```text
//! cargo run --features intercept --example record_traffic 127.0.0.1:8080 [ORIGIN_CA_PEM]
//! curl -x localhost:8080 http://nexthop/download/pem > ca.pem
//! curl -x localhost:8080 --cacert ca.pem https://example.com/
//! ```
//!
//! The recorder is a layer between the proxy and the client that sends the requests: it gets them decrypted.
//! ORIGIN_CA_PEM sets the root certificates for servers, instead of the platform's, and allows servers on this machine.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body_util::BodyExt;
use nexthop::{Body, BoxError, Error, ExactProxy, ForwardProxy, ca::CertificateAuthority, ext::ProxyRequest, net::Tls};
use tokio::{net::TcpListener, time::Instant};
use tower::{Layer, Service, layer::layer_fn};

/// Prints the requests to the wrapped service and their responses.
#[derive(Clone)]
struct Recorder<S>(S);

impl<S> Service<Request<Body>> for Recorder<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Error>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let proxied = request.extensions().get::<ProxyRequest>();
        let url = proxied.map_or_else(|| request.uri().clone(), |proxied| proxied.url().clone());
        let (line, start) = (format!("{} {url}", request.method()), Instant::now());
        println!("> {line}");
        let response = self.0.call(request);
        Box::pin(async move {
            let response = response.await.inspect_err(|error| println!("! {line}: {error}"))?;
            let mut record = Record { text: format!("< {line}: {}", response.status()), start, bytes: 0 };
            // Counts the bytes of the body, and prints the record when the body is dropped.
            Ok(response.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    record.count(frame.data_ref().map_or(0, |data| data.len()));
                    frame
                }))
            }))
        })
    }
}

struct Record {
    text: String,
    start: Instant,
    bytes: usize,
}

impl Record {
    fn count(&mut self, bytes: usize) {
        self.bytes += bytes;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        println!("{}, {} bytes in {:.0?}", self.text, self.bytes, self.start.elapsed());
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let listen = args.next().ok_or("usage: record_traffic LISTEN [ORIGIN_CA_PEM]")?;
    let (mut client, mut proxy) = (ExactProxy::builder(), ForwardProxy::builder());
    if let Some(path) = args.next() {
        client = client.tls(Tls::roots_pem(&std::fs::read(path)?)?);
        proxy = proxy.dangerous_dial_anywhere();
    }
    let client = client.build()?;
    let proxy = proxy
        .client(client.clone())
        .connect_ports(None)
        .certificate_authority(CertificateAuthority::builder().build()?)
        .build()?;
    let listener = TcpListener::bind(listen).await?;
    println!("http://{}", listener.local_addr()?);
    let recorded = layer_fn(Recorder).layer(client);
    let server = nexthop::serve(listener, proxy.layer(recorded));
    server.with_graceful_shutdown(nexthop::serve::shutdown_signal()).await;
    Ok(())
}
