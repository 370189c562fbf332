//! A forward proxy that prints each exchange, also those inside TLS.
//!
//! ```text
//! cargo run --features intercept --example record_traffic 127.0.0.1:8080 [ORIGIN_CA_PEM]
//! curl -x localhost:8080 http://nexthop/download/pem > ca.pem
//! curl -x localhost:8080 --cacert ca.pem https://example.com/
//! ```
//!
//! What prints is a layer between the proxy and what sends the requests: it sees them as they are, without TLS.
//! ORIGIN_CA_PEM names the certificates that servers are verified by, instead of the platform's; with it, servers may be on this machine.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body_util::BodyExt;
use nexthop::{Body, BoxError, Error, ExactProxy, ForwardProxy, ca::CertificateAuthority, ext::ProxyRequest, net::Tls};
use tokio::{net::TcpListener, time::Instant};
use tower::{Layer, Service, layer::layer_fn};

/// Prints what goes through the service inside.
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
        let url = request
            .extensions()
            .get::<ProxyRequest>()
            .map_or_else(|| request.uri().clone(), |asked| asked.url().clone());
        let (asked, start) = (format!("{} {url}", request.method()), Instant::now());
        println!("> {asked}");
        let answering = self.0.call(request);
        Box::pin(async move {
            let response = answering.await.inspect_err(|error| println!("! {asked}: {error}"))?;
            let status = response.status();
            let mut ending = Ending { text: format!("< {asked}: {status}"), start, bytes: 0 };
            // Counts what passes, and says so when the body is dropped.
            Ok(response.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    ending.count(frame.data_ref().map_or(0, |data| data.len()));
                    frame
                }))
            }))
        })
    }
}

struct Ending {
    text: String,
    start: Instant,
    bytes: usize,
}

impl Ending {
    fn count(&mut self, bytes: usize) {
        self.bytes += bytes;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        println!("{}, {} bytes in {:.0?}", self.text, self.bytes, self.start.elapsed());
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let mut args = std::env::args().skip(1);
    let listen = args.next().ok_or("usage: record_traffic LISTEN [ORIGIN_CA_PEM]")?;
    let (mut exact, mut proxy) = (ExactProxy::builder(), ForwardProxy::builder());
    if let Some(path) = args.next() {
        exact = exact.tls(Tls::roots_pem(&std::fs::read(path)?)?);
        proxy = proxy.dangerous_dial_anywhere();
    }
    let exact = exact.build()?;
    let proxy = proxy
        .client(exact.clone())
        .connect_ports(None)
        .certificate_authority(CertificateAuthority::builder().build()?)
        .build()?;
    let listener = TcpListener::bind(listen).await?;
    println!("http://{}", listener.local_addr()?);
    let recorded = layer_fn(Recorder).layer(exact);
    nexthop::serve(listener, proxy.layer(recorded)).await;
    Ok(())
}
